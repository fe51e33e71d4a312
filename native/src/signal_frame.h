// The frames that let a thread of a source go home without its tracer.
//
// Below the red zone of the thread's stack, and 32 bytes that are kept free, lies, from the top: the extended state, a
// ucontext with the home registers, and (for a carrier) a second ucontext that first unmaps the stub. A remote call is
// made from a `syscall; ret` with rsp at one of these frames: when nobody intervenes, the `ret` finds the restorer,
// rt_sigreturn(2) loads the ucontext, and the thread is where it was. No step of it needs the agent.
#pragma once
#include <sys/types.h>
#include <sys/user.h>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace godwit {

struct Gadgets {
  uint64_t syscall_ret;  // 0f 05 c3
  uint64_t restorer;     // mov $15, %rax; syscall
};

struct SignalFrames {
  uint64_t home = 0;       // rsp that leads home
  uint64_t undo = 0;       // rsp that leads to munmap(stub) and then home; equals home without a stub
  uint64_t arguments = 0;  // address of the argument bytes; the lowest that was written
  std::vector<uint8_t> covered;  // what was there before; empty where the stack had to grow
};

struct HomeState {
  user_regs_struct registers;
  std::vector<uint8_t> extended;
  uint64_t mask;
};

// Writes the frames onto the stack of `tid`, nowhere below `floor`. Throws KernelFailure EFAULT where the stack has no
// room; nothing has been written then.
SignalFrames WriteFrames(pid_t tid, const HomeState& home, const Gadgets& gadgets, uint64_t floor, uint64_t stub,
                         uint64_t stub_bytes, const void* arguments, size_t argument_bytes);

// Puts back what the frames covered: not every program keeps to the rule that nothing lives below the red zone. The
// thread must not stand on them any more.
void RemoveFrames(pid_t tid, const SignalFrames& frames);

}  // namespace godwit
