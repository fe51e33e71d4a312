#include "mailbox.h"

#include <deque>
#include <mutex>
#include <utility>

namespace godwit {

static void Wake(Napi::Env env, Napi::Function, Mailbox::State* state, void*);
using Queue = Napi::TypedThreadSafeFunction<Mailbox::State, void, Wake>;

// Shared by the mailbox and the queue's finalizer, which may outlive each other in either order.
struct Mailbox::State {
  std::mutex mutex;
  std::deque<Letter> letters;
  Queue queue;
  bool closed = false;

  void Drain(Napi::Env env) {
    for (;;) {
      Letter letter;
      {
        std::lock_guard lock(mutex);
        if (letters.empty()) return;
        letter = std::move(letters.front());
        letters.pop_front();
      }
      Napi::HandleScope scope(env);
      try {
        letter(env);
      } catch (const Napi::Error& error) {
        // A callback threw: the same as an exception thrown in any other event handler.
        napi_fatal_exception(env, error.Value());
      }
    }
  }
};

static void Wake(Napi::Env env, Napi::Function, Mailbox::State* state, void*) {
  if (static_cast<napi_env>(env) != nullptr) state->Drain(env);
}

Mailbox::Mailbox(Napi::Env env, const char* name) : state_(std::make_shared<State>()) {
  auto* shared = new std::shared_ptr<State>(state_);
  state_->queue = Queue::New(
      env, name, 0, 1, state_.get(),
      [](Napi::Env, std::shared_ptr<State>* state, State*) {
        {
          std::lock_guard lock((*state)->mutex);
          (*state)->closed = true;
        }
        delete state;
      },
      shared);
  state_->queue.Unref(env);
}

void Mailbox::Post(Letter letter) {
  std::lock_guard lock(state_->mutex);
  if (state_->closed) return;
  state_->letters.push_back(std::move(letter));
  state_->queue.NonBlockingCall();
}

void Mailbox::Hold(Napi::Env env) {
  std::lock_guard lock(state_->mutex);
  if (holds_++ == 0 && !state_->closed) state_->queue.Ref(env);
}

void Mailbox::Release(Napi::Env env) {
  std::lock_guard lock(state_->mutex);
  if (--holds_ == 0 && !state_->closed) state_->queue.Unref(env);
}

void Mailbox::Drain(Napi::Env env) { state_->Drain(env); }

void Mailbox::Close(Napi::Env env) {
  state_->Drain(env);
  Abandon();
}

void Mailbox::Abandon() {
  std::deque<Letter> dropped;
  std::lock_guard lock(state_->mutex);
  dropped.swap(state_->letters);
  if (std::exchange(state_->closed, true)) return;
  state_->queue.Release();
}

}  // namespace godwit
