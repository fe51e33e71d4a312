#include "signal_frame.h"

#include <cpuid.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <cerrno>
#include <algorithm>
#include <cstring>
#include <string>

#include "scoped_fd.h"
#include "tracee.h"

namespace godwit {

namespace {

// struct sigcontext and struct ucontext as the kernel reads them in rt_sigreturn(2); see
// arch/x86/include/uapi/asm/sigcontext.h. glibc's types differ in the tail.
struct SignalContext {
  uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
  uint16_t cs, gs, fs, ss;
  uint64_t error, trap, old_mask, fault_address, extended_state, reserved[8];
};

struct Context {
  uint64_t flags, link, stack;
  uint32_t stack_flags, pad;
  uint64_t stack_bytes;
  SignalContext machine;
  uint64_t mask;
};

// Below the red zone lies the time-out of an interrupted call (source-agent/frozen-wait.ts).
constexpr uint64_t kKept = 128 + 32;
constexpr uint64_t kContextFlags = 7;  // UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
// rt_sigreturn also sets the alternate stack from the frame, and ignores what it finds invalid: so the thread keeps
// the one it has (restore_altstack in kernel/signal.c).
constexpr uint32_t kKeepAlternateStack = 0x7fff;

Context ContextOf(const user_regs_struct& r, uint64_t mask, uint64_t extended_state) {
  Context context{};
  context.flags = kContextFlags;
  context.stack_flags = kKeepAlternateStack;
  context.machine = {r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rbp, r.rbx, r.rdx, r.rax,
                     r.rcx, r.rsp, r.rip, r.eflags, static_cast<uint16_t>(r.cs), 0, 0, static_cast<uint16_t>(r.ss),
                     0, 0, 0, 0, extended_state, {}};
  context.mask = mask;
  return context;
}

constexpr size_t kHeaderEnd = 576;  // of the legacy area and the XSAVE header
// XTILE_DATA: a thread has room for it only once it has used it (Documentation/arch/x86/xstate.rst).
constexpr uint64_t kFeaturesOnDemand = 1ull << 18;

// Where the standard format of XSAVE ends for these features; Intel SDM volume 1, 13.4.
size_t ExtendedStateEnd(uint64_t features) {
  size_t end = kHeaderEnd;
  for (unsigned feature = 2; feature < 63; feature++) {
    unsigned size, offset, flags, unused;
    if (!(features >> feature & 1) || !__get_cpuid_count(0xd, feature, &size, &offset, &flags, &unused)) continue;
    end = std::max<size_t>(end, offset + size);
  }
  return end;
}

// Turns what PTRACE_GETREGSET gave into what sigreturn takes: the software-reserved bytes of the FXSAVE area (464-511)
// name the size and features, and a second magic number follows the state. The regset has room for all that the CPU
// knows; more than the thread itself has room for, and sigreturn takes the SSE state only (check_xstate_in_sigframe in
// arch/x86/kernel/fpu/signal.c).
std::vector<uint8_t> SignalExtendedState(const std::vector<uint8_t>& regset) {
  if (regset.size() < kHeaderEnd) Fail(EINVAL, "extended state");
  uint64_t features, in_use;
  memcpy(&features, &regset[464], 8);  // the regset keeps XCR0 here
  memcpy(&in_use, &regset[512], 8);
  features &= ~kFeaturesOnDemand | in_use;
  std::vector<uint8_t> state = regset;
  state.resize(std::min(regset.size(), ExtendedStateEnd(features)));
  const uint32_t bytes = static_cast<uint32_t>(state.size());
  struct {
    uint32_t magic1, extended_bytes;
    uint64_t features;
    uint32_t state_bytes, padding[7];
  } reserved{0x46505853, bytes + 4, features, bytes, {}};
  static_assert(sizeof reserved == 48);
  const auto* bytes_of = reinterpret_cast<const uint8_t*>(&reserved);
  std::copy_n(bytes_of, sizeof reserved, state.begin() + 464);
  const uint32_t magic2 = 0x46505845;
  state.insert(state.end(), reinterpret_cast<const uint8_t*>(&magic2), reinterpret_cast<const uint8_t*>(&magic2) + 4);
  return state;
}

void WriteGrowing(pid_t tid, uint64_t address, const std::vector<uint8_t>& data) {
  const ScopedFd memory(open(("/proc/" + std::to_string(tid) + "/mem").c_str(), O_WRONLY | O_CLOEXEC));
  FailIf(!memory, "open(/proc/PID/mem)", tid);
  // From the top down: the stack grows towards what is written.
  for (size_t end = data.size(); end > 0;) {
    const size_t begin = end > 4096 ? end - 4096 : 0;
    const ssize_t written = pwrite(memory.Get(), &data[begin], end - begin, static_cast<off_t>(address + begin));
    if (written != static_cast<ssize_t>(end - begin)) Fail(EFAULT, "write(/proc/PID/mem)", tid, "no room on the stack");
    end = begin;
  }
}

}  // namespace

SignalFrames WriteFrames(pid_t tid, const HomeState& home, const Gadgets& gadgets, uint64_t floor, uint64_t stub,
                         uint64_t stub_bytes, const void* arguments, size_t argument_bytes) {
  const std::vector<uint8_t> state = SignalExtendedState(home.extended);
  const uint64_t state_at = (home.registers.rsp - kKept - state.size()) & ~63ull;
  const uint64_t home_context_at = (state_at - sizeof(Context)) & ~15ull;
  const uint64_t undo_context_at = (home_context_at - 16 - sizeof(Context)) & ~15ull;

  SignalFrames frames;
  frames.home = home_context_at - 8;
  frames.undo = stub ? undo_context_at - 8 : frames.home;
  frames.arguments = (undo_context_at - 16 - argument_bytes) & ~63ull;

  if (frames.arguments < floor || frames.arguments > home.registers.rsp) {
    Fail(EFAULT, "remote call", tid, "no room on the stack");
  }

  std::vector<uint8_t> image(state_at + state.size() - frames.arguments, 0);
  auto put = [&](uint64_t address, const void* data, size_t bytes) {
    memcpy(&image[address - frames.arguments], data, bytes);
  };
  if (argument_bytes) put(frames.arguments, arguments, argument_bytes);
  put(state_at, state.data(), state.size());
  const Context home_context = ContextOf(home.registers, home.mask, state_at);
  put(home_context_at, &home_context, sizeof home_context);
  put(frames.home, &gadgets.restorer, 8);
  if (stub) {
    user_regs_struct unmap = home.registers;
    unmap.rip = gadgets.syscall_ret;
    unmap.rsp = frames.home;
    unmap.rax = SYS_munmap;
    unmap.rdi = stub;
    unmap.rsi = stub_bytes;
    const Context undo_context = ContextOf(unmap, ~0ull, state_at);
    put(undo_context_at, &undo_context, sizeof undo_context);
    put(frames.undo, &gadgets.restorer, 8);
  }
  try {
    frames.covered.resize(image.size());
    ReadProcess(tid, frames.arguments, frames.covered.data(), frames.covered.size());
    WriteProcess(tid, frames.arguments, image.data(), image.size());
  } catch (const KernelFailure& failure) {
    if (failure.error != EFAULT) throw;
    frames.covered.clear();
    // The main thread's stack grows on demand, but only ptrace and /proc/PID/mem may make it (mm/memory.c,
    // __access_remote_vm).
    WriteGrowing(tid, frames.arguments, image);
  }
  return frames;
}

void RemoveFrames(pid_t tid, const SignalFrames& frames) {
  if (!frames.covered.empty()) WriteProcess(tid, frames.arguments, frames.covered.data(), frames.covered.size());
}

}  // namespace godwit
