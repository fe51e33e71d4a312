// PageSender of native/index.ts: one thread that reads, encrypts and sends pages.
#include <fcntl.h>
#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "arguments.h"
#include "channel_socket.h"
#include "frame_cipher.h"
#include "guard.h"
#include "mailbox.h"
#include "page_gatherer.h"
#include "rate_limit.h"
#include "sent_pages.h"

namespace godwit {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;
using Payloads = std::vector<std::vector<uint8_t>>;

static const KernelFailure kClosed{ECANCELED, "page channel", 0, "the channel was closed"};

static Napi::Object ToJavaScript(Napi::Env env, const GatherResult& result) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("pages", static_cast<double>(result.pages));
  object.Set("zeroPages", static_cast<double>(result.zeroPages));
  object.Set("skippedPages", static_cast<double>(result.skippedPages));
  object.Set("missing", ToJavaScript(env, result.missing));
  object.Set("frames", static_cast<double>(result.frames));
  object.Set("wireBytes", static_cast<double>(result.wireBytes));
  object.Set("busyMs", result.busyMs);
  return object;
}

static Napi::Value ToJavaScript(Napi::Env env, const Payloads& payloads) {
  auto array = Napi::Array::New(env, payloads.size());
  for (size_t i = 0; i < payloads.size(); i++) {
    array[i] = Napi::Buffer<uint8_t>::Copy(env, payloads[i].data(), payloads[i].size());
  }
  return array;
}

class PageSender : public Napi::ObjectWrap<PageSender> {
 public:
  static void Init(Napi::Env env, Napi::Object exports);
  explicit PageSender(const Napi::CallbackInfo& info);
  ~PageSender() override {
    Stop();
    if (mailbox_) mailbox_->Abandon();
  }

 private:
  // Makes the value a promise resolves to, on the main thread.
  using Outcome = std::function<Napi::Value(Napi::Env)>;
  struct Job {
    std::function<Outcome()> work;  // on the sender's thread; throws KernelFailure
    Napi::Promise::Deferred deferred;
  };

  Napi::Value Send(const Napi::CallbackInfo& info);
  Napi::Value Gather(const Napi::CallbackInfo& info);
  Napi::Value SendCompressed(const Napi::CallbackInfo& info);
  Napi::Value SetBandwidth(const Napi::CallbackInfo& info);
  Napi::Value Frames(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);

  Napi::Value Enqueue(Napi::Env env, std::function<Outcome()> work);
  void Let(Napi::Env env);
  void Serve();
  void Settle(Job& job);
  void Stop();

  Outcome SendPages(GatherRequest request);
  Outcome GatherPages(GatherRequest request);
  Outcome SendPayload(std::span<uint8_t> payload);
  // Seals and sends one frame. Returns the time spent waiting for the bandwidth limit.
  Clock::duration SendFrame(FrameKind kind, uint32_t runs, std::span<uint8_t> table,
                            std::span<uint8_t> content, uint64_t& wireBytes);

  std::shared_ptr<Mailbox> mailbox_;
  std::optional<ChannelSocket> socket_;
  std::optional<FrameCipher> cipher_;
  RateLimit limit_{0};
  FrameBuffer frame_;
  std::atomic<uint64_t> frames_{0};
  std::optional<KernelFailure> broken_;  // the sender's thread only: why the connection is of no use any more

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Job> queue_;
  bool busy_ = false;
  std::atomic<bool> closing_{false};
  std::thread thread_;
};

PageSender::PageSender(const Napi::CallbackInfo& info) : Napi::ObjectWrap<PageSender>(info) {
  Guard(info.Env(), [&] {
    auto options = info[0].As<Napi::Object>();
    auto key = options.Get("key").As<Napi::Uint8Array>();
    cipher_.emplace(std::span<const uint8_t>(key.Data(), key.ByteLength()),
                    options.Get("channel").As<Napi::Number>().Uint32Value(), FrameCipher::Direction::kSeal);
    limit_.Set(options.Get("bandwidth").As<Napi::Number>().DoubleValue());
    socket_.emplace(Int(options.Get("socket")));
    mailbox_ = std::make_shared<Mailbox>(info.Env(), "godwit sender");
    thread_ = std::thread([this] { Serve(); });
  });
}

