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

// The same for functions that answer with a promise: it is rejected.
template <class Body>
Napi::Value GuardPromise(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const KernelFailure& failure) {
    auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(ToJavaScript(env, failure).Value());
    return deferred.Promise();
  }
}

}  // namespace godwit
