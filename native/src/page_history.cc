#include "page_history.h"

#include <algorithm>

#include "pagemap_reader.h"

namespace godwit {

// `from` without `gone`, both sorted and disjoint.
static void Subtract(const std::vector<Range>& from, const std::vector<Range>& gone, std::vector<Range>& rest) {
  auto at = gone.begin();
  for (Range range : from) {
    while (at != gone.end() && at->end <= range.start) ++at;
    for (auto part = at; part != gone.end() && part->start < range.end; ++part) {
      Append(rest, Range{range.start, std::min(range.end, part->start)});
      range.start = std::max(range.start, part->end);
    }
    Append(rest, range);
  }
}

PageHistory::Chunk* PageHistory::Find(uint64_t number, bool make) {
  std::lock_guard lock(mutex_);
  const auto found = chunks_.find(number);
  if (found != chunks_.end()) return found->second.get();
  if (!make) return nullptr;
  return (chunks_[number] = std::make_unique<Chunk>()).get();
}

PageHistory::Found PageHistory::Read(int pagemap, const std::vector<TaggedRange>& spans, bool take,
                                     const PageSet* sent) {
  const uint64_t zeroFrame = ZeroFrame();
  std::shared_lock reader(reading_);
  Found found;
  std::vector<Range> own, marked;
  for (const TaggedRange& span : spans) {
    own.clear();
    ReadEntries(pagemap, {span.start, span.end}, [&](uint64_t address, std::span<const PageEntry> entries) {
      uint64_t any = 0;
      for (const PageEntry& entry : entries) any |= entry.Place();
      Chunk* const chunk = Find(address / kPageBytes / kChunkPages, take && any != 0);
      if (any == 0 && !(take && chunk)) return;
      uint64_t* const places = chunk ? chunk->data() + address / kPageBytes % kChunkPages : nullptr;
      for (size_t i = 0; i < entries.size(); i++) {
        const PageEntry entry = entries[i];
        const bool isOwn = entry.Own(zeroFrame);
        const uint64_t at = address + i * kPageBytes;
        if (isOwn) {
          Append(own, Range{at, at + kPageBytes});
          if (entry.SoftDirty() || !places || places[i] != entry.Place()) {
            Append(found.changed, TaggedRange{at, at + kPageBytes, span.tag});
          }
        }
        if (take) places[i] = isOwn ? entry.Place() : 0;
      }
    });
    if (!sent) continue;
    marked.clear();
    sent->Select({span.start, span.end}, marked);
    Subtract(marked, own, found.dropped);
  }
  return found;
}

void PageHistory::Forget(const std::vector<Range>& ranges) {
  constexpr uint64_t kChunkBytes = kChunkPages * kPageBytes;
  std::unique_lock alone(reading_);
  std::lock_guard lock(mutex_);
  for (const Range& range : ranges) {
    for (auto it = chunks_.lower_bound(range.start / kChunkBytes); it != chunks_.end();) {
      const uint64_t base = it->first * kChunkBytes;
      if (base >= range.end) break;
      if (range.start <= base && range.end >= base + kChunkBytes) {
        it = chunks_.erase(it);
        continue;
      }
      const uint64_t from = std::max(range.start, base), to = std::min(range.end, base + kChunkBytes);
      uint64_t* const places = it->second->data();
      std::fill(places + (from - base) / kPageBytes, places + (to - base) / kPageBytes, 0);
      ++it;
    }
  }
}

}  // namespace godwit
