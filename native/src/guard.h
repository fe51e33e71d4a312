// For methods of classes and lambdas: what Export does for plain functions (see error.h).
#pragma once
#include <system_error>

#include "error.h"

namespace godwit {

// Runs `body`; a KernelFailure it throws, or a thread that cannot be made, reaches JavaScript as KernelError.
template <class Body>
auto Guard(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const KernelFailure& failure) {
    throw ToJavaScript(env, failure);
  } catch (const std::system_error& error) {
    throw ToJavaScript(env, KernelFailure{error.code().value(), "pthread_create"});
  }
}

}  // namespace godwit
