// What the CPU and the clocks of this host tell user space.
#include <cpuid.h>
#include <ctime>

#include "arguments.h"
#include "error.h"

namespace godwit {
namespace {

uint64_t Nanoseconds(clockid_t clock) {
  timespec time;
  FailIf(clock_gettime(clock, &time) != 0, "clock_gettime");
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

uint64_t TimeStamp() {
  uint32_t low;
  uint32_t high;
  // The fence keeps the reading between the two system calls that surround it.
  asm volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
  return static_cast<uint64_t>(high) << 32 | low;
}

// Leaves above the highest one of their range answer with that of another: they read as zeros.
Napi::Value Cpuid(const Napi::CallbackInfo& info) {
  uint32_t leaf = info[0].As<Napi::Number>().Uint32Value();
  uint32_t subleaf = info[1].As<Napi::Number>().Uint32Value();
  uint32_t words[4] = {};
  unsigned highest = __get_cpuid_max(leaf & 0x80000000, nullptr);
  if (highest >= leaf) __cpuid_count(leaf, subleaf, words[0], words[1], words[2], words[3]);
  auto result = Napi::Uint32Array::New(info.Env(), 4);
  for (int i = 0; i < 4; i += 1) result[i] = words[i];
  return result;
}

Napi::Value EnabledStates(const Napi::CallbackInfo& info) {
  constexpr uint32_t kOsxsave = 1 << 27;
  uint32_t words[4] = {};
  __cpuid(1, words[0], words[1], words[2], words[3]);
  if ((words[2] & kOsxsave) == 0) return BigUint(info.Env(), 0);
  uint32_t low;
  uint32_t high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return BigUint(info.Env(), static_cast<uint64_t>(high) << 32 | low);
}

Napi::Value ClockNow(const Napi::CallbackInfo& info) {
  return BigUint(info.Env(), Nanoseconds(Int(info[0])));
}

// Both counters at one moment, as near as they can be read: the closest of a few pairs.
Napi::Value TimeStampCounter(const Napi::CallbackInfo& info) {
  constexpr int kTries = 16;
  uint64_t nearest = UINT64_MAX;
  uint64_t counter = 0;
  uint64_t time = 0;
  for (int i = 0; i < kTries; i += 1) {
    uint64_t before = TimeStamp();
    uint64_t now = Nanoseconds(CLOCK_MONOTONIC_RAW);
    uint64_t took = TimeStamp() - before;
    if (took >= nearest) continue;
    nearest = took;
    counter = before + took / 2;
    time = now;
  }
  auto result = Napi::Array::New(info.Env(), 2);
  result.Set(0u, BigUint(info.Env(), counter));
  result.Set(1u, BigUint(info.Env(), time));
  return result;
}

}  // namespace

void InitHost(Napi::Env env, Napi::Object exports) {
  Export<Cpuid>(exports, "cpuid");
  Export<EnabledStates>(exports, "enabledStates");
  Export<ClockNow>(exports, "clockNow");
  Export<TimeStampCounter>(exports, "timeStampCounter");
}

}  // namespace godwit
