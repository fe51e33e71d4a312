// Signal handlers, ignored signals, signals pending for the process and for threads, and a stream of live ones.
#include "program.h"

enum { kKernelSignals = 64, kQueued = 5, kLiveLimit = 1 << 20 };

// struct kernel sigaction: what the library's hides (its restorer).
struct action {
  void* handler;
  unsigned long flags;
  void* restorer;
  uint64_t mask;
};

static struct action before[kKernelSignals + 1];

static volatile sig_atomic_t handled[kKernelSignals + 1];
static siginfo_t last_information;
static volatile sig_atomic_t on_stack;
static uint64_t mask_inside;
static char handler_stack[64 << 10];

static void on_plain(int signal) { handled[signal]++; }

static void on_information(int signal, siginfo_t* information, void* context) {
  (void)context;
  char here;
  handled[signal]++;
  last_information = *information;
  on_stack = &here >= handler_stack && &here < handler_stack + sizeof handler_stack;
  syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask_inside, 8);
}

static void get_action(int signal, struct action* action) {
  syscall(SYS_rt_sigaction, signal, NULL, action, 8);
}

static void set_action(int signal, void* handler, int flags, int masked1, int masked2) {
  struct sigaction action = {.sa_flags = flags};
  if (flags & SA_SIGINFO)
    action.sa_sigaction = (void (*)(int, siginfo_t*, void*))handler;
  else
    action.sa_handler = (void (*)(int))handler;
  if (masked1) sigaddset(&action.sa_mask, masked1);
  if (masked2) sigaddset(&action.sa_mask, masked2);
  must(sigaction(signal, &action, NULL) == 0, "sigaction");
}

// ------------------------------------------------------------- queued and pending

// What is pending is known here; each must come out once, in this order.
struct expected {
  int signal, code;
  int value;
};
enum { kToProcess = 50, kToThread = 52, kOther = 54 };

static void queue_to_process(int signal, int value) {
  must(sigqueue(getpid(), signal, (union sigval){.sival_int = value}) == 0, "sigqueue");
}

static void queue_to_thread(pid_t tid, int signal, int value) {
  siginfo_t information = {.si_signo = signal, .si_code = SI_QUEUE};
  information.si_pid = getpid();
  information.si_uid = getuid();
  information.si_value.sival_int = value;
  must(syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, signal, &information) == 0, "rt_tgsigqueueinfo");
}

static void take(const char* whose, uint64_t set, const struct expected* list, int count) {
  for (int i = 0; i < count; i++) {
    siginfo_t got = {0};
    struct timespec now = {0};
    long signal = syscall(SYS_rt_sigtimedwait, &set, &got, &now, 8);
    if (signal < 0) {
      fail("%s: pending signal %d of %d, expected signal %d, got errno %d", whose, i, count, list[i].signal, errno);
      return;
    }
    if (signal != list[i].signal || got.si_code != list[i].code || got.si_pid != getpid() || got.si_uid != getuid() ||
        (list[i].code == SI_QUEUE && got.si_value.sival_int != list[i].value))
      fail("%s: pending signal %d, expected signal %d code %d value %d from %d, got signal %ld code %d value %d from %d",
           whose, i, list[i].signal, list[i].code, list[i].value, getpid(), signal, got.si_code, got.si_value.sival_int,
           got.si_pid);
  }
  uint64_t pending = 0;
  syscall(SYS_rt_sigpending, &pending, 8);
  if (pending & set) fail("%s: pending signals left, expected none, got 0x%llx", whose, (unsigned long long)pending);
}

static uint64_t bit(int signal) { return (uint64_t)1 << (signal - 1); }

