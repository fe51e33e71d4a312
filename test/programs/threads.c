// State of threads: names, thread-local storage, errno, masks, alternate stacks, robust mutexes, rseq, ends, scheduling.
#include "program.h"
#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>

enum { kThreads = 10, kTlsWords = 64, kAltStack = 32 << 10, kIoPriorityBestEffort = 2 << 13, kIoPriorityWho = 1 };

// struct sched_attr of linux/sched/types.h, first version.
struct attributes {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
};

// What a thread can ask about itself.
struct facts {
  pid_t tid;
  char name[16];
  sigset_t mask;
  stack_t stack;
  struct attributes scheduling;
  int io_priority;
  unsigned long timer_slack;
  cpu_set_t affinity;
  void* robust_head;
  size_t robust_bytes;
  int* clear_child_tid;
  unsigned long fs_base, gs_base;
};

static __thread uint64_t local[kTlsWords];
static __thread uint64_t local_initialised = 0x600df00d;
static __thread volatile uintptr_t handled_at;

static struct thread {
  pthread_t handle;
  int number;
  struct facts before, after;
  char alternate_stack[kAltStack];
} threads[kThreads];

static atomic_int set_up_done;
static atomic_bool go;
static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t robust[kThreads];

static void on_signal(int signal) {
  (void)signal;
  char here;
  handled_at = (uintptr_t)&here;
}

static void ask(struct facts* facts) {
  memset(facts, 0, sizeof *facts);
  facts->tid = (pid_t)syscall(SYS_gettid);
  prctl(PR_GET_NAME, facts->name);
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &facts->mask, 8);
  sigaltstack(NULL, &facts->stack);
  syscall(SYS_sched_getattr, 0, &facts->scheduling, sizeof facts->scheduling, 0);
  facts->io_priority = (int)syscall(SYS_ioprio_get, kIoPriorityWho, 0);
  facts->timer_slack = (unsigned long)prctl(PR_GET_TIMERSLACK);
  sched_getaffinity(0, sizeof facts->affinity, &facts->affinity);
  syscall(SYS_get_robust_list, 0, &facts->robust_head, &facts->robust_bytes);
  prctl(PR_GET_TID_ADDRESS, &facts->clear_child_tid);
  syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &facts->fs_base);
  syscall(SYS_arch_prctl, 0x1004 /* ARCH_GET_GS */, &facts->gs_base);
}

static void set_up(struct thread* self) {
  int n = self->number;
  char name[16];
  snprintf(name, sizeof name, "godwit-%d", n);
  must(prctl(PR_SET_NAME, name) == 0, "PR_SET_NAME");
  fill_words(local, sizeof local, 1000 * n);
  stack_t stack = {.ss_sp = self->alternate_stack, .ss_size = kAltStack - 16 * n};
  must(sigaltstack(&stack, NULL) == 0, "sigaltstack");
  must(setpriority(PRIO_PROCESS, 0, n % 5) == 0, "setpriority");
  // 0 OTHER, 3 BATCH, 5 IDLE; RESET_ON_FORK (flag 1) on one of them.
  struct attributes attributes = {.size = sizeof attributes, .policy = n % 3 == 1 ? 3 : n == 9 ? 5 : 0, .nice = n % 5};
  attributes.flags = n == 6 ? 1 : 0;
  must(syscall(SYS_sched_setattr, 0, &attributes, 0) == 0, "sched_setattr");
  must(syscall(SYS_ioprio_set, kIoPriorityWho, 0, kIoPriorityBestEffort | (n % 8)) == 0, "ioprio_set");
  must(prctl(PR_SET_TIMERSLACK, 100000 + n) == 0, "PR_SET_TIMERSLACK");
  cpu_set_t allowed, one;
  sched_getaffinity(0, sizeof allowed, &allowed);
  CPU_ZERO(&one);
  // Every second thread may run on one processor only.
  for (int cpu = 0, seen = 0; cpu < CPU_SETSIZE && n % 2; cpu++)
    if (CPU_ISSET(cpu, &allowed) && seen++ == (n / 2) % CPU_COUNT(&allowed)) CPU_SET(cpu, &one);
  if (n % 2) must(sched_setaffinity(0, sizeof one, &one) == 0, "sched_setaffinity");
  must(syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, &self->number) == 0, "ARCH_SET_GS");
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGRTMIN + n);
  if (n % 3 == 0) sigaddset(&mask, SIGUSR2);
  pthread_sigmask(SIG_SETMASK, &mask, NULL);
  must(pthread_mutex_lock(&robust[n]) == 0, "locking a robust mutex");
  ask(&self->before);
}

static struct rseq* rseq_area(void) { return (struct rseq*)((char*)__builtin_thread_pointer() + __rseq_offset); }

// The kernel keeps cpu_id of a registered area current; an unregistered one stays as it is.
static void check_rseq(int number) {
  if (__rseq_size == 0) return;
  cpu_set_t allowed, one;
  sched_getaffinity(0, sizeof allowed, &allowed);
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) continue;
    expect_number("processor in the rseq area", cpu, *(volatile uint32_t*)&rseq_area()->cpu_id);
    expect_number("sched_getcpu", cpu, sched_getcpu());
  }
  sched_setaffinity(0, sizeof allowed, &allowed);
  // Only what is registered, at this address with this size and signature, can be unregistered.
  if (syscall(SYS_rseq, rseq_area(), 32, 1 /* RSEQ_FLAG_UNREGISTER */, RSEQ_SIG) != 0)
    fail("unregistering rseq of thread %d, expected to work, got errno %d", number, errno);
  else if (syscall(SYS_rseq, rseq_area(), 32, 0, RSEQ_SIG) != 0)
    fail("registering rseq of thread %d again, expected to work, got errno %d", number, errno);
}

