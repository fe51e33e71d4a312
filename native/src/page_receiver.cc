#include <napi.h>

namespace godwit {

void InitPageReceiver(Napi::Env env, Napi::Object exports) {}

}  // namespace godwit
