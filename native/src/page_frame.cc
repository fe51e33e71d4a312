#include "page_frame.h"

#include <algorithm>
#include <cerrno>

#include "error.h"

namespace godwit {

void FailProtocol(const char* what) { Fail(EPROTO, "page channel", 0, what); }

void CheckHeader(const FrameHeader& header, uint64_t messageBytes, uint64_t sequence) {
  if (header.version != kFrameVersion) FailProtocol("unknown frame version");
  if (header.reserved != 0 || header.reserved2 != 0) FailProtocol("reserved header fields are not zero");
  if (header.bodyBytes > kMaxFrameBodyBytes) FailProtocol("frame body too large");
  const uint64_t frameBytes = sizeof(header) + header.bodyBytes + kFrameTagBytes;
  if (frameBytes != messageBytes) FailProtocol("frame length differs");
  if (header.sequence != sequence) FailProtocol("frame out of sequence");
  switch (header.kind) {
    case FrameKind::kPlain:
      if (header.runs == 0 || header.runs > kMaxFrameRuns) FailProtocol("number of runs out of bounds");
      if (header.runs * sizeof(PageRun) > header.bodyBytes) FailProtocol("run table longer than the body");
      return;
    case FrameKind::kCompressed:
      if (header.runs != 0) FailProtocol("a compressed frame names runs");
      if (header.bodyBytes <= sizeof(uint32_t)) FailProtocol("compressed body too short");
      return;
  }
  FailProtocol("unknown frame kind");
}

static bool Contains(const std::vector<Range>& allowed, Range range) {
  const auto before = [](uint64_t address, const Range& other) { return address < other.start; };
  const auto after = std::upper_bound(allowed.begin(), allowed.end(), range.start, before);
  return after != allowed.begin() && range.end <= std::prev(after)->end;
}

FrameBody ParseBody(std::span<const uint8_t> body, uint32_t runs, const std::vector<Range>& allowed) {
  if (body.size() > kMaxFrameBodyBytes) FailProtocol("frame body too large");
  FrameBody parsed;
  uint64_t used = 0;  // bytes of the table and content of the runs read so far
  while (runs != 0 ? parsed.runs.size() < runs : used < body.size()) {
    const size_t offset = parsed.runs.size() * sizeof(PageRun);
    if (parsed.runs.size() == kMaxFrameRuns) FailProtocol("number of runs out of bounds");
    if (offset + sizeof(PageRun) > body.size()) FailProtocol("run table longer than the body");
    PageRun run;
    std::memcpy(&run, body.data() + offset, sizeof(run));
    if (run.address % kPageBytes != 0) FailProtocol("run not page aligned");
    if (run.pages == 0) FailProtocol("empty run");
    if (run.kind != RunKind::kData && run.kind != RunKind::kZero) FailProtocol("unknown kind of run");
    if (run.address + run.Bytes() < run.address) FailProtocol("run leaves the address space");
    if (!Contains(allowed, run.Span())) FailProtocol("run outside the announced memory");
    used += sizeof(PageRun) + (run.kind == RunKind::kData ? run.Bytes() : 0);
    if (used > body.size()) FailProtocol("content shorter than its runs");
    parsed.runs.push_back(run);
  }
  if (parsed.runs.empty() || used != body.size()) FailProtocol("content longer than its runs");
  parsed.content = body.data() + parsed.runs.size() * sizeof(PageRun);
  return parsed;
}

}  // namespace godwit
