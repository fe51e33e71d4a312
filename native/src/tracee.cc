#include "tracee.h"

#include <elf.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "arguments.h"
#include "exit_collector.h"
#include "read_whole.h"

namespace godwit {

namespace {

int64_t Now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ll + time.tv_nsec;
}

// The enum-typed first parameter of glibc's ptrace forbids plain numbers in C++.
long Trace(int request, pid_t tid, uintptr_t address, uintptr_t data) {
  return ptrace(static_cast<__ptrace_request>(request), tid, address, data);
}

}  // namespace

bool WaitResult::Stopped() const { return !gone && WIFSTOPPED(status); }
int WaitResult::Signal() const { return WSTOPSIG(status); }

int64_t DeadlineIn(int64_t milliseconds) { return Now() + milliseconds * 1000000; }

bool HasPassed(int64_t deadline_ns) { return Now() > deadline_ns; }

void PauseBetweenLooks(int look) {
  constexpr int kSpins = 200;
  if (look < kSpins) {
    __builtin_ia32_pause();
  } else {
    timespec nap{0, 50000};
    nanosleep(&nap, nullptr);
  }
}

WaitResult WaitFor(pid_t tid, int64_t deadline_ns) {
  // A blocking waitpid has no time limit.
  for (int look = 0;; look++) {
    WaitResult result{tid};
    pid_t got = waitpid(tid, &result.status, __WALL | WNOHANG);
    if (got == tid) return result;
    if (got < 0 && errno == ECHILD) {
      result.gone = true;
      return result;
    }
    FailIf(got < 0 && errno != EINTR, "waitpid", tid);
    if (HasPassed(deadline_ns)) Fail(ETIMEDOUT, "waitpid", tid, "the thread did not stop in time");
    PauseBetweenLooks(look);
  }
}

WaitResult WaitForInterrupt(pid_t tid, int64_t deadline_ns) {
  for (;;) {
    WaitResult result = WaitFor(tid, deadline_ns);
    if (!result.Stopped() || result.Event() == kEventStop) return result;
    int signal = result.Event() == 0 && result.Signal() != (SIGTRAP | 0x80) ? result.Signal() : 0;
    if (Trace(PTRACE_CONT, tid, 0, signal) != 0 && errno != ESRCH) Fail(errno, "ptrace(PTRACE_CONT)", tid);
  }
}

char StateLetter(pid_t tid) {
  std::vector<char> stat(1024);
  const std::string path = "/proc/" + std::to_string(tid) + "/stat";
  const ssize_t length = ReadWhole(AT_FDCWD, path.c_str(), stat);
  if (length <= 0) return 0;
  // The name stands in parentheses and may hold any character.
  const size_t name_end = std::string_view(stat.data(), length).rfind(')');
  return name_end != std::string_view::npos && name_end + 2 < static_cast<size_t>(length) ? stat[name_end + 2] : 0;
}

user_regs_struct GetRegisters(pid_t tid) {
  user_regs_struct registers;
  FailIf(Trace(PTRACE_GETREGS, tid, 0, reinterpret_cast<uintptr_t>(&registers)) != 0, "ptrace(PTRACE_GETREGS)", tid);
  return registers;
}

void SetRegisters(pid_t tid, const user_regs_struct& registers) {
  FailIf(Trace(PTRACE_SETREGS, tid, 0, reinterpret_cast<uintptr_t>(&registers)) != 0, "ptrace(PTRACE_SETREGS)", tid);
}

uint64_t GetSignalMask(pid_t tid) {
  uint64_t mask = 0;
  FailIf(Trace(kGetSignalMask, tid, 8, reinterpret_cast<uintptr_t>(&mask)) != 0, "ptrace(PTRACE_GETSIGMASK)", tid);
  return mask;
}

void SetSignalMask(pid_t tid, uint64_t mask) {
  FailIf(Trace(kSetSignalMask, tid, 8, reinterpret_cast<uintptr_t>(&mask)) != 0, "ptrace(PTRACE_SETSIGMASK)", tid);
}