// The thread's own signals come before the process's, smaller numbers before larger ones, equal ones in their order.
static const struct expected main_signals[] = {
    {SIGTRAP, SI_TKILL, 0},     {kToThread, SI_QUEUE, 900}, {kToThread, SI_QUEUE, 901}, {kToThread, SI_QUEUE, 902},
    {SIGTERM, SI_USER, 0},      {kToProcess, SI_QUEUE, 70}, {kToProcess, SI_QUEUE, 71}, {kToProcess, SI_QUEUE, 72},
    {kToProcess, SI_QUEUE, 73}, {kToProcess, SI_QUEUE, 74}, {kToProcess + 1, SI_QUEUE, -5},
};
static const struct expected other_signals[] = {{SIGVTALRM, SI_TKILL, 0}, {kOther, SI_QUEUE, 1}, {kOther, SI_QUEUE, 2}};
enum {
  kMainSignals = sizeof main_signals / sizeof *main_signals,
  kOtherSignals = sizeof other_signals / sizeof *other_signals
};

static uint64_t signals_of(const struct expected* list, int count) {
  uint64_t set = 0;
  for (int i = 0; i < count; i++) set |= bit(list[i].signal);
  return set;
}

static atomic_bool other_ready, other_go;
static atomic_int other_tid;

static void* run_other(void* unused) {
  atomic_store(&other_tid, (int)syscall(SYS_gettid));
  atomic_store(&other_ready, true);
  while (!atomic_load(&other_go)) sleep_ms(5);
  take("second thread", signals_of(other_signals, kOtherSignals), other_signals, kOtherSignals);
  return unused;
}

static void queue_all(void) {
  pid_t own = (pid_t)syscall(SYS_gettid), other = atomic_load(&other_tid);
  for (int i = 0; i < kQueued; i++) queue_to_process(kToProcess, 70 + i);
  queue_to_process(kToProcess + 1, -5);
  kill(getpid(), SIGTERM);
  kill(getpid(), SIGTERM);  // a standard signal is pending once
  for (int i = 0; i < 3; i++) queue_to_thread(own, kToThread, 900 + i);
  syscall(SYS_tgkill, getpid(), own, SIGTRAP);
  syscall(SYS_tgkill, getpid(), other, SIGVTALRM);
  queue_to_thread(other, kOther, 1);
  queue_to_thread(other, kOther, 2);
  // These are taken by their handlers, afterwards.
  queue_to_process(SIGUSR1, 4711);
  kill(getpid(), SIGUSR2);
}

// ------------------------------------------------------------- live ones

enum { kLive = 60 };
static atomic_bool live_stop;
static atomic_int live_tid;
static volatile uint64_t live_sent, live_received, live_wrong;

static void on_live(int signal, siginfo_t* information, void* context) {
  (void)signal, (void)context;
  if ((uint64_t)information->si_value.sival_int != live_received % kLiveLimit || information->si_pid != getpid()) live_wrong++;
  live_received++;
}

static void only_live(int how) {
  uint64_t set = bit(kLive);
  syscall(SYS_rt_sigprocmask, how, &set, NULL, 8);
}

static void* run_receiver(void* unused) {
  only_live(SIG_UNBLOCK);
  atomic_store(&live_tid, (int)syscall(SYS_gettid));
  volatile uint64_t work = 0;
  while (!atomic_load(&live_stop) || live_received < live_sent)
    for (int i = 0; i < 1000; i++) work = mix(work);
  return unused;
}

static void* run_sender(void* unused) {
  while (atomic_load(&live_tid) == 0) sleep_ms(1);
  while (!atomic_load(&live_stop)) {
    queue_to_thread(atomic_load(&live_tid), kLive, (int)(live_sent % kLiveLimit));
    live_sent++;
    struct timespec pause = timespec_of(500000);
    nanosleep(&pause, NULL);
  }
  return unused;
}

// ------------------------------------------------------------- checks

static void check_actions(void) {
  for (int signal = 1; signal <= kKernelSignals; signal++) {
    struct action now = {0};
    get_action(signal, &now);
    char what[64];
    snprintf(what, sizeof what, "action of signal %d", signal);
    expect_bytes(what, &before[signal], &now, sizeof now);
  }
}

