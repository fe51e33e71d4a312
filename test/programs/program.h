// What the self-checking programs share. Each sets up one kind of state, says READY, is moved (or not), and then
// compares everything it can see with what it was before: the move must not show.
//
//   PROGRAM STATUS-FILE [options] [--sabotage]
//
// Lines in STATUS-FILE: READY; FACT lines for a person; later PASS, or one "FAIL: what, expected E, got G" for each
// finding. The check starts when STATUS-FILE.check exists; STATUS-FILE.ask asks long-lived programs for a report and
// is removed by them.
// --sabotage breaks one invariant just before the check, so that a test can see the check fail.
// Exit code: 0 PASS, 1 FAIL, 2 set-up failed or time limit (10 minutes) reached.
//
// No program allocates with malloc after READY: the mappings it compares must not move by its own doing.
#ifndef GODWIT_TEST_PROGRAM_H
#define GODWIT_TEST_PROGRAM_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { kPage = 4096, kMaxDescriptors = 2048, kTimeLimitSeconds = 600, kMaxFailLines = 40 };

// What every program is compared by, whatever its kind.
struct program {
  int argc;
  char** argv;
  const char* status_path;
  char check_path[PATH_MAX];
  char ask_path[PATH_MAX];
  int status;
  bool sabotage;
  pid_t pid;
  pid_t tid;
  time_t started;
  sigset_t mask;
  cpu_set_t affinity;
  unsigned char descriptors[kMaxDescriptors];
  atomic_int failures;
};
static struct program program;

static inline void say(const char* format, ...) {
  char line[1024];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line - 1, format, arguments);
  va_end(arguments);
  if (length < 0) return;
  if (length > (int)sizeof line - 2) length = sizeof line - 2;
  line[length] = '\n';
  // One write: lines of several threads do not mix in a file opened with O_APPEND.
  if (write(program.status, line, length + 1) != length + 1) atomic_fetch_add(&program.failures, 1);
}

#define fail(...) fail_line(__VA_ARGS__)
static inline void fail_line(const char* format, ...) {
  if (atomic_fetch_add(&program.failures, 1) >= kMaxFailLines) return;
  char text[900];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  say("FAIL: %s", text);
}

static inline bool expect_number(const char* what, long long expected, long long got) {
  if (expected == got) return true;
  fail("%s, expected %lld (0x%llx), got %lld (0x%llx)", what, expected, expected, got, got);
  return false;
}

static inline bool expect_true(const char* what, bool condition) {
  if (!condition) fail("%s, expected to hold, got errno %d", what, errno);
  return condition;
}

static inline bool expect_text(const char* what, const char* expected, const char* got) {
  if (strcmp(expected, got) == 0) return true;
  fail("%s, expected \"%.300s\", got \"%.300s\"", what, expected, got);
  return false;
}

static inline bool expect_bytes(const char* what, const void* expected, const void* got, size_t bytes) {
  const unsigned char *e = expected, *g = got;
  for (size_t i = 0; i < bytes; i++) {
    if (e[i] == g[i]) continue;
    fail("%s at byte %zu of %zu, expected 0x%02x, got 0x%02x", what, i, bytes, e[i], g[i]);
    return false;
  }
  return true;
}

// A step of the set-up that has to work: without it the program would prove nothing.
static inline void must(bool worked, const char* what) {
  if (worked) return;
  say("FAIL: set-up, expected %s to work, got errno %d (%s)", what, errno, strerror(errno));
  _exit(2);
}

static inline bool has_option(const char* name) {
  for (int i = 2; i < program.argc; i++)
    if (strcmp(program.argv[i], name) == 0) return true;
  return false;
}

static inline const char* text_option(const char* name, const char* fallback) {
  for (int i = 2; i + 1 < program.argc; i++)
    if (strcmp(program.argv[i], name) == 0) return program.argv[i + 1];
  return fallback;
}

static inline double number_option(const char* name, double fallback) {
  const char* text = text_option(name, NULL);
  return text ? strtod(text, NULL) : fallback;
}

// A path beside the status file, for the program's own files.
static inline const char* beside(const char* suffix, char* buffer) {
  snprintf(buffer, PATH_MAX, "%s%s", program.status_path, suffix);
  return buffer;
}

static inline uint64_t nanoseconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline struct timespec timespec_of(uint64_t ns) {
  return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
}

static inline void sleep_ms(unsigned ms) {
  struct timespec left = timespec_of((uint64_t)ms * 1000000u);
  while (nanosleep(&left, &left) == -1 && errno == EINTR) {
  }
}

// A reversible mixing of 64 bits: every input has its own output, so wrong content names where it came from.
static inline uint64_t mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

static inline void fill_words(void* at, size_t bytes, uint64_t seed) {
  uint64_t* words = at;
  for (size_t i = 0; i < bytes / 8; i++) words[i] = mix(seed + i);
}

