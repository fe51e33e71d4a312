// Regular files, directories and the plain devices: offsets, flags, shared descriptions, and a log that grows all the time.
#include "program.h"

enum { kEntries = 300, kHigh = 700, kFileBytes = 20000 };

// Descriptors by what they are.
static int reading, writing, appending, duplicate, another, synchronous, nonblocking, inherited, no_atime, directory,
    listing, null_device, zero_device, full_device, random_device, urandom_device, high, read_write, truncated;
static const struct {
  const char* what;
  int* fd;
} all[] = {
    {"file read", &reading},           {"file written", &writing},        {"file appended to", &appending},
    {"duplicate", &duplicate},         {"another open", &another},        {"O_SYNC file", &synchronous},
    {"O_NONBLOCK file", &nonblocking}, {"file without cloexec", &inherited}, {"O_NOATIME file", &no_atime},
    {"directory", &directory},         {"directory being listed", &listing}, {"/dev/null", &null_device},
    {"/dev/zero", &zero_device},       {"/dev/full", &full_device},       {"/dev/random", &random_device},
    {"/dev/urandom", &urandom_device}, {"high descriptor", &high},        {"file read and written", &read_write},
    {"file shorter than its offset", &truncated},
};
enum { kAll = sizeof all / sizeof *all };

static struct facts {
  int flags, descriptor_flags;
  off_t offset;
  struct stat status;
} before[kAll];

static bool seen[kEntries];
static int seen_count;

static int open_beside(const char* suffix, int flags) {
  char path[PATH_MAX];
  int fd = open(beside(suffix, path), flags, 0640);
  must(fd >= 0, suffix);
  return fd;
}

static void ask(int fd, struct facts* facts) {
  memset(facts, 0, sizeof *facts);
  facts->flags = fcntl(fd, F_GETFL);
  facts->descriptor_flags = fcntl(fd, F_GETFD);
  facts->offset = lseek(fd, 0, SEEK_CUR);
  fstat(fd, &facts->status);
}

// ------------------------------------------------------------- writers that never stop

static atomic_bool stop;
static int log_file, blocks_file;
static uint64_t log_lines, blocks;

static void* run_log(void* unused) {
  char line[64];
  while (!atomic_load(&stop)) {
    int length = snprintf(line, sizeof line, "line %llu of the log\n", (unsigned long long)log_lines);
    if (write(log_file, line, (size_t)length) != length) fail("log line %llu, errno %d", (unsigned long long)log_lines, errno);
    uint64_t block[64];
    fill_words(block, sizeof block, blocks * 64);
    if (write(blocks_file, block, sizeof block) != sizeof block) fail("block, errno %d", errno);
    log_lines++;
    blocks++;
    sleep_ms(1);
  }
  return unused;
}

// Nothing lost, nothing twice, nothing elsewhere.
static void check_log(void) {
  static char text[1 << 16];
  char path[PATH_MAX], expected[64];
  int fd = open(beside(".log", path), O_RDONLY | O_CLOEXEC);
  uint64_t line = 0;
  size_t held = 0;
  ssize_t got;
  while ((got = read(fd, text + held, sizeof text - held)) > 0) {
    held += (size_t)got;
    char *at = text, *end;
    while ((end = memchr(at, '\n', held - (size_t)(at - text)))) {
      int length = snprintf(expected, sizeof expected, "line %llu of the log\n", (unsigned long long)line);
      if (end + 1 - at != length || memcmp(at, expected, (size_t)length) != 0) {
        *end = 0;
        fail("log, expected line %llu, got \"%.60s\"", (unsigned long long)line, at);
        close(fd);
        return;
      }
      line++;
      at = end + 1;
    }
    held -= (size_t)(at - text);
    memmove(text, at, held);
  }
  close(fd);
  expect_number("lines of the log", (long long)log_lines, (long long)line);
  expect_number("offset of the block file", (long long)blocks * 512, lseek(blocks_file, 0, SEEK_CUR));
  uint64_t block[64];
  for (uint64_t i = 0; i < blocks; i++) {
    if (pread(blocks_file, block, sizeof block, (off_t)(i * 512)) != sizeof block) {
      fail("block %llu, expected to be there", (unsigned long long)i);
      break;
    }
    if (!expect_words("block file", block, sizeof block, i * 64)) break;
  }
}

