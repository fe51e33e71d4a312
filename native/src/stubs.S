# Code that runs inside other processes. Position independent; touches no stack.
#
# A table entry is 8 words: number, six arguments, result.

        .text

# --- table_stub: runs a table in a skeleton, says so in memory, and waits to be interrupted. No trap: a SIGTRAP would be
#     forced through the program's own signal state.
#     rbx = first entry, r12 = number of entries, r13 = word that becomes 1 at the end
        .globl godwit_table_stub
        .globl godwit_table_stub_end
godwit_table_stub:
1:      mov     (%rbx), %rax
        mov     8(%rbx), %rdi
        mov     16(%rbx), %rsi
        mov     24(%rbx), %rdx
        mov     32(%rbx), %r10
        mov     40(%rbx), %r8
        mov     48(%rbx), %r9
        syscall
        mov     %rax, 56(%rbx)
        add     $64, %rbx
        dec     %r12
        jnz     1b
        movq    $1, (%r13)
2:      mov     $34, %eax                       # pause
        syscall
        jmp     2b
godwit_table_stub_end:

# --- carrier_stub: what one thread of a source executes while an agent works in it. No trap, no tracer: it waits for
#     work on a socket of which only the agent holds the other end; when that end closes, for whatever reason, it
#     removes all that was brought and lets the thread go on where it was.
#
#     r14 = stub base, r15 = stub bytes, rbp = address of `syscall; ret`, rsp -> [restorer][ucontext to return to]
#     control block at base + 2048:  +0 count of entries, +8 socket pair (two int32),
#                                    +16 number + 1 of a descriptor made for the agent, or 0: closed before the next
#                                        batch or at the end, whichever comes first
#                                    +24 address of the result of the coming batch that becomes +16, or 0
#     table at base + 4096
#     From godwit_carrier_stub_leave on it removes everything: also where an agent sends it that lets the thread go.
        .globl godwit_carrier_stub
        .globl godwit_carrier_stub_leave
        .globl godwit_carrier_stub_end
godwit_carrier_stub:
        mov     $53, %eax                       # socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)
        mov     $1, %edi
        mov     $02000001, %esi
        xor     %edx, %edx
        lea     2056(%r14), %r10
        syscall
        test    %rax, %rax                      # the tracer takes the first end here, at the syscall-exit stop
        jnz     8f
        mov     $3, %eax                        # close our copy of the agent's end
        mov     2056(%r14), %edi
        syscall
2:      mov     $45, %eax                       # recvfrom(own end, count, 8, MSG_WAITALL)
        mov     2060(%r14), %edi
        lea     2048(%r14), %rsi
        mov     $8, %edx
        mov     $0x100, %r10d
        xor     %r8d, %r8d
        xor     %r9d, %r9d
        syscall
        cmp     $8, %rax
        jne     5f
        mov     2064(%r14), %rdi
        test    %rdi, %rdi
        jz      4f
        movq    $0, 2064(%r14)
        dec     %rdi
        mov     $3, %eax
        syscall
4:      lea     4096(%r14), %rbx
        mov     2048(%r14), %r12
3:      mov     (%rbx), %rax
        mov     8(%rbx), %rdi
        mov     16(%rbx), %rsi
        mov     24(%rbx), %rdx
        mov     32(%rbx), %r10
        mov     40(%rbx), %r8
        mov     48(%rbx), %r9
        syscall
        mov     %rax, 56(%rbx)
        add     $64, %rbx
        dec     %r12
        jnz     3b
        mov     2072(%r14), %rbx
        test    %rbx, %rbx
        jz      9f
        mov     (%rbx), %rax
        test    %rax, %rax
        js      9f
        inc     %rax
        mov     %rax, 2064(%r14)
9:      mov     $44, %eax                       # sendto(own end, count, 8, MSG_NOSIGNAL)
        mov     2060(%r14), %edi
        lea     2048(%r14), %rsi
        mov     $8, %edx
        mov     $0x4000, %r10d
        xor     %r8d, %r8d
        xor     %r9d, %r9d
        syscall
        jmp     2b
godwit_carrier_stub_leave:
5:      mov     2064(%r14), %rdi
        test    %rdi, %rdi
        jz      7f
        dec     %rdi
        mov     $3, %eax
        syscall
7:      mov     $3, %eax
        mov     2060(%r14), %edi
        syscall
8:      mov     $11, %eax                       # munmap(base, bytes), executed outside of it; its ret takes the
        mov     %r14, %rdi                      # restorer from the stack, which does rt_sigreturn
        mov     %r15, %rsi
        jmp     *%rbp
godwit_carrier_stub_end:

        .section .note.GNU-stack,"",@progbits
