// The functions of the vdso go on: threads that do nothing but call them see time go on, and every function that the
// program found in it answers as its system call does, without making that call.
//
//   --threads N        threads that read the time in a loop (4)
//   --handler          a signal handler interrupts them all the time
//   --ignore-trap      SIGTRAP is ignored
//   --no-fast-path     do not demand that no system call is made
//   --clock-goes-back  it may be moved to a host that was booted later
#include "program.h"

#include <elf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { kMostThreads = 64, kGetrandomCall = 318 };

static struct {
  int (*clock_gettime)(clockid_t, struct timespec*);
  int (*clock_getres)(clockid_t, struct timespec*);
  int (*gettimeofday)(struct timeval*, struct timezone*);
  time_t (*time)(time_t*);
  long (*getcpu)(unsigned*, unsigned*, void*);
  ssize_t (*getrandom)(void*, size_t, unsigned, void*, size_t);
} vdso;
static atomic_bool stop;
static bool may_go_back;
static _Atomic uint64_t readings[kMostThreads];
static _Atomic uint64_t handled;

// As runtimes look them up: by the section headers' table of dynamic symbols.
static void* look_up(const char* name) {
  const char* base = (const char*)getauxval(AT_SYSINFO_EHDR);
  if (!base) return NULL;
  const Elf64_Ehdr* header = (const Elf64_Ehdr*)base;
  const Elf64_Shdr* sections = (const Elf64_Shdr*)(base + header->e_shoff);
  for (int i = 0; i < header->e_shnum; i++) {
    if (sections[i].sh_type != SHT_DYNSYM) continue;
    const Elf64_Sym* symbols = (const Elf64_Sym*)(base + sections[i].sh_offset);
    const char* names = base + sections[sections[i].sh_link].sh_offset;
    for (size_t n = 0; n < sections[i].sh_size / sizeof *symbols; n++)
      if (symbols[n].st_shndx != SHN_UNDEF && strcmp(names + symbols[n].st_name, name) == 0)
        return (void*)(base + symbols[n].st_value);
  }
  return NULL;
}

static void* read_time(void* number) {
  _Atomic uint64_t* count = &readings[(intptr_t)number];
  struct timespec last = {0, 0}, now;
  while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
    now = (struct timespec){-1, -1};
    int result = vdso.clock_gettime(CLOCK_MONOTONIC, &now);
    if (result != 0 || now.tv_sec < 0 || now.tv_nsec < 0 || now.tv_nsec > 999999999)
      fail("clock_gettime, expected a time, got %d with %lld.%ld", result, (long long)now.tv_sec, now.tv_nsec);
    if (!may_go_back && (now.tv_sec < last.tv_sec || (now.tv_sec == last.tv_sec && now.tv_nsec < last.tv_nsec)))
      fail("CLOCK_MONOTONIC, expected at least %lld.%09ld, got %lld.%09ld", (long long)last.tv_sec, last.tv_nsec,
           (long long)now.tv_sec, now.tv_nsec);
    last = now;
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
  }
  return NULL;
}

static void handle(int signal) {
  (void)signal;
  atomic_fetch_add(&handled, 1);
}

static uint64_t ns(struct timespec time) { return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec; }

static void compare_with_calls(void) {
  static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE,
                                     CLOCK_PROCESS_CPUTIME_ID};
  for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
    struct timespec before, now, after, fine, known;
    syscall(SYS_clock_gettime, clocks[i], &before);
    expect_number("clock_gettime", 0, vdso.clock_gettime(clocks[i], &now));
    syscall(SYS_clock_gettime, clocks[i], &after);
    if (ns(now) < ns(before) || ns(now) > ns(after))
      fail("clock %d, expected %llu to %llu, got %llu", clocks[i], (unsigned long long)ns(before),
           (unsigned long long)ns(after), (unsigned long long)ns(now));
    if (!vdso.clock_getres) continue;
    syscall(SYS_clock_getres, clocks[i], &known);
    expect_number("clock_getres", 0, vdso.clock_getres(clocks[i], &fine));
    expect_number("resolution", (long long)ns(known), (long long)ns(fine));
  }
  struct timeval wall;
  expect_number("gettimeofday", 0, vdso.gettimeofday(&wall, NULL));
  time_t second = vdso.time(NULL);
  expect_true("time and gettimeofday agree", second - wall.tv_sec >= -1 && second - wall.tv_sec <= 1);
  cpu_set_t one, all;
  sched_getaffinity(0, sizeof all, &all);
  for (int i = 0; i < CPU_SETSIZE; i++) {
    if (!CPU_ISSET(i, &all)) continue;
    CPU_ZERO(&one);
    CPU_SET(i, &one);
    unsigned cpu = ~0u, node = ~0u;
    sched_setaffinity(0, sizeof one, &one);
    expect_number("getcpu", 0, vdso.getcpu(&cpu, &node, NULL));
    expect_number("CPU", i, cpu);
  }
  sched_setaffinity(0, sizeof all, &all);
  if (!vdso.getrandom) return;
  unsigned char bytes[64] = {0}, zeros[64] = {0};
  unsigned words[16] = {0};
  // The question how much memory it wants: an answer, or that it does not exist.
  ssize_t answer = vdso.getrandom(NULL, 0, 0, words, ~(size_t)0);
  expect_true("getrandom says what it needs", answer == -ENOSYS || (answer == 0 && words[0] > 0));
  if (answer == 0) return;
  expect_number("getrandom", sizeof bytes, vdso.getrandom(bytes, sizeof bytes, 0, NULL, 0));
  expect_true("getrandom gives random bytes", memcmp(bytes, zeros, sizeof bytes) != 0);
}

