#include "page_set.h"

#include <algorithm>
#include <bit>

namespace godwit {

// The bits of word `word` of a chunk that lie in pages [from, to) of that chunk.
static uint64_t MaskOf(uint64_t word, uint64_t from, uint64_t to) {
  const uint64_t low = word * 64;
  if (to <= low || from >= low + 64) return 0;
  uint64_t mask = ~uint64_t{0};
  if (from > low) mask &= ~uint64_t{0} << (from - low);
  if (to < low + 64) mask &= ~uint64_t{0} >> (low + 64 - to);
  return mask;
}

static Range PagesOf(Range range) { return {range.start / kPageBytes, range.end / kPageBytes}; }

void PageSet::Add(Range range) {
  const Range pages = PagesOf(range);
  std::lock_guard lock(mutex_);
  for (uint64_t page = pages.start; page < pages.end;) {
    const uint64_t number = page / kChunkPages, base = number * kChunkPages;
    const uint64_t to = std::min(pages.end, base + kChunkPages);
    Chunk& chunk = chunks_[number];
    for (uint64_t word = (page - base) / 64; word <= (to - base - 1) / 64; word++) {
      const uint64_t mask = MaskOf(word, page - base, to - base);
      count_ += std::popcount(mask & ~chunk[word]);
      chunk[word] |= mask;
    }
    page = to;
  }
}

void PageSet::Remove(Range range) {
  const Range pages = PagesOf(range);
  std::lock_guard lock(mutex_);
  for (auto it = chunks_.lower_bound(pages.start / kChunkPages); it != chunks_.end(); ++it) {
    const uint64_t base = it->first * kChunkPages;
    if (base >= pages.end) break;
    const uint64_t from = std::max(pages.start, base) - base;
    const uint64_t to = std::min(pages.end, base + kChunkPages) - base;
    for (uint64_t word = 0; word < it->second.size(); word++) {
      const uint64_t mask = MaskOf(word, from, to);
      count_ -= std::popcount(mask & it->second[word]);
      it->second[word] &= ~mask;
    }
  }
}

bool PageSet::Has(uint64_t address) const {
  const uint64_t page = address / kPageBytes, number = page / kChunkPages;
  std::lock_guard lock(mutex_);
  if (number != lastNumber_) {
    const auto it = chunks_.find(number);
    if (it == chunks_.end()) return false;
    lastNumber_ = number;
    last_ = &it->second;
  }
  return ((*last_)[page % kChunkPages / 64] >> (page % 64)) & 1;
}

void PageSet::SelectIn(uint64_t number, const Chunk& chunk, Range pages, std::vector<Range>& found) const {
  const uint64_t base = number * kChunkPages;
  const uint64_t from = std::max(pages.start, base) - base;
  const uint64_t to = std::min(pages.end, base + kChunkPages) - base;
  for (uint64_t word = 0; word < chunk.size(); word++) {
    uint64_t bits = chunk[word] & MaskOf(word, from, to);
    while (bits != 0) {
      const int first = std::countr_zero(bits);
      const int length = std::countr_one(bits >> first);
      const uint64_t start = (base + word * 64 + first) * kPageBytes;
      Append(found, Range{start, start + length * kPageBytes});
      if (first + length == 64) break;
      bits &= ~uint64_t{0} << (first + length);
    }
  }
}

void PageSet::Select(Range range, std::vector<Range>& found) const {
  const Range pages = PagesOf(range);
  std::lock_guard lock(mutex_);
  for (auto it = chunks_.lower_bound(pages.start / kChunkPages); it != chunks_.end(); ++it) {
    if (it->first * kChunkPages >= pages.end) break;
    SelectIn(it->first, it->second, pages, found);
  }
}

std::vector<Range> PageSet::All() const {
  std::vector<Range> found;
  Select({0, ~uint64_t{0}}, found);
  return found;
}

uint64_t PageSet::Count() const {
  std::lock_guard lock(mutex_);
  return count_;
}

}  // namespace godwit
