// The birth of a process with chosen ids.
#include <algorithm>
#include <csignal>
#include <cerrno>
#include <fcntl.h>
#include <linux/sched.h>
#include <string>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "arguments.h"
#include "error.h"
#include "scheduling.h"

namespace godwit {
namespace {

// A system call that touches neither errno nor anything else of the C library: the child shares the parent's
// memory, thread-local variables included. Returns a negative errno on failure.
long Call(long number, long a = 0, long b = 0, long c = 0, long d = 0) {
  long result = number;
  register long fourth asm("r10") = d;
  asm volatile("syscall" : "+a"(result) : "D"(a), "S"(b), "d"(c), "r"(fourth) : "rcx", "r11", "memory");
  return result;
}
long AsWord(const void* pointer) { return reinterpret_cast<long>(pointer); }

struct Move {
  int ours;
  int theirs;
  // A number above all final ones, so that moves whose numbers overlap do not disturb each other.
  int between;
};

// What the child needs, prepared before it exists: it must not allocate. It answers in the last two members.
struct Plan {
  std::string program;
  std::vector<Move> moves;  // sorted by `theirs`
  bool new_session;
  std::vector<uint8_t> all_cpus;
  volatile int error = 0;
  const char* volatile failed_call = nullptr;
};

// kernel_sigaction as rt_sigaction(2) takes it; all zero means the default action.
struct KernelAction {
  unsigned long handler, flags, restorer, mask;
};

[[noreturn]] void Exit() {
  for (;;) Call(SYS_exit_group, 127);
}

long Require(Plan& plan, const char* call, long result) {
  if (result >= 0) return result;
  plan.error = static_cast<int>(-result);
  plan.failed_call = call;
  Exit();
}

// Ignored signals would survive execve, so all are set, not only those with a handler. (SIGKILL and SIGSTOP
// refuse.)
void ResetSignalActions() {
  const KernelAction standard = {};
  for (int signal = 1; signal <= 64; signal++) {
    Call(SYS_rt_sigaction, signal, AsWord(&standard), 0, sizeof standard.mask);
  }
}

// Any CPU, no real-time policy, nice 0, no I/O priority: whatever the agent's thread was given stays with it.
void ResetScheduling(Plan& plan) {
  long bytes = static_cast<long>(plan.all_cpus.size());
  Require(plan, "sched_setaffinity", Call(SYS_sched_setaffinity, 0, bytes, AsWord(plan.all_cpus.data())));
  SchedulingAttributes ordinary = {};
  ordinary.size = sizeof ordinary;
  Require(plan, "sched_setattr", Call(SYS_sched_setattr, 0, AsWord(&ordinary), 0));
  Require(plan, "ioprio_set", Call(SYS_ioprio_set, kIoPriorityOfProcess, 0, 0));
}

void MoveDescriptors(Plan& plan) {
  int above = plan.moves.empty() ? 0 : plan.moves.back().theirs + 1;
  for (Move& move : plan.moves) {
    long fd = Call(SYS_fcntl, move.ours, F_DUPFD_CLOEXEC, above);
    move.between = static_cast<int>(Require(plan, "fcntl(F_DUPFD_CLOEXEC)", fd));
  }
  unsigned next = 0;
  for (const Move& move : plan.moves) {
    Require(plan, "dup3", Call(SYS_dup3, move.between, move.theirs, 0));
    unsigned theirs = static_cast<unsigned>(move.theirs);
    if (theirs > next) Require(plan, "close_range", Call(SYS_close_range, next, theirs - 1, 0));
    next = theirs + 1;
  }
  Require(plan, "close_range", Call(SYS_close_range, next, ~0u, 0));
}

// Runs in the child, on its own stack, in the parent's memory, while the parent's thread waits in vfork.
void BecomeProgram(Plan& plan) {
  ResetSignalActions();
  ResetScheduling(plan);
  if (plan.new_session) Require(plan, "setsid", Call(SYS_setsid));
  MoveDescriptors(plan);
  uint64_t no_signals = 0;
  Require(plan, "rt_sigprocmask",
          Call(SYS_rt_sigprocmask, SIG_SETMASK, AsWord(&no_signals), 0, sizeof no_signals));
  const char* arguments[] = {plan.program.c_str(), nullptr};
  const char* environment[] = {nullptr};
  Require(plan, "execve",
          Call(SYS_execve, AsWord(plan.program.c_str()), AsWord(arguments), AsWord(environment)));
  Exit();
}

// clone3(2) into BecomeProgram. The child must not return through this frame: it starts on an empty stack, so
// the call that leads it away follows the system call with nothing of the compiler's in between.
long Clone(clone_args& arguments, Plan& plan) {
  long result = SYS_clone3;
  register Plan* handed asm("r8") = &plan;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r8, %%rdi\n\t"
      "call *%%rdx\n\t"
      "ud2\n"
      "1:"
      : "+a"(result)
      : "D"(&arguments), "S"(sizeof arguments), "d"(&BecomeProgram), "r"(handed)
      : "rcx", "r11", "memory");
  return result;
}

class Stack {
 public:
  Stack() {
    memory_ = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    FailIf(memory_ == MAP_FAILED, "mmap");
  }
  ~Stack() { munmap(memory_, kBytes); }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  uint64_t Start() const { return reinterpret_cast<uint64_t>(memory_); }
  static constexpr size_t kBytes = 64 * 1024;

