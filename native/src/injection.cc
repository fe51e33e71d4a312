// System calls executed by other processes: in sources crash-safe (see signal_frame.h), in skeletons by trap.
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include "arguments.h"
#include "scoped_fd.h"
#include "signal_frame.h"
#include "tracee.h"

extern "C" const uint8_t godwit_table_stub[], godwit_table_stub_end[];
extern "C" const uint8_t godwit_carrier_stub[], godwit_carrier_stub_leave[], godwit_carrier_stub_end[];

namespace godwit {

namespace {

constexpr int64_t kCallTimeoutMs = 5000;
constexpr uint64_t kArgumentBase = 0x7fff000000000000;
constexpr uint64_t kArgumentLimit = 0x10000;

// Layout of a carrier stub; stubs.S knows the first three.
constexpr uint64_t kControlOffset = 2048;
constexpr uint64_t kTableOffset = 4096;
constexpr uint64_t kScratchOffset = 0x10000;
constexpr uint64_t kCarrierBytes = 0x20000;
constexpr size_t kEntryBytes = 64;
constexpr size_t kCarrierEntries = (kScratchOffset - kTableOffset) / kEntryBytes;

struct Control {
  uint64_t count;
  int32_t sockets[2];
  uint64_t owned, next_owned;
};

struct Entry {
  int64_t number, arguments[6], result;
};
static_assert(sizeof(Entry) == kEntryBytes);

long Trace(int request, pid_t tid, uintptr_t data) {
  return ptrace(static_cast<__ptrace_request>(request), tid, 0, data);
}

HomeState HomeOf(const Napi::Value& image_value, const Napi::Value& home_value) {
  Napi::Object image = image_value.As<Napi::Object>();
  Napi::BigUint64Array words = home_value.As<Napi::BigUint64Array>();
  Napi::Uint8Array extended = image.Get("extendedState").As<Napi::Uint8Array>();
  HomeState home;
  if (words.ByteLength() != sizeof home.registers || extended.ByteLength() < 576) Fail(EINVAL, "thread image");
  memcpy(&home.registers, words.Data(), sizeof home.registers);
  home.extended.assign(extended.Data(), extended.Data() + extended.ByteLength());
  home.mask = Address(image.Get("signalMask"));
  return home;
}

user_regs_struct RegistersOf(const Napi::Value& image) {
  Napi::BigUint64Array words = image.As<Napi::Object>().Get("registers").As<Napi::BigUint64Array>();
  user_regs_struct registers;
  if (words.ByteLength() != sizeof registers) Fail(EINVAL, "thread image");
  memcpy(&registers, words.Data(), sizeof registers);
  return registers;
}

// Runs to the next system call stop (PTRACE_O_TRACESYSGOOD). Never PTRACE_SINGLESTEP: its flag would outlive us.
// SIGSTOP cannot be blocked: it is passed on, and takes effect when the thread is let go.
void ToSyscallStop(pid_t tid) {
  const int64_t deadline = DeadlineIn(kCallTimeoutMs);
  for (int signal = 0;;) {
    FailIf(Trace(PTRACE_SYSCALL, tid, signal) != 0, "ptrace(PTRACE_SYSCALL)", tid);
    WaitResult result = WaitFor(tid, deadline);
    if (!result.Stopped()) Fail(ESRCH, "remote call", tid, "the thread ended");
    if (result.Event() == 0 && result.Signal() == (SIGTRAP | 0x80)) return;
    signal = result.Event() == 0 && result.Signal() == SIGSTOP ? SIGSTOP : 0;
    if (signal == 0 && result.Event() != kEventStop) Fail(EIO, "remote call", tid, "unexpected stop " + std::to_string(result.status));
  }
}

// One call from `syscall; ret` with rsp at a frame. The mask is set after the registers: a thread that loses its
// tracer between the two must already stand on a frame that restores the mask.
int64_t CallFromFrame(pid_t tid, const user_regs_struct& base, const Gadgets& gadgets, uint64_t rsp, const Entry& call) {
  user_regs_struct registers = base;
  registers.rip = gadgets.syscall_ret;
  registers.rsp = rsp;
  registers.orig_rax = ~0ull;
  registers.rax = call.number;
  registers.rdi = call.arguments[0];
  registers.rsi = call.arguments[1];
  registers.rdx = call.arguments[2];
  registers.r10 = call.arguments[3];
  registers.r8 = call.arguments[4];
  registers.r9 = call.arguments[5];
  SetRegisters(tid, registers);
  SetSignalMask(tid, ~0ull);
  ToSyscallStop(tid);
  ToSyscallStop(tid);
  return static_cast<int64_t>(GetRegisters(tid).rax);
}

// Back to what the thread was when it was stopped. The mask goes first: until the registers follow, the thread
// stands on a frame.
void Restore(pid_t tid, const user_regs_struct& registers, uint64_t mask) {
  SetSignalMask(tid, mask);
  SetRegisters(tid, registers);
}

Napi::Value InjectCalls(const Napi::CallbackInfo& info) {
  const HomeState home = HomeOf(info[0], info[1]);
  const user_regs_struct original = RegistersOf(info[0]);
  const pid_t tid = Int(info[0].As<Napi::Object>().Get("tid"));
  const Gadgets gadgets{Address(info[2]), Address(info[3])};
  Napi::BigInt64Array words = info[4].As<Napi::BigInt64Array>();
  Napi::Uint8Array arguments = info[5].As<Napi::Uint8Array>();

  const SignalFrames frames =
      WriteFrames(tid, home, gadgets, Address(info[6]), 0, 0, arguments.Data(), arguments.ByteLength());
  Entry* entries = reinterpret_cast<Entry*>(words.Data());
  for (size_t i = 0; i < words.ByteLength() / sizeof(Entry); i++) {
    Entry call = entries[i];
    for (int64_t& argument : call.arguments) {
      uint64_t offset = static_cast<uint64_t>(argument) - kArgumentBase;
      if (offset < kArgumentLimit) argument = static_cast<int64_t>(frames.arguments + offset);
    }
    entries[i].result = CallFromFrame(tid, home.registers, gadgets, frames.home, call);
  }
  Napi::Uint8Array after = Napi::Uint8Array::New(info.Env(), arguments.ByteLength());
  if (after.ByteLength()) ReadProcess(tid, frames.arguments, after.Data(), after.ByteLength());
  Restore(tid, original, home.mask);
  RemoveFrames(tid, frames);
  return after;
}

class Carrier : public Napi::ObjectWrap<Carrier> {
 public:
  static Napi::FunctionReference* constructor;

