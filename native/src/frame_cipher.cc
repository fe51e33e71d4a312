#include "frame_cipher.h"

#include <cerrno>
#include <cstring>

#include "error.h"

namespace godwit {

static void Check(int done) {
  if (done != 1) Fail(EIO, "AES-128-GCM");
}

FrameCipher::FrameCipher(std::span<const uint8_t> key, uint32_t channel, Direction direction)
    : context_(EVP_CIPHER_CTX_new()), channel_(channel) {
  if (!context_) Fail(ENOMEM, "EVP_CIPHER_CTX_new");
  if (key.size() != kKeyBytes) Fail(EINVAL, "AES-128-GCM", 0, "the key must be 16 bytes");
  Check(EVP_CipherInit_ex(context_.get(), EVP_aes_128_gcm(), nullptr, key.data(), nullptr,
                          direction == Direction::kSeal ? 1 : 0));
}

void FrameCipher::Start(const FrameHeader& header) {
  uint8_t nonce[12];
  std::memcpy(nonce, &channel_, 4);
  std::memcpy(nonce + 4, &header.sequence, 8);
  // -1: the direction stays as it was set with the key.
  Check(EVP_CipherInit_ex(context_.get(), nullptr, nullptr, nullptr, nonce, -1));
  int length = 0;
  Check(EVP_CipherUpdate(context_.get(), nullptr, &length, reinterpret_cast<const uint8_t*>(&header),
                         sizeof(header)));
}

void FrameCipher::Update(std::span<uint8_t> part) {
  int length = 0;
  if (!part.empty()) Check(EVP_CipherUpdate(context_.get(), part.data(), &length, part.data(), part.size()));
}

void FrameCipher::Seal(const FrameHeader& header, std::initializer_list<std::span<uint8_t>> parts,
                       uint8_t* tag) {
  Start(header);
  for (auto part : parts) Update(part);
  uint8_t none[16];
  int length = 0;
  Check(EVP_CipherFinal_ex(context_.get(), none, &length));
  Check(EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_GCM_GET_TAG, kFrameTagBytes, tag));
}

void FrameCipher::Open(const FrameHeader& header, std::span<uint8_t> body, const uint8_t* tag) {
  Start(header);
  Update(body);
  Check(EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_GCM_SET_TAG, kFrameTagBytes, const_cast<uint8_t*>(tag)));
  uint8_t none[16];
  int length = 0;
  if (EVP_CipherFinal_ex(context_.get(), none, &length) != 1) {
    Fail(EBADMSG, "page channel", 0, "frame not authentic");
  }
}

}  // namespace godwit
