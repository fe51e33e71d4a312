// Threads blocked in system calls: each must come back with its own result, in its own time, never with an EINTR.
//
//   --seconds N   how long timeouts are (3)      --slack N   how late a timeout may come, seconds (1)
//   --only NAME   only probes whose name begins so
//   --without NAME  all but this one
//   --no-epoll    leave those out that need an epoll descriptor
// All calls are raw: what the kernel says is not hidden by the library.
#include "program.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

enum { kNever = -1000, kWaited = 63 /* a real-time signal */ };

struct probe;
typedef long call_function(struct probe* probe);

// A probe is one thread in one call.
struct probe {
  const char* name;
  call_function* call;
  bool ends_by_event;  // else by its timeout
  long result;         // a negative errno for errors
  // set up by main
  pthread_t handle;
  int pipe[2];
  int epoll;
  uint32_t word;
  sigset_t inner;  // mask given to pselect6 and its like
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

static long raw(long result) { return result == -1 ? -errno : result; }
static struct timespec relative(void) { return timespec_of(timeout_ns); }
static struct timespec absolute(clockid_t clock) { return timespec_of(nanoseconds(clock) + timeout_ns); }
static int milliseconds(void) { return (int)(timeout_ns / 1000000); }

// A call that updates its timeout must leave nothing of it.
static long with_remainder(struct probe* probe, long result) {
  if (result >= 0 && (probe->left.tv_sec || probe->left.tv_nsec))
    fail("%s: time left, expected none, got %ld.%09ld s", probe->name, (long)probe->left.tv_sec, probe->left.tv_nsec);
  return result;
}

static long nanosleep_plain(struct probe* probe) {
  (void)probe;
  struct timespec t = relative();
  return raw(syscall(SYS_nanosleep, &t, NULL));
}
static long nanosleep_remainder(struct probe* probe) {
  struct timespec t = relative();
  probe->left = (struct timespec){77, 77};
  long result = raw(syscall(SYS_nanosleep, &t, &probe->left));
  // The kernel writes it whenever the sleep was interrupted, also where it then goes on by itself.
  bool untouched = probe->left.tv_sec == 77 && probe->left.tv_nsec == 77;
  if (!untouched && (uint64_t)probe->left.tv_sec * 1000000000u + (uint64_t)probe->left.tv_nsec > timeout_ns)
    fail("%s: remainder, expected at most the timeout, got %ld.%09ld", probe->name, (long)probe->left.tv_sec,
         probe->left.tv_nsec);
  return result;
}
static long nanosleep_in_place(struct probe* probe) {
  // The remainder shares the request's memory: a restart must use the time that is left, once.
  probe->left = relative();
  return raw(syscall(SYS_nanosleep, &probe->left, &probe->left));
}
static long clock_nanosleep_relative(struct probe* probe) {
  struct timespec t = relative();
  return raw(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, &probe->left));
}
static long clock_nanosleep_realtime(struct probe* probe) {
  (void)probe;
  struct timespec t = relative();
  return raw(syscall(SYS_clock_nanosleep, CLOCK_REALTIME, 0, &t, NULL));
}
static long clock_nanosleep_boottime(struct probe* probe) {
  (void)probe;
  struct timespec t = relative();
  return raw(syscall(SYS_clock_nanosleep, CLOCK_BOOTTIME, 0, &t, NULL));
}
static long clock_nanosleep_absolute(struct probe* probe) {
  (void)probe;
  struct timespec t = absolute(CLOCK_MONOTONIC);
  return raw(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL));
}
static long clock_nanosleep_wall(struct probe* probe) {
  (void)probe;
  struct timespec t = absolute(CLOCK_REALTIME);
  return raw(syscall(SYS_clock_nanosleep, CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL));
}

