#include <napi.h>

namespace godwit {

void InitPagemap(Napi::Env env, Napi::Object exports) {}

}  // namespace godwit
