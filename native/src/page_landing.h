// Puts pages into the memory of the skeleton, in place: userfaultfd(2) where nothing is yet, /proc/PID/mem
// elsewhere.
#pragma once
#include <cstdint>

#include "page_frame.h"
#include "page_set.h"
#include "scoped_fd.h"

namespace godwit {

class PageLanding {
 public:
  // Takes duplicates. `userfault` is registered for missing pages with UFFD_FEATURE_SIGBUS, so that a write
  // into a hole through the memory file fails instead of waiting; -1 for none.
  void SetTarget(int memory, int userfault);
  void CloseUserfault() { userfault_.Reset(); }

  // Throws KernelFailure when a page cannot be written.
  void Land(const FrameBody& body);

 private:
  void LandData(Range range, const uint8_t* content);
  void LandZero(Range range);
  Range Missing(Range range) const;
  uint64_t Copy(Range range, const uint8_t* content);
  uint64_t ZeroFill(Range range);
  uint64_t Write(Range range, const uint8_t* content);

  ScopedFd memory_;
  ScopedFd userfault_;
  PageSet landed_;
};

}  // namespace godwit