  static void Define(Napi::Env env) {
    Napi::Function type = DefineClass(env, "Carrier",
                                      {InstanceMethod<&Carrier::Run>("run"), InstanceMethod<&Carrier::Stop>("stop"),
                                       InstanceMethod<&Carrier::Release>("release"),
                                       InstanceAccessor<&Carrier::Tid>("tid"),
                                       InstanceAccessor<&Carrier::Start>("start"),
                                       InstanceAccessor<&Carrier::End>("end"),
                                       InstanceAccessor<&Carrier::Scratch>("scratch"),
                                       InstanceAccessor<&Carrier::ScratchBytes>("scratchBytes"),
                                       InstanceAccessor<&Carrier::Descriptor>("descriptor")});
    constructor = new Napi::FunctionReference(Napi::Persistent(type));
  }

  // (image, home, gadget, restorer, address, pidfd, floor)
  explicit Carrier(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Carrier>(info) {
    try {
      Install(info);
    } catch (const KernelFailure& failure) {
      throw ToJavaScript(info.Env(), failure);
    }
  }

 private:
  void Install(const Napi::CallbackInfo& info) {
    home_ = HomeOf(info[0], info[1]);
    original_ = RegistersOf(info[0]);
    tid_ = Int(info[0].As<Napi::Object>().Get("tid"));
    gadgets_ = {Address(info[2]), Address(info[3])};
    stub_ = Address(info[4]);
    frames_ = WriteFrames(tid_, home_, gadgets_, Address(info[6]), stub_, kCarrierBytes, nullptr, 0);

    const Entry map{SYS_mmap,
                    {static_cast<int64_t>(stub_), kCarrierBytes, PROT_READ | PROT_WRITE | PROT_EXEC,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0},
                    0};
    const int64_t mapped = CallFromFrame(tid_, home_.registers, gadgets_, frames_.undo, map);
    if (mapped != static_cast<int64_t>(stub_)) {
      Restore(tid_, original_, home_.mask);
      RemoveFrames(tid_, frames_);
      Fail(mapped < 0 ? static_cast<int>(-mapped) : EEXIST, "mmap", tid_, "no place for the stub");
    }
    WriteProcess(tid_, stub_, godwit_carrier_stub, godwit_carrier_stub_end - godwit_carrier_stub);

    EnterStub(godwit_carrier_stub);
    ToSyscallStop(tid_);  // entering socketpair
    ToSyscallStop(tid_);  // leaving it
    Control control;
    const int64_t made = static_cast<int64_t>(GetRegisters(tid_).rax);
    if (made == 0) {
      ReadProcess(tid_, stub_ + kControlOffset, &control, sizeof control);
      descriptor_ = control.sockets[1];
      socket_.Reset(static_cast<int>(syscall(SYS_pidfd_getfd, Int(info[5]), control.sockets[0], 0)));
    }
    const int error = made != 0 ? static_cast<int>(-made) : errno;
    const bool connected = static_cast<bool>(socket_);
    FailIf(Trace(PTRACE_DETACH, tid_, 0) != 0, "ptrace(PTRACE_DETACH)", tid_);
    // Without a socket the stub finds nobody at the other end and sends the thread home by itself.
    if (!connected) Fail(error, made != 0 ? "socketpair" : "pidfd_getfd", tid_, "no channel to the stub");
    // A first answer: the stub has closed its copy of our end by then, so nobody sees it in the process.
    Entry hello{SYS_getpid, {}, 0};
    RunEntries(&hello, 1, -1);
  }

  // The registers with which the stub works; it leads home from any of its places when the agent is gone.
  void EnterStub(const uint8_t* place) {
    user_regs_struct registers = home_.registers;
    registers.rip = stub_ + (place - godwit_carrier_stub);
    registers.rsp = frames_.home;
    registers.r14 = stub_;
    registers.r15 = kCarrierBytes;
    registers.rbp = gadgets_.syscall_ret;
    registers.orig_rax = ~0ull;
    SetRegisters(tid_, registers);
  }

  Napi::Value Run(const Napi::CallbackInfo& info) {
    try {
      RunTable(info[0].As<Napi::BigInt64Array>(), info[1].IsNumber() ? Int(info[1]) : -1);
    } catch (const KernelFailure& failure) {
      throw ToJavaScript(info.Env(), failure);
    }
    return info.Env().Undefined();
  }

  void RunTable(Napi::BigInt64Array words, int owned) {
    RunEntries(reinterpret_cast<Entry*>(words.Data()), words.ByteLength() / sizeof(Entry), owned);
  }

  void RunEntries(Entry* entries, size_t total, int owned) {
    if (!socket_) Fail(EPIPE, "remote call", tid_, "the stub was stopped");
    for (size_t done = 0; done < total; done += kCarrierEntries) {
      const uint64_t count = std::min(total - done, kCarrierEntries);
      const uint64_t table = stub_ + kTableOffset;
      const bool holds_owned = owned >= 0 && static_cast<size_t>(owned) - done < count;
      const uint64_t next_owned = holds_owned ? table + (owned - done) * kEntryBytes + offsetof(Entry, result) : 0;
      WriteProcess(tid_, stub_ + kControlOffset + offsetof(Control, next_owned), &next_owned, 8);
      WriteProcess(tid_, table, entries + done, count * sizeof(Entry));
      FailIf(send(socket_.Get(), &count, 8, MSG_NOSIGNAL) != 8, "send to the stub", tid_);
      AwaitAnswer();
      uint64_t answer;
      if (recv(socket_.Get(), &answer, 8, MSG_WAITALL) != 8) Fail(ESRCH, "remote call", tid_, "the thread ended");
      ReadProcess(tid_, table, entries + done, count * sizeof(Entry));
    }
  }

  // Nobody holds the thread that carries the stub, so a stop signal reaches it as any other thread.
  void AwaitAnswer() {
    constexpr int kSliceMs = 20;
    pollfd ready{socket_.Get(), POLLIN, 0};
    const int64_t deadline = DeadlineIn(kCallTimeoutMs);
    while (poll(&ready, 1, kSliceMs) != 1) {
      if (StateLetter(tid_) == 'T') Fail(EBUSY, "remote call", tid_, "the thread was stopped by a signal");
      if (HasPassed(deadline)) Fail(ETIMEDOUT, "remote call", tid_);
    }
  }

  void Seize() {
    if (seized_) return;
    FailIf(Trace(PTRACE_SEIZE, tid_, PTRACE_O_TRACESYSGOOD) != 0, "ptrace(PTRACE_SEIZE)", tid_);
    seized_ = true;
    FailIf(Trace(PTRACE_INTERRUPT, tid_, 0) != 0, "ptrace(PTRACE_INTERRUPT)", tid_);
    WaitResult result = WaitForInterrupt(tid_, DeadlineIn(kCallTimeoutMs));
    if (!result.Stopped()) Fail(ESRCH, "waitpid", tid_, "the thread ended");
    stopped_by_ = result.Signal();
  }

  Napi::Value Stop(const Napi::CallbackInfo& info) {
    try {
      Seize();
    } catch (const KernelFailure& failure) {
      throw ToJavaScript(info.Env(), failure);
    }
    return Napi::Number::New(info.Env(), stopped_by_);
  }

  Napi::Value Release(const Napi::CallbackInfo& info) {
    try {
      Seize();
      // The stub itself removes what was brought: where we die meanwhile, it goes on and nothing is left.
      EnterStub(godwit_carrier_stub_leave);
      for (bool last = false; !last;) {
        ToSyscallStop(tid_);
        last = GetRegisters(tid_).orig_rax == SYS_munmap;
        ToSyscallStop(tid_);
      }
      Restore(tid_, original_, home_.mask);
      RemoveFrames(tid_, frames_);
      socket_.Reset();
    } catch (const KernelFailure& failure) {
      throw ToJavaScript(info.Env(), failure);
    }
    return info.Env().Undefined();
  }

  Napi::Value Tid(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), tid_); }
  Napi::Value Start(const Napi::CallbackInfo& info) { return BigUint(info.Env(), stub_); }
  Napi::Value End(const Napi::CallbackInfo& info) { return BigUint(info.Env(), stub_ + kCarrierBytes); }
  Napi::Value Scratch(const Napi::CallbackInfo& info) { return BigUint(info.Env(), stub_ + kScratchOffset); }
  Napi::Value ScratchBytes(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), kCarrierBytes - kScratchOffset);
  }

  Napi::Value Descriptor(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), descriptor_); }

  pid_t tid_ = 0;
  int descriptor_ = -1;
  HomeState home_;
  user_regs_struct original_;
  Gadgets gadgets_{};
  uint64_t stub_ = 0;
  SignalFrames frames_;
  ScopedFd socket_;
  bool seized_ = false;
  int stopped_by_ = 0;
};

