// The socket of a page channel: a TCP connection after a WebSocket handshake (RFC 6455), in blocking mode.
#pragma once
#include <sys/uio.h>

#include <cstdint>
#include <optional>
#include <span>

#include "scoped_fd.h"

namespace godwit {

// The header of one WebSocket message as a client writes it: binary, final, masked with a key of zeros.
// Nothing but godwit's own server reads these, so the mask (it protects shared caches) may leave the bytes as
// they are.
class MessageHeader {
 public:
  explicit MessageHeader(uint64_t payloadBytes);
  std::span<uint8_t> Bytes() { return {bytes_, length_}; }

 private:
  uint8_t bytes_[14];
  size_t length_;
};

class ChannelSocket {
 public:
  // Takes a duplicate; the caller closes its own descriptor.
  explicit ChannelSocket(int socket);

  // Writes all of it, whatever it takes. The vectors are used up. Throws what send(2) fails with.
  void Send(std::span<iovec> parts);
  // Reads exactly as much. Throws ECONNRESET when the peer is gone.
  void Receive(void* data, size_t bytes);

  struct Message {
    uint64_t bytes;
    uint8_t mask[4];
    size_t headerBytes;

    bool Masked() const { return (mask[0] | mask[1] | mask[2] | mask[3]) != 0; }
    void Unmask(std::span<uint8_t> part, size_t offset) const;
  };
  // The header of the next binary message; nothing when the peer closes the channel in order. Throws EPROTO
  // for whatever else a WebSocket might carry.
  std::optional<Message> ReceiveHeader();

  // Says goodbye as a client and ends the connection after what has been sent.
  void Finish();
  // Wakes whoever is blocked in Send or Receive, from another thread.
  void Shutdown();

 private:
  ScopedFd socket_;
};

}  // namespace godwit
