#include <napi.h>

namespace godwit {

void InitDescriptors(Napi::Env env, Napi::Object exports) {}

}  // namespace godwit
