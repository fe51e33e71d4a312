#include "page_scan.h"

#include <linux/types.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <atomic>

#include "error.h"

namespace godwit {

namespace {

// linux/fs.h of 6.7 and later, which is newer than the headers of the oldest supported build hosts.
struct ScanArguments {
  uint64_t size;
  uint64_t flags;
  uint64_t start;
  uint64_t end;
  uint64_t walk_end;
  uint64_t vec;
  uint64_t vec_len;
  uint64_t max_pages;
  uint64_t category_inverted;
  uint64_t category_mask;
  uint64_t category_anyof_mask;
  uint64_t return_mask;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArguments);
constexpr uint64_t kWriteProtectMatching = 1, kCheckWriteProtectAsync = 2;  // PM_SCAN_*
// PAGE_IS_*
constexpr uint64_t kWritten = 2, kFile = 4, kPresent = 8, kSwapped = 16, kZero = 32, kGuard = 256;

// What to look for, in the words of the ioctl.
struct Filter {
  uint64_t flags;
  uint64_t inverted;
  uint64_t mask;
  uint64_t anyOf;
  uint64_t result;
};

// Guard pages (MADV_GUARD_INSTALL) look like swapped ones and cannot be read. Kernels that have them before
// they have the category (6.13, 6.14) answer EINVAL to it; so do those that have neither.
std::atomic<uint64_t> guardCategory{kGuard};

// FILE makes the kernel look each page up, which takes three times as long (1.7 against 0.55 ms for 1 GB); it
// is asked for only where it decides. PFNZERO is free beside PRESENT.
Filter FilterOf(ScanMode mode) {
  const uint64_t guard = guardCategory;
  const uint64_t backed = kPresent | kSwapped;
  switch (mode) {
    case ScanMode::kCollect:
      return {kWriteProtectMatching | kCheckWriteProtectAsync, guard, kWritten | guard, backed,
              backed | kZero};
    case ScanMode::kFinal:
      // WRITTEN alone takes a short cut in the kernel (fs/proc/task_mmu.c, pagemap_scan_pmd_entry).
      return {kCheckWriteProtectAsync, 0, kWritten, 0, kWritten};
    case ScanMode::kCollectOwn:
    case ScanMode::kFinalOwn: {
      const uint64_t protect = mode == ScanMode::kCollectOwn ? kWriteProtectMatching : 0;
      const uint64_t foreign = kFile | guard;
      return {protect | kCheckWriteProtectAsync, foreign, kWritten | foreign, backed, backed};
    }
    default:
      return {0, kFile | kZero | guard, kFile | kZero | guard, backed, backed};
  }
}
Filter BackedAndWritten() {
  const uint64_t guard = guardCategory;
  return {0, guard, kWritten | guard, kPresent | kSwapped, kPresent | kSwapped};
}

// One scan over a stretch of address space, as many calls as the result needs.
class Scanner {
 public:
  explicit Scanner(int pagemap) : pagemap_(pagemap), regions_(kRegions) {}

  // Appends what the filter finds in `range`. Returns range.end, or the address from where a mapping is not
  // tracked (EPERM); pages found after that address may have been appended as well.
  uint64_t Scan(Range range, const Filter& filter, std::vector<TaggedRange>& found) {
    while (range.start < range.end) {
      ScanArguments arguments{.size = sizeof(ScanArguments),
                              .flags = filter.flags,
                              .start = range.start,
                              .end = range.end,
                              .walk_end = 0,
                              .vec = reinterpret_cast<uint64_t>(regions_.data()),
                              .vec_len = regions_.size(),
                              .max_pages = 0,
                              .category_inverted = filter.inverted,
                              .category_mask = filter.mask,
                              .category_anyof_mask = filter.anyOf,
                              .return_mask = filter.result};
      const int count = ioctl(pagemap_, kPagemapScan, &arguments);
      if (count < 0 && errno != EPERM) Fail(errno, "ioctl(PAGEMAP_SCAN)");
      // Pages before the untracked mapping have been protected already and would be lost for good: the kernel
      // has written them out, it only does not say how many. Regions are cleared after use, so they show.
      const int filled = count < 0 ? CountFilled() : count;
      const uint64_t last = filled > 0 ? regions_[filled - 1].end : range.start;
      for (int i = 0; i < filled; i++) {
        Append(found, regions_[i]);
        regions_[i] = {};
      }
      if (count < 0) return range.start;
      // The kernel gathers 512 regions at a time and leaves walk_end where the last but one of these batches
      // ended (fs/proc/task_mmu.c, do_pagemap_scan): only a full answer means that there is more, behind its
      // last region.
      if (static_cast<size_t>(count) < regions_.size()) return range.end;
      range.start = std::max(arguments.walk_end, last);
    }
    return range.end;
  }

