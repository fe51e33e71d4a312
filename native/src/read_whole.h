// Whole small files, as /proc and /sys have them: their size is not known before they have been read.
#pragma once
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>
#include <vector>

#include "scoped_fd.h"

namespace godwit {

// Reads the file at `path` (relative to `directory`, or AT_FDCWD) into the front of `buffer`, which grows as
// needed and is meant to be used again. Returns the number of bytes, or a negative errno.
inline ssize_t ReadWhole(int directory, const char* path, std::vector<char>& buffer) {
  // O_NONBLOCK: a FIFO in the place of the file must not stop the caller.
  ScopedFd file(openat(directory, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!file) return -errno;
  size_t length = 0;
  for (;;) {
    if (length == buffer.size()) buffer.resize(buffer.empty() ? 16384 : buffer.size() * 2);
    // /proc hands out a page or so at a time: only a read of nothing is the end.
    ssize_t got = read(file.Get(), buffer.data() + length, buffer.size() - length);
    if (got == 0) return static_cast<ssize_t>(length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    length += static_cast<size_t>(got);
  }
}

}  // namespace godwit