Napi::FunctionReference* Carrier::constructor = nullptr;

Napi::Value Carry(const Napi::CallbackInfo& info) {
  return Carrier::constructor->New({info[0], info[1], info[2], info[3], info[4], info[5], info[6]});
}

Napi::Value FindBytes(const Napi::CallbackInfo& info) {
  const pid_t pid = Int(info[0]);
  Napi::BigUint64Array ranges = info[1].As<Napi::BigUint64Array>();
  Napi::Uint8Array pattern = info[2].As<Napi::Uint8Array>();
  const std::string_view wanted(reinterpret_cast<const char*>(pattern.Data()), pattern.ByteLength());
  constexpr size_t kChunk = 1 << 20;
  std::vector<char> buffer(kChunk + wanted.size());
  for (size_t i = 0; i + 1 < ranges.ElementLength(); i += 2) {
    for (uint64_t at = ranges[i]; at < ranges[i + 1]; at += kChunk) {
      const size_t bytes = std::min<uint64_t>(buffer.size(), ranges[i + 1] - at);
      iovec local{buffer.data(), bytes}, remote{reinterpret_cast<void*>(at), bytes};
      const ssize_t got = process_vm_readv(pid, &local, 1, &remote, 1, 0);
      if (got <= 0) break;
      const size_t found = std::string_view(buffer.data(), got).find(wanted);
      if (found != std::string_view::npos) return BigUint(info.Env(), at + found);
    }
  }
  return info.Env().Null();
}

