// PageReceiver of native/index.ts: one thread that receives frames, checks them as hostile, and lands their
// pages.
#include <napi.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "arguments.h"
#include "channel_socket.h"
#include "frame_cipher.h"
#include "guard.h"
#include "mailbox.h"
#include "page_landing.h"
#include "warm_buffer.h"

namespace godwit {

struct ReceiveProgress {
  uint64_t frames = 0;
  uint64_t pages = 0;
  uint64_t zeroPages = 0;
  uint64_t bytes = 0;
  uint64_t wireBytes = 0;
};

static const KernelFailure kClosed{ECANCELED, "page channel", 0, "the channel was closed"};

static Napi::Value ToJavaScript(Napi::Env env, const ReceiveProgress& progress) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("frames", static_cast<double>(progress.frames));
  object.Set("pages", static_cast<double>(progress.pages));
  object.Set("zeroPages", static_cast<double>(progress.zeroPages));
  object.Set("bytes", static_cast<double>(progress.bytes));
  object.Set("wireBytes", static_cast<double>(progress.wireBytes));
  return object;
}

class PageReceiver : public Napi::ObjectWrap<PageReceiver> {
 public:
  static void Init(Napi::Env env, Napi::Object exports);
  explicit PageReceiver(const Napi::CallbackInfo& info);
  ~PageReceiver() override {
    Stop();
    if (mailbox_) mailbox_->Abandon();
  }

 private:
  struct Waiter {
    uint64_t frames;
    Napi::Promise::Deferred deferred;
  };
  struct Payload {
    std::vector<uint8_t> bytes;
    Napi::Promise::Deferred deferred;
  };
  struct Closed {};  // thrown on the thread to leave it after Stop

  Napi::Value SetAllowed(const Napi::CallbackInfo& info);
  Napi::Value SetTarget(const Napi::CallbackInfo& info);
  Napi::Value CloseUserfault(const Napi::CallbackInfo& info);
  Napi::Value LandPayload(const Napi::CallbackInfo& info);
  Napi::Value WaitFor(const Napi::CallbackInfo& info);
  Napi::Value Progress(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);

  void Serve();
  bool ReceiveFrame();
  void LandBody(std::span<const uint8_t> bytes, uint32_t runs, uint64_t wireBytes);
  void LandCompressed(std::span<const uint8_t> body, uint64_t wireBytes);
  void CountFrame(const FrameBody& body, uint64_t wireBytes);
  void End(Napi::Env env, const std::optional<KernelFailure>& failure);
  void RejectWaiters(Napi::Env env, const KernelFailure& failure);
  void Stop();

  std::shared_ptr<Mailbox> mailbox_;
  std::optional<ChannelSocket> socket_;
  std::optional<FrameCipher> cipher_;
  Napi::FunctionReference onCompressed_;
  Napi::FunctionReference onEnd_;
  // The body is laid out so that content behind a table of any length can begin at a page: UFFDIO_COPY and
  // decryption both like it.
  static constexpr size_t kTableRoom = kMaxFrameRuns * sizeof(PageRun);
  static_assert(kTableRoom % kPageBytes == 0);
  WarmBuffer buffer_{kTableRoom + kMaxFrameBodyBytes + kFrameTagBytes};

  std::mutex landingMutex_;  // held while pages land; guards landing_ and allowed_
  PageLanding landing_;
  std::vector<Range> allowed_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  ReceiveProgress progress_;
  std::vector<Waiter> waiters_;
  std::optional<Payload> payload_;
  std::optional<KernelFailure> ended_;
  bool hasTarget_ = false;
  bool awaitsPayload_ = false;
  bool closing_ = false;
  bool held_ = true;  // main thread: keeps the event loop and this object until the channel has ended

  std::thread thread_;
};

PageReceiver::PageReceiver(const Napi::CallbackInfo& info) : Napi::ObjectWrap<PageReceiver>(info) {
  Guard(info.Env(), [&] {
    auto options = info[0].As<Napi::Object>();
    auto key = options.Get("key").As<Napi::Uint8Array>();
    cipher_.emplace(std::span<const uint8_t>(key.Data(), key.ByteLength()),
                    options.Get("channel").As<Napi::Number>().Uint32Value(), FrameCipher::Direction::kOpen);
    socket_.emplace(Int(options.Get("socket")));
    onCompressed_ = Napi::Persistent(options.Get("onCompressed").As<Napi::Function>());
    onEnd_ = Napi::Persistent(options.Get("onEnd").As<Napi::Function>());
    mailbox_ = std::make_shared<Mailbox>(info.Env(), "godwit receiver");
    thread_ = std::thread([this] { Serve(); });
    mailbox_->Hold(info.Env());
    Ref();
  });
}

