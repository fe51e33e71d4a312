// Finding pages in another process's page tables: ioctl PAGEMAP_SCAN on /proc/PID/pagemap (Linux 6.7), and where
// that is missing what reading the file tells.
#pragma once
#include <vector>

#include "ranges.h"

namespace godwit {

// ScanMode of native/index.ts.
enum class ScanMode {
  kCollect = 0,
  kFinal = 1,
  kContent = 2,
  kCollectOwn = 3,
  kFinalOwn = 4,
  kContentByReading = 5,
  kGuards = 6,
  kHuge = 7,
};

struct ScanResult {
  std::vector<TaggedRange> pages;  // tag: PAGE_IS_* categories
  std::vector<Range> untracked;
};

// Scans sorted, disjoint spans, one for each mapping. Modes that tell what was written need PAGEMAP_SCAN. Throws
// KernelFailure.
ScanResult ScanPages(int pagemap, const std::vector<Range>& spans, ScanMode mode);

}  // namespace godwit
