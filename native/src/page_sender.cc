#include <napi.h>

namespace godwit {

void InitPageSender(Napi::Env env, Napi::Object exports) {}

}  // namespace godwit
