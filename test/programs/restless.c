// Changes everything that a process can change about itself, all the time: whenever it is stopped and moved, what was
// read of it a moment earlier is wrong by now. Each change has numbered variants, and knows what each must look like.
//
//   --without LIST   names of changes to leave out, joined by commas
//   --identity       changes the effective user id as well, of all threads
//   --storm          starts and ends threads as fast as it can
//   --grow MB        grows to this size, 1 MB at a time, from a tenth of it
//   --pause MS       between two changes (default 2)
#include "program.h"
#include <dlfcn.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>

enum { kWorkers = 4, kStackBytes = 256 << 10, kTailBytes = 24, kMegabyte = 1 << 20 };

// ---------------------------------------------------------------- threads

static struct worker {
  pthread_t thread;
  atomic_bool over;
  atomic_long rounds;
  unsigned variant;
} workers[kWorkers];

static void* work(void* argument) {
  struct worker* self = argument;
  uint64_t words[64];
  fill_words(words, sizeof words, self->variant);
  while (!atomic_load(&self->over)) {
    expect_words("the stack of a worker", words, sizeof words, self->variant);
    atomic_fetch_add(&self->rounds, 1);
    sleep_ms(1);
  }
  return self;
}

static void start_thread(pthread_t* thread, void* (*body)(void*), void* argument) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  must(pthread_create(thread, &attributes, body, argument) == 0, "pthread_create");
  pthread_attr_destroy(&attributes);
}

static void turn_threads(unsigned variant) {
  struct worker* worker = &workers[variant % kWorkers];
  if (worker->thread) {
    atomic_store(&worker->over, true);
    void* result = NULL;
    expect_number("pthread_join", 0, pthread_join(worker->thread, &result));
    expect_true("a worker returns itself", result == worker);
  }
  atomic_store(&worker->over, false);
  worker->variant = variant;
  start_thread(&worker->thread, work, worker);
}

static void expect_threads(unsigned variant) {
  long before = atomic_load(&workers[variant % kWorkers].rounds);
  for (int patience = 0; atomic_load(&workers[variant % kWorkers].rounds) == before; patience++) {
    if (patience == 10000) {
      fail("worker %u, expected to work, got nothing for ten seconds", variant % kWorkers);
      return;
    }
    sleep_ms(1);
  }
}

static atomic_bool storm_over;
static atomic_long storms;

static void* gust(void* argument) {
  uint64_t seed = (uint64_t)(uintptr_t)argument;
  uint64_t words[32];
  fill_words(words, sizeof words, seed);
  sched_yield();
  expect_words("the stack of a short thread", words, sizeof words, seed);
  return (void*)(uintptr_t)mix(seed);
}

static void* storm(void* unused) {
  while (!atomic_load(&storm_over)) {
    pthread_t threads[3];
    uint64_t first = (uint64_t)atomic_load(&storms);
    for (int i = 0; i < 3; i++) start_thread(&threads[i], gust, (void*)(uintptr_t)(first + (uint64_t)i));
    for (int i = 0; i < 3; i++) {
      void* result = NULL;
      pthread_join(threads[i], &result);
      expect_true("a short thread returns its word", (uint64_t)(uintptr_t)result == mix(first + (uint64_t)i));
    }
    atomic_fetch_add(&storms, 3);
  }
  return unused;
}

// ---------------------------------------------------------------- directory, descriptors, files

static char folders[2][PATH_MAX], files[2][PATH_MAX];

