// Descriptors through unix sockets: SCM_RIGHTS (unix(7), cmsg(3)), each message with one byte to carry it.
#include <fcntl.h>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <poll.h>
#include <sys/socket.h>
#include <vector>

#include "arguments.h"
#include "error.h"
#include "scoped_fd.h"

namespace godwit {
namespace {

constexpr size_t kMost = 16;
// Without room for a seventeenth: CMSG_SPACE rounds up to 8 bytes, and 16 numbers need no rounding.
constexpr size_t kControlBytes = CMSG_SPACE(kMost * sizeof(int));
static_assert(kControlBytes == CMSG_LEN(kMost * sizeof(int)));

Napi::Value SocketPair(const Napi::CallbackInfo& info) {
  int ends[2];
  FailIf(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0, "socketpair");
  auto pair = Napi::Array::New(info.Env(), 2);
  for (uint32_t i = 0; i < 2; i++) pair.Set(i, Napi::Number::New(info.Env(), ends[i]));
  return pair;
}

Napi::Value Pipe(const Napi::CallbackInfo& info) {
  int ends[2];
  FailIf(pipe2(ends, O_CLOEXEC) != 0, "pipe2");
  auto pair = Napi::Array::New(info.Env(), 2);
  for (uint32_t i = 0; i < 2; i++) pair.Set(i, Napi::Number::New(info.Env(), ends[i]));
  return pair;
}

Napi::Value SendDescriptors(const Napi::CallbackInfo& info) {
  auto descriptors = info[1].As<Napi::Array>();
  size_t count = descriptors.Length();
  if (count > kMost) Fail(EINVAL, "sendmsg(SCM_RIGHTS)", 0, "more than 16 descriptors");
  char byte = 0;
  iovec payload = {&byte, 1};
  alignas(cmsghdr) char control[kControlBytes] = {};
  msghdr message = {};
  message.msg_iov = &payload;
  message.msg_iovlen = 1;
  if (count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(count * sizeof(int));
    for (size_t i = 0; i < count; i++) {
      int fd = Int(descriptors.Get(static_cast<uint32_t>(i)));
      memcpy(CMSG_DATA(rights) + i * sizeof fd, &fd, sizeof fd);
    }
  }
  ssize_t sent;
  do {
    sent = sendmsg(Int(info[0]), &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  FailIf(sent < 0, "sendmsg(SCM_RIGHTS)");
  return info.Env().Undefined();
}

void WaitReadable(int socket, int timeout_ms) {
  using Clock = std::chrono::steady_clock;
  auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  for (;;) {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd entry = {.fd = socket, .events = POLLIN, .revents = 0};
    int ready = poll(&entry, 1, left > 0 ? static_cast<int>(left) : 0);
    if (ready > 0) return;
    if (ready == 0) Fail(ETIMEDOUT, "poll");
    FailIf(errno != EINTR, "poll");
  }
}

Napi::Value ReceiveDescriptors(const Napi::CallbackInfo& info) {
  int socket = Int(info[0]);
  char byte = 0;
  iovec payload = {&byte, 1};
  alignas(cmsghdr) char control[kControlBytes];
  msghdr message = {};
  message.msg_iov = &payload;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  WaitReadable(socket, Int(info[1]));
  ssize_t got;
  do {
    // MSG_DONTWAIT: whoever else reads this socket may have been first; the limit holds all the same.
    got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  FailIf(got < 0, "recvmsg(SCM_RIGHTS)");

  std::vector<ScopedFd> received;  // closes them on every way out that does not hand them over
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = 0; at + sizeof(int) <= part->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
      int fd;
      memcpy(&fd, CMSG_DATA(part) + at, sizeof fd);
      received.emplace_back(fd);
    }
  }
  if (got == 0) Fail(ECONNRESET, "recvmsg(SCM_RIGHTS)", 0, "the other end is closed");
  // Cut off by the room here, or by this process's own limit of descriptors.
  if (message.msg_flags & MSG_CTRUNC) Fail(EMSGSIZE, "recvmsg(SCM_RIGHTS)", 0, "not all descriptors arrived");
  auto result = Napi::Array::New(info.Env(), received.size());
  for (uint32_t i = 0; i < received.size(); i++) {
    result.Set(i, Napi::Number::New(info.Env(), received[i].Get()));
  }
  for (ScopedFd& fd : received) fd.Release();
  return result;
}

}  // namespace

void InitDescriptorPassing(Napi::Env env, Napi::Object exports) {
  Export<Pipe>(exports, "pipe");
  Export<SocketPair>(exports, "socketPair");
  Export<SendDescriptors>(exports, "sendDescriptors");
  Export<ReceiveDescriptors>(exports, "receiveDescriptors");
}

}  // namespace godwit
