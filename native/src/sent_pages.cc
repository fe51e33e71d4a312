#include <napi.h>

namespace godwit {

void InitSentPages(Napi::Env env, Napi::Object exports) {}

}  // namespace godwit
