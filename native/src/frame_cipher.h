// AES-128-GCM over page frames, by the OpenSSL inside the node binary: its headers lie beside node's own, its
// symbols resolve when the addon is loaded.
#pragma once
#include <openssl/evp.h>

#include <cstdint>
#include <memory>
#include <span>

#include "page_frame.h"

namespace godwit {

class FrameCipher {
 public:
  enum class Direction { kSeal, kOpen };
  static constexpr size_t kKeyBytes = 16;

  // One cipher serves one channel in one direction: the nonce is the channel's number and the frame's
  // sequence, so no pair of key and nonce is ever used twice.
  FrameCipher(std::span<const uint8_t> key, uint32_t channel, Direction direction);

  // Encrypts the parts of a body in place, in order; the header is authenticated with them.
  void Seal(const FrameHeader& header, std::initializer_list<std::span<uint8_t>> parts, uint8_t* tag);
  // Decrypts a body in place. Throws EBADMSG when it is not what the other side sealed: then the bytes are
  // noise.
  void Open(const FrameHeader& header, std::span<uint8_t> body, const uint8_t* tag);

 private:
  void Start(const FrameHeader& header);
  void Update(std::span<uint8_t> part);

  struct Free {
    void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
  };
  std::unique_ptr<EVP_CIPHER_CTX, Free> context_;
  const uint32_t channel_;
};

}  // namespace godwit
