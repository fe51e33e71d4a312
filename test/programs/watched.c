// Memory that a userfaultfd of somebody else watches: another process holds the descriptor, as a second tracker does.
//
//   --missing   it brings missing pages, in place of watching writes
#include "program.h"
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

enum { kBytes = 1 << 20 };
static const uint64_t write_protect_async = 1u << 15;

static int open_userfault(void) {
  // Kernels that know the asynchronous mode track with it; before that there is only the other.
  for (int i = 0; i < 2; i++) {
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    must(fd >= 0, "userfaultfd");
    struct uffdio_api api = {.api = UFFD_API, .features = i == 0 ? write_protect_async : 0};
    if (ioctl(fd, UFFDIO_API, &api) == 0) return fd;
    close(fd);
  }
  must(false, "UFFDIO_API");
  return -1;
}

// No child of ours: its parent ends at once. It ends with us.
static void give_to_somebody_else(int userfault) {
  pid_t pid = getpid();
  pid_t between = fork();
  must(between >= 0, "fork");
  if (between > 0) {
    must(waitpid(between, NULL, 0) == between, "waitpid");
    close(userfault);
    return;
  }
  if (fork() != 0) _exit(0);
  close(program.status);
  struct pollfd us = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
  if (us.fd >= 0) poll(&us, 1, kTimeLimitSeconds * 1000);
  _exit(0);
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  char* memory = mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(memory != MAP_FAILED, "mmap");
  fill_words(memory, kBytes, 1);
  int userfault = open_userfault();
  struct uffdio_register registration = {
      .range = {(uint64_t)memory, kBytes},
      .mode = has_option("--missing") ? UFFDIO_REGISTER_MODE_MISSING : UFFDIO_REGISTER_MODE_WP,
  };
  must(ioctl(userfault, UFFDIO_REGISTER, &registration) == 0, "UFFDIO_REGISTER");
  give_to_somebody_else(userfault);
  ready();
  uint64_t seed = 1;
  for (; !check_wanted(); seed++) {
    expect_words("watched memory", memory, kBytes, seed);
    fill_words(memory, kBytes, seed + 1);
    sleep_ms(20);
  }
  if (program.sabotage) memory[4711] ^= 1;
  expect_words("watched memory", memory, kBytes, seed);
  check_common();
  return finish();
}
