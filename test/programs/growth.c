// Grows to ten times its size while it is moved, and changes what it has all the time.
//
//   --mb N        memory at READY (16); it grows tenfold, in mappings, by the program break, and within a mapping
//   --mergeable   nearly all pages are alike, and may be merged (MADV_MERGEABLE)
#include "program.h"

enum { kStep = 1 << 20, kMostSteps = 2000, kAlike = 4 };
static char* piece[kMostSteps];
static uint64_t* written;  // by piece: which pattern it holds
static atomic_int pieces;
static bool mergeable;
static char* reserved;

static uint64_t word_of(int at, uint64_t generation, size_t word) {
  if (mergeable) return mix(generation % kAlike << 32 | word % 512);
  return mix(generation << 40 | (uint64_t)at << 20 | word);
}

static void fill(int at, uint64_t generation) {
  uint64_t* words = (uint64_t*)piece[at];
  for (size_t i = 0; i < kStep / 8; i++) words[i] = word_of(at, generation, i);
  written[at] = generation;
}

static bool verify(int at) {
  const uint64_t* words = (const uint64_t*)piece[at];
  for (size_t i = 0; i < kStep / 8; i++) {
    if (words[i] == word_of(at, written[at], i)) continue;
    fail("piece %d at word %zu, expected 0x%llx, got 0x%llx", at, i, (unsigned long long)word_of(at, written[at], i),
         (unsigned long long)words[i]);
    return false;
  }
  return true;
}

static void grow(void) {
  int at = atomic_load(&pieces);
  switch (at % 3) {
    case 0:
      piece[at] = mmap(NULL, kStep, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      break;
    case 1:
      piece[at] = sbrk(kStep);
      break;
    default:
      piece[at] = reserved;
      reserved += kStep;
  }
  must(piece[at] != MAP_FAILED && mprotect((void*)((uintptr_t)piece[at] & -(uintptr_t)kPage), kStep, PROT_READ | PROT_WRITE) == 0,
       "growing");
  if (mergeable) madvise((void*)((uintptr_t)piece[at] & -(uintptr_t)kPage), kStep, MADV_MERGEABLE);
  fill(at, 1);
  atomic_store(&pieces, at + 1);
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  mergeable = has_option("--mergeable");
  int first = (int)number_option("--mb", 16), most = 10 * first;
  must(most <= kMostSteps, "--mb of 200 at most");
  reserved = mmap(NULL, (size_t)most * kStep, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  written = mmap(NULL, kMostSteps * sizeof *written, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(reserved != MAP_FAILED && written != MAP_FAILED, "mmap");
  must(sbrk(-(intptr_t)sbrk(0) & (kPage - 1)) != (void*)-1, "sbrk");
  while (atomic_load(&pieces) < first) grow();
  ready();
  uint64_t generation = 1;
  bool growing = true;
  for (int turn = 0; growing || !check_wanted(); turn++) {
    if (growing) grow();
    growing = atomic_load(&pieces) < most;
    int at = (int)(mix((uint64_t)turn) % (uint64_t)atomic_load(&pieces));
    if (verify(at)) fill(at, ++generation);
    sleep_ms(growing ? 5 : 100);
  }
  check_common();
  expect_number("pieces", most, atomic_load(&pieces));
  if (program.sabotage) piece[most / 2][kStep / 2] ^= 1;
  for (int i = 0; i < atomic_load(&pieces); i++) verify(i);
  return finish();
}
