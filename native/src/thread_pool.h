// Threads of the addon for short work: made when first needed, then kept, so that they are warm in the
// freeze.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

namespace godwit {

class ThreadPool {
 public:
  // One for the process. It is never destroyed: its threads end with the process.
  static ThreadPool& Shared();
  // Runs `work`, which must not throw, on a thread that has nothing else to do.
  void Run(std::function<void()> work);

 private:
  void Serve();

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> queue_;
  size_t idle_ = 0;
};

}  // namespace godwit
