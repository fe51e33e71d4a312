#include "pagemap_reader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "error.h"
#include "scoped_fd.h"

namespace godwit {

static uint64_t FindZeroFrame() {
  // A page that was read and never written shows it. The kernel has one for all.
  void* const page = mmap(nullptr, kPageBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return 0;
  (void)*static_cast<volatile uint8_t*>(page);
  PageEntry entry{};
  const ScopedFd own(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  const off_t at = reinterpret_cast<uint64_t>(page) / kPageBytes * sizeof entry;
  if (!own || pread(own.Get(), &entry, sizeof entry, at) != sizeof entry) entry = {};
  munmap(page, kPageBytes);
  return entry.Present() ? entry.Frame() : 0;
}

uint64_t ZeroFrame() {
  static const uint64_t frame = FindZeroFrame();
  return frame;
}

void ReadEntries(int pagemap, Range range, const EntryBlock& block) {
  // Measured on 1 GB: blocks of 32 KB take twice as long, larger ones fall out of the cache.
  constexpr uint64_t kBlock = 512, kEntries = 32 * kBlock;
  static thread_local std::array<PageEntry, kEntries> entries;
  const uint64_t end = range.end / kPageBytes;
  for (uint64_t page = range.start / kPageBytes; page < end;) {
    const uint64_t wanted = std::min(end - page, kEntries);
    const ssize_t got = pread(pagemap, entries.data(), wanted * sizeof(PageEntry), page * sizeof(PageEntry));
    if (got < 0 && errno == EINTR) continue;
    FailIf(got < 0, "pread(/proc/PID/pagemap)");
    const uint64_t count = got / sizeof(PageEntry);
    if (count == 0) Fail(ESRCH, "pread(/proc/PID/pagemap)", 0, "the process has no memory any more");
    for (uint64_t i = 0; i < count;) {
      const uint64_t length = std::min(count - i, kBlock - (page + i) % kBlock);
      block((page + i) * kPageBytes, {entries.data() + i, length});
      i += length;
    }
    page += count;
  }
}

}  // namespace godwit
