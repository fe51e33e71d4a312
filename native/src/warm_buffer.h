// Memory that is there: allocated once, page aligned, touched up front, so that the freeze takes no page
// fault.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace godwit {

class WarmBuffer {
 public:
  explicit WarmBuffer(size_t bytes) {
    constexpr size_t kAlignment = 4096;
    const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    bytes_.reset(static_cast<uint8_t*>(std::aligned_alloc(kAlignment, rounded)));
    if (!bytes_) throw std::bad_alloc();
    std::memset(bytes_.get(), 0, rounded);
  }
  uint8_t* Data() const { return bytes_.get(); }

 private:
  struct Free {
    void operator()(uint8_t* bytes) const { std::free(bytes); }
  };
  std::unique_ptr<uint8_t, Free> bytes_;
};

}  // namespace godwit
