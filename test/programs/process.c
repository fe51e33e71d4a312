// What belongs to the process as a whole: auxiliary vector, arguments, environment, executable, the fields of its
// memory descriptor, and its flags. Session and group are told as facts: who leads them decides what becomes of them.
//
//   --title   overwrites its arguments, as servers do to show their state
#include "program.h"
#include <elf.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

enum { kText = 32 << 10 };

// Fields of /proc/PID/stat by proc(5)'s numbers: code and data and stack, break, arguments, environment.
static const int stat_fields[] = {26, 27, 28, 45, 46, 47, 48, 49, 50, 51};
enum { kStatFields = sizeof stat_fields / sizeof *stat_fields, kLastStatField = 52 };

static struct facts {
  char auxv[4096], arguments[kText], environment[kText], comm[64], executable[PATH_MAX];
  ssize_t auxv_bytes, argument_bytes, environment_bytes;
  struct stat executable_status;
  unsigned long long stat[kLastStatField + 1];
  long program_break;
  char oom[32], coredump_filter[32];
  int timer_slack, subreaper, no_huge_pages, parent_death_signal, child_policy;
} before, after;

static void ask_stat(struct facts* facts) {
  static char text[4096];
  if (read_file("/proc/self/stat", text, sizeof text) <= 0) fail("/proc/self/stat, errno %d", errno);
  // The name may hold anything: numbering starts behind its closing bracket.
  char* at = strrchr(text, ')');
  if (!at) return fail("/proc/self/stat, expected a name in brackets");
  at += 2;
  for (int field = 3; field <= kLastStatField && *at; field++) {
    if (field > 3) facts->stat[field] = strtoull(at, NULL, 10);
    at += strcspn(at, " ");
    if (*at) at++;
  }
}

static void ask(struct facts* facts) {
  memset(facts, 0, sizeof *facts);
  facts->auxv_bytes = read_file("/proc/self/auxv", facts->auxv, sizeof facts->auxv);
  facts->argument_bytes = read_file("/proc/self/cmdline", facts->arguments, kText);
  facts->environment_bytes = read_file("/proc/self/environ", facts->environment, kText);
  read_file("/proc/self/comm", facts->comm, sizeof facts->comm);
  if (readlink("/proc/self/exe", facts->executable, PATH_MAX - 1) < 0) fail("/proc/self/exe, errno %d", errno);
  stat("/proc/self/exe", &facts->executable_status);
  ask_stat(facts);
  facts->program_break = syscall(SYS_brk, 0);
  read_file("/proc/self/oom_score_adj", facts->oom, sizeof facts->oom);
  read_file("/proc/self/coredump_filter", facts->coredump_filter, sizeof facts->coredump_filter);
  facts->timer_slack = prctl(PR_GET_TIMERSLACK);
  prctl(PR_GET_CHILD_SUBREAPER, &facts->subreaper);
  facts->no_huge_pages = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
  prctl(PR_GET_PDEATHSIG, &facts->parent_death_signal);
  facts->child_policy = sched_getscheduler(0);
}

static void compare(void) {
  expect_number("bytes of the auxiliary vector", before.auxv_bytes, after.auxv_bytes);
  expect_bytes("auxiliary vector", before.auxv, after.auxv, sizeof before.auxv);
  expect_number("bytes of the arguments", before.argument_bytes, after.argument_bytes);
  expect_bytes("arguments", before.arguments, after.arguments, kText);
  expect_number("bytes of the environment", before.environment_bytes, after.environment_bytes);
  expect_bytes("environment", before.environment, after.environment, kText);
  expect_text("name", before.comm, after.comm);
  expect_text("path of the executable", before.executable, after.executable);
  expect_number("inode of the executable", (long long)before.executable_status.st_ino,
                (long long)after.executable_status.st_ino);
  for (int i = 0; i < kStatFields; i++) {
    char what[64];
    snprintf(what, sizeof what, "field %d of /proc/self/stat", stat_fields[i]);
    expect_number(what, (long long)before.stat[stat_fields[i]], (long long)after.stat[stat_fields[i]]);
  }
  expect_number("program break", before.program_break, after.program_break);
  expect_text("oom_score_adj", before.oom, after.oom);
  expect_text("coredump_filter", before.coredump_filter, after.coredump_filter);
  expect_number("timer slack", before.timer_slack, after.timer_slack);
  expect_number("child subreaper", before.subreaper, after.subreaper);
  expect_number("huge pages disabled", before.no_huge_pages, after.no_huge_pages);
  expect_number("parent death signal", before.parent_death_signal, after.parent_death_signal);
  expect_number("scheduling policy", before.child_policy, after.child_policy);
}

static void write_text(const char* path, const char* text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), path);
  close(fd);
}

static void tell_session(const char* when) {
  say("FACT %s: session %d, process group %d, leads %s", when, getsid(0), getpgrp(),
      getsid(0) == getpid() ? "its session" : getpgrp() == getpid() ? "its group" : "nothing");
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  must(prctl(PR_SET_NAME, "odd) name (x") == 0, "PR_SET_NAME");
  // Raising is always allowed; going back below would need CAP_SYS_RESOURCE.
  write_text("/proc/self/oom_score_adj", "77");
  write_text("/proc/self/coredump_filter", "0x1f");
  must(prctl(PR_SET_TIMERSLACK, 123456) == 0, "PR_SET_TIMERSLACK");
  must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0, "PR_SET_CHILD_SUBREAPER");
  must(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0, "PR_SET_THP_DISABLE");
  if (has_option("--title")) {
    // The last argument is this program's own word, so that its text may be changed.
    char* last = argv[argc - 1];
    memset(last, 'T', strlen(last));
  }
  ask(&before);
  tell_session("before");
  ready();
  wait_for_check();
  tell_session("after");
  if (program.sabotage) {
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    prctl(PR_SET_NAME, "another");
  }
  ask(&after);
  compare();
  expect_number("page size by the auxiliary vector", kPage, (long long)getauxval(AT_PAGESZ));
  const Elf64_Ehdr* vdso = (const Elf64_Ehdr*)getauxval(AT_SYSINFO_EHDR);
  if (vdso) expect_bytes("vdso where the auxiliary vector says", ELFMAG, vdso->e_ident, SELFMAG);
  // The copy that the program was given lies on its stack.
  expect_true("stack start is in use", before.stat[28] > (uintptr_t)&argc);
  return finish();
}
