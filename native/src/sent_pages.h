// SentPages of native/index.ts: which pages have been sent and not dropped since.
#pragma once
#include <napi.h>
#include <memory>

#include "page_set.h"

namespace godwit {

class SentPages : public Napi::ObjectWrap<SentPages> {
 public:
  static void Init(Napi::Env env, Napi::Object exports);
  explicit SentPages(const Napi::CallbackInfo& info);
  // The sender's thread keeps the set alive while it marks pages in it.
  std::shared_ptr<PageSet> Pages() const { return pages_; }

 private:
  Napi::Value Select(const Napi::CallbackInfo& info);
  Napi::Value Forget(const Napi::CallbackInfo& info);
  Napi::Value All(const Napi::CallbackInfo& info);
  Napi::Value Count(const Napi::CallbackInfo& info);

  std::shared_ptr<PageSet> pages_ = std::make_shared<PageSet>();
};

}  // namespace godwit
