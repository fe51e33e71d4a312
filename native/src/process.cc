// Single system calls about processes. Their birth: spawn.cc; their end: child_watch.cc; the scheduler:
// scheduling.cc.
#include <csignal>
#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arguments.h"
#include "error.h"

namespace godwit {
namespace {

Napi::Value Kill(const Napi::CallbackInfo& info) {
  int pid = Int(info[0]);
  FailIf(kill(pid, Int(info[1])) != 0, "kill", pid);
  return info.Env().Undefined();
}

Napi::Value GetLimit(const Napi::CallbackInfo& info) {
  int pid = Int(info[0]);
  rlimit limit;
  FailIf(prlimit(pid, static_cast<__rlimit_resource>(Int(info[1])), nullptr, &limit) != 0, "prlimit", pid);
  auto pair = Napi::Array::New(info.Env(), 2);
  pair.Set(0u, BigUint(info.Env(), limit.rlim_cur));
  pair.Set(1u, BigUint(info.Env(), limit.rlim_max));
  return pair;
}

Napi::Value SetLimit(const Napi::CallbackInfo& info) {
  int pid = Int(info[0]);
  rlimit limit = {.rlim_cur = Address(info[2]), .rlim_max = Address(info[3])};
  FailIf(prlimit(pid, static_cast<__rlimit_resource>(Int(info[1])), &limit, nullptr) != 0, "prlimit", pid);
  return info.Env().Undefined();
}

Napi::Value GetRobustList(const Napi::CallbackInfo& info) {
  int tid = Int(info[0]);
  robust_list_head* head = nullptr;
  size_t bytes = 0;
  FailIf(syscall(SYS_get_robust_list, tid, &head, &bytes) != 0, "get_robust_list", tid);
  auto list = Napi::Object::New(info.Env());
  list.Set("head", BigUint(info.Env(), reinterpret_cast<uint64_t>(head)));
  list.Set("bytes", BigUint(info.Env(), bytes));
  return list;
}

Napi::Value Prctl(const Napi::CallbackInfo& info) {
  int result = prctl(Int(info[0]), Int64(info[1]), Int64(info[2]), Int64(info[3]), Int64(info[4]));
  FailIf(result < 0, "prctl");
  return Napi::Number::New(info.Env(), result);
}

}  // namespace

void InitProcess(Napi::Env env, Napi::Object exports) {
  Export<Kill>(exports, "kill");
  Export<GetLimit>(exports, "getLimit");
  Export<SetLimit>(exports, "setLimit");
  Export<GetRobustList>(exports, "getRobustList");
  Export<Prctl>(exports, "prctl");
}

}  // namespace godwit