static void check_handler(struct thread* self) {
  handled_at = 0;
  syscall(SYS_tgkill, getpid(), self->before.tid, SIGUSR1);
  uintptr_t low = (uintptr_t)self->alternate_stack;
  if (handled_at < low || handled_at >= low + self->before.stack.ss_size)
    fail("handler of thread %d, expected on its alternate stack at %lx, got %lx", self->number, low, handled_at);
}

static void compare(struct thread* self) {
  struct facts *before = &self->before, *after = &self->after;
  ask(after);
  expect_number("thread id", before->tid, after->tid);
  expect_text("thread name", before->name, after->name);
  expect_bytes("signal mask", &before->mask, &after->mask, 8);
  expect_bytes("alternate stack", &before->stack, &after->stack, sizeof before->stack);
  expect_number("scheduling policy", before->scheduling.policy, after->scheduling.policy);
  expect_number("nice value", before->scheduling.nice, after->scheduling.nice);
  expect_bytes("scheduling attributes", &before->scheduling, &after->scheduling, sizeof before->scheduling);
  expect_number("I/O priority", before->io_priority, after->io_priority);
  expect_number("timer slack", (long)before->timer_slack, (long)after->timer_slack);
  expect_true("affinity unchanged", CPU_EQUAL(&before->affinity, &after->affinity));
  expect_number("robust list", (intptr_t)before->robust_head, (intptr_t)after->robust_head);
  expect_number("length of the robust list head", (long)before->robust_bytes, (long)after->robust_bytes);
  expect_number("clear_child_tid", (intptr_t)before->clear_child_tid, (intptr_t)after->clear_child_tid);
  expect_number("FS base", (long)before->fs_base, (long)after->fs_base);
  expect_number("GS base", (long)before->gs_base, (long)after->gs_base);
  expect_words("thread-local storage", local, sizeof local, 1000 * self->number);
  expect_number("initialised thread-local variable", 0x600df00d, (long)local_initialised);
}

static void* run(void* argument) {
  struct thread* self = argument;
  set_up(self);
  errno = 1000 + self->number;
  atomic_fetch_add(&set_up_done, 1);
  // Half of them wait in a futex, the others sleep again and again.
  if (self->number % 2) {
    pthread_mutex_lock(&gate_lock);
    while (!atomic_load(&go)) pthread_cond_wait(&gate, &gate_lock);
    pthread_mutex_unlock(&gate_lock);
  } else {
    while (!atomic_load(&go)) {
      struct timespec pause = timespec_of(5000000);
      clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);  // returns its error and leaves errno alone
    }
  }
  expect_number("errno", 1000 + self->number, errno);
  if (program.sabotage && self->number == 4) {
    sigset_t more;
    sigemptyset(&more);
    sigaddset(&more, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &more, NULL);
    local[5] = 0;
  }
  compare(self);
  check_rseq(self->number);
  check_handler(self);
  return (void*)(intptr_t)(7000 + self->number);  // and dies holding its robust mutex
}

static void* run_late(void* argument) {
  expect_number("initialised thread-local variable of a new thread", 0x600df00d, (long)local_initialised);
  expect_zeros("thread-local storage of a new thread", local, sizeof local);
  check_rseq(-1);
  return argument;
}

static bool join(pthread_t handle, const char* what, intptr_t expected) {
  struct timespec deadline;
  clock_gettime(CLOCK_REALTIME, &deadline);
  deadline.tv_sec += 20;
  void* result;
  int error = pthread_timedjoin_np(handle, &result, &deadline);
  return expect_number(what, 0, error) && expect_number("result of a thread", expected, (intptr_t)result);
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_RESTART};
  must(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
  pthread_mutexattr_t attribute;
  pthread_mutexattr_init(&attribute);
  pthread_mutexattr_setrobust(&attribute, PTHREAD_MUTEX_ROBUST);
  for (int i = 0; i < kThreads; i++) pthread_mutex_init(&robust[i], &attribute);
  for (int i = 0; i < kThreads; i++) {
    threads[i].number = i;
    must((errno = pthread_create(&threads[i].handle, NULL, run, &threads[i])) == 0, "pthread_create");
  }
  while (atomic_load(&set_up_done) < kThreads) sleep_ms(1);
  ready();
  wait_for_check();
  pthread_mutex_lock(&gate_lock);
  atomic_store(&go, true);
  pthread_cond_broadcast(&gate);
  pthread_mutex_unlock(&gate_lock);
  for (int i = 0; i < kThreads; i++) join(threads[i].handle, "join of a thread", 7000 + i);
  for (int i = 0; i < kThreads; i++) {
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 5;
    expect_number("robust mutex of a dead thread", EOWNERDEAD, pthread_mutex_timedlock(&robust[i], &deadline));
  }
  for (int i = 0; i < 4; i++) {
    pthread_t late;
    int error = pthread_create(&late, NULL, run_late, (void*)(intptr_t)i);
    if (expect_number("pthread_create afterwards", 0, error)) join(late, "join of a new thread", i);
  }
  check_rseq(kThreads);
  return finish();
}