// ------------------------------------------------------------- directories

struct entry {
  uint64_t inode;
  int64_t offset;
  unsigned short length;
  unsigned char type;
  char name[];
};

// Goes on with the listing; at most `reads` buffers.
static void list_on(int reads) {
  char buffer[2048];
  for (; reads > 0; reads--) {
    long got = syscall(SYS_getdents64, listing, buffer, sizeof buffer);
    if (got < 0) fail("getdents64, errno %d", errno);
    if (got <= 0) return;
    for (long at = 0; at < got;) {
      struct entry* entry = (struct entry*)(buffer + at);
      at += entry->length;
      int number;
      if (sscanf(entry->name, "entry-%d", &number) != 1) continue;
      if (number < 0 || number >= kEntries || seen[number]) {
        fail("directory entry %s, expected once, got again", entry->name);
        continue;
      }
      seen[number] = true;
      seen_count++;
    }
  }
}

static void set_up_directory(void) {
  char path[PATH_MAX];
  must(mkdir(beside(".folder", path), 0755) == 0, "mkdir");
  directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  must(directory >= 0, "opening a directory");
  for (int i = 0; i < kEntries; i++) {
    char name[32];
    snprintf(name, sizeof name, "entry-%d", i);
    int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    must(fd >= 0, "creating an entry");
    close(fd);
  }
  listing = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  list_on(2);
  must(seen_count > 20 && seen_count < kEntries - 20, "a listing that is half done");
}

