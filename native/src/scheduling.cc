// The scheduler's attributes of a task, and its clock.
#include <cerrno>
#include <charconv>
#include <ctime>
#include <sched.h>
#include <string_view>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arguments.h"
#include "error.h"
#include "read_whole.h"
#include "scheduling.h"
#include "thread_pool.h"

namespace godwit {
namespace {

// Policies whose nice value sched_setattr(2) takes and sched_getattr(2) tells. The others have one as well:
// it counts when the task returns to one of these (SCHED_RESET_ON_FORK does that to a child).
bool TakesNice(uint32_t policy) { return policy == SCHED_OTHER || policy == SCHED_BATCH; }

Napi::Value GetScheduling(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int tid = Int(info[0]);
  SchedulingAttributes attributes = {};
  FailIf(syscall(SYS_sched_getattr, tid, &attributes, sizeof attributes, 0) != 0, "sched_getattr", tid);
  // The plain system call answers 20 - nice, so that no answer looks like an error.
  long nice = syscall(SYS_getpriority, PRIO_PROCESS, tid);
  FailIf(nice < 0, "getpriority", tid);
  auto result = Napi::Object::New(env);
  result.Set("policy", Napi::Number::New(env, attributes.policy));
  result.Set("flags", BigUint(env, attributes.flags));
  result.Set("nice", Napi::Number::New(env, static_cast<double>(20 - nice)));
  result.Set("priority", Napi::Number::New(env, attributes.priority));
  result.Set("runtime", BigUint(env, attributes.runtime));
  result.Set("deadline", BigUint(env, attributes.deadline));
  result.Set("period", BigUint(env, attributes.period));
  return result;
}

Napi::Value SetScheduling(const Napi::CallbackInfo& info) {
  int tid = Int(info[0]);
  auto wanted = info[1].As<Napi::Object>();
  SchedulingAttributes attributes = {
      .size = sizeof(SchedulingAttributes),
      .policy = wanted.Get("policy").As<Napi::Number>().Uint32Value(),
      .flags = Address(wanted.Get("flags")),
      .nice = Int(wanted.Get("nice")),
      .priority = wanted.Get("priority").As<Napi::Number>().Uint32Value(),
      .runtime = Address(wanted.Get("runtime")),
      .deadline = Address(wanted.Get("deadline")),
      .period = Address(wanted.Get("period")),
  };
  FailIf(syscall(SYS_sched_setattr, tid, &attributes, 0) != 0, "sched_setattr", tid);
  if (!TakesNice(attributes.policy)) {
    FailIf(syscall(SYS_setpriority, PRIO_PROCESS, tid, attributes.nice) != 0, "setpriority", tid);
  }
  return info.Env().Undefined();
}

// A mask of CPUs as the kernel returns it; the plain system call tells how long it is.
std::vector<uint8_t> Affinity(int tid) {
  std::vector<uint8_t> mask(1024);  // 8192 CPUs, the most an x86-64 kernel is built for
  long bytes = syscall(SYS_sched_getaffinity, tid, mask.size(), mask.data());
  FailIf(bytes < 0, "sched_getaffinity", tid);
  mask.resize(static_cast<size_t>(bytes));
  return mask;
}

Napi::Value GetAffinity(const Napi::CallbackInfo& info) {
  std::vector<uint8_t> mask = Affinity(Int(info[0]));
  auto result = Napi::Uint8Array::New(info.Env(), mask.size());
  std::copy(mask.begin(), mask.end(), result.Data());
  return result;
}

Napi::Value SetAffinity(const Napi::CallbackInfo& info) {
  int tid = Int(info[0]);
  auto mask = info[1].As<Napi::Uint8Array>();
  FailIf(syscall(SYS_sched_setaffinity, tid, mask.ByteLength(), mask.Data()) != 0, "sched_setaffinity", tid);
  return info.Env().Undefined();
}

Napi::Value SetPoolAffinity(const Napi::CallbackInfo& info) {
  auto mask = info[0].As<Napi::Uint8Array>();
  ThreadPool::Shared().SetAffinity({mask.Data(), mask.Data() + mask.ByteLength()});
  return info.Env().Undefined();
}

Napi::Value GetIoPriority(const Napi::CallbackInfo& info) {
  int tid = Int(info[0]);
  long priority = syscall(SYS_ioprio_get, kIoPriorityOfProcess, tid);
  FailIf(priority < 0, "ioprio_get", tid);
  return Napi::Number::New(info.Env(), static_cast<double>(priority));
}

Napi::Value SetIoPriority(const Napi::CallbackInfo& info) {
  int tid = Int(info[0]);
  FailIf(syscall(SYS_ioprio_set, kIoPriorityOfProcess, tid, Int(info[1])) != 0, "ioprio_set", tid);
  return info.Env().Undefined();
}

// Keeps the calling thread on one CPU for as long as it lives.
class Pinned {
 public:
  explicit Pinned(int cpu) : before_(Affinity(0)) {
    std::vector<uint8_t> only(before_.size());
    if (cpu < 0 || static_cast<size_t>(cpu) >= only.size() * 8) Fail(EINVAL, "sched_setaffinity");
    only[static_cast<size_t>(cpu) / 8] = static_cast<uint8_t>(1 << (cpu % 8));
    FailIf(syscall(SYS_sched_setaffinity, 0, only.size(), only.data()) != 0, "sched_setaffinity");
  }
  ~Pinned() { syscall(SYS_sched_setaffinity, 0, before_.size(), before_.data()); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

 private:
  std::vector<uint8_t> before_;
};

// The value of "se.exec_start   :   12345.678901" (milliseconds) in the text of a sched file, in nanoseconds.
uint64_t ExecStart(std::string_view text) {
  size_t line = text.find("se.exec_start");
  size_t colon = text.find(':', line == text.npos ? text.size() : line);
  size_t start = text.find_first_not_of(" \t", colon == text.npos ? text.size() : colon + 1);
  if (start == text.npos) Fail(EPROTO, "read(/proc/thread-self/sched)", 0, "no se.exec_start");
  const char* end = text.data() + text.size();
  uint64_t milliseconds = 0;
  uint64_t rest = 0;
  auto whole = std::from_chars(text.data() + start, end, milliseconds);
  if (whole.ec != std::errc() || end - whole.ptr < 7 || *whole.ptr != '.') {
    Fail(EPROTO, "read(/proc/thread-self/sched)", 0, "se.exec_start is no number");
  }
  std::from_chars(whole.ptr + 1, whole.ptr + 7, rest);
  return milliseconds * 1'000'000 + rest;
}

// exec_start is where the scheduler last charged a task for its time (update_curr in kernel/sched/fair.c), in
// the clock of that CPU's run queue, which counts neither interrupts nor stolen time and is not the same on
// two CPUs. No file tells that clock itself, but a task that is charged right now carries it as its own
// exec_start. Reading one's own CPU-time clock does just that: task_sched_runtime() updates the run queue's
// clock and charges the running task. (sched_yield does not when the task is alone, and a tick may be
// milliseconds away.)
Napi::Value SchedulerClock(const Napi::CallbackInfo& info) {
  Pinned pinned(Int(info[0]));
  timespec consumed;
  FailIf(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &consumed) != 0, "clock_gettime");
  thread_local std::vector<char> buffer;
  ssize_t length = ReadWhole(AT_FDCWD, "/proc/thread-self/sched", buffer);
  if (length < 0) Fail(static_cast<int>(-length), "read(/proc/thread-self/sched)");
  return BigUint(info.Env(), ExecStart({buffer.data(), static_cast<size_t>(length)}));
}

}  // namespace

void InitScheduling(Napi::Env env, Napi::Object exports) {
  Export<GetScheduling>(exports, "getScheduling");
  Export<SetScheduling>(exports, "setScheduling");
  Export<GetAffinity>(exports, "getAffinity");
  Export<SetAffinity>(exports, "setAffinity");
  Export<SetPoolAffinity>(exports, "setPoolAffinity");
  Export<GetIoPriority>(exports, "getIoPriority");
  Export<SetIoPriority>(exports, "setIoPriority");
  Export<SchedulerClock>(exports, "schedulerClock");
}

}  // namespace godwit
