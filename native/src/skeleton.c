// What a migrated process begins as on the target: a static program without a C library that only waits to be
// traced, emptied and filled. Its own pages are gone before the first page of the real process lands.
__attribute__((naked, noreturn)) void _start(void) {
  // Who holds the other end of its standard input ends it by closing that, or by dying; without one it waits for ever.
  __asm__ volatile("   xor %eax, %eax\n"  // read(0, stack, 1)
                   "   xor %edi, %edi\n"
                   "   mov %rsp, %rsi\n"
                   "   mov $1, %edx\n"
                   "   syscall\n"
                   "   test %rax, %rax\n"
                   "   jnz 1f\n"
                   "   mov $231, %eax\n"  // exit_group(2)
                   "   syscall\n"
                   "1: mov $34, %eax\n"  // pause(2)
                   "   syscall\n"
                   "   jmp 1b\n"
                   // Never executed where they stand. On the source, a skeleton also stands in for a program in
                   // rehearsals: these are what remote calls stand on there, as they do in a C library.
                   "   syscall\n"
                   "   ret\n"
                   "   mov $15, %rax\n"  // rt_sigreturn(2)
                   "   syscall");
}
