// scanPages and scanPagesAsync of native/index.ts.
#include <fcntl.h>
#include <napi.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "arguments.h"
#include "guard.h"
#include "mailbox.h"
#include "page_scan.h"
#include "scoped_fd.h"
#include "thread_pool.h"

namespace godwit {

static Napi::Value ToJavaScript(Napi::Env env, const ScanResult& result) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("pages", ToJavaScript(env, result.pages));
  object.Set("untracked", ToJavaScript(env, result.untracked));
  return object;
}

static Napi::Value ScanPagesHere(const Napi::CallbackInfo& info) {
  const auto mode = static_cast<ScanMode>(Int(info[2]));
  return ToJavaScript(info.Env(), ScanPages(Int(info[0]), ReadRanges<Range>(info[1]), mode));
}

// One scan that several threads work on, piece by piece.
struct ScanJob {
  ScopedFd pagemap;
  ScanMode mode;
  std::vector<std::vector<Range>> pieces;
  std::vector<ScanResult> results;
  std::atomic<size_t> next{0};
  std::atomic<int> running;
  std::mutex mutex;
  std::optional<KernelFailure> failure;

  void Work() {
    for (size_t i; (i = next++) < pieces.size();) {
      try {
        results[i] = ScanPages(pagemap.Get(), pieces[i], mode);
      } catch (const KernelFailure& caught) {
        std::lock_guard lock(mutex);
        failure = caught;
        next = pieces.size();
      }
    }
  }

  ScanResult Collected() const {
    ScanResult all;
    for (const ScanResult& result : results) {
      for (const TaggedRange& range : result.pages) Append(all.pages, range);
      for (const Range& range : result.untracked) Append(all.untracked, range);
    }
    return all;
  }
};

// Cuts the spans into pieces of about equal size. How much memory is in them is not known, so there are
// several for each thread; a reservation of terabytes must not become too many.
static std::vector<std::vector<Range>> Cut(const std::vector<Range>& spans, int threads) {
  constexpr uint64_t kSmallest = 16 << 20, kLargest = 128 << 20, kMostPieces = 2048;
  uint64_t total = 0;
  for (const Range& span : spans) total += span.end - span.start;
  const uint64_t wanted = std::clamp(total / (threads * 8), kSmallest, kLargest);
  const uint64_t size = std::max(wanted, total / kMostPieces) & ~(kPageBytes - 1);
  std::vector<std::vector<Range>> pieces;
  uint64_t room = 0;
  for (Range span : spans) {
    while (span.start < span.end) {
      if (room == 0) {
        pieces.emplace_back();
        room = size;
      }
      const uint64_t bytes = std::min(room, span.end - span.start);
      pieces.back().push_back({span.start, span.start + bytes});
      span.start += bytes;
      room -= bytes;
    }
  }
  return pieces;
}

static Napi::Value ScanPagesAsync(const Napi::CallbackInfo& info, const std::shared_ptr<Mailbox>& mailbox) {
  Napi::Env env = info.Env();
  const int threads = std::max(1, Int(info[3]));
  auto job = std::make_shared<ScanJob>();
  job->pagemap.Reset(fcntl(Int(info[0]), F_DUPFD_CLOEXEC, 0));
  FailIf(!job->pagemap, "fcntl(F_DUPFD_CLOEXEC)");
  job->mode = static_cast<ScanMode>(Int(info[2]));
  job->pieces = Cut(ReadRanges<Range>(info[1]), threads);
  job->results.resize(job->pieces.size());
  auto deferred = Napi::Promise::Deferred::New(env);
  // Waking a thread takes longer than a single piece.
  if (job->pieces.size() <= 1) {
    job->Work();
    if (job->failure) deferred.Reject(ToJavaScript(env, *job->failure).Value());
    else deferred.Resolve(ToJavaScript(env, job->Collected()));
    return deferred.Promise();
  }
  const int workers = std::min(threads, static_cast<int>(job->pieces.size()));
  job->running = workers;
  mailbox->Hold(env);
  for (int i = 0; i < workers; i++) {
    ThreadPool::Shared().Run([job, deferred, mailbox] {
      job->Work();
      if (--job->running > 0) return;
      mailbox->Post([job, deferred, mailbox](Napi::Env env) {
        mailbox->Release(env);
        if (job->failure) deferred.Reject(ToJavaScript(env, *job->failure).Value());
        else deferred.Resolve(ToJavaScript(env, job->Collected()));
      });
    });
  }
  return deferred.Promise();
}

void InitPagemap(Napi::Env env, Napi::Object exports) {
  Export<ScanPagesHere>(exports, "scanPages");
  auto mailbox = std::make_shared<Mailbox>(env, "godwit scan");
  const auto scan = [mailbox](const Napi::CallbackInfo& info) {
    return GuardPromise(info.Env(), [&] { return ScanPagesAsync(info, mailbox); });
  };
  exports.Set("scanPagesAsync", Napi::Function::New(env, scan, "scanPagesAsync"));
}

}  // namespace godwit
