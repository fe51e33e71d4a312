#include "thread_pool.h"

#include <thread>
#include <utility>

namespace godwit {

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

void ThreadPool::Serve() {
  std::unique_lock lock(mutex_);
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