// Takes a task from any stop to one in which it has nothing left to report: from there the registers decide alone
// how it goes on, interrupted system calls included.
void ToQuietStop(pid_t tid) {
  FailIf(Trace(PTRACE_INTERRUPT, tid, 0) != 0, "ptrace(PTRACE_INTERRUPT)", tid);
  FailIf(Trace(PTRACE_CONT, tid, 0) != 0, "ptrace(PTRACE_CONT)", tid);
  WaitResult result = WaitFor(tid, DeadlineIn(kCallTimeoutMs));
  if (!result.Stopped() || result.Event() != kEventStop) Fail(EIO, "remote call", tid, "unexpected stop");
}

int64_t StepCall(pid_t tid, uint64_t gadget, const Entry& call) {
  user_regs_struct registers = GetRegisters(tid);
  registers.rip = gadget;
  registers.orig_rax = ~0ull;
  registers.rax = call.number;
  registers.rdi = call.arguments[0];
  registers.rsi = call.arguments[1];
  registers.rdx = call.arguments[2];
  registers.r10 = call.arguments[3];
  registers.r8 = call.arguments[4];
  registers.r9 = call.arguments[5];
  SetRegisters(tid, registers);
  ToSyscallStop(tid);
  ToSyscallStop(tid);
  const int64_t result = static_cast<int64_t>(GetRegisters(tid).rax);
  ToQuietStop(tid);
  return result;
}

