// Calls that block on nothing but what can be moved; see probes.h for the options.
#include "probes.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/uio.h>

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

// Its clock goes on only while the program computes.
static long sleep_of_processor(struct probe* probe) {
  (void)probe;
  // Far more than all the probes need by themselves, on a slow machine too.
  struct timespec t = {.tv_sec = 2};
  return raw(syscall(SYS_clock_nanosleep, CLOCK_PROCESS_CPUTIME_ID, 0, &t, NULL));
}
static void compute(struct probe* probe) {
  // As long as it waits; the limit of the check is generous, that here is not reached.
  for (uint64_t limit = nanoseconds(CLOCK_MONOTONIC) + 8000000000u; atomic_load(&probe->phase) == 1;)
    if (nanoseconds(CLOCK_MONOTONIC) > limit) break;
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

static long futex_priority(struct probe* probe) {
  struct timespec t = absolute(CLOCK_REALTIME);
  return raw(syscall(SYS_futex, &probe->word, FUTEX_LOCK_PI_PRIVATE, 0, &t, NULL, 0));
}
static long futex_requeue_priority(struct probe* probe) {
  static uint32_t lock;
  struct timespec t = absolute(CLOCK_MONOTONIC);
  return raw(syscall(SYS_futex, &probe->word, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, &t, &lock, 0));
}
static long futex_lock(struct probe* probe) {
  return raw(syscall(SYS_futex, &probe->word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
}
static void own_word(struct probe* probe) { probe->word = (uint32_t)syscall(SYS_gettid); }
static void wake_private(struct probe* probe) {
  probe->word = 1;
  syscall(SYS_futex, &probe->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
static void wake_shared(struct probe* probe) {
  probe->word = 1;
  syscall(SYS_futex, &probe->word, FUTEX_WAKE, 1, NULL, NULL, 0);
}
static void unlock_priority(struct probe* probe) {
  expect_number("FUTEX_UNLOCK_PI", 0, raw(syscall(SYS_futex, &probe->word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0)));
}

static long poll_timeout(struct probe* probe) {
  struct pollfd one = {.fd = probe->fd[0], .events = POLLIN, .revents = 0x55};
  long result = raw(syscall(SYS_poll, &one, 1, milliseconds()));
  expect_number("poll: revents", 0, one.revents);
  return result;
}
static long poll_nothing(struct probe* probe) {
  (void)probe;
  return raw(syscall(SYS_poll, NULL, 0, milliseconds()));
}
static long poll_event(struct probe* probe) {
  struct pollfd one = {.fd = probe->fd[0], .events = POLLIN};
  long result = raw(syscall(SYS_poll, &one, 1, -1));
  expect_number("poll: revents after data came", POLLIN, one.revents);
  return result;
}
static long ppoll_timeout(struct probe* probe) {
  struct pollfd one = {.fd = probe->fd[0], .events = POLLIN};
  probe->left = relative();
  return with_remainder(probe, raw(syscall(SYS_ppoll, &one, 1, &probe->left, &probe->inner, 8)));
}
static long ppoll_read_only(struct probe* probe) {
  // The kernel cannot tell what remains, and does not restart the call by itself.
  struct timespec* t = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(t != MAP_FAILED, "mmap");
  *t = relative();
  must(mprotect(t, kPage, PROT_READ) == 0, "mprotect");
  struct pollfd one = {.fd = probe->fd[0], .events = POLLIN};
  return with_constant(probe, t, raw(syscall(SYS_ppoll, &one, 1, t, &probe->inner, 8)));
}
static long ppoll_signal(struct probe* probe) {
  // Its own mask blocks the signal, only that of the call lets it through.
  (void)probe;
  sigset_t none;
  sigemptyset(&none);
  return raw(syscall(SYS_ppoll, NULL, 0, NULL, &none, 8));
}
static long select_timeout(struct probe* probe) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(probe->fd[0], &set);
  struct timeval t = {.tv_sec = (time_t)(timeout_ns / 1000000000), .tv_usec = (long)(timeout_ns / 1000 % 1000000)};
  long result = raw(syscall(SYS_select, probe->fd[0] + 1, &set, NULL, NULL, &t));
  probe->left = (struct timespec){t.tv_sec, t.tv_usec * 1000};
  expect_true("select: set is empty", !FD_ISSET(probe->fd[0], &set));
  return with_remainder(probe, result);
}
static long select_event(struct probe* probe) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(probe->fd[0], &set);
  long result = raw(syscall(SYS_select, probe->fd[0] + 1, &set, NULL, NULL, NULL));
  expect_true("select: set names the pipe", FD_ISSET(probe->fd[0], &set));
  return result;
}
static long pselect_timeout(struct probe* probe) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(probe->fd[0], &set);
  struct { const sigset_t* mask; size_t bytes; } sixth = {&probe->inner, 8};
  probe->left = relative();
  return with_remainder(probe, raw(syscall(SYS_pselect6, probe->fd[0] + 1, &set, NULL, NULL, &probe->left, &sixth)));
}

static long epoll_timeout(struct probe* probe) {
  struct epoll_event event;
  return raw(syscall(SYS_epoll_wait, (int)probe->word, &event, 1, milliseconds()));
}
static long epoll_event_comes(struct probe* probe) {
  struct epoll_event event = {0};
  long result = raw(syscall(SYS_epoll_wait, (int)probe->word, &event, 1, -1));
  expect_number("epoll_wait: events", EPOLLIN, event.events);
  expect_number("epoll_wait: data", 0xe9011, (long)event.data.u64);
  return result;
}
static long epoll_masked(struct probe* probe) {
  struct epoll_event event;
  return raw(syscall(SYS_epoll_pwait, (int)probe->word, &event, 1, milliseconds(), &probe->inner, 8));
}

static long epoll_masked_timespec(struct probe* probe) {
  struct epoll_event event;
  struct timespec t = relative();
  return with_constant(probe, &t, raw(syscall(441 /* epoll_pwait2 */, (int)probe->word, &event, 1, &t, &probe->inner, 8)));
}
static void make_epoll(struct probe* probe) {
  make_pipe(probe);
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0xe9011};
  must(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, probe->fd[0], &event) == 0, "epoll_ctl");
  probe->word = (uint32_t)epoll;
}

