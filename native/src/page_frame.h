// The format of page frames: shared/page-frames.ts is its definition.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ranges.h"

namespace godwit {

constexpr uint8_t kFrameVersion = 1;
constexpr size_t kFrameTagBytes = 16;
constexpr size_t kMaxFrameRuns = 2048;
constexpr size_t kMaxFrameBodyBytes = 512 * 1024;

enum class FrameKind : uint8_t { kPlain = 1, kCompressed = 2 };
enum class RunKind : uint32_t { kData = 0, kZero = 1 };

// Both sides are x86-64: the structures are the bytes on the wire.
struct FrameHeader {
  uint8_t version;
  FrameKind kind;
  uint16_t reserved;
  uint32_t runs;
  uint32_t bodyBytes;
  uint32_t reserved2;
  uint64_t sequence;
};
static_assert(sizeof(FrameHeader) == 24);

struct PageRun {
  uint64_t address;
  uint32_t pages;
  RunKind kind;

  uint64_t Bytes() const { return pages * kPageBytes; }
  Range Span() const { return {address, address + Bytes()}; }
};
static_assert(sizeof(PageRun) == 16);

// A checked body: every run is aligned, inside `allowed`, and the content is exactly that of the data runs.
struct FrameBody {
  std::vector<PageRun> runs;
  const uint8_t* content;
};

// Checks what a peer sent. A `runs` of 0 finds the end of the table where table and content fill the body;
// there is at most one such place, because both only grow. `allowed` is sorted and merged. Throws EPROTO.
FrameBody ParseBody(std::span<const uint8_t> body, uint32_t runs, const std::vector<Range>& allowed);

// Throws EPROTO unless the header of a message of `messageBytes` is one that may come next.
void CheckHeader(const FrameHeader& header, uint64_t messageBytes, uint64_t sequence);

// What a peer that does not keep to the format is told apart by: KernelError EPROTO.
[[noreturn]] void FailProtocol(const char* what);

}  // namespace godwit
