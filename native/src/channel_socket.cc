#include "channel_socket.h"

#include <endian.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "error.h"
#include "page_frame.h"

namespace godwit {

constexpr uint8_t kFinalBinary = 0x82, kFinalClose = 0x88, kMaskBit = 0x80;
constexpr uint8_t kLength16 = 126, kLength64 = 127;

MessageHeader::MessageHeader(uint64_t payloadBytes) {
  std::memset(bytes_, 0, sizeof(bytes_));
  bytes_[0] = kFinalBinary;
  if (payloadBytes < kLength16) {
    bytes_[1] = kMaskBit | payloadBytes;
    length_ = 2;
  } else if (payloadBytes <= 0xffff) {
    const uint16_t length = htobe16(payloadBytes);
    bytes_[1] = kMaskBit | kLength16;
    std::memcpy(bytes_ + 2, &length, sizeof(length));
    length_ = 4;
  } else {
    const uint64_t length = htobe64(payloadBytes);
    bytes_[1] = kMaskBit | kLength64;
    std::memcpy(bytes_ + 2, &length, sizeof(length));
    length_ = 10;
  }
  length_ += 4;  // the mask
}

ChannelSocket::ChannelSocket(int socket) : socket_(fcntl(socket, F_DUPFD_CLOEXEC, 0)) {
  FailIf(!socket_, "fcntl(F_DUPFD_CLOEXEC)");
  const int flags = fcntl(socket_.Get(), F_GETFL);
  FailIf(flags < 0 || fcntl(socket_.Get(), F_SETFL, flags & ~O_NONBLOCK) < 0, "fcntl(F_SETFL)");
  const int on = 1;
  // A socket pair has no such option and no such delay either.
  const bool set = setsockopt(socket_.Get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0;
  FailIf(!set && errno != EOPNOTSUPP, "setsockopt(TCP_NODELAY)");
}

void ChannelSocket::Send(std::span<iovec> parts) {
  while (!parts.empty()) {
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    ssize_t sent = sendmsg(socket_.Get(), &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    FailIf(sent < 0, "sendmsg");
    while (!parts.empty() && static_cast<size_t>(sent) >= parts[0].iov_len) {
      sent -= parts[0].iov_len;
      parts = parts.subspan(1);
    }
    if (!parts.empty()) {
      parts[0].iov_base = static_cast<uint8_t*>(parts[0].iov_base) + sent;
      parts[0].iov_len -= sent;
    }
  }
}

void ChannelSocket::Receive(void* data, size_t bytes) {
  auto* at = static_cast<uint8_t*>(data);
  while (bytes > 0) {
    const ssize_t got = recv(socket_.Get(), at, bytes, MSG_WAITALL);
    if (got < 0 && errno == EINTR) continue;
    FailIf(got < 0, "recv");
    if (got == 0) Fail(ECONNRESET, "recv", 0, "the page channel ended without a goodbye");
    at += got;
    bytes -= got;
  }
}

std::optional<ChannelSocket::Message> ChannelSocket::ReceiveHeader() {
  uint8_t start[2];
  Receive(start, sizeof(start));
  if (start[0] == kFinalClose) return std::nullopt;
  if (start[0] != kFinalBinary) FailProtocol("not a whole binary message");
  if ((start[1] & kMaskBit) == 0) FailProtocol("message without a mask");
  Message message{};
  const uint8_t length = start[1] & ~kMaskBit;
  size_t extended = 0;
  if (length == kLength16) {
    uint16_t bytes;
    Receive(&bytes, extended = sizeof(bytes));
    message.bytes = be16toh(bytes);
  } else if (length == kLength64) {
    Receive(&message.bytes, extended = sizeof(message.bytes));
    message.bytes = be64toh(message.bytes);
  } else {
    message.bytes = length;
  }
  Receive(message.mask, sizeof(message.mask));
  message.headerBytes = sizeof(start) + extended + sizeof(message.mask);
  return message;
}

void ChannelSocket::Message::Unmask(std::span<uint8_t> part, size_t offset) const {
  if (!Masked()) return;
  for (size_t i = 0; i < part.size(); i++) part[i] ^= mask[(offset + i) % 4];
}

void ChannelSocket::Finish() {
  const uint8_t goodbye[] = {kFinalClose, kMaskBit, 0, 0, 0, 0};
  // Where the buffer is full the peer finds the end of the connection instead.
  (void)!send(socket_.Get(), goodbye, sizeof(goodbye), MSG_NOSIGNAL | MSG_DONTWAIT);
  shutdown(socket_.Get(), SHUT_WR);
}

void ChannelSocket::Shutdown() { shutdown(socket_.Get(), SHUT_RDWR); }

}  // namespace godwit
