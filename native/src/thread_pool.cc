#include "thread_pool.h"

#include <sys/syscall.h>
#include <unistd.h>
#include <thread>
#include <utility>

namespace godwit {

namespace {

// Where it may not run there it stays where it is: that takes longer, that is all.
void Confine(pid_t thread, const std::vector<uint8_t>& mask) {
  if (!mask.empty()) syscall(SYS_sched_setaffinity, thread, mask.size(), mask.data());
}

}  // namespace

ThreadPool& ThreadPool::Shared() {
  static auto* pool = new ThreadPool;
  return *pool;
}

void ThreadPool::Run(std::function<void()> work) {
  std::lock_guard lock(mutex_);
  queue_.push_back(std::move(work));
  if (queue_.size() > idle_) std::thread([this] { Serve(); }).detach();
  else ready_.notify_one();
}

void ThreadPool::SetAffinity(std::vector<uint8_t> mask) {
  std::lock_guard lock(mutex_);
  affinity_ = std::move(mask);
  for (pid_t thread : threads_) Confine(thread, affinity_);
}

void ThreadPool::Serve() {
  const pid_t self = static_cast<pid_t>(syscall(SYS_gettid));
  std::unique_lock lock(mutex_);
  threads_.push_back(self);
  Confine(self, affinity_);
  for (;;) {
    while (queue_.empty()) {
      idle_++;
      ready_.wait(lock);
      idle_--;
    }
    auto work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
    work = nullptr;
    lock.lock();
  }
}

}  // namespace godwit