static long futex_timeout(struct probe* probe) {
  struct timespec t = relative();
  return raw(syscall(SYS_futex, &probe->word, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0));
}
static long futex_bitset(struct probe* probe) {
  struct timespec t = absolute(CLOCK_MONOTONIC);
  return raw(syscall(SYS_futex, &probe->word, FUTEX_WAIT_BITSET_PRIVATE, 0, &t, NULL, 0x5a));
}
static long futex_bitset_wall(struct probe* probe) {
  struct timespec t = absolute(CLOCK_REALTIME);
  return raw(syscall(SYS_futex, &probe->word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &t, NULL, ~0u));
}
static long futex_woken(struct probe* probe) {
  return raw(syscall(SYS_futex, &probe->word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
}
static long futex_shared_woken(struct probe* probe) {
  return raw(syscall(SYS_futex, &probe->word, FUTEX_WAIT, 0, NULL, NULL, 0));
}
static long futex_several(struct probe* probe) {
  // struct futex_waitv: value, address, flags (2: 32 bits, 128: private), reserved.
  struct { uint64_t value, address; uint32_t flags, reserved; } waiters[1] = {{0, (uintptr_t)&probe->word, 2 | 128, 0}};
  struct timespec t = absolute(CLOCK_MONOTONIC);
  return raw(syscall(449 /* futex_waitv */, waiters, 1, 0, &t, CLOCK_MONOTONIC));
}

static long poll_timeout(struct probe* probe) {
  struct pollfd one = {.fd = probe->pipe[0], .events = POLLIN, .revents = 0x55};
  long result = raw(syscall(SYS_poll, &one, 1, milliseconds()));
  expect_number("poll: revents", 0, one.revents);
  return result;
}
static long poll_nothing(struct probe* probe) {
  (void)probe;
  return raw(syscall(SYS_poll, NULL, 0, milliseconds()));
}
static long poll_event(struct probe* probe) {
  struct pollfd one = {.fd = probe->pipe[0], .events = POLLIN};
  long result = raw(syscall(SYS_poll, &one, 1, -1));
  expect_number("poll: revents after data came", POLLIN, one.revents);
  return result;
}
static long ppoll_timeout(struct probe* probe) {
  struct pollfd one = {.fd = probe->pipe[0], .events = POLLIN};
  probe->left = relative();
  return with_remainder(probe, raw(syscall(SYS_ppoll, &one, 1, &probe->left, &probe->inner, 8)));
}
static long select_timeout(struct probe* probe) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(probe->pipe[0], &set);
  struct timeval t = {.tv_sec = (time_t)(timeout_ns / 1000000000), .tv_usec = (long)(timeout_ns / 1000 % 1000000)};
  long result = raw(syscall(SYS_select, probe->pipe[0] + 1, &set, NULL, NULL, &t));
  probe->left = (struct timespec){t.tv_sec, t.tv_usec * 1000};
  expect_true("select: set is empty", !FD_ISSET(probe->pipe[0], &set));
  return with_remainder(probe, result);
}
static long select_event(struct probe* probe) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(probe->pipe[0], &set);
  long result = raw(syscall(SYS_select, probe->pipe[0] + 1, &set, NULL, NULL, NULL));
  expect_true("select: set names the pipe", FD_ISSET(probe->pipe[0], &set));
  return result;
}
static long pselect_timeout(struct probe* probe) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(probe->pipe[0], &set);
  struct { const sigset_t* mask; size_t bytes; } sixth = {&probe->inner, 8};
  probe->left = relative();
  return with_remainder(probe, raw(syscall(SYS_pselect6, probe->pipe[0] + 1, &set, NULL, NULL, &probe->left, &sixth)));
}

static long epoll_timeout(struct probe* probe) {
  struct epoll_event event;
  return raw(syscall(SYS_epoll_wait, probe->epoll, &event, 1, milliseconds()));
}
static long epoll_event_comes(struct probe* probe) {
  struct epoll_event event = {0};
  long result = raw(syscall(SYS_epoll_wait, probe->epoll, &event, 1, -1));
  expect_number("epoll_wait: events", EPOLLIN, event.events);
  expect_number("epoll_wait: data", 0xe9011, (long)event.data.u64);
  return result;
}
static long epoll_masked(struct probe* probe) {
  struct epoll_event event;
  return raw(syscall(SYS_epoll_pwait, probe->epoll, &event, 1, milliseconds(), &probe->inner, 8));
}

static long read_pipe(struct probe* probe) {
  return raw(syscall(SYS_read, probe->pipe[0], probe->data, sizeof probe->data));
}
static long write_pipe(struct probe* probe) {
  // The pipe is full (see set_up): waits until there is room.
  return raw(syscall(SYS_write, probe->pipe[1], "12345678", 8));
}

