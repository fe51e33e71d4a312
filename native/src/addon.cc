// The addon's list of rooms. What each offers is typed and documented in native/index.ts.
#include <napi.h>

namespace godwit {
void InitErrors(Napi::Env env, Napi::Object exports);
void InitTracee(Napi::Env env, Napi::Object exports);
void InitInjection(Napi::Env env, Napi::Object exports);
void InitMemory(Napi::Env env, Napi::Object exports);
void InitPagemap(Napi::Env env, Napi::Object exports);
void InitUserfault(Napi::Env env, Napi::Object exports);
void InitSentPages(Napi::Env env, Napi::Object exports);
void InitSoftDirtyPages(Napi::Env env, Napi::Object exports);
void InitTrackingProbe(Napi::Env env, Napi::Object exports);
void InitPageSender(Napi::Env env, Napi::Object exports);
void InitPageReceiver(Napi::Env env, Napi::Object exports);
void InitDescriptors(Napi::Env env, Napi::Object exports);
void InitDescriptorPassing(Napi::Env env, Napi::Object exports);
void InitPeekPipe(Napi::Env env, Napi::Object exports);
void InitProcess(Napi::Env env, Napi::Object exports);
void InitSpawn(Napi::Env env, Napi::Object exports);
void InitChildWatch(Napi::Env env, Napi::Object exports);
void InitScheduling(Napi::Env env, Napi::Object exports);
void InitProcFiles(Napi::Env env, Napi::Object exports);
void InitHost(Napi::Env env, Napi::Object exports);
void InitVdso(Napi::Env env, Napi::Object exports);
}  // namespace godwit

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  using namespace godwit;
  InitErrors(env, exports);
  InitTracee(env, exports);
  InitInjection(env, exports);
  InitMemory(env, exports);
  InitPagemap(env, exports);
  InitUserfault(env, exports);
  InitSentPages(env, exports);
  InitSoftDirtyPages(env, exports);
  InitTrackingProbe(env, exports);
  InitPageSender(env, exports);
  InitPageReceiver(env, exports);
  InitDescriptors(env, exports);
  InitDescriptorPassing(env, exports);
  InitPeekPipe(env, exports);
  InitProcess(env, exports);
  InitSpawn(env, exports);
  InitChildWatch(env, exports);
  InitScheduling(env, exports);
  InitProcFiles(env, exports);
  InitHost(env, exports);
  InitVdso(env, exports);
  return exports;
}

NODE_API_MODULE(godwit, Init)
