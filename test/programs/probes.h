// Threads blocked in system calls, one probe each: every call must come back with its own result, in its own time,
// never with an EINTR of somebody else's. What the programs with probes share.
//
//   --seconds N   how long timeouts are (3)      --slack N   how late a timeout may come, seconds (1)
//   --only NAME   only probes whose name begins so
//   --no-epoll    leave those out that need an epoll descriptor
// All calls are raw: what the kernel says is not hidden by the library.
#ifndef GODWIT_TEST_PROBES_H
#define GODWIT_TEST_PROBES_H
#include "program.h"

enum { kNever = -1000, kWaited = 63 /* a real-time signal */ };

struct probe {
  const char* name;
  long (*call)(struct probe* probe);
  void (*prepare)(struct probe* probe);  // on the main thread, before the call; may be null
  void (*let_go)(struct probe* probe);   // makes the event it waits for; null where its timeout ends it
  void (*verify)(struct probe* probe);   // more to look at when it is back; may be null
  long result;                           // a negative errno for errors
  bool wall_clock;                       // its end follows the corrections of the wall clock
  bool starts_over;                      // its timeout lies in an object: each interruption begins it anew
  // set up by main
  pthread_t handle;
  int fd[2];
  sigset_t inner;  // mask given to pselect6 and its like
  uint32_t word;
  // told by the thread
  pid_t tid;
  atomic_int phase;  // 1 about to call, 2 back
  uint64_t begun, ended;
  long got;
  char data[8];
  struct timespec left;
  sigset_t mask_before, mask_after;
};

static uint64_t timeout_ns, slack_ns;

static inline long raw(long result) { return result == -1 ? -errno : result; }
static inline struct timespec relative(void) { return timespec_of(timeout_ns); }
static inline struct timespec absolute(clockid_t clock) { return timespec_of(nanoseconds(clock) + timeout_ns); }
static inline int milliseconds(void) { return (int)(timeout_ns / 1000000); }

// A call that updates its timeout must leave nothing of it.
static inline long with_remainder(struct probe* probe, long result) {
  if (result >= 0 && (probe->left.tv_sec || probe->left.tv_nsec))
    fail("%s: time left, expected none, got %ld.%09ld s", probe->name, (long)probe->left.tv_sec, probe->left.tv_nsec);
  return result;
}

// A call that only reads its timeout: the program may use it again.
static inline long with_constant(struct probe* probe, const struct timespec* timeout, long result) {
  if (timeout->tv_sec * 1000000000 + timeout->tv_nsec != (long)timeout_ns)
    fail("%s: its timeout, expected unchanged, got %ld.%09ld s", probe->name, (long)timeout->tv_sec, timeout->tv_nsec);
  return result;
}

static void on_signal(int signal) { (void)signal; }

static void* run_probe(void* argument) {
  struct probe* probe = argument;
  probe->tid = (pid_t)syscall(SYS_gettid);
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, kWaited);
  sigaddset(&mask, SIGUSR2);
  pthread_sigmask(SIG_SETMASK, &mask, NULL);
  pthread_sigmask(SIG_SETMASK, NULL, &probe->mask_before);
  probe->begun = nanoseconds(CLOCK_MONOTONIC);
  atomic_store(&probe->phase, 1);
  long got = probe->call(probe);
  probe->ended = nanoseconds(CLOCK_MONOTONIC);
  probe->got = got;
  pthread_sigmask(SIG_SETMASK, NULL, &probe->mask_after);
  atomic_store(&probe->phase, 2);
  return NULL;
}

static inline void start_probe(struct probe* probe) {
  probe->got = kNever;
  probe->fd[0] = probe->fd[1] = -1;
  sigemptyset(&probe->inner);
  sigaddset(&probe->inner, kWaited);
  if (probe->prepare) probe->prepare(probe);
  must((errno = pthread_create(&probe->handle, NULL, run_probe, probe)) == 0, "pthread_create");
  while (atomic_load(&probe->phase) == 0) sleep_ms(1);
}

// The kernel names the call a sleeping thread is in; without it READY might come a moment too early.
static inline void wait_until_blocked(const struct probe* probe) {
  char path[64], text[256];
  snprintf(path, sizeof path, "/proc/self/task/%d/syscall", probe->tid);
  for (int i = 0; i < 5000 && atomic_load(&probe->phase) == 1; i++) {
    if (read_file(path, text, sizeof text) <= 0) return;
    if (strncmp(text, "running", 7) != 0) return;
    sleep_ms(1);
  }
}

