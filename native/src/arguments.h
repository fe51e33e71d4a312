// Reading JavaScript arguments: the boundary file (native/index.ts) has typed them, this only converts.
#pragma once
#include <napi.h>
#include <cstdint>

namespace godwit {

inline uint64_t Address(const Napi::Value& value) {
  bool lossless = false;
  return value.As<Napi::BigInt>().Uint64Value(&lossless);
}
inline int Int(const Napi::Value& value) { return value.As<Napi::Number>().Int32Value(); }
inline int64_t Int64(const Napi::Value& value) { return value.As<Napi::Number>().Int64Value(); }
inline Napi::Value BigUint(Napi::Env env, uint64_t value) { return Napi::BigInt::New(env, value); }

}  // namespace godwit
