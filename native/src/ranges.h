// Address ranges as the boundary passes them: flat BigUint64Arrays of [start, end] or [start, end, word].
#pragma once
#include <napi.h>
#include <cstdint>
#include <cstring>
#include <vector>

namespace godwit {

constexpr uint64_t kPageBytes = 4096;

struct Range {
  uint64_t start;
  uint64_t end;  // exclusive
  bool operator==(const Range&) const = default;
};

// A range with a third word: page categories of a scan, or the flags of a run to send.
struct TaggedRange {
  uint64_t start;
  uint64_t end;
  uint64_t tag;
  bool operator==(const TaggedRange&) const = default;
};

// Adds a range, joining it to the last one where they touch.
inline void Append(std::vector<Range>& ranges, Range next) {
  if (next.start >= next.end) return;
  if (!ranges.empty() && ranges.back().end == next.start) ranges.back().end = next.end;
  else ranges.push_back(next);
}
inline void Append(std::vector<TaggedRange>& ranges, TaggedRange next) {
  if (next.start >= next.end) return;
  TaggedRange* last = ranges.empty() ? nullptr : &ranges.back();
  if (last && last->end == next.start && last->tag == next.tag) last->end = next.end;
  else ranges.push_back(next);
}

// `T` is Range or TaggedRange: both are plain words in the order of the array.
template <class T>
std::vector<T> ReadRanges(const Napi::Value& value) {
  auto words = value.As<Napi::BigUint64Array>();
  std::vector<T> ranges(words.ByteLength() / sizeof(T));
  if (!ranges.empty()) std::memcpy(ranges.data(), words.Data(), ranges.size() * sizeof(T));
  return ranges;
}

template <class T>
Napi::BigUint64Array ToJavaScript(Napi::Env env, const std::vector<T>& ranges) {
  auto words = Napi::BigUint64Array::New(env, ranges.size() * sizeof(T) / sizeof(uint64_t));
  if (!ranges.empty()) std::memcpy(words.Data(), ranges.data(), ranges.size() * sizeof(T));
  return words;
}

}  // namespace godwit
