// The end of a process, as an event.
#include <cerrno>
#include <memory>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "arguments.h"
#include "error.h"
#include "scoped_fd.h"

namespace godwit {
namespace {

// Collects an ended child. Returns false while it has not ended. A ptrace stop, which waitid reports to a
// tracer whatever it asked for, is left where it is: hence the look (WNOWAIT) before the taking.
bool Collect(int pid, siginfo_t& status) {
  for (int look : {WNOWAIT, 0}) {
    status.si_pid = 0;
    int failed = waitid(P_PID, static_cast<id_t>(pid), &status, WEXITED | WNOHANG | __WALL | look);
    FailIf(failed != 0, "waitid", pid);
    bool ended = status.si_code == CLD_EXITED || status.si_code == CLD_KILLED || status.si_code == CLD_DUMPED;
    if (status.si_pid == 0 || !ended) return false;
  }
  return true;
}

// ChildStatus of native/index.ts; without a status (not our child) code and signal are null.
Napi::Object ToStatus(Napi::Env env, int pid, const siginfo_t* status) {
  auto result = Napi::Object::New(env);
  bool exited = status && status->si_code == CLD_EXITED;
  bool signalled = status && !exited;
  Napi::Value value = status ? Napi::Value(Napi::Number::New(env, status->si_status)) : env.Null();
  result.Set("pid", Napi::Number::New(env, pid));
  result.Set("code", exited ? value : env.Null());
  result.Set("signal", signalled ? value : env.Null());
  result.Set("coreDumped", Napi::Boolean::New(env, signalled && status->si_code == CLD_DUMPED));
  return result;
}

Napi::Value Reap(const Napi::CallbackInfo& info) {
  int pid = Int(info[0]);
  siginfo_t status;
  if (!Collect(pid, status)) return info.Env().Null();
  return ToStatus(info.Env(), pid, &status);
}

// A pidfd in the event loop. It owns itself until the loop has closed both of its handles.
class ChildWatch : public std::enable_shared_from_this<ChildWatch> {
 public:
  ChildWatch(Napi::Env env, int pid, Napi::Function callback)
      : env_(env), pid_(pid), callback_(Napi::Persistent(callback)), context_(env, "godwit:childExit") {
    pidfd_ = ScopedFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    FailIf(!pidfd_, "pidfd_open", pid);
  }

  void Start() {
    uv_loop_t* loop = nullptr;
    napi_get_uv_event_loop(env_, &loop);
    int error = uv_poll_init(loop, &poll_, pidfd_.Get());
    if (error < 0) Fail(-error, "uv_poll_init", pid_);
    uv_timer_init(loop, &retry_);
    poll_.data = retry_.data = this;
    itself_ = shared_from_this();
    auto stop = [](napi_async_cleanup_hook_handle, void* watch) { Of(watch).Stop(); };
    napi_add_async_cleanup_hook(env_, stop, this, &hook_);
    uv_poll_start(&poll_, UV_READABLE, [](uv_poll_t* poll, int, int) { Of(poll->data).Check(); });
  }

  // Ends the watch without a callback; harmless when it has ended already.
  void Stop() {
    if (stopped_) return;
    stopped_ = true;
    callback_.Reset();
    auto closed = [](uv_handle_t* handle) { Of(handle->data).Closed(); };
    uv_close(reinterpret_cast<uv_handle_t*>(&poll_), closed);
    uv_close(reinterpret_cast<uv_handle_t*>(&retry_), closed);
  }

 private:
  static ChildWatch& Of(void* data) { return *static_cast<ChildWatch*>(data); }

  void Closed() {
    if (--open_handles_ > 0) return;
    napi_async_cleanup_hook_handle hook = hook_;
    itself_.reset();  // `this` is gone; the environment waits until the hook is
    napi_remove_async_cleanup_hook(hook);
  }

  void Check() {
    siginfo_t status;
    bool ours = true;
    try {
      if (!Collect(pid_, status)) return CheckLater();
    } catch (const KernelFailure&) {
      ours = false;  // ECHILD: another process's child, or collected elsewhere
    }
    Napi::HandleScope scope(env_);
    Napi::Function callback = callback_.Value();
    Stop();
    try {
      callback.MakeCallback(env_.Global(), {ToStatus(env_, pid_, ours ? &status : nullptr)}, context_);
    } catch (const Napi::Error& error) {
      // There is no JavaScript below to catch it: it becomes an uncaughtException.
      napi_fatal_exception(env_, error.Value());
    }
  }

  // An ended child that someone else traces can be collected only after its tracer has done so. Its pidfd is
  // readable all the while and would keep the loop spinning.
  void CheckLater() {
    uv_poll_stop(&poll_);
    uv_timer_start(&retry_, [](uv_timer_t* timer) { Of(timer->data).Check(); }, 10, 0);
  }

  Napi::Env env_;
  int pid_;
  Napi::FunctionReference callback_;
  Napi::AsyncContext context_;
  ScopedFd pidfd_;
  uv_poll_t poll_ = {};
  uv_timer_t retry_ = {};
  napi_async_cleanup_hook_handle hook_ = nullptr;
  int open_handles_ = 2;
  bool stopped_ = false;
  std::shared_ptr<ChildWatch> itself_;
};

Napi::Value OnChildExit(const Napi::CallbackInfo& info) {
  auto watch = std::make_shared<ChildWatch>(info.Env(), Int(info[0]), info[1].As<Napi::Function>());
  watch->Start();
  return Napi::Function::New(
      info.Env(),
      [weak = std::weak_ptr(watch)](const Napi::CallbackInfo&) {
        if (auto watch = weak.lock()) watch->Stop();
      },
      "stopWatching");
}

}  // namespace

void InitChildWatch(Napi::Env env, Napi::Object exports) {
  Export<Reap>(exports, "reap");
  Export<OnChildExit>(exports, "onChildExit");
}

}  // namespace godwit
