// What a migrated process begins as on the target: a static program without a C library that only waits to be
// traced, emptied and filled. Its own pages are gone before the first page of the real process lands.
__attribute__((naked, noreturn)) void _start(void) {
  __asm__ volatile("1: mov $34, %eax\n"  // pause(2)
                   "   syscall\n"
                   "   jmp 1b\n"
                   // Never executed where they stand. On the source, a skeleton also stands in for a program in
                   // rehearsals: these are what remote calls stand on there, as they do in a C library.
                   "   syscall\n"
                   "   ret\n"
                   "   mov $15, %rax\n"  // rt_sigreturn(2)
                   "   syscall");
}