static void make_files(void) {
  static unsigned char content[8 * kPage];
  for (int i = 0; i < 2; i++) {
    beside(i ? ".folder-1" : ".folder-0", folders[i]);
    beside(i ? ".file-1" : ".file-0", files[i]);
    must(mkdir(folders[i], 0755) == 0 || errno == EEXIST, "mkdir");
    fill_words(content, sizeof content, 1000u * (unsigned)i);
    int fd = open(files[i], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    must(fd >= 0 && write(fd, content, sizeof content) == sizeof content, "a file");
    close(fd);
  }
}

static void turn_directory(unsigned variant) {
  must(chdir(folders[variant % 2]) == 0, "chdir");
  umask(variant % 2 ? 027 : 022);
}

static void expect_directory(unsigned variant) {
  char now[PATH_MAX] = "";
  expect_true("getcwd", getcwd(now, sizeof now) != NULL);
  expect_text("working directory", folders[variant % 2], now);
  mode_t mask = variant % 2 ? 027 : 022;
  expect_number("umask", mask, umask(mask));
}

static int held_file = -1, held_pipe[2] = {-1, -1};

static void turn_descriptors(unsigned variant) {
  if (held_file >= 0) {
    close(held_file);
    close(held_pipe[0]);
    close(held_pipe[1]);
  }
  held_file = -1;
  if (variant == 0) return;
  int fd = open(files[variant % 2], variant % 3 ? O_RDONLY : O_RDWR | O_APPEND);
  must(fd >= 0, "open");
  held_file = fcntl(fd, variant % 5 ? F_DUPFD : F_DUPFD_CLOEXEC, 60 + (int)(variant % 7));
  close(fd);
  must(held_file >= 60 && lseek(held_file, variant % 4096, SEEK_SET) == variant % 4096, "lseek");
  char bytes[64] = {0};
  must(pipe2(held_pipe, O_NONBLOCK) == 0, "pipe2");
  must(write(held_pipe[1], bytes, variant % 50 + 1) == variant % 50 + 1, "write to a pipe");
}

static void expect_descriptors(unsigned variant) {
  if (variant == 0) return;
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", held_file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  path[length > 0 ? length : 0] = 0;
  expect_text("the open file", files[variant % 2], path);
  expect_number("its offset", variant % 4096, lseek(held_file, 0, SEEK_CUR));
  expect_number("its flags", variant % 3 ? O_RDONLY : O_RDWR | O_APPEND,
                fcntl(held_file, F_GETFL) & (O_ACCMODE | O_APPEND));
  expect_number("close-on-exec", variant % 5 ? 0 : FD_CLOEXEC, fcntl(held_file, F_GETFD));
  int content = -1;
  ioctl(held_pipe[0], FIONREAD, &content);
  expect_number("bytes in the pipe", variant % 50 + 1, content);
}

// ---------------------------------------------------------------- mappings

static void* library;

static void turn_library(unsigned variant) {
  if (library) dlclose(library);
  library = NULL;
  if (variant % 2) must((library = dlopen("libresolv.so.2", RTLD_NOW)) != NULL, "dlopen");
}

static void expect_library(unsigned variant) {
  if (variant % 2) {
    typedef int encoder(const unsigned char*, size_t, char*, size_t);
    encoder* encode = (encoder*)dlsym(library, "__b64_ntop");
    char text[8] = "";
    expect_true("a function of the library", encode && encode((const unsigned char*)"abc", 3, text, sizeof text) == 4);
    expect_text("what it returns", "YWJj", text);
  }
  void* there = dlopen("libresolv.so.2", RTLD_NOW | RTLD_NOLOAD);
  expect_number("the library is loaded", variant % 2, there != NULL);
  if (there) dlclose(there);
}

static unsigned char* file_memory;

static void turn_mapping(unsigned variant) {
  if (file_memory) munmap(file_memory, 8 * kPage);
  int fd = open(files[variant % 2], O_RDONLY | O_CLOEXEC);
  file_memory = mmap(NULL, 8 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  close(fd);
  must(file_memory != MAP_FAILED, "mmap of a file");
  fill_words(file_memory + variant % 8 * kPage, kPage, variant);
}

static void expect_mapping(unsigned variant) {
  uint64_t seed = 1000u * (variant % 2);
  for (unsigned page = 0; page < 8; page++)
    expect_words("a page of a mapped file", file_memory + page * kPage, kPage,
                 page == variant % 8 ? variant : seed + page * kPage / 8);
}

static unsigned char* memory;
static size_t memory_bytes;

static void turn_memory(unsigned variant) {
  size_t bytes = (variant % 9 + 1) * 16 * kPage;
  memory = memory ? mremap(memory, memory_bytes, bytes, MREMAP_MAYMOVE)
                  : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(memory != MAP_FAILED, "mremap");
  memory_bytes = bytes;
  fill_words(memory, bytes, variant);
}

static void expect_memory(unsigned variant) {
  expect_words("memory that is resized", memory, (variant % 9 + 1) * 16 * kPage, variant);
}

static unsigned char* grown;
static size_t grown_megabytes, most_megabytes;

static void turn_growth(unsigned variant) {
  if (most_megabytes == 0) return;
  if (!grown) {
    grown = mmap(NULL, most_megabytes * kMegabyte, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(grown != MAP_FAILED, "mmap");
  }
  size_t wanted = most_megabytes / 10 + variant;
  for (; grown_megabytes < wanted && grown_megabytes < most_megabytes; grown_megabytes++)
    fill_words(grown + grown_megabytes * kMegabyte, kMegabyte, 7000000u + grown_megabytes);
}

// One megabyte each time, and all of it in the end.
static void expect_growth(unsigned variant) {
  if (grown_megabytes == 0) return;
  size_t at = variant % grown_megabytes;
  expect_words("memory that grows", grown + at * kMegabyte, kMegabyte, 7000000u + at);
}

// ---------------------------------------------------------------- settings of the process

static void turn_process(unsigned variant) {
  char name[16];
  snprintf(name, sizeof name, "restless-%u", variant % 1000);
  prctl(PR_SET_NAME, name);
  prctl(PR_SET_TIMERSLACK, 50000ul + variant);
  prctl(PR_SET_DUMPABLE, variant % 2);
}

static void expect_process(unsigned variant) {
  char name[16], now[16] = "";
  snprintf(name, sizeof name, "restless-%u", variant % 1000);
  prctl(PR_GET_NAME, now);
  expect_text("its name", name, now);
  expect_number("timer slack", 50000 + (long)variant, prctl(PR_GET_TIMERSLACK));
  expect_number("dumpable", variant % 2, prctl(PR_GET_DUMPABLE));
}

static void handle_one(int signal) { (void)signal; }
static void handle_other(int signal) { (void)signal; }

static void turn_signals(unsigned variant) {
  void (*handlers[])(int) = {handle_one, handle_other, SIG_IGN, SIG_DFL};
  struct sigaction action = {.sa_handler = handlers[variant % 4], .sa_flags = variant % 3 ? SA_RESTART : SA_NODEFER};
  sigaddset(&action.sa_mask, 34 + (int)(variant % 20));
  sigaction(SIGUSR1, &action, NULL);
}

static void expect_signals(unsigned variant) {
  void (*handlers[])(int) = {handle_one, handle_other, SIG_IGN, SIG_DFL};
  struct sigaction now;
  sigaction(SIGUSR1, NULL, &now);
  expect_true("the handler of SIGUSR1", now.sa_handler == handlers[variant % 4]);
  expect_true("its flags", (now.sa_flags & SA_NODEFER) == (variant % 3 ? 0 : SA_NODEFER));
  expect_number("its mask", 1, sigismember(&now.sa_mask, 34 + (int)(variant % 20)));
}

static void turn_limits(unsigned variant) {
  struct rlimit files_limit, core;
  getrlimit(RLIMIT_NOFILE, &files_limit);
  getrlimit(RLIMIT_CORE, &core);
  files_limit.rlim_cur = 200 + variant % 50;
  core.rlim_cur = variant % 2 ? 0 : 4096;
  must(setrlimit(RLIMIT_NOFILE, &files_limit) == 0 && setrlimit(RLIMIT_CORE, &core) == 0, "setrlimit");
}

static void expect_limits(unsigned variant) {
  struct rlimit files_limit, core;
  getrlimit(RLIMIT_NOFILE, &files_limit);
  getrlimit(RLIMIT_CORE, &core);
  expect_number("limit of descriptors", 200 + variant % 50, (long)files_limit.rlim_cur);
  expect_number("limit of a core", variant % 2 ? 0 : 4096, (long)core.rlim_cur);
}

static void turn_timer(unsigned variant) {
  struct itimerval timer = {.it_interval.tv_sec = 1000 + variant, .it_value.tv_sec = 100000};
  if (variant % 3 == 0) timer = (struct itimerval){0};
  setitimer(ITIMER_VIRTUAL, &timer, NULL);
}

static void expect_timer(unsigned variant) {
  struct itimerval now;
  getitimer(ITIMER_VIRTUAL, &now);
  expect_number("interval of the timer", variant % 3 ? 1000 + variant : 0, now.it_interval.tv_sec);
  expect_number("the timer runs", variant % 3 != 0, now.it_value.tv_sec > 90000);
}

static void turn_identity(unsigned variant) { must(seteuid(variant % 2 ? 65534 : 0) == 0, "seteuid"); }
static void expect_identity(unsigned variant) {
  expect_number("effective user id", variant % 2 ? 65534 : 0, geteuid());
}

// ---------------------------------------------------------------- all of them

static struct change {
  const char* name;
  void (*turn)(unsigned variant);
  void (*expect)(unsigned variant);
  unsigned variant;
} changes[] = {
    {"threads", turn_threads, expect_threads, 0},
    {"directory", turn_directory, expect_directory, 0},
    {"descriptors", turn_descriptors, expect_descriptors, 0},
    {"library", turn_library, expect_library, 0},
    {"mapping", turn_mapping, expect_mapping, 0},
    {"memory", turn_memory, expect_memory, 0},
    {"growth", turn_growth, expect_growth, 0},
    {"process", turn_process, expect_process, 0},
    {"signals", turn_signals, expect_signals, 0},
    {"limits", turn_limits, expect_limits, 0},
    {"timer", turn_timer, expect_timer, 0},
    {"identity", turn_identity, expect_identity, 0},
};
enum { kChanges = sizeof changes / sizeof *changes };

static bool wanted(const char* name) {
  if (strcmp(name, "identity") == 0) return has_option("--identity");
  // Another user may not open the program's own files.
  const char* without = has_option("--identity") ? "descriptors,mapping,directory,process" : text_option("--without", "");
  const char* found = strstr(without, name);
  return !found || (found[strlen(name)] != 0 && found[strlen(name)] != ',');
}

static void report(unsigned long turns) {
  say("TURNS %lu storms=%ld grown=%zu", turns, atomic_load(&storms), grown_megabytes);
  say("DONE");
  report_done();
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  most_megabytes = (size_t)number_option("--grow", 0);
  unsigned pause_ms = (unsigned)number_option("--pause", 2);
  make_files();
  for (int i = 1; i < kWorkers; i++) turn_threads((unsigned)i);
  for (int i = 0; i < kChanges; i++)
    if (wanted(changes[i].name)) changes[i].turn(0);
  pthread_t storming;
  if (has_option("--storm")) start_thread(&storming, storm, NULL);
  ready();

  unsigned long turns = 0;
  for (; !check_wanted(); turns++) {
    if (report_wanted()) report(turns);
    struct change* change = &changes[turns % kChanges];
    if (wanted(change->name)) {
      change->expect(change->variant);
      change->turn(++change->variant);
    }
    sleep_ms(pause_ms);
  }
  if (program.sabotage) memory[5] ^= 1;
  for (int i = 0; i < kChanges; i++) {
    if (!wanted(changes[i].name)) continue;
    changes[i].expect(changes[i].variant);
    changes[i].turn(0);
    changes[i].expect(0);
  }
  for (size_t at = 0; at < grown_megabytes; at++) expect_growth((unsigned)at);
  atomic_store(&storm_over, true);
  if (has_option("--storm")) pthread_join(storming, NULL);
  check_common();
  return finish();
}
