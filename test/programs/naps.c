// Threads that wait for a short time again and again: no wait may be shorter than asked for, or end with an error.
// Whoever stops them meets them in every moment: just before a wait, in it, and when the next one has begun.
//
//   --ms N   how long a wait is (7)
#include "program.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

static uint64_t nap_ns;
static atomic_bool stop;
static int epoll;

static struct timespec nap(void) { return timespec_of(nap_ns); }
static int nap_ms(void) { return (int)(nap_ns / 1000000); }

static long nap_nanosleep(void) {
  struct timespec t = nap();
  return syscall(SYS_nanosleep, &t, NULL);
}
static long nap_poll(void) { return syscall(SYS_poll, NULL, 0, nap_ms()); }
static long nap_ppoll(void) {
  struct timespec t = nap();
  return syscall(SYS_ppoll, NULL, 0, &t, NULL, 8);
}
static long nap_select(void) {
  struct timeval t = {.tv_usec = (long)(nap_ns / 1000)};
  return syscall(SYS_select, 0, NULL, NULL, NULL, &t);
}
static long nap_epoll(void) {
  struct epoll_event event;
  return syscall(SYS_epoll_wait, epoll, &event, 1, nap_ms());
}
static long nap_epoll_timespec(void) {
  struct epoll_event event;
  struct timespec t = nap();
  return syscall(441 /* epoll_pwait2 */, epoll, &event, 1, &t, NULL, 8);
}
static long nap_futex(void) {
  static uint32_t word;
  struct timespec t = nap();
  long result = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0);
  return result == -1 && errno == ETIMEDOUT ? 0 : -1;
}
static long nap_signal(void) {
  sigset_t none;
  sigemptyset(&none);
  struct timespec t = nap();
  long result = syscall(SYS_rt_sigtimedwait, &none, NULL, &t, 8);
  return result == -1 && errno == EAGAIN ? 0 : -1;
}

static struct {
  const char* name;
  long (*call)(void);
  pthread_t handle;
  atomic_long rounds;
} nappers[] = {
    {.name = "nanosleep", .call = nap_nanosleep},   {.name = "poll", .call = nap_poll},
    {.name = "ppoll", .call = nap_ppoll},           {.name = "select", .call = nap_select},
    {.name = "epoll_wait", .call = nap_epoll},      {.name = "epoll_pwait2", .call = nap_epoll_timespec},
    {.name = "futex", .call = nap_futex},           {.name = "rt_sigtimedwait", .call = nap_signal},
};
enum { kNappers = sizeof nappers / sizeof *nappers };

static void* run(void* argument) {
  long i = (long)argument;
  while (!atomic_load(&stop)) {
    uint64_t begun = nanoseconds(CLOCK_MONOTONIC);
    long result = nappers[i].call();
    int error = errno;
    uint64_t took = nanoseconds(CLOCK_MONOTONIC) - begun;
    if (result != 0) fail("%s, expected 0, got %ld, errno %d", nappers[i].name, result, error);
    if (took < nap_ns)
      fail("%s, expected at least %llu ns, got %llu", nappers[i].name, (unsigned long long)nap_ns,
           (unsigned long long)took);
    atomic_fetch_add(&nappers[i].rounds, 1);
  }
  return NULL;
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  nap_ns = (uint64_t)(number_option("--ms", 7) * 1e6);
  must((epoll = epoll_create1(EPOLL_CLOEXEC)) >= 0, "epoll_create1");
  for (long i = 0; i < kNappers; i++)
    must((errno = pthread_create(&nappers[i].handle, NULL, run, (void*)i)) == 0, "pthread_create");
  for (int i = 0; i < kNappers; i++)
    while (atomic_load(&nappers[i].rounds) < 3) sleep_ms(1);
  ready();
  wait_for_check();
  // As if a wait had ended early.
  if (program.sabotage) nap_ns = nap_ns * 1000;
  for (int i = 0; i < kNappers; i++) {
    long so_far = atomic_load(&nappers[i].rounds);
    for (int tries = 0; tries < 2000 && atomic_load(&nappers[i].rounds) == so_far; tries++) sleep_ms(5);
    expect_true(nappers[i].name, atomic_load(&nappers[i].rounds) > so_far);
  }
  atomic_store(&stop, true);
  for (int i = 0; i < kNappers; i++) pthread_join(nappers[i].handle, NULL);
  return finish();
}