std::vector<uint8_t> GetExtendedState(pid_t tid) {
  // AVX-512 with PKRU takes 2696 bytes, AMX tiles some 8 KB more.
  std::vector<uint8_t> state(16384);
  iovec vector{state.data(), state.size()};
  FailIf(Trace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, reinterpret_cast<uintptr_t>(&vector)) != 0,
         "ptrace(PTRACE_GETREGSET)", tid);
  state.resize(vector.iov_len);
  return state;
}

void ReadProcess(pid_t pid, uint64_t address, void* data, size_t bytes) {
  iovec local{data, bytes}, remote{reinterpret_cast<void*>(address), bytes};
  ssize_t got = process_vm_readv(pid, &local, 1, &remote, 1, 0);
  FailIf(got < 0, "process_vm_readv", pid);
  if (static_cast<size_t>(got) != bytes) Fail(EFAULT, "process_vm_readv", pid, "partial read");
}

void WriteProcess(pid_t pid, uint64_t address, const void* data, size_t bytes) {
  iovec local{const_cast<void*>(data), bytes}, remote{reinterpret_cast<void*>(address), bytes};
  ssize_t got = process_vm_writev(pid, &local, 1, &remote, 1, 0);
  FailIf(got < 0, "process_vm_writev", pid);
  if (static_cast<size_t>(got) != bytes) Fail(EFAULT, "process_vm_writev", pid, "partial write");
}

