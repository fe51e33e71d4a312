// Bulk reading of /proc: one call from JavaScript for many files.
#include <algorithm>
#include <charconv>
#include <climits>
#include <cstring>
#include <dirent.h>
#include <memory>
#include <string>
#include <string_view>
#include <sys/stat.h>

#include "arguments.h"
#include "error.h"
#include "read_whole.h"

namespace godwit {
namespace {

// What one call has grown the next one finds warm.
thread_local std::vector<char> warm_buffer;

Napi::Value ReadFiles(const Napi::CallbackInfo& info) {
  auto paths = info[0].As<Napi::Array>();
  auto contents = Napi::Array::New(info.Env(), paths.Length());
  for (uint32_t i = 0; i < paths.Length(); i++) {
    Napi::HandleScope scope(info.Env());
    std::string path = paths.Get(i).ToString();
    ssize_t length = ReadWhole(AT_FDCWD, path.c_str(), warm_buffer);
    if (length < 0) {
      contents.Set(i, Napi::Number::New(info.Env(), static_cast<double>(length)));
    } else {
      contents.Set(i, Napi::Buffer<char>::Copy(info.Env(), warm_buffer.data(), static_cast<size_t>(length)));
    }
  }
  return contents;
}

using Directory = std::unique_ptr<DIR, decltype([](DIR* directory) { closedir(directory); })>;

Directory OpenDirectory(int pid, const char* name) {
  std::string path = "/proc/" + std::to_string(pid) + "/" + name;
  Directory directory(opendir(path.c_str()));
  FailIf(!directory, "open(/proc/PID/fd)", pid);
  return directory;
}

// The names in /proc/PID/fd, in the order of their numbers.
std::vector<int> Numbers(DIR* directory, int pid) {
  std::vector<int> numbers;
  for (;;) {
    errno = 0;
    dirent* entry = readdir(directory);
    if (!entry) break;
    std::string_view name = entry->d_name;
    int number;
    auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error == std::errc() && end == name.data() + name.size()) numbers.push_back(number);
  }
  FailIf(errno != 0, "getdents(/proc/PID/fd)", pid);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

// Whether a failed call means that the descriptor, or its process, has gone since the directory was read.
bool Vanished(int error) { return error == ENOENT || error == ESRCH; }

uint64_t Nanoseconds(const timespec& time) {
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

// Makes DescriptorEntry objects. The property names become JavaScript strings once for the whole list.
class EntryMaker {
 public:
  explicit EntryMaker(Napi::Env env) : env_(env) {
    constexpr const char* kNames[] = {"fd",   "path",          "info", "device",   "inode",
                                      "mode", "specialDevice", "size", "modified", "changed"};
    static_assert(std::size(kNames) == kProperties);
    for (size_t i = 0; i < kProperties; i++) names_[i] = Napi::String::New(env, kNames[i]);
  }

  Napi::Object Make(int fd, std::string_view path, std::string_view text, const struct stat& status) const {
    const Napi::Value values[kProperties] = {
        Napi::Number::New(env_, fd),
        Napi::String::New(env_, path.data(), path.size()),
        Napi::String::New(env_, text.data(), text.size()),
        BigUint(env_, status.st_dev),
        BigUint(env_, status.st_ino),
        Napi::Number::New(env_, status.st_mode),
        BigUint(env_, status.st_rdev),
        BigUint(env_, static_cast<uint64_t>(status.st_size)),
        BigUint(env_, Nanoseconds(status.st_mtim)),
        BigUint(env_, Nanoseconds(status.st_ctim)),
    };
    auto entry = Napi::Object::New(env_);
    for (size_t i = 0; i < kProperties; i++) entry.Set(names_[i], values[i]);
    return entry;
  }

 private:
  static constexpr size_t kProperties = 10;
  Napi::Env env_;
  napi_value names_[kProperties];
};

Napi::Value ListDescriptors(const Napi::CallbackInfo& info) {
  int pid = Int(info[0]);
  Directory links = OpenDirectory(pid, "fd");
  Directory texts = OpenDirectory(pid, "fdinfo");
  EntryMaker maker(info.Env());
  auto entries = Napi::Array::New(info.Env());
  uint32_t count = 0;
  for (int fd : Numbers(links.get(), pid)) {
    Napi::HandleScope scope(info.Env());
    std::string name = std::to_string(fd);
    char path[PATH_MAX];
    ssize_t path_length = readlinkat(dirfd(links.get()), name.c_str(), path, sizeof path);
    if (path_length < 0 && Vanished(errno)) continue;
    FailIf(path_length < 0, "readlink(/proc/PID/fd/N)", pid);
    ssize_t text_length = ReadWhole(dirfd(texts.get()), name.c_str(), warm_buffer);
    if (text_length < 0 && Vanished(static_cast<int>(-text_length))) continue;
    if (text_length < 0) Fail(static_cast<int>(-text_length), "read(/proc/PID/fdinfo/N)", pid);
    struct stat status;
    int failed = fstatat(dirfd(links.get()), name.c_str(), &status, 0);
    if (failed && Vanished(errno)) continue;
    FailIf(failed != 0, "stat(/proc/PID/fd/N)", pid);
    entries.Set(count++, maker.Make(fd, {path, static_cast<size_t>(path_length)},
                                    {warm_buffer.data(), static_cast<size_t>(text_length)}, status));
  }
  return entries;
}

}  // namespace

void InitProcFiles(Napi::Env env, Napi::Object exports) {
  Export<ReadFiles>(exports, "readFiles");
  Export<ListDescriptors>(exports, "listDescriptors");
}

}  // namespace godwit
