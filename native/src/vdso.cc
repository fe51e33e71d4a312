// What it takes to let a thread finish a function of the vdso elsewhere: the data that the function works with, the time
// of its host, and instruction after instruction under control.
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <unistd.h>
#include <algorithm>
#include <cstring>

#include "arguments.h"
#include "scoped_fd.h"
#include "tracee.h"

namespace godwit {

namespace {

constexpr size_t kPageBytes = 4096;

// Pages of the kernel's data can be read by their own process alone: no other call takes pages without a struct page.
// Touching one that the kernel leaves out raises SIGBUS; a kernel that copies it for write(2) says EFAULT.
Napi::Value ReadOwnPages(const Napi::CallbackInfo& info) {
  const uint64_t address = Address(info[0]);
  const int count = Int(info[1]);
  int ends[2];
  FailIf(pipe2(ends, O_CLOEXEC) != 0, "pipe2");
  const ScopedFd out(ends[0]), in(ends[1]);
  Napi::Array pages = Napi::Array::New(info.Env(), count);
  for (int i = 0; i < count; i++) {
    const ssize_t put = write(in.Get(), reinterpret_cast<const void*>(address + i * kPageBytes), kPageBytes);
    if (put < 0 && errno == EFAULT) {
      pages.Set(i, info.Env().Null());
      continue;
    }
    FailIf(put != kPageBytes, "write");
    auto page = Napi::Buffer<uint8_t>::New(info.Env(), kPageBytes);
    FailIf(read(out.Get(), page.Data(), kPageBytes) != kPageBytes, "read");
    pages.Set(i, page);
  }
  return pages;
}

// rdtsc and rdtscp: the instruction stands at rip, without prefixes.
bool ReadsTimeStamp(pid_t tid, uint64_t rip, uint64_t end) {
  uint8_t code[3] = {};
  ReadProcess(tid, rip, code, std::min<uint64_t>(sizeof code, end - rip));
  const bool rdtsc = code[0] == 0x0f && code[1] == 0x31;
  const bool rdtscp = code[0] == 0x0f && code[1] == 0x01 && code[2] == 0xf9;
  return rdtsc || rdtscp;
}

void Step(pid_t tid) {
  constexpr int64_t kStepMs = 5000;
  for (;;) {
    FailIf(ptrace(PTRACE_SINGLESTEP, tid, nullptr, nullptr) != 0, "ptrace(PTRACE_SINGLESTEP)", tid);
    const WaitResult result = WaitFor(tid, DeadlineIn(kStepMs));
    if (!result.Stopped()) Fail(ESRCH, "ptrace(PTRACE_SINGLESTEP)", tid);
    // What remains of an interrupt is reported first.
    if (result.Event() == kEventStop) continue;
    siginfo_t what;
    FailIf(ptrace(PTRACE_GETSIGINFO, tid, nullptr, &what) != 0, "ptrace(PTRACE_GETSIGINFO)", tid);
    // A fault, or a SIGTRAP that somebody sent: nothing that a step ends with.
    if (result.Signal() != SIGTRAP || what.si_code <= 0) Fail(EFAULT, "ptrace(PTRACE_SINGLESTEP)", tid);
    return;
  }
}

Napi::Value StepOut(const Napi::CallbackInfo& info) {
  const pid_t tid = Int(info[0]);
  const auto ranges = info[1].As<Napi::BigUint64Array>();
  const uint64_t time_stamp = Address(info[2]);
  const int most = Int(info[3]);
  for (int steps = 0; steps <= most; steps++) {
    const uint64_t rip = GetRegisters(tid).rip;
    uint64_t end = 0;
    for (size_t i = 0; i + 1 < ranges.ElementLength(); i += 2) {
      if (ranges[i] <= rip && rip < ranges[i + 1]) end = ranges[i + 1];
    }
    if (end == 0) return Napi::Number::New(info.Env(), steps);
    const bool reads_time = ReadsTimeStamp(tid, rip, end);
    Step(tid);
    if (!reads_time) continue;
    user_regs_struct registers = GetRegisters(tid);
    registers.rax = time_stamp & 0xffffffff;
    registers.rdx = time_stamp >> 32;
    SetRegisters(tid, registers);
  }
  Fail(ELOOP, "ptrace(PTRACE_SINGLESTEP)", tid, "the function does not return");
}

}  // namespace

void InitVdso(Napi::Env env, Napi::Object exports) {
  Export<ReadOwnPages>(exports, "readOwnPages");
  Export<StepOut>(exports, "stepOut");
}

}  // namespace godwit