static long read_pipe(struct probe* probe) {
  return raw(syscall(SYS_read, probe->fd[0], probe->data, sizeof probe->data));
}
static long write_pipe(struct probe* probe) {
  // The pipe is full: waits until there is room.
  return raw(syscall(SYS_write, probe->fd[1], "12345678", 8));
}
static long readv_pipe(struct probe* probe) {
  struct iovec parts[2] = {{probe->data, 3}, {probe->data + 3, 5}};
  return raw(syscall(SYS_readv, probe->fd[0], parts, 2));
}
static long splice_pipe(struct probe* probe) {
  int other[2];
  must(pipe2(other, O_CLOEXEC) == 0, "pipe2");
  long result = raw(syscall(SYS_splice, probe->fd[0], NULL, other[1], NULL, kPage, 0));
  if (result == 8) expect_number("read what was spliced", 8, read(other[0], probe->data, 8));
  close(other[0]);
  close(other[1]);
  return result;
}
static long tee_pipe(struct probe* probe) {
  int other[2];
  must(pipe2(other, O_CLOEXEC) == 0, "pipe2");
  long result = raw(syscall(SYS_tee, probe->fd[0], other[1], kPage, 0));
  if (result == 8) expect_number("read what was copied", 8, read(other[0], probe->data, 8));
  close(other[0]);
  close(other[1]);
  return result;
}

