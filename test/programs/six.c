// Six threads that check themselves all the time: checksums and floating point, clocks, sleeps, epoll, a pipe's
// reader and its writer; and each its own mask, processors and alternate signal stack. Long-lived: it ends with the check, or when its time is over.
//
//   --no-epoll       the epoll thread uses poll instead
//   --max-gap SECS   how far a clock may jump or a sleep may be late (30)
//   --tolerate-eintr epoll_wait may end with EINTR: being stopped by a tracer does that, and a tracer that dies then
//                    cannot mend it. Told as "FACT epoll interruptions N", and called again.
// When STATUS-FILE.ask appears it writes one line for each thread, "COUNTER name rounds=N errors=N", and DONE.
#include "mappings.h"
#include <math.h>
#include <poll.h>
#include <sys/epoll.h>

enum { kChecksumWords = 64 << 10, kStream = 1024 };

// One for each thread, in memory of its own cache line.
static struct counter {
  const char* name;
  _Atomic uint64_t rounds, errors;
  pid_t tid;
  sigset_t mask;
  cpu_set_t affinity;
  uint16_t x87_control;
  uint32_t mxcsr;
  stack_t alternate;
} __attribute__((aligned(128))) counters[6] = {
    {.name = "sleep"}, {.name = "checksum"}, {.name = "clock"}, {.name = "epoll"}, {.name = "reader"}, {.name = "writer"},
};
enum { kSleep, kChecksum, kClock, kEpoll, kReader, kWriter, kThreads };

static atomic_bool stop;
static bool tolerant;
static _Atomic uint64_t interruptions;
static uint64_t max_gap_ns;
static uint64_t words[kChecksumWords];
static int stream[2], echo[2], epoll = -1;
static struct mapping_list before, after;
static unsigned char alternate_stacks[kThreads][64 << 10] __attribute__((aligned(64)));
static __thread uintptr_t handled_at;

static void wrong(int thread, const char* what, long long expected, long long got) {
  atomic_fetch_add(&counters[thread].errors, 1);
  fail("%s thread: %s, expected %lld, got %lld", counters[thread].name, what, expected, got);
}

static long long bits(const void* at) {
  long long word;
  memcpy(&word, at, sizeof word);
  return word;
}

static void own_state(struct counter* own) {
  own->tid = (pid_t)syscall(SYS_gettid);
  pthread_sigmask(SIG_SETMASK, NULL, &own->mask);
  sched_getaffinity(0, sizeof own->affinity, &own->affinity);
  __asm__ volatile("fnstcw %0" : "=m"(own->x87_control));
  __asm__ volatile("stmxcsr %0" : "=m"(own->mxcsr));
  sigaltstack(NULL, &own->alternate);
}

static void on_signal(int signal) {
  (void)signal;
  unsigned char here;
  handled_at = (uintptr_t)&here;
}

static void begin(int thread) {
  stack_t own = {.ss_sp = alternate_stacks[thread], .ss_size = sizeof alternate_stacks[thread]};
  must(sigaltstack(&own, NULL) == 0, "sigaltstack");
  own_state(&counters[thread]);
}

// What an agent that was killed in the middle of its work might leave behind.
static void check_own_state(int thread) {
  struct counter *own = &counters[thread], now = {0};
  own_state(&now);
  if (now.tid != own->tid) wrong(thread, "thread id", own->tid, now.tid);
  if (memcmp(&now.mask, &own->mask, 8) != 0) wrong(thread, "signal mask", bits(&own->mask), bits(&now.mask));
  if (!CPU_EQUAL(&now.affinity, &own->affinity))
    wrong(thread, "number of processors", CPU_COUNT(&own->affinity), CPU_COUNT(&now.affinity));
  if (now.x87_control != own->x87_control) wrong(thread, "x87 control word", own->x87_control, now.x87_control);
  // The low six bits are sticky exception flags, set by computing.
  if ((now.mxcsr & ~0x3fu) != (own->mxcsr & ~0x3fu)) wrong(thread, "MXCSR", own->mxcsr, now.mxcsr);
}

static void round_done(int thread) {
  uint64_t rounds = atomic_fetch_add(&counters[thread].rounds, 1) + 1;
  if (rounds % 64 == 0) check_own_state(thread);
}