// Handlers do what their flags say.
static void check_handlers(void) {
  handled[SIGUSR1] = handled[SIGUSR2] = 0;
  uint64_t set = bit(SIGUSR1);
  syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, NULL, 8);
  expect_number("times SIGUSR1 was handled", 1, handled[SIGUSR1]);
  expect_number("its value", 4711, last_information.si_value.sival_int);
  expect_number("its code", SI_QUEUE, last_information.si_code);
  expect_number("its sender", getpid(), last_information.si_pid);
  uint64_t inside = bit(SIGUSR1) | bit(SIGHUP) | bit(SIGWINCH);
  expect_number("signals blocked inside the handler", (long long)inside, (long long)(mask_inside & (inside | bit(SIGALRM))));
  expect_number("SIGUSR1 ran on the alternate stack", 0, on_stack);
  set = bit(SIGUSR2);
  syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, NULL, 8);
  expect_number("times SIGUSR2 was handled", 1, handled[SIGUSR2]);
  expect_number("SIGUSR2 ran on the alternate stack", 1, on_stack);
  expect_number("its code", SI_USER, last_information.si_code);
  raise(SIGHUP);
  expect_number("times SIGHUP was handled", 1, handled[SIGHUP]);
  raise(SIGALRM);
  expect_number("times SIGALRM was handled", 1, handled[SIGALRM]);
  struct action now;
  get_action(SIGALRM, &now);
  expect_number("SIGALRM goes back to its default", (intptr_t)SIG_DFL, (intptr_t)now.handler);
  raise(SIGINT);  // ignored: goes on
}

static void set_up(void) {
  stack_t stack = {.ss_sp = handler_stack, .ss_size = sizeof handler_stack};
  must(sigaltstack(&stack, NULL) == 0, "sigaltstack");
  set_action(SIGUSR1, (void*)on_information, SA_SIGINFO | SA_RESTART, SIGHUP, SIGWINCH);
  set_action(SIGUSR2, (void*)on_information, SA_SIGINFO | SA_ONSTACK, 0, 0);
  set_action(SIGHUP, (void*)on_plain, SA_NODEFER, 0, 0);
  set_action(SIGALRM, (void*)on_plain, (int)SA_RESETHAND, SIGTERM, 0);
  set_action(SIGINT, (void*)SIG_IGN, 0, 0, 0);
  set_action(SIGPIPE, (void*)SIG_IGN, SA_RESTART, 0, 0);
  set_action(SIGCHLD, (void*)on_plain, SA_NOCLDSTOP | SA_NOCLDWAIT | SA_RESTART, 0, 0);
  set_action(SIGTTOU, (void*)SIG_IGN, 0, 0, 0);
  set_action(SIGRTMAX, (void*)on_information, SA_SIGINFO | SA_ONSTACK | SA_NODEFER, SIGUSR1, SIGRTMIN);
  set_action(kLive, (void*)on_live, SA_SIGINFO | SA_RESTART, 0, 0);
  uint64_t blocked = signals_of(main_signals, kMainSignals) | signals_of(other_signals, kOtherSignals) | bit(SIGUSR1) |
                     bit(SIGUSR2) | bit(kLive);
  must(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &blocked, NULL, 8) == 0, "rt_sigprocmask");
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  set_up();
  pthread_t other, receiver, sender;
  must((errno = pthread_create(&other, NULL, run_other, NULL)) == 0, "pthread_create");
  must((errno = pthread_create(&receiver, NULL, run_receiver, NULL)) == 0, "pthread_create");
  must((errno = pthread_create(&sender, NULL, run_sender, NULL)) == 0, "pthread_create");
  while (!atomic_load(&other_ready)) sleep_ms(1);
  while (live_received < 3) sleep_ms(1);
  // After the threads: creating the first one makes the library install a handler of its own.
  for (int signal = 1; signal <= kKernelSignals; signal++) get_action(signal, &before[signal]);
  queue_all();
  ready();
  wait_for_check();
  if (program.sabotage) queue_to_process(kToProcess, 99);
  check_actions();
  take("main thread", signals_of(main_signals, kMainSignals), main_signals, kMainSignals);
  atomic_store(&other_go, true);
  pthread_join(other, NULL);
  check_handlers();
  atomic_store(&live_stop, true);
  pthread_join(sender, NULL);
  pthread_join(receiver, NULL);
  expect_number("live signals received", (long long)live_sent, (long long)live_received);
  expect_number("live signals out of order or altered", 0, (long long)live_wrong);
  return finish();
}