static long wait_signal_timeout(struct probe* probe) {
  struct timespec t = relative();
  return with_constant(probe, &t, raw(syscall(SYS_rt_sigtimedwait, &probe->inner, NULL, &t, 8)));
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
static void send_blocked(struct probe* probe) { send_signal(probe, SIGUSR2); }
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
    {.name = "clock_nanosleep-wall", .call = clock_nanosleep_wall, .wall_clock = true},
    {.name = "clock_nanosleep-processor", .call = sleep_of_processor, .let_go = compute},
    {.name = "futex-timeout", .call = futex_timeout, .result = -ETIMEDOUT},
    {.name = "futex-bitset", .call = futex_bitset, .result = -ETIMEDOUT},
    {.name = "futex-bitset-wall", .call = futex_bitset_wall, .result = -ETIMEDOUT, .wall_clock = true},
    {.name = "futex-woken", .call = futex_woken, .let_go = wake_private},
    {.name = "futex-shared-woken", .call = futex_shared_woken, .let_go = wake_shared},
    {.name = "futex-several", .call = futex_several, .result = -ETIMEDOUT},
    {.name = "futex-priority", .call = futex_priority, .prepare = own_word, .result = -ETIMEDOUT, .wall_clock = true},
    {.name = "futex-priority-unlocked", .call = futex_lock, .prepare = own_word, .let_go = unlock_priority},
    {.name = "futex-requeue-priority", .call = futex_requeue_priority, .result = -ETIMEDOUT},
    {.name = "poll-timeout", .call = poll_timeout, .prepare = make_pipe},
    {.name = "poll-nothing", .call = poll_nothing},
    {.name = "poll-event", .call = poll_event, .prepare = make_pipe, .let_go = write_eight, .result = 1},
    {.name = "ppoll", .call = ppoll_timeout, .prepare = make_pipe},
    {.name = "ppoll-read-only", .call = ppoll_read_only, .prepare = make_pipe},
    {.name = "ppoll-signal", .call = ppoll_signal, .let_go = send_blocked, .result = -EINTR},
    {.name = "select-timeout", .call = select_timeout, .prepare = make_pipe},
    {.name = "select-event", .call = select_event, .prepare = make_pipe, .let_go = write_eight, .result = 1},
    {.name = "pselect6", .call = pselect_timeout, .prepare = make_pipe},
    {.name = "epoll-timeout", .call = epoll_timeout, .prepare = make_epoll},
    {.name = "epoll-event", .call = epoll_event_comes, .prepare = make_epoll, .let_go = write_eight, .result = 1},
    {.name = "epoll-masked", .call = epoll_masked, .prepare = make_epoll},
    {.name = "epoll-masked-timespec", .call = epoll_masked_timespec, .prepare = make_epoll},
    {.name = "read", .call = read_pipe, .prepare = make_pipe, .let_go = write_eight, .verify = verify_eight, .result = 8},
    {.name = "readv", .call = readv_pipe, .prepare = make_pipe, .let_go = write_eight, .verify = verify_eight, .result = 8},
    {.name = "splice", .call = splice_pipe, .prepare = make_pipe, .let_go = write_eight, .verify = verify_eight, .result = 8},
    {.name = "tee", .call = tee_pipe, .prepare = make_pipe, .let_go = write_eight, .verify = verify_eight, .result = 8},
    {.name = "write", .call = write_pipe, .prepare = fill_pipe, .let_go = read_page, .result = 8},
    {.name = "rt_sigtimedwait", .call = wait_signal_timeout, .result = -EAGAIN},
    {.name = "rt_sigtimedwait-signal", .call = wait_signal, .let_go = send_awaited, .result = kWaited},
    {.name = "rt_sigsuspend", .call = suspend, .let_go = send_blocked, .result = -EINTR},
    {.name = "pause", .call = pause_call, .let_go = send_handled, .result = -EINTR},
};

int main(int argc, char** argv) {
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGUSR2, &action, NULL);
  return run_probes(probes, sizeof probes / sizeof *probes, argc, argv);
}
