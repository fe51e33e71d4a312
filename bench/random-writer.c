// Writes single words all over its memory, at random and as fast as it can: what makes the tracking of writes dearest,
// since each first write to a page after a round faults. Nothing else is done, so the count of writes is the speed.
//
//   random-writer STATUS-FILE MEGABYTES
//
// Says "COUNTER address" (hexadecimal) and READY in STATUS-FILE; at that address stands the count of words written.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { kBetweenCounts = 1024 };
static volatile uint64_t counter;

int main(int argc, char** argv) {
  size_t bytes = argc == 3 ? (size_t)strtoul(argv[2], NULL, 10) << 20 : 0;
  if (bytes == 0) return 2;
  uint64_t* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 2;
  madvise(memory, bytes, MADV_NOHUGEPAGE);
  uint64_t words = bytes / sizeof *memory, x = 88172645463325252u;
  for (uint64_t i = 0; i < words; i++) memory[i] = i * x | 1;
  int status = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (status < 0 || dprintf(status, "COUNTER %llx\nREADY\n", (unsigned long long)(uintptr_t)&counter) < 0) return 2;
  for (;;) {
    for (int i = 0; i < kBetweenCounts; i++) {
      x ^= x << 13;
      x ^= x >> 7;
      x ^= x << 17;
      // The upper half times the range: as even as a division, and far cheaper.
      memory[(uint64_t)(((unsigned __int128)x * words) >> 64)] = x;
    }
    counter += kBetweenCounts;
  }
}
