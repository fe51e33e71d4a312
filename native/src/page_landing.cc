#include "page_landing.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <cstdio>

#include "error.h"

namespace godwit {

void PageLanding::SetTarget(int memory, int userfault) {
  ScopedFd ownMemory(fcntl(memory, F_DUPFD_CLOEXEC, 0));
  FailIf(!ownMemory, "fcntl(F_DUPFD_CLOEXEC)");
  ScopedFd ownUserfault;
  if (userfault >= 0) {
    ownUserfault.Reset(fcntl(userfault, F_DUPFD_CLOEXEC, 0));
    FailIf(!ownUserfault, "fcntl(F_DUPFD_CLOEXEC)");
  }
  memory_ = std::move(ownMemory);
  userfault_ = std::move(ownUserfault);
}

void PageLanding::Land(const FrameBody& body) {
  const uint8_t* content = body.content;
  for (const PageRun& run : body.runs) {
    if (run.kind == RunKind::kZero) {
      LandZero(run.Span());
    } else {
      LandData(run.Span(), content);
      content += run.Bytes();
    }
  }
}

// The part at the start of `range` of which no page was filled by us through the userfaultfd; not more than
// is worth looking up again when it turns out not to be registered.
Range PageLanding::Missing(Range range) const {
  constexpr uint64_t kMost = 512 * kPageBytes;
  const uint64_t limit = std::min(range.end, range.start + kMost);
  uint64_t end = range.start;
  while (end < limit && !landed_.Has(end)) end += kPageBytes;
  return {range.start, end};
}

void PageLanding::LandData(Range range, const uint8_t* content) {
  while (range.start < range.end) {
    uint64_t done = 0;
    if (userfault_) {
      const Range missing = Missing(range);
      if (missing.start < missing.end) done = Copy(missing, content);
    }
    // Not missing, or not registered with the userfaultfd: one page at a time only while both are mixed.
    if (done == 0) done = Write(range, content);
    range.start += done;
    content += done;
  }
}

void PageLanding::LandZero(Range range) {
  alignas(kPageBytes) static const uint8_t zeros[16 * kPageBytes] = {};
  while (range.start < range.end) {
    uint64_t done = 0;
    if (userfault_) {
      const Range missing = Missing(range);
      if (missing.start < missing.end) done = ZeroFill(missing);
    }
    if (done == 0) done = Write({range.start, std::min(range.end, range.start + sizeof(zeros))}, zeros);
    range.start += done;
  }
}

// The kernel answers EAGAIN where page tables change under it, as they do when huge pages are made of small ones
// (mm/userfaultfd.c, mfill_atomic_install_pte()): that is over soon. `fill` makes one attempt and answers the bytes
// done or a negative errno.
template <class Fill>
static int64_t Retried(Fill fill) {
  constexpr int kMostAttempts = 10000;
  int64_t filled = fill();
  for (int i = 1; filled == -EAGAIN && i < kMostAttempts; i++) {
    sched_yield();
    filled = fill();
  }
  return filled;
}

// UFFDIO_COPY and UFFDIO_ZEROPAGE stop at the first page that is there already (EEXIST) and where the mapping
// ends or is not registered (ENOENT). Answers the bytes done.
static uint64_t Filled(int64_t filled, const char* call) {
  if (filled > 0) return filled;
  const int error = static_cast<int>(-filled);
  // EINVAL: a registered mapping that takes no such pages (UFFDIO_ZEROPAGE on huge ones).
  if (error == EEXIST || error == ENOENT || error == EINVAL) return 0;
  Fail(error, call);
}

uint64_t PageLanding::Copy(Range range, const uint8_t* content) {
  uffdio_copy copy{.dst = range.start,
                   .src = reinterpret_cast<uint64_t>(content),
                   .len = range.end - range.start,
                   .mode = 0,
                   .copy = 0};
  const int64_t filled = Retried([&] {
    const bool failed = ioctl(userfault_.Get(), UFFDIO_COPY, &copy) != 0;
    return failed && copy.copy == 0 ? -int64_t{errno} : std::exchange(copy.copy, 0);
  });
  const uint64_t done = Filled(filled, "ioctl(UFFDIO_COPY)");
  landed_.Add({range.start, range.start + done});
  return done;
}

uint64_t PageLanding::ZeroFill(Range range) {
  const uffdio_range where{.start = range.start, .len = range.end - range.start};
  uffdio_zeropage fill{.range = where, .mode = 0, .zeropage = 0};
  const int64_t filled = Retried([&] {
    const bool failed = ioctl(userfault_.Get(), UFFDIO_ZEROPAGE, &fill) != 0;
    return failed && fill.zeropage == 0 ? -int64_t{errno} : std::exchange(fill.zeropage, 0);
  });
  const uint64_t done = Filled(filled, "ioctl(UFFDIO_ZEROPAGE)");
  landed_.Add({range.start, range.start + done});
  return done;
}

uint64_t PageLanding::Write(Range range, const uint8_t* content) {
  // A write ends short before the first page that is missing in a registered mapping.
  const ssize_t put = pwrite(memory_.Get(), content, range.end - range.start, range.start);
  if (put >= static_cast<ssize_t>(kPageBytes)) return put & ~(kPageBytes - 1);
  const int error = put < 0 ? errno : EIO;
  if (userfault_ && (error == EIO || error == EFAULT)) {
    // A mapping that took the place of another: its pages are missing again.
    const uint64_t done = Copy({range.start, range.start + kPageBytes}, content);
    if (done > 0) return done;
  }
  char detail[64];
  snprintf(detail, sizeof detail, "the target's page at %lx cannot be written", range.start);
  Fail(error, "pwrite(/proc/PID/mem)", 0, detail);
}

}  // namespace godwit