static GatherRequest ReadRequest(const Napi::Value& value) {
  auto object = value.As<Napi::Object>();
  GatherRequest request{.pid = Int(object.Get("pid")),
                        .memory = ScopedFd(fcntl(Int(object.Get("memory")), F_DUPFD_CLOEXEC, 0)),
                        .runs = ReadRanges<TaggedRange>(object.Get("runs")),
                        .sent = SentPages::Unwrap(object.Get("sent").As<Napi::Object>())->Pages()};
  FailIf(!request.memory, "fcntl(F_DUPFD_CLOEXEC)");
  return request;
}

Napi::Value PageSender::Send(const Napi::CallbackInfo& info) {
  return GuardPromise(info.Env(), [&] {
    // std::function wants to copy what it holds, and a request holds a descriptor.
    auto request = std::make_shared<GatherRequest>(ReadRequest(info[0]));
    return Enqueue(info.Env(), [this, request] { return SendPages(std::move(*request)); });
  });
}

Napi::Value PageSender::Gather(const Napi::CallbackInfo& info) {
  return GuardPromise(info.Env(), [&] {
    auto request = std::make_shared<GatherRequest>(ReadRequest(info[0]));
    return Enqueue(info.Env(), [this, request] { return GatherPages(std::move(*request)); });
  });
}

Napi::Value PageSender::SendCompressed(const Napi::CallbackInfo& info) {
  return GuardPromise(info.Env(), [&] {
    auto bytes = info[0].As<Napi::Uint8Array>();
    if (bytes.ByteLength() <= sizeof(uint32_t) || bytes.ByteLength() > kMaxFrameBodyBytes) {
      Fail(EMSGSIZE, "page channel", 0, "a compressed payload must fit into one frame");
    }
    auto payload =
        std::make_shared<std::vector<uint8_t>>(bytes.Data(), bytes.Data() + bytes.ByteLength());
    return Enqueue(info.Env(), [this, payload] { return SendPayload(*payload); });
  });
}

Napi::Value PageSender::SetBandwidth(const Napi::CallbackInfo& info) {
  limit_.Set(info[0].As<Napi::Number>().DoubleValue());
  return info.Env().Undefined();
}

Napi::Value PageSender::Frames(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(frames_));
}

Napi::Value PageSender::Enqueue(Napi::Env env, std::function<Outcome()> work) {
  if (closing_) throw kClosed;
  auto deferred = Napi::Promise::Deferred::New(env);
  // Until the promise is settled neither the event loop nor this object may go.
  mailbox_->Hold(env);
  Ref();
  std::lock_guard lock(mutex_);
  queue_.push_back({std::move(work), deferred});
  ready_.notify_one();
  return deferred.Promise();
}

// The other half of Enqueue, when a promise is about to be settled.
void PageSender::Let(Napi::Env env) {
  mailbox_->Release(env);
  Unref();
}

void PageSender::Serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ready_.wait(lock, [this] { return closing_ || !queue_.empty(); });
    if (closing_) break;
    Job job = std::move(queue_.front());
    queue_.pop_front();
    busy_ = true;
    lock.unlock();
    Settle(job);
    lock.lock();
    busy_ = false;
  }
  if (!broken_) socket_->Finish();
}

void PageSender::Settle(Job& job) {
  try {
    if (broken_) throw *broken_;
    Outcome outcome = job.work();
    mailbox_->Post([this, deferred = job.deferred, outcome](Napi::Env env) {
      Let(env);
      deferred.Resolve(outcome(env));
    });
  } catch (const KernelFailure& failure) {
    mailbox_->Post([this, deferred = job.deferred, failure](Napi::Env env) {
      Let(env);
      deferred.Reject(ToJavaScript(env, failure).Value());
    });
  }
}

PageSender::Outcome PageSender::SendPages(GatherRequest request) {
  const auto start = Clock::now();
  Clock::duration waited{};
  const auto sent = request.sent;
  PageGatherer gatherer(std::move(request), closing_);
  GatherResult& result = gatherer.Result();
  while (gatherer.Fill(frame_)) {
    for (const PageRun& run : frame_.Runs()) sent->Add(run.Span());
    waited += SendFrame(FrameKind::kPlain, frame_.Runs().size(), frame_.Table(), frame_.Content(),
                        result.wireBytes);
    result.frames++;
  }
  result.busyMs = Milliseconds(Clock::now() - start - waited).count();
  return [result](Napi::Env env) { return ToJavaScript(env, result); };
}

