// Where the content of each page was when it was last taken: what soft-dirty bits alone do not tell. The bits
// stay behind when mremap(2) moves whole page tables (mm/mremap.c, move_normal_pmd), so a page that is clean may
// be one that never was at this address.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "page_set.h"
#include "ranges.h"

namespace godwit {

class PageHistory {
 public:
  struct Found {
    std::vector<TaggedRange> changed;  // tag: that of the span
    std::vector<Range> dropped;        // was sent, and has no content of its own now
  };

  // Pages with content of their own that are soft-dirty, or elsewhere than when they were taken. `take`: that
  // is now. `dropped` is told where `sent` is given. Throws KernelFailure. Several threads may work at once, on
  // spans that do not overlap.
  Found Read(int pagemap, const std::vector<TaggedRange>& spans, bool take, const PageSet* sent);
  // As if the pages of these ranges had never been taken.
  void Forget(const std::vector<Range>& ranges);

 private:
  static constexpr uint64_t kChunkPages = 512;
  using Chunk = std::array<uint64_t, kChunkPages>;
  Chunk* Find(uint64_t number, bool make);

  std::shared_mutex reading_;  // shared by readers; forgetting waits for them
  std::mutex mutex_;           // of the map; the chunks belong to whoever reads that part of the address space
  std::map<uint64_t, std::unique_ptr<Chunk>> chunks_;
};

}  // namespace godwit
