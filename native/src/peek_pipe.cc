// The content of a pipe without taking it out.
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

#include "arguments.h"
#include "error.h"
#include "scoped_fd.h"

namespace godwit {
namespace {

// tee(2) always duplicates from the first byte, so everything must come in one call. A pipe is a ring of
// slots, one for each write that could not be merged, and F_GETPIPE_SZ is their number in pages: a private
// pipe of the same size has a slot for each of the source's, however little they hold (link_pipe in
// fs/splice.c).
Napi::Value PeekPipe(const Napi::CallbackInfo& info) {
  int source = Int(info[0]);
  int capacity = fcntl(source, F_GETPIPE_SZ);
  FailIf(capacity < 0, "fcntl(F_GETPIPE_SZ)");
  int ends[2];
  FailIf(pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0, "pipe2");
  ScopedFd reader(ends[0]);
  ScopedFd writer(ends[1]);
  FailIf(fcntl(writer.Get(), F_SETPIPE_SZ, capacity) < 0, "fcntl(F_SETPIPE_SZ)");
  ssize_t length = tee(source, writer.Get(), static_cast<size_t>(capacity), SPLICE_F_NONBLOCK);
  // An empty pipe: EAGAIN while it has writers, 0 when they are gone.
  if (length < 0 && errno == EAGAIN) length = 0;
  FailIf(length < 0, "tee");

  auto content = Napi::Buffer<char>::New(info.Env(), static_cast<size_t>(length));
  for (size_t at = 0; at < content.Length();) {
    ssize_t got = read(reader.Get(), content.Data() + at, content.Length() - at);
    if (got == 0) Fail(EIO, "read", 0, "less than tee(2) told");
    FailIf(got < 0, "read");
    at += static_cast<size_t>(got);
  }
  return content;
}

}  // namespace

void InitPeekPipe(Napi::Env env, Napi::Object exports) { Export<PeekPipe>(exports, "peekPipe"); }

}  // namespace godwit
