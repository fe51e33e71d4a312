// Holds what cannot be moved yet, and stays as it is when it is refused.
//
//   --child --socket --lock --shared --timer --seccomp --mount-namespace --deleted --pipe-out
//   --aio --secret  contexts of asynchronous I/O, memory of memfd_secret(2)
//   --open FILE     open for reading
//   --resident MB   of memory
//   --mappings      as many as the kernel allows
//   --extensions    the right to use AMX registers
#include "program.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

static void hold_file_lock(void) {
  char path[PATH_MAX];
  int fd = open(beside(".locked", path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  must(fd >= 0 && flock(fd, LOCK_EX) == 0, "flock");
}

static void hold_deleted_file(void) {
  char path[PATH_MAX];
  must(open(beside(".deleted", path), O_RDWR | O_CREAT | O_CLOEXEC, 0600) >= 0 && unlink(path) == 0, "unlink");
}

static void hold_timer(void) {
  int id;
  struct sigevent event = {.sigev_notify = SIGEV_NONE};
  must(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id) == 0, "timer_create");
}

static void hold_filter(void) {
  struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  struct sock_fprog filter = {1, allow};
  must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, "prctl(PR_SET_SECCOMP)");
}

static pid_t hold_child(void) {
  pid_t child = fork();
  must(child >= 0, "fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  return child;
}

static void hold_secret(void) {
  int fd = (int)syscall(447, 0);  // memfd_secret(2), Linux 5.14
  must(fd >= 0 && ftruncate(fd, kPage) == 0, "memfd_secret");
  must(mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED, "mmap of secret memory");
  close(fd);
}

// A pipe with one end here and the other in a process that stays behind.
static void hold_pipe_out(void) {
  int ends[2];
  must(pipe2(ends, 0) == 0, "pipe2");
  pid_t parent = getpid();
  pid_t other = fork();
  must(other >= 0, "fork");
  if (other == 0) {
    // A grandchild, so that it is nobody's child here.
    if (fork() != 0) _exit(0);
    close(ends[1]);
    while (kill(parent, 0) == 0) sleep_ms(50);
    _exit(0);
  }
  waitpid(other, NULL, 0);
  close(ends[0]);
}

// A few short of the limit: what runs in it still needs one now and then.
static void fill_mappings(void) {
  enum { kMost = 1 << 20, kSpare = 4 };
  char* pages = mmap(NULL, (size_t)kMost * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  must(pages != MAP_FAILED, "mmap");
  int last = 0;
  while (last < kMost && mprotect(pages + (size_t)last * kPage, kPage, PROT_READ) == 0) last += 2;
  must(last < kMost && last > 2 * kSpare, "as many mappings as there may be");
  // Each page that is taken back joins its neighbours: two mappings less.
  for (int i = 1; i <= kSpare / 2; i += 1)
    must(mprotect(pages + (size_t)(last - 2 * i) * kPage, kPage, PROT_NONE) == 0, "mprotect");
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  pid_t child = has_option("--child") ? hold_child() : 0;
  if (has_option("--socket")) must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0, "socket");
  if (has_option("--lock")) hold_file_lock();
  if (has_option("--deleted")) hold_deleted_file();
  if (has_option("--timer")) hold_timer();
  if (has_option("--mount-namespace")) must(unshare(CLONE_NEWNS) == 0, "unshare(CLONE_NEWNS)");
  if (has_option("--pipe-out")) hold_pipe_out();
  unsigned long context = 0;
  if (has_option("--aio")) must(syscall(SYS_io_setup, 8, &context) == 0, "io_setup");
  if (has_option("--secret")) hold_secret();
  if (has_option("--open")) must(open(text_option("--open", ""), O_RDONLY) >= 0, "open");
  if (has_option("--mappings")) fill_mappings();
  if (has_option("--extensions")) must(syscall(SYS_arch_prctl, 0x1023, 18) == 0, "ARCH_REQ_XCOMP_PERM");
  size_t resident = (size_t)number_option("--resident", 1) << 20;
  int flags = MAP_ANONYMOUS | (has_option("--shared") ? MAP_SHARED : MAP_PRIVATE);
  unsigned char* memory = mmap(NULL, resident, PROT_READ | PROT_WRITE, flags, -1, 0);
  must(memory != MAP_FAILED, "mmap");
  fill_words(memory, resident, 7);
  if (has_option("--seccomp")) hold_filter();
  ready();
  wait_for_check();
  if (program.sabotage) memory[resident / 2] ^= 1;
  expect_words("memory", memory, resident, 7);
  if (child) expect_number("its child", 0, waitpid(child, NULL, WNOHANG));
  if (child) kill(child, SIGKILL);
  return finish();
}
