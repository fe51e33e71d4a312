// Reading /proc/PID/pagemap: what every kernel has, Documentation/admin-guide/mm/pagemap.rst.
#pragma once
#include <cstdint>
#include <functional>
#include <span>

#include "ranges.h"

namespace godwit {

// One word of pagemap. Frames are shown to whoever opened the file with CAP_SYS_ADMIN, and read as 0 else.
struct PageEntry {
  uint64_t word;

  bool Present() const { return (word >> 63) & 1; }
  bool Swapped() const { return (word >> 62) & 1; }
  // Of a file, or the huge page of zeros.
  bool File() const { return (word >> 61) & 1; }
  bool SoftDirty() const { return (word >> 55) & 1; }
  uint64_t Frame() const { return word & ((uint64_t{1} << 55) - 1); }
  // Where the content is, for as long as it is not written: the frame, or the place in swap.
  uint64_t Place() const { return word & (uint64_t{3} << 62 | ((uint64_t{1} << 55) - 1)); }
  // Content of its own: anonymous or copied on write, and not the page of zeros. Guard pages (bit 58, Linux
  // 6.15) show as swapped.
  bool Own(uint64_t zeroFrame) const {
    if (!(Present() || Swapped()) || File() || ((word >> 58) & 1)) return false;
    return !Present() || zeroFrame == 0 || Frame() != zeroFrame;
  }
};

// The frame of the page of zeros; 0 where frames are not shown to us.
uint64_t ZeroFrame();

// Calls back for every block of entries in `range`, in order; a block never crosses 2 MB of address space.
// Throws KernelFailure; ESRCH when the process has no memory any more.
using EntryBlock = std::function<void(uint64_t address, std::span<const PageEntry> entries)>;
void ReadEntries(int pagemap, Range range, const EntryBlock& block);

}  // namespace godwit
