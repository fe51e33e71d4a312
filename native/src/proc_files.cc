#include <napi.h>

namespace godwit {

void InitProcFiles(Napi::Env env, Napi::Object exports) {}

}  // namespace godwit
