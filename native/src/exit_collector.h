// Collects traced threads that end while the thread that traces them is held up in the kernel. A thread that executes
// another program waits until every other one of its process has been collected, and PTRACE_SEIZE waits for that
// thread to be done: whoever seizes threads one by one has to collect those that end meanwhile, or all wait for ever
// (fs/exec.c de_thread(), kernel/ptrace.c ptrace_attach(): both under cred_guard_mutex).
#pragma once
#include <sys/types.h>
#include <time.h>
#include <vector>

namespace godwit {

// A scope. A timer interrupts the calling thread now and then, whose signal handler collects.
class ExitCollector {
 public:
  // `tids` may grow up to the capacity it has now.
  explicit ExitCollector(const std::vector<pid_t>& tids);
  ~ExitCollector();
  ExitCollector(const ExitCollector&) = delete;
  ExitCollector& operator=(const ExitCollector&) = delete;

 private:
  timer_t timer_{};
};

}  // namespace godwit