 private:
  void* memory_;
};

// Blocks every signal of the calling thread, those the C library keeps for itself too: a handler of the agent
// must not run in the child.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    const uint64_t all = ~uint64_t{0};
    Call(SYS_rt_sigprocmask, SIG_SETMASK, AsWord(&all), AsWord(&before_), sizeof before_);
  }
  ~SignalsBlocked() { Call(SYS_rt_sigprocmask, SIG_SETMASK, AsWord(&before_), 0, sizeof before_); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  uint64_t before_ = 0;
};

// CLONE_VM with CLONE_VFORK: nothing of the agent's memory is copied, and the child's failure can be read
// from here.
Napi::Value Spawn(const Napi::CallbackInfo& info) {
  auto options = info[0].As<Napi::Object>();
  Plan plan = {.program = options.Get("program").ToString(),
               .moves = {},
               .new_session = options.Get("newSession").ToBoolean(),
               .all_cpus = std::vector<uint8_t>(1024, 0xff)};
  auto descriptors = options.Get("descriptors").As<Napi::Array>();
  for (uint32_t i = 0; i < descriptors.Length(); i++) {
    auto pair = descriptors.Get(i).As<Napi::Array>();
    plan.moves.push_back({.ours = Int(pair.Get(0u)), .theirs = Int(pair.Get(1u)), .between = -1});
    if (plan.moves.back().theirs < 0) Fail(EBADF, "dup3");
  }
  std::sort(plan.moves.begin(), plan.moves.end(),
            [](const Move& one, const Move& other) { return one.theirs < other.theirs; });
  auto ids = options.Get("pids").As<Napi::Array>();
  std::vector<pid_t> pids;
  for (uint32_t i = 0; i < ids.Length(); i++) pids.push_back(Int(ids.Get(i)));

  Stack stack;
  clone_args arguments = {};
  arguments.flags = CLONE_VM | CLONE_VFORK;
  arguments.exit_signal = SIGCHLD;
  arguments.stack = stack.Start();
  arguments.stack_size = Stack::kBytes;
  arguments.set_tid = pids.empty() ? 0 : reinterpret_cast<uint64_t>(pids.data());
  arguments.set_tid_size = pids.size();
  long pid;
  {
    SignalsBlocked blocked;
    pid = Clone(arguments, plan);
  }
  if (pid < 0) Fail(static_cast<int>(-pid), "clone3", pids.empty() ? 0 : pids.front());
  if (plan.failed_call) {
    while (waitpid(static_cast<pid_t>(pid), nullptr, __WALL) < 0 && errno == EINTR) {
    }
    Fail(plan.error, plan.failed_call, static_cast<int>(pid), plan.program);
  }
  return Napi::Number::New(info.Env(), static_cast<double>(pid));
}

}  // namespace

void InitSpawn(Napi::Env env, Napi::Object exports) { Export<Spawn>(exports, "spawn"); }

}  // namespace godwit