static void set_up(void) {
  read_write = open_beside(".data", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC);
  char data[kFileBytes];
  fill_words(data, sizeof data, 5);
  must(write(read_write, data, sizeof data) == sizeof data, "write");
  must(lseek(read_write, 1234, SEEK_SET) == 1234, "lseek");
  reading = open_beside(".data", O_RDONLY | O_CLOEXEC);
  must(lseek(reading, 777, SEEK_SET) == 777, "lseek");
  writing = open_beside(".written", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC);
  must(write(writing, "0123456789", 10) == 10 && lseek(writing, 5, SEEK_SET) == 5, "write");
  appending = open_beside(".written", O_WRONLY | O_APPEND | O_CLOEXEC);
  duplicate = dup(reading);  // without close-on-exec
  another = open_beside(".data", O_RDONLY | O_CLOEXEC);
  must(lseek(another, 3000, SEEK_SET) == 3000, "lseek");
  synchronous = open_beside(".sync", O_RDWR | O_CREAT | O_SYNC | O_CLOEXEC);
  nonblocking = open_beside(".sync", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  inherited = open_beside(".data", O_RDONLY);
  no_atime = open_beside(".data", O_RDONLY | O_NOATIME | O_CLOEXEC);
  truncated = open_beside(".short", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC);
  must(lseek(truncated, 1 << 30, SEEK_SET) == 1 << 30, "lseek");
  null_device = open("/dev/null", O_RDWR | O_CLOEXEC);
  zero_device = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  full_device = open("/dev/full", O_WRONLY | O_CLOEXEC);
  random_device = open("/dev/random", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  urandom_device = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  high = fcntl(another, F_DUPFD_CLOEXEC, kHigh);
  must(high >= kHigh, "F_DUPFD_CLOEXEC");
  set_up_directory();
  log_file = open_beside(".log", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC);
  blocks_file = open_beside(".blocks", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC);
  for (int i = 0; i < kAll; i++) must(*all[i].fd >= 0, all[i].what);
}

static void check_facts(void) {
  for (int i = 0; i < kAll; i++) {
    char what[128];
    struct facts now;
    ask(*all[i].fd, &now);
#define COMPARE(field)                                             \
  snprintf(what, sizeof what, "%s: %s", all[i].what, #field); \
  expect_number(what, (long long)before[i].field, (long long)now.field)
    COMPARE(flags);
    COMPARE(descriptor_flags);
    COMPARE(offset);
    COMPARE(status.st_dev);
    COMPARE(status.st_ino);
    COMPARE(status.st_mode);
    COMPARE(status.st_rdev);
    COMPARE(status.st_size);
#undef COMPARE
  }
}

static void expect_data(const char* what, int fd, off_t from) {
  char data[kFileBytes], got[500];
  fill_words(data, sizeof data, 5);
  if (expect_number(what, sizeof got, read(fd, got, sizeof got))) expect_bytes(what, data + from, got, sizeof got);
}

static void check_use(void) {
  expect_data("reading on", reading, 777);
  expect_number("offset shared with the duplicate", 777 + 500, lseek(duplicate, 0, SEEK_CUR));
  expect_data("reading on by the duplicate", duplicate, 777 + 500);
  expect_data("reading on by another open", another, 3000);
  expect_number("offset shared with the high descriptor", 3500, lseek(high, 0, SEEK_CUR));
  expect_data("reading on, both ways", read_write, 1234);
  fcntl(reading, F_SETFL, O_NONBLOCK);
  expect_number("flags shared with the duplicate", O_NONBLOCK, fcntl(duplicate, F_GETFL) & O_NONBLOCK);
  expect_number("flags not shared with another open", 0, fcntl(another, F_GETFL) & O_NONBLOCK);
  expect_number("writing on", 2, write(writing, "ab", 2));
  expect_number("appending", 3, write(appending, "xyz", 3));
  char path[PATH_MAX], text[64];
  expect_number("size of the written file", 13, read_file(beside(".written", path), text, sizeof text));
  expect_text("content of the written file", "01234ab789xyz", text);
  char byte = 1, bytes[32] = {0};
  expect_number("read from /dev/null", 0, read(null_device, &byte, 1));
  expect_number("write to /dev/null", 32, write(null_device, bytes, 32));
  expect_number("read from /dev/zero", 1, read(zero_device, &byte, 1));
  expect_number("what /dev/zero gives", 0, byte);
  expect_true("/dev/full is full", write(full_device, "x", 1) == -1 && errno == ENOSPC);
  expect_number("read from /dev/urandom", 32, read(urandom_device, bytes, 32));
  static const char zeros[32];
  expect_true("/dev/urandom gives other than zeros", memcmp(bytes, zeros, sizeof zeros) != 0);
  expect_number("read from /dev/random", 32, read(random_device, bytes, 32));
  int fd = openat(directory, "entry-7", O_RDONLY | O_CLOEXEC);
  expect_true("openat below the directory", fd >= 0);
  close(fd);
  list_on(1000);
  expect_number("entries of the directory", kEntries, seen_count);
  expect_number("write at a far offset", 1, write(truncated, "e", 1));
  struct stat status;
  fstat(truncated, &status);
  expect_number("size after it", (1 << 30) + 1, status.st_size);
  expect_number("ftruncate", 0, ftruncate(truncated, 0));
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  set_up();
  pthread_t logger;
  must((errno = pthread_create(&logger, NULL, run_log, NULL)) == 0, "pthread_create");
  for (int i = 0; i < kAll; i++) ask(*all[i].fd, &before[i]);
  ready();
  wait_for_check();
  if (program.sabotage) {
    lseek(reading, 1, SEEK_CUR);
    must(write(log_file, "stray\n", 6) == 6, "write");
  }
  sleep_ms(10);  // the log has gone on
  atomic_store(&stop, true);
  pthread_join(logger, NULL);
  check_facts();
  check_use();
  check_log();
  return finish();
}
