#include "exit_collector.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>

#include "error.h"

namespace godwit {

namespace {

constexpr long kPeriodNs = 20000000;

// Far from those that a C library or a runtime takes for itself: the first and the last ones.
int CollectSignal() { return SIGRTMIN + 11; }

thread_local const std::vector<pid_t>* watched = nullptr;

void Collect(int) {
  const int before = errno;
  if (watched) {
    for (pid_t tid : *watched) {
      // Whoever traces is told of stops whatever it asks for (kernel/exit.c, wait_task_stopped): so look first.
      siginfo_t info{};
      const id_t id = static_cast<id_t>(tid);
      if (waitid(P_PID, id, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0 || info.si_pid == 0) continue;
      const bool ended = info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED;
      if (ended) waitid(P_PID, id, &info, WEXITED | WNOHANG | __WALL);
    }
  }
  errno = before;
}

void InstallHandler() {
  struct sigaction action {};
  action.sa_handler = Collect;
  action.sa_flags = SA_RESTART;
  FailIf(sigaction(CollectSignal(), &action, nullptr) != 0, "sigaction");
}

}  // namespace

ExitCollector::ExitCollector(const std::vector<pid_t>& tids) {
  static const bool installed = (InstallHandler(), true);
  static_cast<void>(installed);
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = CollectSignal();
  event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
  FailIf(timer_create(CLOCK_MONOTONIC, &event, &timer_) != 0, "timer_create");
  watched = &tids;
  const itimerspec period{{0, kPeriodNs}, {0, kPeriodNs}};
  timer_settime(timer_, 0, &period, nullptr);
}

ExitCollector::~ExitCollector() {
  timer_delete(timer_);
  // A signal that is still pending finds nothing to do.
  watched = nullptr;
}

}  // namespace godwit
