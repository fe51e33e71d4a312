// Work on long spans of address space, split between threads of the addon.
#pragma once
#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "error.h"
#include "ranges.h"
#include "thread_pool.h"

namespace godwit {

template <class R>
uint64_t TotalBytes(const std::vector<R>& spans) {
  uint64_t total = 0;
  for (const R& span : spans) total += span.end - span.start;
  return total;
}

// Cuts the spans into pieces of about equal size. How much memory is in them is not known, so there are
// several for each thread; a reservation of terabytes must not become too many. `R` is Range or TaggedRange.
template <class R>
std::vector<std::vector<R>> CutPieces(const std::vector<R>& spans, int threads) {
  constexpr uint64_t kSmallest = 16 << 20, kLargest = 128 << 20, kMostPieces = 2048;
  const uint64_t total = TotalBytes(spans);
  const uint64_t wanted = std::clamp(total / (threads * 8), kSmallest, kLargest);
  const uint64_t size = std::max(wanted, total / kMostPieces) & ~(kPageBytes - 1);
  std::vector<std::vector<R>> pieces;
  uint64_t room = 0;
  for (R span : spans) {
    while (span.start < span.end) {
      if (room == 0) {
        pieces.emplace_back();
        room = size;
      }
      R piece = span;
      piece.end = span.start + std::min(room, span.end - span.start);
      room -= piece.end - piece.start;
      span.start = piece.end;
      pieces.back().push_back(piece);
    }
  }
  return pieces;
}

// Pieces of work done by several threads, each piece once; the first failure ends it.
class SharedWork : public std::enable_shared_from_this<SharedWork> {
 public:
  // `work(i)` may throw KernelFailure; `done` runs on the last of at most `threads` threads to finish.
  static void Begin(size_t pieces, int threads, std::function<void(size_t)> work,
                    std::function<void(const std::optional<KernelFailure>&)> done) {
    auto shared = std::make_shared<SharedWork>();
    shared->pieces_ = pieces;
    const int workers = std::max<int>(1, std::min<size_t>(threads, pieces));
    shared->running_ = workers;
    shared->work_ = std::move(work);
    shared->done_ = std::move(done);
    for (int i = 0; i < workers; i++) {
      ThreadPool::Shared().Run([shared] { shared->Work(); });
    }
  }

 private:
  void Work() {
    for (size_t i; (i = next_++) < pieces_;) {
      try {
        work_(i);
      } catch (const KernelFailure& caught) {
        std::lock_guard lock(mutex_);
        if (!failure_) failure_ = caught;
        next_ = pieces_;
      }
    }
    if (--running_ == 0) done_(failure_);
  }

  size_t pieces_ = 0;
  std::atomic<size_t> next_{0};
  std::atomic<int> running_{0};
  std::function<void(size_t)> work_;
  std::function<void(const std::optional<KernelFailure>&)> done_;
  std::mutex mutex_;
  std::optional<KernelFailure> failure_;
};

}  // namespace godwit
