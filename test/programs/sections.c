// Two threads inside restartable sequences, rseq(2): each takes a number, spins, and commits what it took. Whoever
// stops a thread in there and makes it do something else must send it through its abort path, where it takes the
// number anew.
//
// FACT words ADDRESS: four words of 64 bits: what to take, whether to commit, what each thread has committed (0: not
// yet). FACT section START END ABORT: addresses of the code.
#include "program.h"
#include <sys/rseq.h>

static struct {
  _Atomic uint64_t number, commit, committed[2];
} words;
static atomic_bool stop;
extern const char section_start[], section_end[], section_abort[];

static __attribute__((noinline)) void commit_once(uint64_t* to) {
  struct rseq* own = (struct rseq*)((char*)__builtin_thread_pointer() + __rseq_offset);
  __asm__ volatile(
      ".pushsection .data.rel.ro.sections, \"aw\"\n"
      ".balign 32\n"
      "3: .long 0, 0\n"
      ".quad section_start, section_end - section_start, section_abort\n"
      ".popsection\n"
      "0: lea 3b(%%rip), %%rax\n"
      "mov %%rax, %[section]\n"
      "section_start: mov %[number], %%rcx\n"
      "1: pause\n"
      "cmpq $0, %[commit]\n"
      "je 1b\n"
      "mov %%rcx, (%[to])\n"
      "section_end: jmp 2f\n"
      ".byte 0x0f, 0xb9, 0x3d\n"  // an instruction that traps, with the signature the kernel looks for
      ".long 0x53053053\n"
      "section_abort: jmp 0b\n"
      "2: movq $0, %[section]\n"
      : [section] "+m"(own->rseq_cs)
      : [number] "m"(words.number), [commit] "m"(words.commit), [to] "r"(to)
      : "rax", "rcx", "memory", "cc");
}

static void* run(void* which) {
  _Atomic uint64_t* own = &words.committed[(uintptr_t)which];
  while (!atomic_load(&stop)) {
    commit_once((uint64_t*)own);
    while (atomic_load(own) != 0 && !atomic_load(&stop)) sched_yield();
  }
  return NULL;
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  must(__rseq_size != 0, "rseq registration by the C library");
  atomic_store(&words.number, 1);
  pthread_t threads[2];
  for (uintptr_t i = 0; i < 2; i++) must((errno = pthread_create(&threads[i], NULL, run, (void*)i)) == 0, "pthread_create");
  say("FACT words %p", (void*)&words);
  say("FACT section %p %p %p", (void*)section_start, (void*)section_end, (void*)section_abort);
  ready();
  wait_for_check();
  atomic_store(&words.commit, 1);
  for (int i = 0; i < 2; i++)
    while (atomic_load(&words.committed[i]) == 0) sleep_ms(1);
  if (program.sabotage) atomic_store(&words.committed[0], 7);
  for (int i = 0; i < 2; i++) {
    long long got = (long long)atomic_load(&words.committed[i]);
    expect_number("committed", (long long)atomic_load(&words.number), got);
  }
  atomic_store(&stop, true);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  return finish();
}
