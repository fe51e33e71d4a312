#include "page_gatherer.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "error.h"

namespace godwit {

// Most pages that hold something show it within the first words.
static bool IsZero(const uint8_t* page) {
  constexpr size_t kBlockWords = 16;
  const auto* words = reinterpret_cast<const uint64_t*>(page);
  for (size_t i = 0; i < kPageBytes / sizeof(uint64_t); i += kBlockWords) {
    uint64_t any = 0;
    for (size_t k = 0; k < kBlockWords; k++) any |= words[i + k];
    if (any != 0) return false;
  }
  return true;
}

void FrameBuffer::Clear() {
  runs_.clear();
  pages_ = 0;
}

void FrameBuffer::Add(uint64_t address, RunKind kind) {
  PageRun* last = runs_.empty() ? nullptr : &runs_.back();
  if (last && last->kind == kind && last->address + last->Bytes() == address && last->pages < UINT32_MAX) {
    last->pages++;
  } else {
    runs_.push_back({address, 1, kind});
  }
  if (kind == RunKind::kData) pages_++;
}

bool PageGatherer::Fill(FrameBuffer& frame) {
  frame.Clear();
  for (;;) {
    if (cancelled_) Fail(ECANCELED, "page channel", 0, "the channel was closed");
    // A page is at most one run, so what is planned always fits.
    Plan(std::min(frame.PagesFree(), frame.RunsFree()));
    if (planned_.empty()) return !frame.Empty();
    const size_t pages = Read(frame.Next());
    Pack(frame, pages);
  }
}

void PageGatherer::Plan(size_t pages) {
  planned_.clear();
  while (planned_.size() < pages && run_ < request_.runs.size()) {
    const TaggedRange& run = request_.runs[run_];
    const uint64_t address = run.start + offset_;
    if (address >= run.end) {
      run_++;
      offset_ = 0;
      continue;
    }
    planned_.push_back({address, (run.tag & kAnonymous) != 0});
    offset_ += kPageBytes;
  }
}

// Reads the planned pages one behind the other. Pages that cannot be read are missing and take no room.
size_t PageGatherer::Read(uint8_t* into) {
  static_assert(kFramePages <= IOV_MAX);
  read_.clear();
  for (size_t next = 0; next < planned_.size();) {
    iovec remote[kFramePages];
    size_t vectors = 0;
    for (size_t i = next; i < planned_.size(); i++) {
      auto* address = reinterpret_cast<uint8_t*>(planned_[i].address);
      iovec* last = vectors > 0 ? &remote[vectors - 1] : nullptr;
      const bool joins = last && static_cast<uint8_t*>(last->iov_base) + last->iov_len == address;
      if (joins) last->iov_len += kPageBytes;
      else remote[vectors++] = {address, kPageBytes};
    }
    uint8_t* const at = into + read_.size() * kPageBytes;
    iovec local{at, (planned_.size() - next) * kPageBytes};
    ssize_t got = process_vm_readv(request_.pid, &local, 1, remote, vectors, 0);
    FailIf(got < 0 && errno != EFAULT, "process_vm_readv", request_.pid);
    if (got < static_cast<ssize_t>(kPageBytes)) {
      // No read permission, or not mapped: the memory file tells the two apart. The rest of a run is likely
      // alike.
      got = pread(request_.memory.Get(), at, remote[0].iov_len, planned_[next].address);
    }
    const size_t pages = got > 0 ? got / kPageBytes : 0;
    read_.insert(read_.end(), planned_.begin() + next, planned_.begin() + next + pages);
    next += pages;
    if (pages == 0) {
      const uint64_t address = planned_[next++].address;
      Append(result_.missing, Range{address, address + kPageBytes});
    }
  }
  return read_.size();
}

void PageGatherer::Pack(FrameBuffer& frame, size_t pages) {
  const uint8_t* page = frame.Next();
  for (size_t i = 0; i < pages; i++, page += kPageBytes) {
    const auto [address, anonymous] = read_[i];
    const bool zero = IsZero(page);
    if (zero && anonymous && !request_.sent->Has(address)) {
      result_.skippedPages++;
    } else if (zero) {
      frame.Add(address, RunKind::kZero);
      result_.zeroPages++;
    } else {
      if (page != frame.Next()) std::memcpy(frame.Next(), page, kPageBytes);
      frame.Add(address, RunKind::kData);
      result_.pages++;
    }
  }
}

}  // namespace godwit
