// Every failed system call becomes one kind of JavaScript error: see shared/errors.ts, KernelError.
#pragma once
#include <napi.h>
#include <string>

namespace godwit {

// What went wrong in which call, carried through C++ until the boundary turns it into a JavaScript error.
struct KernelFailure {
  int error;          // errno, positive
  std::string call;   // "ptrace(PTRACE_SEIZE)", "process_vm_readv"
  int pid = 0;        // the process or thread it was about, 0 if none
  std::string detail = {};
};

[[noreturn]] void Fail(int error, std::string call, int pid = 0, std::string detail = {});
inline void FailIf(bool failed, const char* call, int pid = 0) {
  if (failed) Fail(errno, call, pid);
}

Napi::Error ToJavaScript(Napi::Env env, const KernelFailure& failure);

// Registers `name` on `exports`; what the function throws as KernelFailure reaches JavaScript as
// the KernelError class of shared/errors.ts.
using Function = Napi::Value (*)(const Napi::CallbackInfo&);
template <Function function>
Napi::Value Guarded(const Napi::CallbackInfo& info) {
  try {
    return function(info);
  } catch (const KernelFailure& failure) {
    throw ToJavaScript(info.Env(), failure);
  }
}
template <Function function>
void Export(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<Guarded<function>>(exports.Env(), name));
}

}  // namespace godwit