static long wait_signal_timeout(struct probe* probe) {
  struct timespec t = relative();
  return raw(syscall(SYS_rt_sigtimedwait, &probe->inner, NULL, &t, 8));
}
static long wait_signal(struct probe* probe) {
  return raw(syscall(SYS_rt_sigtimedwait, &probe->inner, NULL, NULL, 8));
}
// These two end by a handler, so EINTR is right: exactly when the signal comes.
static long suspend(struct probe* probe) {
  sigset_t open_mask;
  sigemptyset(&open_mask);
  (void)probe;
  return raw(syscall(SYS_rt_sigsuspend, &open_mask, 8));
}
static long pause_call(struct probe* probe) {
  (void)probe;
  return raw(syscall(SYS_pause));
}

static struct probe probes[] = {
    {.name = "nanosleep", .call = nanosleep_plain},
    {.name = "nanosleep-remainder", .call = nanosleep_remainder},
    {.name = "nanosleep-in-place", .call = nanosleep_in_place},
    {.name = "clock_nanosleep-relative", .call = clock_nanosleep_relative},
    {.name = "clock_nanosleep-realtime", .call = clock_nanosleep_realtime},
    {.name = "clock_nanosleep-boottime", .call = clock_nanosleep_boottime},
    {.name = "clock_nanosleep-absolute", .call = clock_nanosleep_absolute},
    {.name = "clock_nanosleep-wall", .call = clock_nanosleep_wall},
    {.name = "futex-timeout", .call = futex_timeout, .result = -ETIMEDOUT},
    {.name = "futex-bitset", .call = futex_bitset, .result = -ETIMEDOUT},
    {.name = "futex-bitset-wall", .call = futex_bitset_wall, .result = -ETIMEDOUT},
    {.name = "futex-woken", .call = futex_woken, .ends_by_event = true},
    {.name = "futex-shared-woken", .call = futex_shared_woken, .ends_by_event = true},
    {.name = "futex-several", .call = futex_several, .result = -ETIMEDOUT},
    {.name = "poll-timeout", .call = poll_timeout},
    {.name = "poll-nothing", .call = poll_nothing},
    {.name = "poll-event", .call = poll_event, .ends_by_event = true, .result = 1},
    {.name = "ppoll", .call = ppoll_timeout},
    {.name = "select-timeout", .call = select_timeout},
    {.name = "select-event", .call = select_event, .ends_by_event = true, .result = 1},
    {.name = "pselect6", .call = pselect_timeout},
    {.name = "epoll-timeout", .call = epoll_timeout},
    {.name = "epoll-event", .call = epoll_event_comes, .ends_by_event = true, .result = 1},
    {.name = "epoll-masked", .call = epoll_masked},
    {.name = "read", .call = read_pipe, .ends_by_event = true, .result = 8},
    {.name = "write", .call = write_pipe, .ends_by_event = true, .result = 8},
    {.name = "rt_sigtimedwait", .call = wait_signal_timeout, .result = -EAGAIN},
    {.name = "rt_sigtimedwait-signal", .call = wait_signal, .ends_by_event = true, .result = kWaited},
    {.name = "rt_sigsuspend", .call = suspend, .ends_by_event = true, .result = -EINTR},
    {.name = "pause", .call = pause_call, .ends_by_event = true, .result = -EINTR},
};
enum { kProbes = sizeof probes / sizeof *probes };

static void on_signal(int signal) { (void)signal; }

static void* run(void* argument) {
  struct probe* probe = argument;
  probe->tid = (pid_t)syscall(SYS_gettid);
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, kWaited);
  if (probe->call == suspend) sigaddset(&mask, SIGUSR1);
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

static bool wanted(const struct probe* probe) {
  const char* only = text_option("--only", "");
  if (has_option("--no-epoll") && strncmp(probe->name, "epoll", 5) == 0) return false;
  const char* without = text_option("--without", "");
  return strncmp(probe->name, only, strlen(only)) == 0 && strcmp(probe->name, without) != 0;
}

static void set_up(struct probe* probe) {
  must(pipe2(probe->pipe, O_CLOEXEC) == 0, "pipe2");
  probe->got = kNever;
  probe->epoll = -1;
  sigemptyset(&probe->inner);
  sigaddset(&probe->inner, kWaited);
  if (strncmp(probe->name, "epoll", 5) == 0) {
    probe->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0xe9011};
    must(probe->epoll >= 0 && epoll_ctl(probe->epoll, EPOLL_CTL_ADD, probe->pipe[0], &event) == 0, "epoll_ctl");
  }
  if (probe->call == write_pipe) {
    static char block[kPage];
    int size = fcntl(probe->pipe[1], F_GETPIPE_SZ);
    for (int i = 0; i < size; i += kPage) must(write(probe->pipe[1], block, kPage) == kPage, "filling a pipe");
  }
  must((errno = pthread_create(&probe->handle, NULL, run, probe)) == 0, "pthread_create");
  while (atomic_load(&probe->phase) == 0) sleep_ms(1);
}

