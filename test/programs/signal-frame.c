// Takes a signal on an alternate stack of a given size: SIGNAL-FRAME BYTES. Says nothing; ends with 0 if the frame
// found room, by SIGSEGV if not. No move: it measures what shared/cpu-features.ts computes.
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

static void on_signal(int signal) { (void)signal; }

int main(int argc, char** argv) {
  size_t size = argc > 1 ? (size_t)atol(argv[1]) : 0;
  char* memory = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 2;
  stack_t stack = {.ss_sp = memory + (1 << 20), .ss_size = size};
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
  if (sigaltstack(&stack, NULL) != 0 || sigaction(SIGUSR1, &action, NULL) != 0) return 2;
  return raise(SIGUSR1);
}
