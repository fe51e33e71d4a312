// The workload of the benchmark: fills memory with incompressible bytes, then writes pages of a window at a given
// rate, and measures the longest time in which it did not run.
//
//   --mb N       memory to fill (64)             --window MB   the part that is written (all of it)
//   --rate MB/s  how fast; 0 for idle (0)        --huge        huge pages; else small ones only
//   --spin US    length of one loop iteration, microseconds (20)
//   --sleep      sleep between iterations instead of spinning
//   --gap US     shortest gap that is kept, microseconds (200)
//   --wall       measure gaps by CLOCK_REALTIME: a move that stops the monotonic clock cannot hide from it
// When STATUS-FILE.ask appears: "GAP ns at ns" for each of the last gaps, oldest first (the time is CLOCK_MONOTONIC,
// or the wall clock, at the end of the gap), then "WRITTEN pages=N gaps=N iterations=N", then DONE.
// One thread: what it measures is the stop of a process, not of its scheduling.
#include "program.h"
#include <sys/prctl.h>

enum { kRing = 512, kPagesAtOnce = 8, kPollNs = 20000000 };

static struct gap {
  uint64_t length_ns, at_ns;
} ring[kRing];
static uint64_t gaps, iterations, written, shortest_gap_ns;
static clockid_t gap_clock = CLOCK_MONOTONIC;

static char* memory;
static uint32_t* generations;  // what each page must hold, kept apart from the pages
static size_t pages, window;

static uint64_t seed_of(size_t page, uint32_t generation) { return mix(((uint64_t)generation << 32) | page) | 1; }

// xorshift: as fast as memory, and no compressor finds anything in it.
static void fill_page(size_t page, uint32_t generation) {
  uint64_t* words = (uint64_t*)(memory + page * kPage);
  uint64_t x = seed_of(page, generation);
  for (size_t i = 0; i < kPage / 8; i++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    words[i] = x;
  }
}

static bool expect_page(size_t page) {
  const uint64_t* words = (const uint64_t*)(memory + page * kPage);
  uint64_t x = seed_of(page, generations[page]);
  for (size_t i = 0; i < kPage / 8; i++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    if (words[i] == x) continue;
    fail("page %zu (%p) of generation %u at word %zu, expected 0x%llx, got 0x%llx", page, (const void*)words,
         generations[page], i, (unsigned long long)x, (unsigned long long)words[i]);
    return false;
  }
  return true;
}

static void report(void) {
  uint64_t first = gaps > kRing ? gaps - kRing : 0;
  for (uint64_t i = first; i < gaps; i++)
    say("GAP %llu at %llu", (unsigned long long)ring[i % kRing].length_ns, (unsigned long long)ring[i % kRing].at_ns);
  say("WRITTEN pages=%llu gaps=%llu iterations=%llu", (unsigned long long)written, (unsigned long long)gaps,
      (unsigned long long)iterations);
  report_done();
  say("DONE");
}

static void work(double pages_per_ns, uint64_t spin_ns, bool sleeping) {
  uint64_t last = nanoseconds(gap_clock), paced_from = last, paced_pages = 0, next_poll = last;
  size_t next_page = 0;
  for (;;) {
    uint64_t now = nanoseconds(gap_clock);
    iterations++;
    if (now - last > shortest_gap_ns) {
      ring[gaps++ % kRing] = (struct gap){now - last, now};
      // What was not written in the gap is not caught up with: the rate is that of a running program.
      paced_from = now;
      paced_pages = 0;
    }
    last = now;
    uint64_t due = (uint64_t)((double)(now - paced_from) * pages_per_ns);
    for (int i = 0; i < kPagesAtOnce && paced_pages < due; i++, paced_pages++, written++) {
      // A stride that is odd against the window: neighbouring writes are not neighbouring pages.
      fill_page(next_page, ++generations[next_page]);
      next_page = (next_page + 97) % window;
    }
    if (now >= next_poll) {
      next_poll = now + kPollNs;
      bool asked = report_wanted();
      if (asked) report();
      if (check_wanted()) return;
      if (asked) last = paced_from = nanoseconds(gap_clock), paced_pages = 0;
    }
    if (sleeping) {
      struct timespec pause = timespec_of(spin_ns);
      nanosleep(&pause, NULL);
    } else {
      while (nanoseconds(gap_clock) - now < spin_ns) __builtin_ia32_pause();
    }
  }
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  size_t megabytes = (size_t)number_option("--mb", 64);
  shortest_gap_ns = (uint64_t)(number_option("--gap", 200) * 1000);
  if (has_option("--wall")) gap_clock = CLOCK_REALTIME;
  pages = megabytes * 256;
  window = (size_t)(number_option("--window", (double)megabytes) * 256);
  must(pages > 0 && window > 0 && window <= pages, "a window within the memory");
  // 97 must not divide the window, or some pages would never be written.
  if (window % 97 == 0) window--;
  memory = mmap(NULL, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  generations = mmap(NULL, pages * sizeof *generations, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(memory != MAP_FAILED && generations != MAP_FAILED, "mmap");
  must(madvise(memory, pages * kPage, has_option("--huge") ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) == 0, "madvise");
  for (size_t page = 0; page < pages; page++) fill_page(page, 0);
  prctl(PR_SET_TIMERSLACK, 1000);
  ready();
  work(number_option("--rate", 0) * 256 / 1e9, (uint64_t)(number_option("--spin", 20) * 1000), has_option("--sleep"));
  check_common();
  if (program.sabotage) memory[(pages / 2) * kPage + 8] ^= 1;
  for (size_t page = 0, wrong = 0; page < pages && wrong < 20; page++) wrong += !expect_page(page);
  uint64_t total = 0;
  for (size_t page = 0; page < pages; page++) total += generations[page];
  expect_number("pages written", (long long)written, (long long)total);
  return finish();
}
