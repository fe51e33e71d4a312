// A thread with little stack left, and data right below it: who needs room on that stack must not take it from there.
//
//   --merged   the data lies in the same mapping as the stack
#include "program.h"

enum { kLeft = 600, kHalf = 2 * kPage };

static uint64_t stop, placed;
static unsigned char* memory;

// Waits with the stack pointer at `top`, without using the stack.
static __attribute__((noinline)) void wait_on(void* top) {
  __asm__ volatile(
      "mov %%rsp, %%rbx\n"
      "mov %[top], %%rsp\n"
      "movq $1, %[placed]\n"
      "1: pause\n"
      "cmpq $0, %[stop]\n"
      "je 1b\n"
      "mov %%rbx, %%rsp\n"
      : [placed] "=m"(placed)
      : [top] "r"(top), [stop] "m"(stop)
      : "rbx", "memory", "cc");
}

static void* run(void* unused) {
  wait_on(memory + kHalf + kLeft);
  return unused;
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  memory = mmap(NULL, 2 * kHalf, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(memory != MAP_FAILED, "mmap");
  // Adjacent memory of one kind is one mapping, unless something differs.
  if (!has_option("--merged")) must(madvise(memory, kHalf, MADV_DONTDUMP) == 0, "madvise");
  fill_words(memory, kHalf, 3);
  pthread_t thread;
  must((errno = pthread_create(&thread, NULL, run, NULL)) == 0, "pthread_create");
  while (*(volatile uint64_t*)&placed == 0) sleep_ms(1);
  ready();
  wait_for_check();
  if (program.sabotage) memory[kHalf - 1] ^= 1;
  expect_words("what lies below the stack", memory, kHalf, 3);
  *(volatile uint64_t*)&stop = 1;
  pthread_join(thread, NULL);
  return finish();
}