Napi::Value PageReceiver::SetAllowed(const Napi::CallbackInfo& info) {
  auto ranges = ReadRanges<Range>(info[0]);
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.start < b.start; });
  std::vector<Range> merged;
  for (const Range& range : ranges) {
    if (!merged.empty() && range.start <= merged.back().end) {
      merged.back().end = std::max(merged.back().end, range.end);
    } else {
      Append(merged, range);
    }
  }
  std::lock_guard lock(landingMutex_);
  allowed_ = std::move(merged);
  return info.Env().Undefined();
}

Napi::Value PageReceiver::SetTarget(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), [&]() -> Napi::Value {
    {
      std::lock_guard lock(landingMutex_);
      landing_.SetTarget(Int(info[0]), Int(info[1]));
    }
    std::lock_guard lock(mutex_);
    hasTarget_ = true;
    changed_.notify_all();
    return info.Env().Undefined();
  });
}

Napi::Value PageReceiver::CloseUserfault(const Napi::CallbackInfo& info) {
  std::lock_guard lock(landingMutex_);
  landing_.CloseUserfault();
  return info.Env().Undefined();
}

Napi::Value PageReceiver::LandPayload(const Napi::CallbackInfo& info) {
  return GuardPromise(info.Env(), [&]() -> Napi::Value {
    auto bytes = info[0].As<Napi::Uint8Array>();
    std::lock_guard lock(mutex_);
    if (ended_) throw *ended_;
    if (!awaitsPayload_ || payload_) Fail(EINVAL, "page channel", 0, "no compressed frame waits");
    auto deferred = Napi::Promise::Deferred::New(info.Env());
    payload_ = Payload{{bytes.Data(), bytes.Data() + bytes.ByteLength()}, deferred};
    changed_.notify_all();
    return deferred.Promise();
  });
}

Napi::Value PageReceiver::WaitFor(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto frames = static_cast<uint64_t>(Int64(info[0]));
  auto deferred = Napi::Promise::Deferred::New(env);
  std::lock_guard lock(mutex_);
  if (progress_.frames >= frames) deferred.Resolve(ToJavaScript(env, progress_));
  else if (ended_) deferred.Reject(ToJavaScript(env, *ended_).Value());
  else waiters_.push_back({frames, deferred});
  return deferred.Promise();
}

Napi::Value PageReceiver::Progress(const Napi::CallbackInfo& info) {
  std::lock_guard lock(mutex_);
  return ToJavaScript(info.Env(), progress_);
}

void PageReceiver::Serve() {
  std::optional<KernelFailure> failure;
  try {
    while (ReceiveFrame()) continue;
  } catch (const KernelFailure& caught) {
    failure = caught;
    // The sender must not go on filling a connection that nobody reads.
    socket_->Shutdown();
  } catch (const Closed&) {
  }
  mailbox_->Post([this, failure](Napi::Env env) { End(env, failure); });
}

bool PageReceiver::ReceiveFrame() {
  const auto message = socket_->ReceiveHeader();
  if (!message) return false;
  if (message->bytes < sizeof(FrameHeader) + kFrameTagBytes) FailProtocol("message too short for a frame");
  FrameHeader header;
  std::span<uint8_t> headerBytes(reinterpret_cast<uint8_t*>(&header), sizeof(header));
  socket_->Receive(headerBytes.data(), headerBytes.size());
  message->Unmask(headerBytes, 0);
  uint64_t sequence;
  {
    std::lock_guard lock(mutex_);
    sequence = progress_.frames;
  }
  CheckHeader(header, message->bytes, sequence);

  const size_t tableBytes = header.runs * sizeof(PageRun);
  const std::span<uint8_t> body(buffer_.Data() + kTableRoom - tableBytes, header.bodyBytes);
  const std::span<uint8_t> sealed(body.data(), body.size() + kFrameTagBytes);
  socket_->Receive(sealed.data(), sealed.size());
  message->Unmask(sealed, sizeof(header));
  cipher_->Open(header, body, sealed.data() + body.size());

  const uint64_t wireBytes = message->headerBytes + message->bytes;
  if (header.kind == FrameKind::kCompressed) LandCompressed(body, wireBytes);
  else LandBody(body, header.runs, wireBytes);
  return true;
}

