// A set of pages over the whole address space: bitmaps of 2 MB chunks, only where there is something in them.
// Safe to use from several threads.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "ranges.h"

namespace godwit {

class PageSet {
 public:
  void Add(Range range);
  void Remove(Range range);
  bool Has(uint64_t address) const;
  // Sub-ranges of `range` that are in the set, appended to `found`.
  void Select(Range range, std::vector<Range>& found) const;
  std::vector<Range> All() const;
  uint64_t Count() const;

 private:
  static constexpr uint64_t kChunkPages = 512;
  using Chunk = std::array<uint64_t, kChunkPages / 64>;

  void SelectIn(uint64_t chunkNumber, const Chunk& chunk, Range pages, std::vector<Range>& found) const;

  mutable std::mutex mutex_;
  // By page number / kChunkPages. Chunks are never erased, so that pointers to them stay good.
  std::map<uint64_t, Chunk> chunks_;
  mutable uint64_t lastNumber_ = ~uint64_t{0};
  mutable const Chunk* last_ = nullptr;
  uint64_t count_ = 0;
};

}  // namespace godwit