static inline bool expect_words(const char* what, const void* at, size_t bytes, uint64_t seed) {
  const uint64_t* words = at;
  for (size_t i = 0; i < bytes / 8; i++) {
    if (words[i] == mix(seed + i)) continue;
    fail("%s at byte %zu (%p), expected 0x%016llx, got 0x%016llx", what, i * 8, (void*)&words[i],
         (unsigned long long)mix(seed + i), (unsigned long long)words[i]);
    return false;
  }
  return true;
}

static inline bool expect_zeros(const char* what, const void* at, size_t bytes) {
  const unsigned char* p = at;
  for (size_t i = 0; i < bytes; i++) {
    if (p[i] == 0) continue;
    fail("%s at byte %zu, expected zero, got 0x%02x", what, i, p[i]);
    return false;
  }
  return true;
}

// Reads a whole small file (/proc) without allocating; returns its length, -1 with errno set.
static inline ssize_t read_file(const char* path, char* buffer, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  size_t length = 0;
  ssize_t got;
  while (length < size - 1 && (got = read(fd, buffer + length, size - 1 - length)) > 0) length += (size_t)got;
  close(fd);
  buffer[length] = 0;
  return (ssize_t)length;
}

// The value of "Name:\tvalue" in the text of /proc/self/status.
static inline void status_field(const char* text, const char* name, char* value, size_t size) {
  value[0] = 0;
  size_t length = strlen(name);
  for (const char* line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
    if (strncmp(line, name, length) != 0 || line[length] != ':') continue;
    const char* from = line + length + 1;
    while (*from == '\t' || *from == ' ') from++;
    size_t span = strcspn(from, "\n");
    if (span > size - 1) span = size - 1;
    memcpy(value, from, span);
    value[span] = 0;
    return;
  }
}

static inline void list_descriptors(unsigned char* open_ones) {
  for (int fd = 0; fd < kMaxDescriptors; fd++) {
    int flags = fcntl(fd, F_GETFD);
    open_ones[fd] = flags < 0 ? 0 : (unsigned char)(1 + flags);
  }
}

static inline void program_start(int argc, char** argv) {
  if (argc < 2) {
    static const char usage[] = "usage: PROGRAM STATUS-FILE [options] [--sabotage]\n";
    if (write(2, usage, sizeof usage - 1) < 0) _exit(2);
    _exit(2);
  }
  program.argc = argc;
  program.argv = argv;
  program.status_path = argv[1];
  program.status = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (program.status < 0) _exit(2);
  beside(".check", program.check_path);
  beside(".ask", program.ask_path);
  program.started = time(NULL);
  program.sabotage = has_option("--sabotage");
}

// The state is set up and running: the move may come.
static inline void ready(void) {
  program.pid = getpid();
  program.tid = (pid_t)syscall(SYS_gettid);
  must(sigprocmask(SIG_SETMASK, NULL, &program.mask) == 0, "sigprocmask");
  must(sched_getaffinity(0, sizeof program.affinity, &program.affinity) == 0, "sched_getaffinity");
  list_descriptors(program.descriptors);
  say("READY");
}

// Ends the program when nobody came for it: nothing stays behind. Uses the wall clock, which a move cannot change.
static inline void enforce_time_limit(void) {
  if (time(NULL) - program.started < kTimeLimitSeconds) return;
  say("FAIL: time limit, expected a check within %d s, got none", kTimeLimitSeconds);
  _exit(2);
}

static inline bool check_wanted(void) {
  enforce_time_limit();
  return access(program.check_path, F_OK) == 0;
}

static inline bool report_wanted(void) { return access(program.ask_path, F_OK) == 0; }
static inline void report_done(void) { unlink(program.ask_path); }

// What must be the same for every kind; call it first when the check has come, on the main thread.
static inline void check_common(void) {
  expect_number("process id", program.pid, getpid());
  expect_number("main thread id", program.tid, syscall(SYS_gettid));
  sigset_t mask;
  sigprocmask(SIG_SETMASK, NULL, &mask);
  // The kernel's set is 64 bits; the rest of sigset_t is the library's padding.
  expect_bytes("signal mask of the main thread", &program.mask, &mask, 8);
  cpu_set_t affinity;
  if (sched_getaffinity(0, sizeof affinity, &affinity) != 0) fail("sched_getaffinity, errno %d", errno);
  if (!CPU_EQUAL(&affinity, &program.affinity)) fail("affinity of the main thread, expected unchanged, got another");
  unsigned char now[kMaxDescriptors];
  list_descriptors(now);
  for (int fd = 0; fd < kMaxDescriptors; fd++)
    if (now[fd] != program.descriptors[fd])
      fail("descriptor %d, expected %s, got %s (close-on-exec %d, %d)", fd, program.descriptors[fd] ? "open" : "closed",
           now[fd] ? "open" : "closed", program.descriptors[fd] - 1, now[fd] - 1);
  expect_true("status file still appends", (fcntl(program.status, F_GETFL) & O_APPEND) != 0);
}

static inline void wait_for_check(void) {
  while (!check_wanted()) sleep_ms(20);
  check_common();
}

static inline int finish(void) {
  if (atomic_load(&program.failures) == 0) {
    say("PASS");
    return 0;
  }
  return 1;
}

#endif
