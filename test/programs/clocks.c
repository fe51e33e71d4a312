// Clocks go on: never back, no jump, and the vdso tells the same as the kernel.
//
//   --max-gap SECS   how far a clock may jump (10)
#include "program.h"

static const struct {
  clockid_t id;
  const char* name;
  bool may_step;  // the wall clock is corrected by others now and then
} clocks[] = {
    {CLOCK_MONOTONIC, "CLOCK_MONOTONIC", false},
    {CLOCK_BOOTTIME, "CLOCK_BOOTTIME", false},
    {CLOCK_MONOTONIC_RAW, "CLOCK_MONOTONIC_RAW", false},
    {CLOCK_MONOTONIC_COARSE, "CLOCK_MONOTONIC_COARSE", false},
    {CLOCK_REALTIME, "CLOCK_REALTIME", true},
    {CLOCK_TAI, "CLOCK_TAI", true},
};
enum { kClocks = sizeof clocks / sizeof *clocks, kWallStepNs = 1000000000 };

static uint64_t start[kClocks], last[kClocks];
static uint64_t max_gap_ns;
static atomic_bool stop;
static _Atomic uint64_t rounds;

static uint64_t by_system_call(clockid_t id) {
  struct timespec now;
  syscall(SYS_clock_gettime, id, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void look(int i) {
  // The vdso's answer lies between two of the kernel's; coarse clocks tick with the kernel's own ticks.
  uint64_t first = by_system_call(clocks[i].id);
  uint64_t now = nanoseconds(clocks[i].id);
  uint64_t second = by_system_call(clocks[i].id);
  if (!clocks[i].may_step && (now < first || now > second))
    fail("%s by the vdso, expected %llu to %llu, got %llu", clocks[i].name, (unsigned long long)first,
         (unsigned long long)second, (unsigned long long)now);
  uint64_t back = clocks[i].may_step ? kWallStepNs : 0;
  if (now + back < last[i])
    fail("%s, expected at least %llu, got %llu", clocks[i].name, (unsigned long long)last[i], (unsigned long long)now);
  if (now > last[i] + max_gap_ns)
    fail("%s, expected a step below %llu ns, got %llu", clocks[i].name, (unsigned long long)max_gap_ns,
         (unsigned long long)(now - last[i]));
  last[i] = now;
}

static void* run(void* unused) {
  while (!atomic_load(&stop)) {
    for (int turn = 0; turn < 100; turn++)
      for (int i = 0; i < kClocks; i++) look(i);
    atomic_fetch_add(&rounds, 1);
    struct timespec pause = timespec_of(300000);
    nanosleep(&pause, NULL);
  }
  return unused;
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  max_gap_ns = (uint64_t)(number_option("--max-gap", 10) * 1e9);
  for (int i = 0; i < kClocks; i++) start[i] = last[i] = nanoseconds(clocks[i].id);
  pthread_t watcher;
  must((errno = pthread_create(&watcher, NULL, run, NULL)) == 0, "pthread_create");
  while (atomic_load(&rounds) < 3) sleep_ms(1);
  ready();
  wait_for_check();
  if (program.sabotage) {
    // As if the clock had been set back.
    last[0] += 3600000000000u;
    sleep_ms(20);
  }
  uint64_t so_far = atomic_load(&rounds), limit = (uint64_t)time(NULL) + 10;
  while (atomic_load(&rounds) == so_far && (uint64_t)time(NULL) < limit) sleep_ms(5);
  expect_true("the watcher goes on", atomic_load(&rounds) > so_far);
  atomic_store(&stop, true);
  pthread_join(watcher, NULL);
  // All clocks have gone the same way since the start.
  uint64_t went = nanoseconds(CLOCK_MONOTONIC) - start[0];
  for (int i = 1; i < kClocks; i++) {
    uint64_t other = nanoseconds(clocks[i].id) - start[i];
    uint64_t apart = other > went ? other - went : went - other;
    if (apart > 2 * (uint64_t)kWallStepNs)
      fail("%s, expected to go like CLOCK_MONOTONIC, got %llu ns apart", clocks[i].name, (unsigned long long)apart);
  }
  return finish();
}
