// Descriptors of this and other processes. Passing them through sockets: descriptor_passing.cc; pipes:
// peek_pipe.cc.
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arguments.h"
#include "error.h"

namespace godwit {
namespace {

Napi::Value PidfdOpen(const Napi::CallbackInfo& info) {
  int pid = Int(info[0]);
  long pidfd = syscall(SYS_pidfd_open, pid, 0);
  FailIf(pidfd < 0, "pidfd_open", pid);
  return Napi::Number::New(info.Env(), static_cast<double>(pidfd));
}

Napi::Value PidfdGetfd(const Napi::CallbackInfo& info) {
  long fd = syscall(SYS_pidfd_getfd, Int(info[0]), Int(info[1]), 0);
  FailIf(fd < 0, "pidfd_getfd");
  return Napi::Number::New(info.Env(), static_cast<double>(fd));
}

Napi::Value Kcmp(const Napi::CallbackInfo& info) {
  int pid = Int(info[0]);
  long order = syscall(SYS_kcmp, pid, Int(info[1]), Int(info[2]), Int64(info[3]), Int64(info[4]));
  FailIf(order < 0, "kcmp", pid);
  return Napi::Number::New(info.Env(), static_cast<double>(order));
}

Napi::Value Fcntl(const Napi::CallbackInfo& info) {
  int result = fcntl(Int(info[0]), Int(info[1]), static_cast<long>(Int64(info[2])));
  FailIf(result < 0, "fcntl");
  return Napi::Number::New(info.Env(), result);
}

Napi::Value TryLock(const Napi::CallbackInfo& info) {
  int result = flock(Int(info[0]), LOCK_EX | LOCK_NB);
  bool taken = result != 0 && errno == EWOULDBLOCK;
  FailIf(result != 0 && !taken, "flock");
  return Napi::Boolean::New(info.Env(), !taken);
}

Napi::Value Seek(const Napi::CallbackInfo& info) {
  bool lossless = false;
  off_t offset = info[1].As<Napi::BigInt>().Int64Value(&lossless);
  if (!lossless) Fail(EOVERFLOW, "lseek");
  off_t position = lseek(Int(info[0]), offset, Int(info[2]));
  FailIf(position < 0, "lseek");
  return Napi::BigInt::New(info.Env(), static_cast<int64_t>(position));
}

Napi::Value PollNow(const Napi::CallbackInfo& info) {
  pollfd entry = {.fd = Int(info[0]), .events = static_cast<short>(Int(info[1])), .revents = 0};
  // Without waiting there is nothing for a signal to interrupt.
  FailIf(poll(&entry, 1, 0) < 0, "poll");
  return Napi::Number::New(info.Env(), entry.revents);
}

Napi::Value Duplicate(const Napi::CallbackInfo& info) {
  // Never 0, 1 or 2, even in an agent that was started with one of them closed.
  int fd = fcntl(Int(info[0]), F_DUPFD_CLOEXEC, 3);
  FailIf(fd < 0, "fcntl(F_DUPFD_CLOEXEC)");
  return Napi::Number::New(info.Env(), fd);
}

}  // namespace

void InitDescriptors(Napi::Env env, Napi::Object exports) {
  Export<PidfdOpen>(exports, "pidfdOpen");
  Export<PidfdGetfd>(exports, "pidfdGetfd");
  Export<Kcmp>(exports, "kcmp");
  Export<Fcntl>(exports, "fcntl");
  Export<TryLock>(exports, "tryLock");
  Export<Seek>(exports, "seek");
  Export<PollNow>(exports, "pollNow");
  Export<Duplicate>(exports, "duplicate");
}

}  // namespace godwit