// The kernel names the call a sleeping thread is in; without it READY might come a moment too early.
static void wait_until_blocked(const struct probe* probe) {
  char path[64], text[256];
  snprintf(path, sizeof path, "/proc/self/task/%d/syscall", probe->tid);
  for (int i = 0; i < 5000 && atomic_load(&probe->phase) == 1; i++) {
    if (read_file(path, text, sizeof text) <= 0) return;
    if (strncmp(text, "running", 7) != 0) return;
    sleep_ms(1);
  }
}

static void let_go(struct probe* probe) {
  if (probe->call == futex_woken || probe->call == futex_shared_woken) {
    probe->word = 1;
    syscall(SYS_futex, &probe->word, probe->call == futex_woken ? FUTEX_WAKE_PRIVATE : FUTEX_WAKE, 1, NULL, NULL, 0);
  } else if (probe->call == suspend || probe->call == pause_call) {
    syscall(SYS_tgkill, getpid(), probe->tid, SIGUSR1);
  } else if (probe->call == wait_signal) {
    syscall(SYS_tgkill, getpid(), probe->tid, kWaited);
  } else if (probe->call == write_pipe) {
    char block[kPage];
    expect_number("read from the full pipe", kPage, read(probe->pipe[0], block, kPage));
  } else {
    expect_number("write to a pipe", 8, write(probe->pipe[1], "abcdefgh", 8));
  }
}

static void check(struct probe* probe) {
  if (probe->ends_by_event) {
    if (atomic_load(&probe->phase) != 1)
      fail("%s: expected to be blocked still, got %ld after %llu ms", probe->name, probe->got,
           (unsigned long long)(probe->ended - probe->begun) / 1000000);
    else
      let_go(probe);
  }
  uint64_t limit = nanoseconds(CLOCK_MONOTONIC) + (probe->ends_by_event ? 5000000000u : 0);
  if (probe->begun + timeout_ns + slack_ns > limit) limit = probe->begun + timeout_ns + slack_ns;
  while (atomic_load(&probe->phase) != 2 && nanoseconds(CLOCK_MONOTONIC) < limit) sleep_ms(5);
  if (atomic_load(&probe->phase) != 2) {
    fail("%s: expected an end %s, got none", probe->name, probe->ends_by_event ? "by its event" : "in time");
    return;
  }
  pthread_join(probe->handle, NULL);
  if (probe->got != probe->result) fail("%s: result, expected %ld, got %ld", probe->name, probe->result, probe->got);
  expect_bytes("signal mask after the call", &probe->mask_before, &probe->mask_after, 8);
  uint64_t took = probe->ended - probe->begun;
  // Waits on the wall clock follow its corrections; a millisecond covers them and poll's granularity.
  if (!probe->ends_by_event && (took + 1000000 < timeout_ns || took > timeout_ns + slack_ns))
    fail("%s: duration, expected %llu to %llu ms, got %llu", probe->name, (unsigned long long)timeout_ns / 1000000,
         (unsigned long long)(timeout_ns + slack_ns) / 1000000, (unsigned long long)took / 1000000);
  if (probe->call == read_pipe) expect_bytes("data read from the pipe", "abcdefgh", probe->data, 8);
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  timeout_ns = (uint64_t)(number_option("--seconds", 3) * 1e9);
  slack_ns = (uint64_t)(number_option("--slack", 1) * 1e9);
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  must(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
  for (int i = 0; i < kProbes; i++)
    if (wanted(&probes[i])) set_up(&probes[i]);
  for (int i = 0; i < kProbes; i++)
    if (wanted(&probes[i])) wait_until_blocked(&probes[i]);
  ready();
  wait_for_check();
  if (program.sabotage) {
    // A handler without SA_RESTART, as if a call had been broken off.
    action.sa_flags = 0;
    sigaction(SIGUSR1, &action, NULL);
    for (int i = 0; i < kProbes; i++)
      if (wanted(&probes[i])) syscall(SYS_tgkill, getpid(), probes[i].tid, SIGUSR1);
    sleep_ms(20);
  }
  for (int i = 0; i < kProbes; i++)
    if (wanted(&probes[i])) check(&probes[i]);
  return finish();
}
