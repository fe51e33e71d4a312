// Signals that come while the program is held: a handler breaks off what it would break off anyway, and nothing else.
// Each probe has a signal of its own, kFirst + its number, which its thread alone does not block. The signals must
// come between READY and the check; --send: the program sends them itself.
#include "program.h"
#include <sys/epoll.h>
#include <poll.h>

enum { kFirst = 40, kForgotten = -1000 };

struct probe {
  const char* name;
  long (*call)(struct probe* probe);
  int flags;           // of the handler
  bool blocked;        // by the thread's own mask; only the call's lets it through
  bool let_go;         // the call goes on behind the handler: a write ends it
  long result;
  // told by the thread
  pthread_t handle;
  pid_t tid;
  int pipe[2], epoll;
  atomic_int phase, handled;
  long got;
  sigset_t before, after;
};

static long raw(long result) { return result == -1 ? -errno : result; }
static const struct timespec hour = {.tv_sec = 3600};

static long sleep_hour(struct probe* probe) {
  (void)probe;
  return raw(syscall(SYS_nanosleep, &hour, NULL));
}
static long read_pipe(struct probe* probe) {
  char data[8];
  return raw(syscall(SYS_read, probe->pipe[0], data, sizeof data));
}
static long wait_event(struct probe* probe) {
  struct epoll_event event;
  return raw(syscall(SYS_epoll_wait, probe->epoll, &event, 1, 3600000));
}
// All signals but the thread's own.
static sigset_t others(const struct probe* probe);

static long poll_open(struct probe* probe) {
  sigset_t mask = others(probe);
  struct pollfd one = {.fd = probe->pipe[0], .events = POLLIN};
  return raw(syscall(SYS_ppoll, &one, 1, NULL, &mask, 8));
}
static long poll_closed(struct probe* probe) {
  sigset_t all;
  sigfillset(&all);
  struct pollfd one = {.fd = probe->pipe[0], .events = POLLIN};
  return raw(syscall(SYS_ppoll, &one, 1, NULL, &all, 8));
}
static long wait_event_closed(struct probe* probe) {
  sigset_t all;
  sigfillset(&all);
  struct epoll_event event;
  return raw(syscall(SYS_epoll_pwait, probe->epoll, &event, 1, -1, &all, 8));
}
static long suspend(struct probe* probe) {
  sigset_t mask = others(probe);
  return raw(syscall(SYS_rt_sigsuspend, &mask, 8));
}
static long wait_other_signal(struct probe* probe) {
  (void)probe;
  sigset_t other;
  sigemptyset(&other);
  sigaddset(&other, SIGUSR2);
  return raw(syscall(SYS_rt_sigtimedwait, &other, NULL, &hour, 8));
}

static struct probe probes[] = {
    {.name = "nanosleep", .call = sleep_hour, .flags = SA_RESTART, .result = -EINTR},
    {.name = "read", .call = read_pipe, .result = -EINTR},
    {.name = "read-restarted", .call = read_pipe, .flags = SA_RESTART, .let_go = true, .result = 8},
    {.name = "epoll_wait", .call = wait_event, .flags = SA_RESTART, .result = -EINTR},
    {.name = "rt_sigtimedwait", .call = wait_other_signal, .flags = SA_RESTART, .result = -EINTR},
    {.name = "ppoll-open", .call = poll_open, .flags = SA_RESTART, .blocked = true, .result = -EINTR},
    {.name = "rt_sigsuspend", .call = suspend, .flags = SA_RESTART, .blocked = true, .result = -EINTR},
    // Behind the call at the latest; a call that is restarted lets the handler run before.
    {.name = "ppoll-closed", .call = poll_closed, .let_go = true, .result = 1},
    {.name = "epoll_pwait-closed", .call = wait_event_closed, .let_go = true, .result = 1},
};
enum { kProbes = sizeof probes / sizeof *probes };

static sigset_t others(const struct probe* probe) {
  sigset_t mask;
  sigfillset(&mask);
  sigdelset(&mask, kFirst + (int)(probe - probes));
  return mask;
}

static void on_signal(int signal) { atomic_fetch_add(&probes[signal - kFirst].handled, 1); }

static void* run(void* argument) {
  struct probe* probe = argument;
  probe->tid = (pid_t)syscall(SYS_gettid);
  sigset_t mask;
  sigfillset(&mask);
  if (!probe->blocked) mask = others(probe);
  pthread_sigmask(SIG_SETMASK, &mask, NULL);
  pthread_sigmask(SIG_SETMASK, NULL, &probe->before);
  atomic_store(&probe->phase, 1);
  probe->got = probe->call(probe);
  pthread_sigmask(SIG_SETMASK, NULL, &probe->after);
  atomic_store(&probe->phase, 2);
  return NULL;
}

static void start(struct probe* probe) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = probe->flags};
  must(sigaction(kFirst + (int)(probe - probes), &action, NULL) == 0, "sigaction");
  struct epoll_event event = {.events = EPOLLIN};
  probe->got = kForgotten;
  must(pipe2(probe->pipe, O_CLOEXEC) == 0, "pipe2");
  probe->epoll = epoll_create1(EPOLL_CLOEXEC);
  must(epoll_ctl(probe->epoll, EPOLL_CTL_ADD, probe->pipe[0], &event) == 0, "epoll_ctl");
  must((errno = pthread_create(&probe->handle, NULL, run, probe)) == 0, "pthread_create");
  char path[64], text[256];
  while (atomic_load(&probe->phase) == 0) sleep_ms(1);
  snprintf(path, sizeof path, "/proc/self/task/%d/syscall", probe->tid);
  for (int i = 0; i < 5000 && (read_file(path, text, sizeof text) <= 0 || text[0] == 'r'); i++) sleep_ms(1);
}

static void check(struct probe* probe) {
  if (probe->let_go) {
    expect_number(probe->name, 1, atomic_load(&probe->phase));
    expect_number("write", 8, write(probe->pipe[1], "abcdefgh", 8));
  }
  uint64_t limit = nanoseconds(CLOCK_MONOTONIC) + 10000000000u;
  while (atomic_load(&probe->phase) != 2 && nanoseconds(CLOCK_MONOTONIC) < limit) sleep_ms(5);
  if (atomic_load(&probe->phase) != 2) {
    fail("%s: expected an end, got none", probe->name);
    return;
  }
  pthread_join(probe->handle, NULL);
  expect_number(probe->name, probe->result, probe->got);
  expect_number("handlers run", 1, atomic_load(&probe->handled));
  expect_bytes("signal mask after the call", &probe->before, &probe->after, 8);
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  for (int i = 0; i < kProbes; i++) start(&probes[i]);
  ready();
  wait_for_check();
  if (has_option("--send"))
    for (int i = 0; i < kProbes; i++) kill(getpid(), kFirst + i);
  // As if a handler had run twice.
  if (program.sabotage) atomic_fetch_add(&probes[0].handled, 1);
  sleep_ms(200);
  for (int i = 0; i < kProbes; i++) check(&probes[i]);
  return finish();
}
