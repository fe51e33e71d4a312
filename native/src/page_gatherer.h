// Reads runs of another process's pages and packs them into frame bodies: what is zero becomes a mark or
// nothing.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "page_frame.h"
#include "page_set.h"
#include "scoped_fd.h"
#include "warm_buffer.h"

namespace godwit {

// Pages of content in one frame: 256 KB. On loopback everything from 64 to 480 KB is equally fast (1 GB a
// core-second, sender and receiver together); this one stays in the second-level cache, and a payload made of
// it still fits into a frame when a compressor makes it longer.
constexpr size_t kFramePages = 64;

// SendRequest of native/index.ts.
struct GatherRequest {
  int pid;
  ScopedFd memory;
  std::vector<TaggedRange> runs;  // tag: kAnonymous
  std::shared_ptr<PageSet> sent;
};
constexpr uint64_t kAnonymous = 1;

// SendResult of native/index.ts.
struct GatherResult {
  uint64_t pages = 0;
  uint64_t zeroPages = 0;
  uint64_t skippedPages = 0;
  std::vector<Range> missing;
  uint64_t frames = 0;
  uint64_t wireBytes = 0;
  double busyMs = 0;
};

// One frame body on its way: the table, and the content behind it. Used again for every frame.
class FrameBuffer {
 public:
  FrameBuffer() : content_(kFramePages * kPageBytes) { runs_.reserve(kMaxFrameRuns); }
  void Clear();
  void Add(uint64_t address, RunKind kind);
  bool Empty() const { return runs_.empty(); }
  size_t PagesFree() const { return kFramePages - pages_; }
  size_t RunsFree() const { return kMaxFrameRuns - runs_.size(); }
  // Where the content of the next data page belongs.
  uint8_t* Next() { return content_.Data() + pages_ * kPageBytes; }

  const std::vector<PageRun>& Runs() const { return runs_; }
  std::span<uint8_t> Table() {
    return {reinterpret_cast<uint8_t*>(runs_.data()), runs_.size() * sizeof(PageRun)};
  }
  std::span<uint8_t> Content() { return {content_.Data(), pages_ * kPageBytes}; }

 private:
  std::vector<PageRun> runs_;
  WarmBuffer content_;
  size_t pages_ = 0;
};

class PageGatherer {
 public:
  // `cancelled` ends the work early with ECANCELED.
  PageGatherer(GatherRequest request, const std::atomic<bool>& cancelled)
      : request_(std::move(request)), cancelled_(cancelled) {}

  // Fills the next body. False when nothing is left. Throws KernelFailure when the process is gone.
  bool Fill(FrameBuffer& frame);
  GatherResult& Result() { return result_; }

 private:
  struct Slot {
    uint64_t address;
    bool anonymous;
  };
  void Plan(size_t pages);
  size_t Read(uint8_t* into);
  void Pack(FrameBuffer& frame, size_t pages);

  GatherRequest request_;
  const std::atomic<bool>& cancelled_;
  GatherResult result_;
  size_t run_ = 0;
  uint64_t offset_ = 0;        // bytes of the current run that have been planned
  std::vector<Slot> planned_;  // pages to read next, in order
  std::vector<Slot> read_;     // pages that could be read, in the order of the buffer
};

}  // namespace godwit
