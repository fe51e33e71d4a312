// How fast this machine's time-stamp counter runs, in kHz: the best of several short looks, since any of them may be
// interrupted.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC_RAW, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

// The counter and the clock at one moment: the pair of reads that lie closest together.
static void look(uint64_t *ticks, int64_t *ns) {
  int64_t best = INT64_MAX;
  for (int i = 0; i < 1000; i++) {
    int64_t before = now();
    uint64_t read = __rdtsc();
    int64_t took = now() - before;
    if (took >= best) continue;
    best = took;
    *ticks = read;
    *ns = before + took / 2;
  }
}

int main(void) {
  uint64_t first, last;
  int64_t start, end;
  look(&first, &start);
  nanosleep(&(struct timespec){.tv_nsec = 50000000}, 0);
  look(&last, &end);
  printf("%.0f\n", (double)(last - first) * 1e6 / (double)(end - start));
  return 0;
}