// From here on these calls fail in this thread: what still answers has not made one.
static bool without_calls(void) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_gettime, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_gettimeofday, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getcpu, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
  };
  struct sock_fprog filter = {sizeof code / sizeof *code, code};
  must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS");
  must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, "PR_SET_SECCOMP");
  struct timespec now;
  struct timeval wall;
  unsigned cpu;
  return vdso.clock_gettime(CLOCK_MONOTONIC, &now) == 0 && vdso.gettimeofday(&wall, NULL) == 0 &&
         vdso.getcpu(&cpu, NULL, NULL) == 0 && time(NULL) == vdso.time(NULL);
}

// A clock source without a fast path has none anywhere.
static bool has_fast_path(void) {
  pid_t child = fork();
  if (child == 0) _exit(without_calls() ? 0 : 1);
  int status = 1;
  waitpid(child, &status, 0);
  return status == 0;
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  int count = (int)number_option("--threads", 4);
  may_go_back = has_option("--clock-goes-back");
  must(count <= kMostThreads, "that many threads");
  *(void**)&vdso.clock_gettime = look_up("__vdso_clock_gettime");
  *(void**)&vdso.clock_getres = look_up("__vdso_clock_getres");
  *(void**)&vdso.gettimeofday = look_up("__vdso_gettimeofday");
  *(void**)&vdso.time = look_up("__vdso_time");
  *(void**)&vdso.getcpu = look_up("__vdso_getcpu");
  *(void**)&vdso.getrandom = look_up("__vdso_getrandom");
  must(vdso.clock_gettime && vdso.gettimeofday && vdso.time && vdso.getcpu, "looking up functions of the vdso");
  bool fast = !has_option("--no-fast-path") && has_fast_path();
  say("FACT fast path: %s", fast ? "yes" : "no");
  compare_with_calls();
  if (has_option("--ignore-trap")) signal(SIGTRAP, SIG_IGN);
  pthread_t threads[kMostThreads];
  for (intptr_t i = 0; i < count; i++)
    must((errno = pthread_create(&threads[i], NULL, read_time, (void*)i)) == 0, "pthread_create");
  if (has_option("--handler")) {
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
    must(sigaction(SIGALRM, &action, NULL) == 0, "sigaction");
    struct itimerval timer = {{0, 2000}, {0, 2000}};
    must(setitimer(ITIMER_REAL, &timer, NULL) == 0, "setitimer");
  }
  for (int i = 0; i < count; i++)
    while (atomic_load(&readings[i]) < 1000) sleep_ms(1);
  ready();
  while (!check_wanted()) sleep_ms(20);
  if (has_option("--handler")) {
    struct itimerval none = {0};
    setitimer(ITIMER_REAL, &none, NULL);
    expect_true("the handler ran", atomic_load(&handled) > 0);
  }
  check_common();
  if (has_option("--ignore-trap")) expect_true("SIGTRAP is still ignored", signal(SIGTRAP, SIG_IGN) == SIG_IGN);
  compare_with_calls();
  for (int i = 0; i < count; i++) {
    uint64_t so_far = atomic_load(&readings[i]);
    time_t limit = time(NULL) + 20;
    while (atomic_load(&readings[i]) == so_far && time(NULL) < limit) sleep_ms(5);
    expect_true("each thread goes on", atomic_load(&readings[i]) > so_far && !program.sabotage);
  }
  atomic_store(&stop, true);
  for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
  if (fast) expect_true("no system call is made", without_calls());
  return finish();
}