Napi::Value StepCallJs(const Napi::CallbackInfo& info) {
  Entry* entry = reinterpret_cast<Entry*>(info[2].As<Napi::BigInt64Array>().Data());
  entry->result = StepCall(Int(info[0]), Address(info[1]), *entry);
  return info.Env().Undefined();
}

Napi::Value MapStub(const Napi::CallbackInfo& info) {
  const pid_t tid = Int(info[0]);
  const uint64_t address = Address(info[2]);
  const int64_t mapped = StepCall(tid, Address(info[1]),
                                  {SYS_mmap,
                                   {static_cast<int64_t>(address), Int64(info[3]), PROT_READ | PROT_WRITE | PROT_EXEC,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0},
                                   0});
  if (mapped != static_cast<int64_t>(address)) {
    Fail(mapped < 0 ? static_cast<int>(-mapped) : EEXIST, "mmap", tid, "no place for the stub");
  }
  WriteProcess(tid, address, godwit_table_stub, godwit_table_stub_end - godwit_table_stub);
  return info.Env().Undefined();
}

// Enters a waiting call and takes the task out of it at once: what the kernel noted to restart it stays in the task.
// The interrupt is asked for at the entry stop, so the call finds it pending the moment it would sleep.
Napi::Value ArmWait(const Napi::CallbackInfo& info) {
  const pid_t tid = Int(info[0]);
  Entry* call = reinterpret_cast<Entry*>(info[2].As<Napi::BigInt64Array>().Data());
  user_regs_struct registers = GetRegisters(tid);
  registers.rip = Address(info[1]);
  registers.orig_rax = ~0ull;
  registers.rax = call->number;
  registers.rdi = call->arguments[0];
  registers.rsi = call->arguments[1];
  registers.rdx = call->arguments[2];
  registers.r10 = call->arguments[3];
  registers.r8 = call->arguments[4];
  registers.r9 = call->arguments[5];
  SetRegisters(tid, registers);
  ToSyscallStop(tid);
  ToQuietStop(tid);
  call->result = static_cast<int64_t>(GetRegisters(tid).rax);
  return info.Env().Undefined();
}