void PageReceiver::LandBody(std::span<const uint8_t> bytes, uint32_t runs, uint64_t wireBytes) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return hasTarget_ || closing_; });
    if (closing_) throw Closed{};
  }
  FrameBody body;
  {
    std::lock_guard lock(landingMutex_);
    body = ParseBody(bytes, runs, allowed_);
    landing_.Land(body);
  }
  CountFrame(body, wireBytes);
}

// Nothing is read on before the payload has landed: frames that follow may hold newer content of the same
// pages.
void PageReceiver::LandCompressed(std::span<const uint8_t> body, uint64_t wireBytes) {
  std::unique_lock lock(mutex_);
  awaitsPayload_ = true;
  auto copy = std::make_shared<std::vector<uint8_t>>(body.begin(), body.end());
  mailbox_->Post([this, copy](Napi::Env env) {
    onCompressed_.Call({Napi::Buffer<uint8_t>::Copy(env, copy->data(), copy->size())});
  });
  changed_.wait(lock, [this] { return payload_ || closing_; });
  if (closing_) throw Closed{};
  Payload payload = std::move(*payload_);
  payload_.reset();
  awaitsPayload_ = false;
  lock.unlock();
  const auto reject = [&](const KernelFailure& failure) {
    mailbox_->Post([deferred = payload.deferred, failure](Napi::Env env) {
      deferred.Reject(ToJavaScript(env, failure).Value());
    });
  };
  try {
    LandBody(payload.bytes, 0, wireBytes);
  } catch (const KernelFailure& failure) {
    reject(failure);
    throw;
  } catch (const Closed&) {
    reject(kClosed);
    throw;
  }
  mailbox_->Post([deferred = payload.deferred](Napi::Env env) { deferred.Resolve(env.Undefined()); });
}

void PageReceiver::CountFrame(const FrameBody& body, uint64_t wireBytes) {
  std::lock_guard lock(mutex_);
  for (const PageRun& run : body.runs) {
    if (run.kind == RunKind::kZero) {
      progress_.zeroPages += run.pages;
    } else {
      progress_.pages += run.pages;
      progress_.bytes += run.Bytes();
    }
  }
  progress_.frames++;
  progress_.wireBytes += wireBytes;
  std::erase_if(waiters_, [this](const Waiter& waiter) {
    if (waiter.frames > progress_.frames) return false;
    mailbox_->Post([deferred = waiter.deferred, progress = progress_](Napi::Env env) {
      deferred.Resolve(ToJavaScript(env, progress));
    });
    return true;
  });
}

void PageReceiver::RejectWaiters(Napi::Env env, const KernelFailure& failure) {
  std::vector<Waiter> waiters;
  {
    std::lock_guard lock(mutex_);
    ended_ = failure;
    waiters.swap(waiters_);
  }
  for (const Waiter& waiter : waiters) waiter.deferred.Reject(ToJavaScript(env, failure).Value());
}

// Main thread: the thread has ended, by itself or because of Stop.
void PageReceiver::End(Napi::Env env, const std::optional<KernelFailure>& failure) {
  if (!std::exchange(held_, false)) return;
  mailbox_->Release(env);
  Unref();
  if (closing_) return;
  RejectWaiters(env, failure.value_or(KernelFailure{ECONNRESET, "page channel", 0, "the channel has ended"}));
  onEnd_.Call({failure ? ToJavaScript(env, *failure).Value() : env.Null()});
}

void PageReceiver::Stop() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
    changed_.notify_all();
  }
  socket_->Shutdown();
  thread_.join();
  socket_.reset();
}

Napi::Value PageReceiver::Close(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!thread_.joinable()) return env.Undefined();
  Stop();
  mailbox_->Drain(env);
  RejectWaiters(env, kClosed);
  if (payload_) payload_->deferred.Reject(ToJavaScript(env, kClosed).Value());
  payload_.reset();
  mailbox_->Close(env);
  return env.Undefined();
}

void PageReceiver::Init(Napi::Env env, Napi::Object exports) {
  exports.Set("PageReceiver", DefineClass(env, "PageReceiver",
                                          {InstanceMethod("setAllowed", &PageReceiver::SetAllowed),
                                           InstanceMethod("setTarget", &PageReceiver::SetTarget),
                                           InstanceMethod("closeUserfault", &PageReceiver::CloseUserfault),
                                           InstanceMethod("land", &PageReceiver::LandPayload),
                                           InstanceMethod("waitFor", &PageReceiver::WaitFor),
                                           InstanceAccessor("progress", &PageReceiver::Progress, nullptr),
                                           InstanceMethod("close", &PageReceiver::Close)}));
}

void InitPageReceiver(Napi::Env env, Napi::Object exports) { PageReceiver::Init(env, exports); }

}  // namespace godwit
