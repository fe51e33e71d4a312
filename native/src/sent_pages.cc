#include "sent_pages.h"

namespace godwit {

SentPages::SentPages(const Napi::CallbackInfo& info) : Napi::ObjectWrap<SentPages>(info) {}

Napi::Value SentPages::Select(const Napi::CallbackInfo& info) {
  std::vector<Range> found;
  for (const Range& range : ReadRanges<Range>(info[0])) pages_->Select(range, found);
  return ToJavaScript(info.Env(), found);
}

Napi::Value SentPages::Forget(const Napi::CallbackInfo& info) {
  for (const Range& range : ReadRanges<Range>(info[0])) pages_->Remove(range);
  return info.Env().Undefined();
}

Napi::Value SentPages::All(const Napi::CallbackInfo& info) { return ToJavaScript(info.Env(), pages_->All()); }

Napi::Value SentPages::Count(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(pages_->Count()));
}

void SentPages::Init(Napi::Env env, Napi::Object exports) {
  exports.Set("SentPages", DefineClass(env, "SentPages",
                                       {InstanceMethod("select", &SentPages::Select),
                                        InstanceMethod("forget", &SentPages::Forget),
                                        InstanceMethod("all", &SentPages::All),
                                        InstanceAccessor("count", &SentPages::Count, nullptr)}));
}

void InitSentPages(Napi::Env env, Napi::Object exports) { SentPages::Init(env, exports); }

}  // namespace godwit
