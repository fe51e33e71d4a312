// Work that the addon's threads hand to the main thread: settling promises, calling back.
#pragma once
#include <napi.h>
#include <functional>
#include <memory>

namespace godwit {

class Mailbox {
 public:
  using Letter = std::function<void(Napi::Env)>;

  // Does not keep the event loop alive until Hold is called.
  Mailbox(Napi::Env env, const char* name);

  // Any thread. What is posted after Close, or after the environment is gone, is dropped.
  void Post(Letter letter);

  // Main thread: keeps the event loop alive while there are more holds than releases.
  void Hold(Napi::Env env);
  void Release(Napi::Env env);

  // Main thread: runs every letter that is waiting, in order.
  void Drain(Napi::Env env);
  // Main thread: drains, then gives the queue back.
  void Close(Napi::Env env);
  // Main thread, for destructors: gives the queue back without running what waits.
  void Abandon();

  struct State;

 private:
  std::shared_ptr<State> state_;
  int holds_ = 0;
};

}  // namespace godwit