// Tasks made by a call of the table stop at their first instruction (PTRACE_O_TRACECLONE); the maker goes on.
Napi::Value RunTable(const Napi::CallbackInfo& info) {
  const pid_t tid = Int(info[0]);
  const uint64_t stub = Address(info[1]);
  Napi::BigInt64Array words = info[2].As<Napi::BigInt64Array>();
  const size_t total = words.ByteLength() / sizeof(Entry);
  constexpr size_t kMost = 15 * 4096 / kEntryBytes;
  Entry* entries = reinterpret_cast<Entry*>(words.Data());
  Napi::Array made = Napi::Array::New(info.Env());
  const int64_t deadline = DeadlineIn(60000);
  for (size_t done = 0; done < total; done += kMost) {
    const size_t count = std::min(total - done, kMost);
    WriteProcess(tid, stub + kTableOffset, entries + done, count * sizeof(Entry));
    user_regs_struct registers = GetRegisters(tid);
    registers.rip = stub;
    registers.rbx = stub + kTableOffset;
    registers.r12 = count;
    registers.r13 = stub + kControlOffset;
    registers.rax = 0;
    registers.orig_rax = ~0ull;
    SetRegisters(tid, registers);
    const uint64_t unfinished = 0;
    WriteProcess(tid, stub + kControlOffset, &unfinished, sizeof unfinished);
    FailIf(Trace(PTRACE_CONT, tid, 0) != 0, "ptrace(PTRACE_CONT)", tid);
    uint64_t finished = 0;
    for (int look = 0; !finished; look++) {
      WaitResult result{tid};
      const pid_t got = waitpid(tid, &result.status, __WALL | WNOHANG);
      FailIf(got < 0, "waitpid", tid);
      if (got == 0) {
        ReadProcess(tid, stub + kControlOffset, &finished, sizeof finished);
        if (!finished) PauseBetweenLooks(look);
        if (HasPassed(deadline)) Fail(ETIMEDOUT, "remote calls", tid);
        continue;
      }
      if (!result.Stopped()) Fail(ESRCH, "remote calls", tid, "the task ended");
      if (result.Event() == PTRACE_EVENT_CLONE || result.Event() == PTRACE_EVENT_FORK ||
          result.Event() == PTRACE_EVENT_VFORK) {
        unsigned long child = 0;
        FailIf(Trace(PTRACE_GETEVENTMSG, tid, reinterpret_cast<uintptr_t>(&child)) != 0, "ptrace(PTRACE_GETEVENTMSG)",
               tid);
        if (!WaitFor(static_cast<pid_t>(child), deadline).Stopped()) Fail(ESRCH, "clone3", tid, "the new task ended");
        made.Set(made.Length(), static_cast<double>(child));
      } else if (result.Event() != kEventStop) {
        Fail(EIO, "remote calls", tid, "unexpected stop " + std::to_string(result.status));
      }
      FailIf(Trace(PTRACE_CONT, tid, 0) != 0, "ptrace(PTRACE_CONT)", tid);
    }
    FailIf(Trace(PTRACE_INTERRUPT, tid, 0) != 0, "ptrace(PTRACE_INTERRUPT)", tid);
    if (!WaitFor(tid, deadline).Stopped()) Fail(ESRCH, "remote calls", tid, "the task ended");
    ReadProcess(tid, stub + kTableOffset, entries + done, count * sizeof(Entry));
  }
  return made;
}

}  // namespace

void InitInjection(Napi::Env env, Napi::Object exports) {
  Carrier::Define(env);
  Export<FindBytes>(exports, "findBytes");
  Export<InjectCalls>(exports, "injectCalls");
  Export<Carry>(exports, "carry");
  Export<MapStub>(exports, "mapStub");
  Export<RunTable>(exports, "runTable");
  Export<StepCallJs>(exports, "stepCall");
  Export<ArmWait>(exports, "armWait");
}

}  // namespace godwit
