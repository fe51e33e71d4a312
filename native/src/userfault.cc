#include <napi.h>

namespace godwit {

void InitUserfault(Napi::Env env, Napi::Object exports) {}

}  // namespace godwit
