#include <napi.h>

namespace godwit {

void InitMemory(Napi::Env env, Napi::Object exports) {}

}  // namespace godwit
