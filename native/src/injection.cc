#include <napi.h>

namespace godwit {

void InitInjection(Napi::Env env, Napi::Object exports) {}

}  // namespace godwit
