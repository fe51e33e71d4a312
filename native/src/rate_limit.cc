#include "rate_limit.h"

#include <algorithm>

namespace godwit {

void RateLimit::Set(double bytesPerSecond) {
  std::lock_guard lock(mutex_);
  rate_ = bytesPerSecond;
  paid_ = {};
  changed_.notify_all();
}

std::chrono::nanoseconds RateLimit::Take(uint64_t bytes) {
  // Idle time may be made up for, but only a little: a burst would fill the queues of the network.
  constexpr auto kBurst = std::chrono::milliseconds(5);
  const auto start = Clock::now();
  std::unique_lock lock(mutex_);
  while (!closed_ && rate_ > 0 && paid_ > Clock::now()) changed_.wait_until(lock, paid_);
  const auto now = Clock::now();
  if (rate_ > 0) {
    const std::chrono::duration<double> cost(static_cast<double>(bytes) / rate_);
    paid_ = std::max(paid_, now - kBurst) + std::chrono::duration_cast<Clock::duration>(cost);
  }
  return now - start;
}

void RateLimit::Close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

}  // namespace godwit
