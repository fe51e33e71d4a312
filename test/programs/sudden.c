// Does one thing that no migration can carry on with, once, when STATUS-FILE.ask appears; then says DONE.
//
//   --exec            becomes another program: this one again, with --was-exec in place of --exec
//   --exec-thread     the same by a thread that is not the first, with others beside it
//   --exec-often      the same again and again, 50 ms after each start, from the first ask on
//   --become FILE     becomes this program
//   --fork            gets a child
//   --vfork           gets a child that shares its memory until STATUS-FILE.go appears
//   --leader-ends     its first thread ends, another one goes on
//   --resident MB     of memory (default 1)
#include "program.h"
#include <sys/prctl.h>
#include <sys/wait.h>

static size_t resident;
static unsigned char* memory;
static pid_t child;

static void become(const char* as) {
  char size[32];
  snprintf(size, sizeof size, "%zu", resident >> 20);
  execl("/proc/self/exe", program.argv[0], program.status_path, "--resident", size, as, (char*)NULL);
  fail("execl, errno %d", errno);
}

static void* become_in_thread(void* unused) {
  become("--was-exec");
  return unused;
}

static void* idle(void* unused) {
  for (;;) pause();
  return unused;
}

static void get_child(void) {
  child = fork();
  must(child >= 0, "fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
}

static void get_vfork_child(void) {
  static char go[PATH_MAX];
  beside(".go", go);
  say("DONE");
  report_done();
  pid_t child = vfork();
  if (child == 0) {
    while (access(go, F_OK) != 0) sleep_ms(5);
    _exit(7);
  }
  int status = 0;
  expect_number("waitpid", child, waitpid(child, &status, 0));
  expect_number("exit code of the child", 7, WEXITSTATUS(status));
}

static void act(void) {
  if (has_option("--vfork")) return get_vfork_child();
  if (has_option("--fork")) get_child();
  say("DONE");
  report_done();
  if (has_option("--exec")) become("--was-exec");
  if (has_option("--become")) execl(text_option("--become", ""), text_option("--become", ""), (char*)NULL);
  if (has_option("--exec-often")) become("--was-exec-often");
  if (has_option("--exec-thread")) {
    pthread_t thread;
    for (int i = 0; i < 8; i++) must(pthread_create(&thread, NULL, idle, NULL) == 0, "pthread_create");
    must(pthread_create(&thread, NULL, become_in_thread, NULL) == 0, "pthread_create");
    pthread_join(thread, NULL);
  }
}

static int end_well(void) {
  // The common check is for the first thread.
  if (!has_option("--leader-ends")) check_common();
  if (program.sabotage) memory[resident / 2] ^= 1;
  expect_words("memory", memory, resident, 7);
  if (child) {
    expect_number("its child", 0, waitpid(child, NULL, WNOHANG));
    kill(child, SIGKILL);
  }
  return finish();
}

static void* go_on(void* unused) {
  while (!check_wanted()) sleep_ms(5);
  exit(end_well());
  return unused;
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  resident = (size_t)number_option("--resident", 1) << 20;
  memory = mmap(NULL, resident, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(memory != MAP_FAILED, "mmap");
  fill_words(memory, resident, 7);
  ready();
  uint64_t started = nanoseconds(CLOCK_MONOTONIC);
  while (!check_wanted()) {
    if (report_wanted()) {
      if (has_option("--leader-ends")) {
        pthread_t thread;
        must(pthread_create(&thread, NULL, go_on, NULL) == 0, "pthread_create");
        say("DONE");
        report_done();
        pthread_exit(NULL);
      }
      act();
    }
    if (has_option("--was-exec-often") && nanoseconds(CLOCK_MONOTONIC) - started > 50000000u) become("--was-exec-often");
    sleep_ms(5);
  }
  return end_well();
}