// Every word takes part in every round, so a page that is old or empty is noticed at the next one.
static uint64_t turn_words(uint64_t round) {
  uint64_t sum = 0;
  for (size_t i = 0; i < kChecksumWords; i++) {
    sum += words[i] ^ mix(i + round);
    words[i] = mix(i + round + 1);
  }
  return sum;
}

static double compute(void) {
  volatile double start = 0.1234567;
  double x = start, sum = 0;
  for (int i = 0; i < 4000; i++) {
    x = 3.9 * x * (1 - x);  // chaotic: one wrong bit changes everything after
    sum += sqrt(x) / (1 + i);
  }
  return sum;
}

static void* run_checksum(void* unused) {
  begin(kChecksum);
  for (size_t i = 0; i < kChecksumWords; i++) words[i] = mix(i);
  double expected = compute();
  for (uint64_t round = 0; !atomic_load(&stop); round++) {
    uint64_t sum = turn_words(round);
    if (sum) wrong(kChecksum, "checksum difference of its memory", 0, (long long)sum);
    double got = compute();
    if (memcmp(&got, &expected, sizeof got) != 0) wrong(kChecksum, "floating point", bits(&expected), bits(&got));
    round_done(kChecksum);
    sleep_ms(2);
  }
  return unused;
}

static void* run_clock(void* unused) {
  begin(kClock);
  uint64_t last = nanoseconds(CLOCK_MONOTONIC), last_boot = nanoseconds(CLOCK_BOOTTIME);
  while (!atomic_load(&stop)) {
    for (int i = 0; i < 200; i++) {
      uint64_t now = nanoseconds(CLOCK_MONOTONIC), boot = nanoseconds(CLOCK_BOOTTIME);
      if (now < last) wrong(kClock, "CLOCK_MONOTONIC", (long long)last, (long long)now);
      if (boot < last_boot) wrong(kClock, "CLOCK_BOOTTIME", (long long)last_boot, (long long)boot);
      if (now - last > max_gap_ns) wrong(kClock, "jump of CLOCK_MONOTONIC", 0, (long long)(now - last));
      last = now;
      last_boot = boot;
    }
    round_done(kClock);
    sched_yield();
    struct timespec pause = timespec_of(500000);
    nanosleep(&pause, NULL);
  }
  return unused;
}

// Sleeping is the main thread's: it also looks for .ask and .check.
static void sleep_round(void) {
  struct timespec t = timespec_of(5000000);
  uint64_t begun = nanoseconds(CLOCK_MONOTONIC);
  long result = syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, NULL);
  int error = errno;
  uint64_t took = nanoseconds(CLOCK_MONOTONIC) - begun;
  if (result != 0) wrong(kSleep, "clock_nanosleep, errno", 0, error);
  if (result == 0 && took < 5000000) wrong(kSleep, "a sleep that was too short, ns", 5000000, (long long)took);
  if (took > max_gap_ns) wrong(kSleep, "a sleep that was too long, ns", 5000000, (long long)took);
  round_done(kSleep);
}

static int wait_for_echo(int timeout_ms) {
  if (epoll < 0) {
    struct pollfd one = {.fd = echo[0], .events = POLLIN};
    return (int)syscall(SYS_poll, &one, 1, timeout_ms);
  }
  struct epoll_event event = {0};
  int result;
  while ((result = (int)syscall(SYS_epoll_wait, epoll, &event, 1, timeout_ms)) == -1 && errno == EINTR && tolerant)
    atomic_fetch_add(&interruptions, 1);
  if (result == 1 && event.data.u64 != 0x5a5a5a5a5a) wrong(kEpoll, "data", 0x5a5a5a5a5a, (long long)event.data.u64);
  return result;
}

static void* run_epoll(void* unused) {
  begin(kEpoll);
  for (uint64_t sequence = 1; !atomic_load(&stop); sequence++) {
    int result = wait_for_echo(4);
    if (result != 0) wrong(kEpoll, "waiting for nothing", 0, result < 0 ? -errno : result);
    if (write(echo[1], &sequence, 8) != 8) wrong(kEpoll, "write", 8, -errno);
    result = wait_for_echo(10000);
    if (result != 1) wrong(kEpoll, "waiting for data", 1, result < 0 ? -errno : result);
    uint64_t got = 0;
    ssize_t bytes = result == 1 ? read(echo[0], &got, 8) : 8;
    if (bytes != 8) wrong(kEpoll, "read", 8, bytes < 0 ? -errno : bytes);
    if (result == 1 && got != sequence) wrong(kEpoll, "sequence number", (long long)sequence, (long long)got);
    round_done(kEpoll);
  }
  return unused;
}