namespace {

std::vector<pid_t> Tids(const Napi::Value& value) {
  Napi::Array array = value.As<Napi::Array>();
  std::vector<pid_t> tids(array.Length());
  for (uint32_t i = 0; i < array.Length(); i++) tids[i] = Int(array.Get(i));
  return tids;
}

Napi::Value StateOf(Napi::Env env, const WaitResult& result) {
  Napi::Object state = Napi::Object::New(env);
  if (result.Stopped()) {
    state.Set("state", "stopped");
    state.Set("signal", result.Signal());
    state.Set("event", result.Event());
  } else if (!result.gone && WIFSIGNALED(result.status)) {
    state.Set("state", "killed");
    state.Set("signal", WTERMSIG(result.status));
  } else {
    state.Set("state", "exited");
    state.Set("code", result.gone ? 0 : WEXITSTATUS(result.status));
  }
  return state;
}

// Lets one tracee go. Only a stopped one can be detached, so one that runs (the thread that became another program
// while the others were being stopped) is stopped first; one that ended is collected, or its leader would never seem
// to end. What is not ours is left alone.
void LetGo(pid_t tid) {
  constexpr int64_t kPatienceMs = 200;
  if (Trace(PTRACE_DETACH, tid, 0, 0) == 0) return;
  if (errno != ESRCH) Fail(errno, "ptrace(PTRACE_DETACH)", tid);
  Trace(PTRACE_INTERRUPT, tid, 0, 0);
  try {
    if (WaitForInterrupt(tid, DeadlineIn(kPatienceMs)).Stopped()) Trace(PTRACE_DETACH, tid, 0, 0);
  } catch (const KernelFailure& failure) {
    // Our own end lets it go.
    if (failure.error != ETIMEDOUT) throw;
  }
}

void DetachAll(const std::vector<pid_t>& tids) {
  // The last thread first: its leader is the one whose state the rest of the system looks at.
  for (auto tid = tids.rbegin(); tid != tids.rend(); ++tid) LetGo(*tid);
}

// A thread that has ended but is still listed is refused like one that may not be traced (kernel/ptrace.c,
// ptrace_attach(): exit_state).
bool HasEnded(pid_t tid) {
  const char state = StateLetter(tid);
  return state == 0 || state == 'Z' || state == 'X';
}

Napi::Value StopAll(Napi::Env env, const std::vector<pid_t>& tids, int64_t timeout_ms, bool seize, int options) {
  std::vector<pid_t> held;
  held.reserve(tids.size());
  std::vector<bool> present(tids.size(), false);
  const ExitCollector collector(held);
  try {
    for (size_t i = 0; i < tids.size(); i++) {
      if (seize && Trace(PTRACE_SEIZE, tids[i], 0, options) != 0) {
        const int error = errno;
        if (error == ESRCH || (error == EPERM && HasEnded(tids[i]))) continue;
        Fail(error, "ptrace(PTRACE_SEIZE)", tids[i]);
      }
      held.push_back(tids[i]);
      present[i] = true;
      if (Trace(PTRACE_INTERRUPT, tids[i], 0, 0) != 0 && errno != ESRCH) {
        Fail(errno, "ptrace(PTRACE_INTERRUPT)", tids[i]);
      }
    }
    const int64_t deadline = DeadlineIn(timeout_ms);
    Napi::Array states = Napi::Array::New(env, tids.size());
    for (size_t i = 0; i < tids.size(); i++) {
      WaitResult result{tids[i]};
      result.gone = true;
      if (present[i]) result = WaitForInterrupt(tids[i], deadline);
      states.Set(static_cast<uint32_t>(i), StateOf(env, result));
    }
    return states;
  } catch (const KernelFailure&) {
    // A tracee that is not stopped cannot be detached; stop those that will, leave the rest to our own end:
    // the kernel detaches what a tracer leaves behind.
    if (seize) DetachAll(held);
    throw;
  }
}

Napi::Value Seize(const Napi::CallbackInfo& info) {
  FailIf(Trace(PTRACE_SEIZE, Int(info[0]), 0, Int(info[1])) != 0, "ptrace(PTRACE_SEIZE)", Int(info[0]));
  return info.Env().Undefined();
}

Napi::Value SeizeAndStop(const Napi::CallbackInfo& info) {
  return StopAll(info.Env(), Tids(info[0]), Int64(info[2]), true, Int(info[1]));
}

Napi::Value InterruptAndStop(const Napi::CallbackInfo& info) {
  return StopAll(info.Env(), Tids(info[0]), Int64(info[1]), false, 0);
}

Napi::Value WaitTracee(const Napi::CallbackInfo& info) {
  return StateOf(info.Env(), WaitFor(Int(info[0]), DeadlineIn(Int64(info[1]))));
}

Napi::Value ResumeTracee(const Napi::CallbackInfo& info) {
  FailIf(Trace(PTRACE_CONT, Int(info[0]), 0, Int(info[1])) != 0, "ptrace(PTRACE_CONT)", Int(info[0]));
  return info.Env().Undefined();
}

Napi::Value Detach(const Napi::CallbackInfo& info) {
  DetachAll(Tids(info[0]));
  return info.Env().Undefined();
}

Napi::Value SetTraceOptions(const Napi::CallbackInfo& info) {
  FailIf(Trace(PTRACE_SETOPTIONS, Int(info[0]), 0, Int(info[1])) != 0, "ptrace(PTRACE_SETOPTIONS)", Int(info[0]));
  return info.Env().Undefined();
}

Napi::Value EventMessage(const Napi::CallbackInfo& info) {
  unsigned long message = 0;
  FailIf(Trace(PTRACE_GETEVENTMSG, Int(info[0]), 0, reinterpret_cast<uintptr_t>(&message)) != 0,
         "ptrace(PTRACE_GETEVENTMSG)", Int(info[0]));
  return Napi::Number::New(info.Env(), static_cast<double>(message));
}

Napi::Uint8Array BytesOf(Napi::Env env, const void* data, size_t bytes) {
  Napi::Uint8Array array = Napi::Uint8Array::New(env, bytes);
  memcpy(array.Data(), data, bytes);
  return array;
}

Napi::Array QueuedSignals(Napi::Env env, pid_t tid, bool shared) {
  struct {
    uint64_t offset;
    uint32_t flags;  // PTRACE_PEEKSIGINFO_SHARED
    int32_t count;
  } arguments{0, shared ? 1u : 0u, 32};
  std::vector<siginfo_t> found(32);
  Napi::Array list = Napi::Array::New(env);
  for (;;) {
    long count = Trace(PTRACE_PEEKSIGINFO, tid, reinterpret_cast<uintptr_t>(&arguments),
                       reinterpret_cast<uintptr_t>(found.data()));
    FailIf(count < 0, "ptrace(PTRACE_PEEKSIGINFO)", tid);
    for (long i = 0; i < count; i++) list.Set(list.Length(), BytesOf(env, &found[i], sizeof found[i]));
    if (count < arguments.count) return list;
    arguments.offset += count;
  }
}

Napi::Value RseqOf(Napi::Env env, pid_t tid) {
  struct {
    uint64_t address;
    uint32_t size, signature, flags, pad;
  } rseq{};
  if (Trace(kGetRseqConfiguration, tid, sizeof rseq, reinterpret_cast<uintptr_t>(&rseq)) < 0 || rseq.address == 0) {
    return env.Null();
  }
  Napi::Object object = Napi::Object::New(env);
  object.Set("address", BigUint(env, rseq.address));
  object.Set("size", rseq.size);
  object.Set("signature", rseq.signature);
  return object;
}

Napi::Value ReadThreads(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Array images = Napi::Array::New(env);
  for (pid_t tid : Tids(info[0])) {
    user_regs_struct registers = GetRegisters(tid);
    Napi::BigUint64Array words = Napi::BigUint64Array::New(env, sizeof registers / 8);
    memcpy(words.Data(), &registers, sizeof registers);
    std::vector<uint8_t> extended = GetExtendedState(tid);
    Napi::Object image = Napi::Object::New(env);
    image.Set("tid", tid);
    image.Set("registers", words);
    image.Set("extendedState", BytesOf(env, extended.data(), extended.size()));
    image.Set("signalMask", BigUint(env, GetSignalMask(tid)));
    image.Set("rseq", RseqOf(env, tid));
    image.Set("pending", QueuedSignals(env, tid, false));
    images.Set(images.Length(), image);
  }
  return images;
}

Napi::Value WriteThread(const Napi::CallbackInfo& info) {
  pid_t tid = Int(info[0]);
  if (!info[1].IsUndefined()) {
    Napi::BigUint64Array words = info[1].As<Napi::BigUint64Array>();
    user_regs_struct registers;
    if (words.ByteLength() != sizeof registers) Fail(EINVAL, "ptrace(PTRACE_SETREGS)", tid, "27 words expected");
    memcpy(&registers, words.Data(), sizeof registers);
    SetRegisters(tid, registers);
  }
  if (!info[2].IsUndefined()) {
    Napi::Uint8Array state = info[2].As<Napi::Uint8Array>();
    iovec vector{state.Data(), state.ByteLength()};
    FailIf(Trace(PTRACE_SETREGSET, tid, NT_X86_XSTATE, reinterpret_cast<uintptr_t>(&vector)) != 0,
           "ptrace(PTRACE_SETREGSET)", tid);
  }
  if (!info[3].IsUndefined()) SetSignalMask(tid, Address(info[3]));
  return info.Env().Undefined();
}

Napi::Value PeekSignals(const Napi::CallbackInfo& info) {
  return QueuedSignals(info.Env(), Int(info[0]), info[1].As<Napi::Boolean>());
}

}  // namespace

void InitTracee(Napi::Env env, Napi::Object exports) {
  Export<Seize>(exports, "seize");
  Export<SeizeAndStop>(exports, "seizeAndStop");
  Export<InterruptAndStop>(exports, "interruptAndStop");
  Export<WaitTracee>(exports, "waitTracee");
  Export<ResumeTracee>(exports, "resumeTracee");
  Export<Detach>(exports, "detach");
  Export<SetTraceOptions>(exports, "setTraceOptions");
  Export<EventMessage>(exports, "eventMessage");
  Export<ReadThreads>(exports, "readThreads");
  Export<WriteThread>(exports, "writeThread");
  Export<PeekSignals>(exports, "peekSignals");
}

}  // namespace godwit
