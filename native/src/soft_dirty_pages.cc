// SoftDirtyPages of native/index.ts.
#include <fcntl.h>
#include <napi.h>

#include <algorithm>
#include <latch>
#include <memory>
#include <optional>

#include "arguments.h"
#include "guard.h"
#include "mailbox.h"
#include "page_history.h"
#include "scan_pieces.h"
#include "scoped_fd.h"
#include "sent_pages.h"

namespace godwit {

namespace {

// One reading, as the threads see it.
struct Reading {
  std::shared_ptr<PageHistory> history;
  std::shared_ptr<PageSet> sent;
  ScopedFd pagemap;
  bool take;
  std::vector<std::vector<TaggedRange>> pieces;
  std::vector<PageHistory::Found> found;

  void Read(size_t piece) {
    found[piece] = history->Read(pagemap.Get(), pieces[piece], take, take ? nullptr : sent.get());
  }

  Napi::Value ToJavaScript(Napi::Env env) const {
    PageHistory::Found all;
    for (const PageHistory::Found& part : found) {
      for (const TaggedRange& range : part.changed) Append(all.changed, range);
      for (const Range& range : part.dropped) Append(all.dropped, range);
    }
    Napi::Object object = Napi::Object::New(env);
    object.Set("runs", godwit::ToJavaScript(env, all.changed));
    object.Set("dropped", godwit::ToJavaScript(env, all.dropped));
    return object;
  }
};

}  // namespace

class SoftDirtyPages : public Napi::ObjectWrap<SoftDirtyPages> {
 public:
  static void Init(Napi::Env env, Napi::Object exports);
  explicit SoftDirtyPages(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<SoftDirtyPages>(info),
        sent_(SentPages::Unwrap(info[0].As<Napi::Object>())->Pages()),
        mailbox_(std::make_shared<Mailbox>(info.Env(), "godwit soft-dirty")) {}
  ~SoftDirtyPages() override { mailbox_->Abandon(); }

 private:
  std::shared_ptr<Reading> Prepare(const Napi::CallbackInfo& info, bool take);
  Napi::Value Take(const Napi::CallbackInfo& info);
  Napi::Value Look(const Napi::CallbackInfo& info);
  Napi::Value Forget(const Napi::CallbackInfo& info);

  const std::shared_ptr<PageHistory> history_ = std::make_shared<PageHistory>();
  const std::shared_ptr<PageSet> sent_;
  const std::shared_ptr<Mailbox> mailbox_;
};

std::shared_ptr<Reading> SoftDirtyPages::Prepare(const Napi::CallbackInfo& info, bool take) {
  auto reading = std::make_shared<Reading>();
  reading->history = history_;
  reading->sent = sent_;
  reading->pagemap.Reset(fcntl(Int(info[0]), F_DUPFD_CLOEXEC, 0));
  FailIf(!reading->pagemap, "fcntl(F_DUPFD_CLOEXEC)");
  reading->take = take;
  reading->pieces = CutPieces(ReadRanges<TaggedRange>(info[1]), std::max(1, Int(info[2])));
  reading->found.resize(reading->pieces.size());
  return reading;
}

Napi::Value SoftDirtyPages::Take(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), [&]() -> Napi::Value {
    const auto reading = Prepare(info, true);
    std::optional<KernelFailure> failure;
    std::latch over(1);
    const auto work = [reading](size_t piece) { reading->Read(piece); };
    // Waking a thread takes longer than a single piece.
    if (reading->pieces.size() <= 1) {
      if (reading->pieces.size() == 1) work(0);
      return reading->ToJavaScript(info.Env());
    }
    SharedWork::Begin(reading->pieces.size(), std::max(1, Int(info[2])), work, [&](const auto& result) {
      failure = result;
      over.count_down();
    });
    over.wait();
    if (failure) throw *failure;
    return reading->ToJavaScript(info.Env());
  });
}

Napi::Value SoftDirtyPages::Look(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return GuardPromise(env, [&]() -> Napi::Value {
    const auto reading = Prepare(info, false);
    const auto deferred = Napi::Promise::Deferred::New(env);
    const auto mailbox = mailbox_;
    mailbox->Hold(env);
    const auto work = [reading](size_t piece) { reading->Read(piece); };
    SharedWork::Begin(reading->pieces.size(), std::max(1, Int(info[2])), work,
                      [reading, deferred, mailbox](const std::optional<KernelFailure>& failure) {
                        mailbox->Post([reading, deferred, mailbox, failure](Napi::Env env) {
                          mailbox->Release(env);
                          if (failure) deferred.Reject(ToJavaScript(env, *failure).Value());
                          else deferred.Resolve(reading->ToJavaScript(env));
                        });
                      });
    return deferred.Promise();
  });
}

Napi::Value SoftDirtyPages::Forget(const Napi::CallbackInfo& info) {
  history_->Forget(ReadRanges<Range>(info[0]));
  return info.Env().Undefined();
}

void SoftDirtyPages::Init(Napi::Env env, Napi::Object exports) {
  exports.Set("SoftDirtyPages", DefineClass(env, "SoftDirtyPages",
                                            {InstanceMethod("take", &SoftDirtyPages::Take),
                                             InstanceMethod("look", &SoftDirtyPages::Look),
                                             InstanceMethod("forget", &SoftDirtyPages::Forget)}));
}

void InitSoftDirtyPages(Napi::Env env, Napi::Object exports) { SoftDirtyPages::Init(env, exports); }

}  // namespace godwit
