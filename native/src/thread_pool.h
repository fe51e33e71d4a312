// Threads of the addon for short work: made when first needed, then kept, so that they are warm in the
// freeze.
#pragma once
#include <sys/types.h>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

namespace godwit {

class ThreadPool {
 public:
  // One for the process. It is never destroyed: its threads end with the process.
  static ThreadPool& Shared();
  // Runs `work`, which must not throw, on a thread that has nothing else to do.
  void Run(std::function<void()> work);
  // The CPUs all its threads may run on, also those yet to be made: a mask as sched_setaffinity(2) takes it.
  void SetAffinity(std::vector<uint8_t> mask);

 private:
  void Serve();

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> queue_;
  size_t idle_ = 0;
  std::vector<pid_t> threads_;
  std::vector<uint8_t> affinity_;  // empty: as the thread that made it
};

}  // namespace godwit
