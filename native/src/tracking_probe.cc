// Whether this kernel really tracks writes by userfaultfd: tried on a page of our own.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <napi.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "arguments.h"
#include "error.h"
#include "page_scan.h"
#include "scoped_fd.h"

namespace godwit {

namespace {

// Two pages of our own.
class ProbePages {
 public:
  ProbePages() : at_(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    FailIf(at_ == MAP_FAILED, "mmap");
  }
  ~ProbePages() { munmap(at_, kBytes); }
  ProbePages(const ProbePages&) = delete;
  Range Span() const { return {reinterpret_cast<uint64_t>(at_), reinterpret_cast<uint64_t>(at_) + kBytes}; }
  void Write(size_t page) { static_cast<volatile uint8_t*>(at_)[page * kPageBytes] = 1; }

 private:
  static constexpr uint64_t kBytes = 2 * kPageBytes;
  void* at_;
};

}  // namespace

static Napi::Value ProbeUserfault(const Napi::CallbackInfo& info) {
  const ScopedFd userfault(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
  FailIf(!userfault, "userfaultfd");
  uffdio_api api{.api = UFFD_API, .features = Address(info[0]), .ioctls = 0};
  FailIf(ioctl(userfault.Get(), UFFDIO_API, &api) < 0, "ioctl(UFFDIO_API)");
  ProbePages pages;
  const auto [start, end] = pages.Span();
  uffdio_register registration{};
  registration.range = {.start = start, .len = end - start};
  registration.mode = UFFDIO_REGISTER_MODE_WP;
  FailIf(ioctl(userfault.Get(), UFFDIO_REGISTER, &registration) < 0, "ioctl(UFFDIO_REGISTER)");
  const ScopedFd pagemap(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  FailIf(!pagemap, "open(/proc/self/pagemap)");
  const auto written = [&] { return ScanPages(pagemap.Get(), {{start, end}}, ScanMode::kCollect).pages; };
  pages.Write(0);
  pages.Write(1);
  const bool seen = written().size() > 0;
  const bool quiet = written().empty();
  pages.Write(1);
  const auto again = written();
  const bool exact = again.size() == 1 && again[0].start == start + kPageBytes;
  return Napi::Boolean::New(info.Env(), seen && quiet && exact);
}

void InitTrackingProbe(Napi::Env env, Napi::Object exports) { Export<ProbeUserfault>(exports, "probeUserfault"); }

}  // namespace godwit