PageSender::Outcome PageSender::GatherPages(GatherRequest request) {
  const auto start = Clock::now();
  auto payloads = std::make_shared<Payloads>();
  const auto sent = request.sent;
  PageGatherer gatherer(std::move(request), closing_);
  GatherResult& result = gatherer.Result();
  while (gatherer.Fill(frame_)) {
    for (const PageRun& run : frame_.Runs()) sent->Add(run.Span());
    std::vector<uint8_t>& payload = payloads->emplace_back();
    payload.reserve(frame_.Table().size() + frame_.Content().size());
    payload.insert(payload.end(), frame_.Table().begin(), frame_.Table().end());
    payload.insert(payload.end(), frame_.Content().begin(), frame_.Content().end());
    result.frames++;
  }
  result.busyMs = Milliseconds(Clock::now() - start).count();
  return [payloads, result](Napi::Env env) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("payloads", ToJavaScript(env, *payloads));
    object.Set("result", ToJavaScript(env, result));
    return object;
  };
}

PageSender::Outcome PageSender::SendPayload(std::span<uint8_t> payload) {
  const auto start = Clock::now();
  uint64_t wireBytes = 0;
  const auto waited = SendFrame(FrameKind::kCompressed, 0, {}, payload, wireBytes);
  const double busyMs = Milliseconds(Clock::now() - start - waited).count();
  return [wireBytes, busyMs](Napi::Env env) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("wireBytes", static_cast<double>(wireBytes));
    object.Set("busyMs", busyMs);
    return object;
  };
}

Clock::duration PageSender::SendFrame(FrameKind kind, uint32_t runs, std::span<uint8_t> table,
                                      std::span<uint8_t> content, uint64_t& wireBytes) {
  const auto bodyBytes = static_cast<uint32_t>(table.size() + content.size());
  FrameHeader header{.version = kFrameVersion,
                     .kind = kind,
                     .reserved = 0,
                     .runs = runs,
                     .bodyBytes = bodyBytes,
                     .reserved2 = 0,
                     .sequence = frames_};
  uint8_t tag[kFrameTagBytes];
  cipher_->Seal(header, {table, content}, tag);
  MessageHeader message(sizeof(header) + bodyBytes + sizeof(tag));
  const uint64_t bytes = message.Bytes().size() + sizeof(header) + bodyBytes + sizeof(tag);
  const auto waited = limit_.Take(bytes);
  iovec parts[] = {{message.Bytes().data(), message.Bytes().size()},
                   {&header, sizeof(header)},
                   {table.data(), table.size()},
                   {content.data(), content.size()},
                   {tag, sizeof(tag)}};
  try {
    socket_->Send(parts);
  } catch (const KernelFailure& failure) {
    // Part of a frame may be out: nothing can follow it.
    broken_ = failure;
    throw;
  }
  frames_++;
  wireBytes += bytes;
  return waited;
}

void PageSender::Stop() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
    limit_.Close();
    if (busy_) socket_->Shutdown();
    ready_.notify_all();
  }
  thread_.join();
  socket_.reset();
}

Napi::Value PageSender::Close(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!thread_.joinable()) return env.Undefined();
  Stop();
  mailbox_->Drain(env);
  for (Job& job : queue_) {
    Let(env);
    job.deferred.Reject(ToJavaScript(env, kClosed).Value());
  }
  queue_.clear();
  mailbox_->Close(env);
  return env.Undefined();
}

void PageSender::Init(Napi::Env env, Napi::Object exports) {
  exports.Set("PageSender", DefineClass(env, "PageSender",
                                        {InstanceMethod("send", &PageSender::Send),
                                         InstanceMethod("gather", &PageSender::Gather),
                                         InstanceMethod("sendCompressed", &PageSender::SendCompressed),
                                         InstanceMethod("setBandwidth", &PageSender::SetBandwidth),
                                         InstanceAccessor("frames", &PageSender::Frames, nullptr),
                                         InstanceMethod("close", &PageSender::Close)}));
}

void InitPageSender(Napi::Env env, Napi::Object exports) { PageSender::Init(env, exports); }

}  // namespace godwit