 private:
  // Large enough for few calls, small enough to stay in the cache.
  static constexpr size_t kRegions = 4096;

  int CountFilled() const {
    return std::find_if(regions_.begin(), regions_.end(), [](auto& region) { return region.end == 0; }) -
           regions_.begin();
  }

  const int pagemap_;
  std::vector<TaggedRange> regions_;  // the layout of struct page_region
};

// Replaces each written range by its parts: present or swapped, and neither (category 0).
std::vector<TaggedRange> Classify(Scanner& scanner, const std::vector<TaggedRange>& written) {
  // A call costs about as much as walking over this much untouched memory.
  constexpr uint64_t kWorthWalking = 512 * 1024;
  const Filter filter = BackedAndWritten();
  std::vector<TaggedRange> parts, backed;
  for (size_t first = 0, next; first < written.size(); first = next) {
    for (next = first + 1; next < written.size(); next++) {
      if (written[next].start - written[next - 1].end > kWorthWalking) break;
    }
    backed.clear();
    scanner.Scan({written[first].start, written[next - 1].end}, filter, backed);
    auto at = backed.begin();
    for (size_t i = first; i < next; i++) {
      uint64_t position = written[i].start;
      while (at != backed.end() && at->end <= position) ++at;
      for (auto part = at; part != backed.end() && part->start < written[i].end; ++part) {
        const uint64_t start = std::max(part->start, position), end = std::min(part->end, written[i].end);
        Append(parts, {position, start, 0});
        Append(parts, {start, end, part->tag});
        position = end;
      }
      Append(parts, {position, written[i].end, 0});
    }
  }
  return parts;
}

// Sorts and joins ranges that may overlap after a stretch was scanned twice.
void Normalise(std::vector<TaggedRange>& pages) {
  std::sort(pages.begin(), pages.end(), [](auto& a, auto& b) { return a.start < b.start; });
  std::vector<TaggedRange> joined;
  for (TaggedRange next : pages) {
    if (!joined.empty()) next.start = std::max(next.start, joined.back().end);
    Append(joined, next);
  }
  pages = std::move(joined);
}

ScanResult Scan(int pagemap, const std::vector<Range>& spans, ScanMode mode) {
  Scanner scanner(pagemap);
  const Filter filter = FilterOf(mode);
  ScanResult result;
  bool twice = false;
  for (size_t first = 0, next; first < spans.size(); first = next) {
    // Touching spans go into one call; span by span only when a mapping among them is not tracked.
    for (next = first + 1; next < spans.size() && spans[next].start == spans[next - 1].end;) next++;
    const Range stretch{spans[first].start, spans[next - 1].end};
    const uint64_t stopped = scanner.Scan(stretch, filter, result.pages);
    if (stopped == stretch.end) continue;
    twice = true;
    for (size_t i = first; i < next; i++) {
      const Range rest{std::max(spans[i].start, stopped), spans[i].end};
      if (rest.start >= rest.end) continue;
      const uint64_t end = scanner.Scan(rest, filter, result.pages);
      Append(result.untracked, Range{end, rest.end});
    }
  }
  if (twice) Normalise(result.pages);
  if (mode == ScanMode::kFinal) result.pages = Classify(scanner, result.pages);
  return result;
}

}  // namespace

ScanResult ScanPages(int pagemap, const std::vector<Range>& spans, ScanMode mode) {
  const bool asked = guardCategory != 0;
  try {
    return Scan(pagemap, spans, mode);
  } catch (const KernelFailure& failure) {
    // The first call with a category the kernel does not know fails before it has changed anything. A final
    // scan changes nothing at all. Several threads may learn it at the same time.
    if (failure.error != EINVAL || !asked) throw;
    guardCategory = 0;
    return Scan(pagemap, spans, mode);
  }
}

}  // namespace godwit
