// A process whose pages the tests look at, send and fill. Commands come on standard input, one a line; each is
// answered with one line: "ok", a number in hexadecimal, or "unsupported" where the kernel does not know it.
//
//   map BYTES PROT [ADDRESS]       anonymous memory (PROT as a number; ADDRESS replaces what is there)
//   mapfile BYTES PATH             a private, writable mapping of a file
//   fill ADDRESS BYTES SEED        content that does not compress
//   zero|drop|unmap|guard ADDRESS BYTES     (guard: nothing before Linux 6.13)
//   protect ADDRESS BYTES PROT
//   move ADDRESS BYTES TO          mremap to a fixed place
//   track ADDRESS BYTES            asynchronous write-protect tracking, as the agent arms it
//
// With arguments it becomes the target of a landing test: it maps memory, registers the first half with a
// userfaultfd for missing pages, and runs the arguments as a program that inherits the descriptor.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WP_ASYNC (1ul << 15)
#define WP_UNPOPULATED (1ul << 13)
#define MADV_GUARD_INSTALL 102

static void check(int good, const char *what) {
  if (good) return;
  perror(what);
  exit(1);
}

static int userfault(uint64_t features, int flags) {
  int fd = syscall(SYS_userfaultfd, O_NONBLOCK | flags);
  check(fd >= 0, "userfaultfd");
  struct uffdio_api api = {.api = UFFD_API, .features = features};
  if (ioctl(fd, UFFDIO_API, &api) == 0) return fd;
  check(errno == EINVAL, "UFFDIO_API");
  close(fd);
  return -1;
}

static void enroll(int fd, uint64_t address, uint64_t bytes, uint64_t mode) {
  struct uffdio_register r = {.range = {address, bytes}, .mode = mode};
  check(ioctl(fd, UFFDIO_REGISTER, &r) == 0, "UFFDIO_REGISTER");
}

static int track(uint64_t address, uint64_t bytes) {
  static int fd = -1;
  if (fd < 0) fd = userfault(UFFD_FEATURE_PAGEFAULT_FLAG_WP | WP_ASYNC | WP_UNPOPULATED, O_CLOEXEC);
  if (fd < 0) return 0;
  enroll(fd, address, bytes, UFFDIO_REGISTER_MODE_WP);
  struct uffdio_writeprotect w = {.range = {address, bytes}, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
  check(ioctl(fd, UFFDIO_WRITEPROTECT, &w) == 0, "UFFDIO_WRITEPROTECT");
  return 1;
}

static int guard(uint64_t address, uint64_t bytes) {
  if (madvise((void *)address, bytes, MADV_GUARD_INSTALL) == 0) return 1;
  check(errno == EINVAL, "MADV_GUARD_INSTALL");
  return 0;
}

static void fill(uint64_t address, uint64_t bytes, uint64_t seed) {
  uint64_t x = seed * 0x9e3779b97f4a7c15ul + 1;
  for (uint64_t *word = (uint64_t *)address; word < (uint64_t *)(address + bytes); word++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *word = x;
  }
}

static int target(char **arguments) {
  const size_t bytes = 16 << 20;
  void *memory = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(memory != MAP_FAILED, "mmap");
  madvise(memory, bytes, MADV_NOHUGEPAGE);
  int fd = userfault(UFFD_FEATURE_SIGBUS, 0);
  check(fd >= 0, "UFFD_FEATURE_SIGBUS");
  enroll(fd, (uint64_t)memory, bytes / 2, UFFDIO_REGISTER_MODE_MISSING);
  char text[128];
  snprintf(text, sizeof text, "%d %d %lx %lx", getpid(), fd, (uint64_t)memory, bytes);
  setenv("LANDING_TARGET", text, 1);
  pid_t child = fork();
  check(child >= 0, "fork");
  if (child == 0) {
    execv(arguments[0], arguments);
    _exit(127);
  }
  close(fd);  // when the child closes its own, the registration ends
  int status;
  check(waitpid(child, &status, 0) == child, "waitpid");
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv) {
  if (argc > 1) return target(argv + 1);
  char line[512], command[16], path[400];
  setvbuf(stdout, 0, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin)) {
    uint64_t a = 0, b = 0, c = 0;
    sscanf(line, "%15s %lx %lx %lx", command, &a, &b, &c);
    if (!strcmp(command, "map")) {
      void *m = mmap((void *)c, a, b, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (c ? MAP_FIXED : 0), -1, 0);
      check(m != MAP_FAILED, "mmap");
      madvise(m, a, MADV_NOHUGEPAGE);
      printf("%lx\n", (uint64_t)m);
      continue;
    }
    if (!strcmp(command, "mapfile")) {
      check(sscanf(line, "%*s %*s %399s", path) == 1, "path");
      int fd = open(path, O_RDONLY);
      void *m = mmap(0, a, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
      check(m != MAP_FAILED, "mmap");
      close(fd);
      printf("%lx\n", (uint64_t)m);
      continue;
    }
    if (!strcmp(command, "track") || !strcmp(command, "guard")) {
      puts((*command == 't' ? track(a, b) : guard(a, b)) ? "ok" : "unsupported");
      continue;
    }
    if (!strcmp(command, "fill")) fill(a, b, c);
    else if (!strcmp(command, "zero")) memset((void *)a, 0, b);
    else if (!strcmp(command, "drop")) check(madvise((void *)a, b, MADV_DONTNEED) == 0, "madvise");
    else if (!strcmp(command, "unmap")) check(munmap((void *)a, b) == 0, "munmap");
    else if (!strcmp(command, "protect")) check(mprotect((void *)a, b, c) == 0, "mprotect");
    else if (!strcmp(command, "move"))
      check(mremap((void *)a, b, b, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)c) == (void *)c, "mremap");
    else check(0, command);
    puts("ok");
  }
  return 0;
}