static inline void check_probe(struct probe* probe) {
  if (probe->let_go) {
    if (atomic_load(&probe->phase) != 1)
      fail("%s: expected to be blocked still, got %ld after %llu ms", probe->name, probe->got,
           (unsigned long long)(probe->ended - probe->begun) / 1000000);
    else
      probe->let_go(probe);
  }
  uint64_t longest = timeout_ns * (probe->starts_over ? 2 : 1) + slack_ns;
  uint64_t limit = nanoseconds(CLOCK_MONOTONIC) + (probe->let_go ? 10000000000u : 0);
  if (probe->begun + longest > limit) limit = probe->begun + longest;
  while (atomic_load(&probe->phase) != 2 && nanoseconds(CLOCK_MONOTONIC) < limit) sleep_ms(5);
  if (atomic_load(&probe->phase) != 2) {
    fail("%s: expected an end %s, got none", probe->name, probe->let_go ? "by its event" : "in time");
    return;
  }
  pthread_join(probe->handle, NULL);
  if (probe->got != probe->result) fail("%s: result, expected %ld, got %ld", probe->name, probe->result, probe->got);
  expect_bytes("signal mask after the call", &probe->mask_before, &probe->mask_after, 8);
  // Never earlier than asked for; a millisecond for the wall clock's corrections.
  uint64_t took = probe->ended - probe->begun + (probe->wall_clock ? 1000000 : 0);
  if (!probe->let_go && (took < timeout_ns || took > longest))
    fail("%s: duration, expected %llu to %llu us, got %llu", probe->name, (unsigned long long)timeout_ns / 1000,
         (unsigned long long)longest / 1000, (unsigned long long)took / 1000);
  if (probe->verify) probe->verify(probe);
}

static inline bool is_wanted(const struct probe* probe) {
  const char* only = text_option("--only", "");
  if (has_option("--no-epoll") && strncmp(probe->name, "epoll", 5) == 0) return false;
  return strncmp(probe->name, only, strlen(only)) == 0;
}

// A handler without SA_RESTART, as if every call had been broken off.
static inline void break_off(struct probe* probes, int count) {
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGUSR1, &action, NULL);
  for (int i = 0; i < count; i++)
    if (is_wanted(&probes[i])) syscall(SYS_tgkill, getpid(), probes[i].tid, SIGUSR1);
  sleep_ms(20);
}

static inline int run_probes(struct probe* probes, int count, int argc, char** argv) {
  program_start(argc, argv);
  timeout_ns = (uint64_t)(number_option("--seconds", 3) * 1e9);
  slack_ns = (uint64_t)(number_option("--slack", 1) * 1e9);
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  must(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
  for (int i = 0; i < count; i++)
    if (is_wanted(&probes[i])) start_probe(&probes[i]);
  for (int i = 0; i < count; i++)
    if (is_wanted(&probes[i])) wait_until_blocked(&probes[i]);
  ready();
  wait_for_check();
  if (program.sabotage) break_off(probes, count);
  for (int i = 0; i < count; i++)
    if (is_wanted(&probes[i])) check_probe(&probes[i]);
  return finish();
}

// Events that many calls wait for.

static inline void make_pipe(struct probe* probe) { must(pipe2(probe->fd, O_CLOEXEC) == 0, "pipe2"); }

static inline void fill_pipe(struct probe* probe) {
  static char block[kPage];
  make_pipe(probe);
  int size = fcntl(probe->fd[1], F_GETPIPE_SZ);
  for (int i = 0; i < size; i += kPage) must(write(probe->fd[1], block, kPage) == kPage, "filling a pipe");
}

static inline void write_eight(struct probe* probe) {
  expect_number("write", 8, write(probe->fd[1], "abcdefgh", 8));
}

static inline void read_page(struct probe* probe) {
  char block[kPage];
  expect_number("read from the full pipe", kPage, read(probe->fd[0], block, kPage));
}

static inline void verify_eight(struct probe* probe) { expect_bytes(probe->name, "abcdefgh", probe->data, 8); }

static inline void send_signal(const struct probe* probe, int signal) {
  syscall(SYS_tgkill, getpid(), probe->tid, signal);
}
static inline void send_handled(struct probe* probe) { send_signal(probe, SIGUSR1); }
static inline void send_awaited(struct probe* probe) { send_signal(probe, kWaited); }

#endif
