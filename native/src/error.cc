#include "error.h"

#include <cerrno>
#include <cstring>
#include <utility>

namespace godwit {

void Fail(int error, std::string call, int pid, std::string detail) {
  throw KernelFailure{error, std::move(call), pid, std::move(detail)};
}

Napi::Error ToJavaScript(Napi::Env env, const KernelFailure& failure) {
  const char* name = strerrorname_np(failure.error);
  std::string message = failure.call + ": " + strerror(failure.error);
  if (failure.pid != 0) message += " (pid " + std::to_string(failure.pid) + ")";
  if (!failure.detail.empty()) message += ": " + failure.detail;
  Napi::Value pid = failure.pid != 0 ? Napi::Value(Napi::Number::New(env, failure.pid)) : env.Undefined();
  Napi::Object error = env.GetInstanceData<Napi::FunctionReference>()->New(
      {Napi::String::New(env, message), Napi::String::New(env, name ? name : "EUNKNOWN"),
       Napi::Number::New(env, failure.error), Napi::String::New(env, failure.call), pid});
  return Napi::Error(env, error);
}

static Napi::Value SetErrorClass(const Napi::CallbackInfo& info) {
  info.Env().SetInstanceData(new Napi::FunctionReference(Napi::Persistent(info[0].As<Napi::Function>())));
  return info.Env().Undefined();
}

void InitErrors(Napi::Env env, Napi::Object exports) { Export<SetErrorClass>(exports, "setErrorClass"); }

}  // namespace godwit
