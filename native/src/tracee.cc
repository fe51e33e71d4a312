#include <napi.h>

namespace godwit {

void InitTracee(Napi::Env env, Napi::Object exports) {}

}  // namespace godwit