// Reads block most of the time; the writer's bursts fill the pipe now and then.
static void* run_reader(void* unused) {
  begin(kReader);
  uint64_t expected = 0, numbers[kStream];
  for (;;) {
    ssize_t got = read(stream[0], numbers, sizeof numbers);
    if (got == 0) return unused;
    if (got < 0 || got % 8) {
      wrong(kReader, "read", 8, got < 0 ? -errno : got);
      if (got < 0) continue;
    }
    for (ssize_t i = 0; i < got / 8; i++) {
      if (numbers[i] != expected) wrong(kReader, "sequence number", (long long)expected, (long long)numbers[i]);
      expected = numbers[i] + 1;
    }
    round_done(kReader);
    if (expected % 64 == 0) sleep_ms(1);
  }
}

static void* run_writer(void* unused) {
  begin(kWriter);
  uint64_t next = 0, numbers[64];
  while (!atomic_load(&stop)) {
    // At most PIPE_BUF bytes: such a write is never cut in two.
    size_t count = 1 + mix(next) % 64;
    for (size_t i = 0; i < count; i++) numbers[i] = next++;
    ssize_t put = write(stream[1], numbers, count * 8);
    if (put != (ssize_t)count * 8) wrong(kWriter, "write", (long long)count * 8, put < 0 ? -errno : put);
    round_done(kWriter);
    if (mix(next) % 8) sleep_ms(1);
  }
  close(stream[1]);
  return unused;
}

static void report(void) {
  for (int i = 0; i < kThreads; i++)
    say("COUNTER %s rounds=%llu errors=%llu", counters[i].name, (unsigned long long)atomic_load(&counters[i].rounds),
        (unsigned long long)atomic_load(&counters[i].errors));
  if (tolerant) say("FACT epoll interruptions %llu", (unsigned long long)atomic_load(&interruptions));
  report_done();
  say("DONE");
}

// No thread may have fallen asleep for ever.
static void expect_progress(void) {
  uint64_t start[kThreads];
  for (int i = 0; i < kThreads; i++) start[i] = atomic_load(&counters[i].rounds);
  uint64_t limit = nanoseconds(CLOCK_MONOTONIC) + 10000000000u;
  for (int i = 0; i < kThreads; i++) {
    while (atomic_load(&counters[i].rounds) == start[i] && nanoseconds(CLOCK_MONOTONIC) < limit) sleep_round();
    if (atomic_load(&counters[i].rounds) == start[i]) wrong(i, "progress within 10 s", 1, 0);
  }
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  max_gap_ns = (uint64_t)(number_option("--max-gap", 30) * 1e9);
  tolerant = has_option("--tolerate-eintr");
  must(pipe2(stream, O_CLOEXEC) == 0 && pipe2(echo, O_CLOEXEC) == 0, "pipe2");
  if (!has_option("--no-epoll")) {
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x5a5a5a5a5a};
    must(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, echo[0], &event) == 0, "epoll_ctl");
  }
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_RESTART};
  must(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
  begin(kSleep);
  static void* (*const bodies[kThreads])(void*) = {NULL, run_checksum, run_clock, run_epoll, run_reader, run_writer};
  pthread_t handles[kThreads];
  for (int i = 1; i < kThreads; i++) must((errno = pthread_create(&handles[i], NULL, bodies[i], NULL)) == 0, "pthread_create");
  for (int i = 1; i < kThreads; i++)
    while (atomic_load(&counters[i].rounds) < 3) sleep_ms(1);
  read_mappings(&before);
  read_mappings(&before);
  ready();
  for (int turn = 0;; turn++) {
    sleep_round();
    if (turn % 4) continue;
    if (check_wanted()) break;
    if (report_wanted()) report();
  }
  check_common();
  if (program.sabotage) {
    words[kChecksumWords / 2] ^= 1;
    sleep_ms(50);
  }
  expect_progress();
  read_mappings(&after);
  expect_same_mappings(&before, &after);
  atomic_store(&stop, true);
  for (int i = 1; i < kThreads; i++) pthread_join(handles[i], NULL);
  for (int i = 0; i < kThreads; i++) expect_number(counters[i].name, 0, (long long)atomic_load(&counters[i].errors));
  return finish();
}
