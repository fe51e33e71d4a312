// Reading and writing a few bytes of another process: process_vm_readv(2), process_vm_writev(2). Bulk pages
// go through page_gatherer.cc and page_landing.cc.
#include <napi.h>
#include <sys/uio.h>

#include "arguments.h"
#include "error.h"

namespace godwit {

static Napi::Value ReadMemory(const Napi::CallbackInfo& info) {
  const int pid = Int(info[0]);
  const uint64_t address = Address(info[1]);
  const size_t bytes = Int64(info[2]);
  auto buffer = Napi::Buffer<uint8_t>::New(info.Env(), bytes);
  for (size_t done = 0; done < bytes;) {
    iovec local{buffer.Data() + done, bytes - done};
    iovec remote{reinterpret_cast<void*>(address + done), bytes - done};
    const ssize_t got = process_vm_readv(pid, &local, 1, &remote, 1, 0);
    FailIf(got < 0, "process_vm_readv", pid);
    if (got == 0) Fail(EFAULT, "process_vm_readv", pid);
    done += got;
  }
  return buffer;
}

static Napi::Value WriteMemory(const Napi::CallbackInfo& info) {
  const int pid = Int(info[0]);
  const uint64_t address = Address(info[1]);
  auto data = info[2].As<Napi::Uint8Array>();
  const size_t bytes = data.ByteLength();
  for (size_t done = 0; done < bytes;) {
    iovec local{data.Data() + done, bytes - done};
    iovec remote{reinterpret_cast<void*>(address + done), bytes - done};
    const ssize_t put = process_vm_writev(pid, &local, 1, &remote, 1, 0);
    FailIf(put < 0, "process_vm_writev", pid);
    if (put == 0) Fail(EFAULT, "process_vm_writev", pid);
    done += put;
  }
  return info.Env().Undefined();
}

void InitMemory(Napi::Env env, Napi::Object exports) {
  Export<ReadMemory>(exports, "readMemory");
  Export<WriteMemory>(exports, "writeMemory");
}

}  // namespace godwit
