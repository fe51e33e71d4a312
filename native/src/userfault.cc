// userfaultfd(2): agreeing on features and registering ranges, on a descriptor of the other process's memory.
#include <linux/userfaultfd.h>
#include <napi.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "arguments.h"
#include "error.h"

namespace godwit {

static Napi::Value UserfaultApi(const Napi::CallbackInfo& info) {
  uffdio_api api{.api = UFFD_API, .features = Address(info[1]), .ioctls = 0};
  FailIf(ioctl(Int(info[0]), UFFDIO_API, &api) < 0, "ioctl(UFFDIO_API)");
  return BigUint(info.Env(), api.features);
}

// struct procmap_query of linux/fs.h (6.11), which is newer than the headers of the oldest supported build hosts.
struct MappingQuery {
  uint64_t size, flags, address;
  uint64_t start, end, vma_flags, page_size, offset, inode;
  uint32_t device_major, device_minor, name_size, build_id_size;
  uint64_t name, build_id;
};
static_assert(sizeof(MappingQuery) == 104);
constexpr unsigned long kMappingQuery = _IOWR('f', 17, MappingQuery);

static Napi::Value MappingAt(const Napi::CallbackInfo& info) {
  MappingQuery query{};
  query.size = sizeof query;
  query.address = Address(info[1]);
  if (ioctl(Int(info[0]), kMappingQuery, &query) < 0) {
    FailIf(errno != ENOENT && errno != ESRCH, "ioctl(PROCMAP_QUERY)");
    return info.Env().Null();
  }
  Napi::Object range = Napi::Object::New(info.Env());
  range.Set("start", BigUint(info.Env(), query.start));
  range.Set("end", BigUint(info.Env(), query.end));
  return range;
}

static Napi::Value UserfaultRegister(const Napi::CallbackInfo& info) {
  const uint64_t start = Address(info[1]);
  uffdio_register registration{};
  registration.range = {.start = start, .len = Address(info[2]) - start};
  registration.mode = Int64(info[3]);
  FailIf(ioctl(Int(info[0]), UFFDIO_REGISTER, &registration) < 0, "ioctl(UFFDIO_REGISTER)");
  return info.Env().Undefined();
}

static Napi::Value UserfaultUnprotect(const Napi::CallbackInfo& info) {
  const uint64_t start = Address(info[1]);
  uffdio_writeprotect protection{};
  protection.range = {.start = start, .len = Address(info[2]) - start};
  protection.mode = UFFDIO_WRITEPROTECT_MODE_DONTWAKE;
  FailIf(ioctl(Int(info[0]), UFFDIO_WRITEPROTECT, &protection) < 0, "ioctl(UFFDIO_WRITEPROTECT)");
  return info.Env().Undefined();
}

void InitUserfault(Napi::Env env, Napi::Object exports) {
  Export<UserfaultApi>(exports, "userfaultApi");
  Export<MappingAt>(exports, "mappingAt");
  Export<UserfaultRegister>(exports, "userfaultRegister");
  Export<UserfaultUnprotect>(exports, "userfaultUnprotect");
}

}  // namespace godwit
