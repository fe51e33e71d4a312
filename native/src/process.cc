#include <napi.h>

namespace godwit {

void InitProcess(Napi::Env env, Napi::Object exports) {}

}  // namespace godwit
