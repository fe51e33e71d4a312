// Holds a thread back so that it sends no more than so many bytes a second.
#pragma once
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace godwit {

class RateLimit {
 public:
  explicit RateLimit(double bytesPerSecond) : rate_(bytesPerSecond) {}
  // 0 for no limit. Takes effect at once, also for a thread that waits.
  void Set(double bytesPerSecond);
  // Waits until `bytes` may go. Returns the time waited.
  std::chrono::nanoseconds Take(uint64_t bytes);
  // Nobody waits any more.
  void Close();

 private:
  using Clock = std::chrono::steady_clock;

  std::mutex mutex_;
  std::condition_variable changed_;
  double rate_;
  bool closed_ = false;
  // When all that was taken so far will have been earned.
  Clock::time_point paid_{};
};

}  // namespace godwit
