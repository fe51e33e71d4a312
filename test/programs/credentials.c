// Who the process is and what it may: ids, groups, capabilities, securebits, limits, personality, umask, cwd.
//
//   (nothing)         stays root with fewer capabilities
//   --uid N           becomes user and group N, with supplementary groups
//   --ids             real, effective, saved and file-system ids all differ
//   --no-new-privs    sets no_new_privs
//   --dumpable N      sets the dumpable flag
#include "program.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>

enum { kFieldSize = 256, kLimits = 16, kAnyPersonality = 0xffffffff };

static const char* const fields[] = {"Uid",    "Gid",    "Groups", "CapInh",     "CapPrm",  "CapEff",
                                     "CapBnd", "CapAmb", "Umask",  "NoNewPrivs", "Seccomp", "THP_enabled"};
enum { kFields = sizeof fields / sizeof *fields };

// What one thread can ask about itself.
static struct facts {
  char fields[kFields][kFieldSize];
  uid_t uids[3];
  gid_t gids[3];
  int file_uid, file_gid;
  gid_t groups[64];
  int group_count;
  int securebits, keep_capabilities, no_new_privileges, dumpable, personality;
  struct __user_cap_data_struct capabilities[2];
  struct rlimit limits[kLimits];
  char cwd[PATH_MAX];
  struct stat cwd_status, root_status;
} before_main, before_thread, after;

static void ask(struct facts* facts) {
  memset(facts, 0, sizeof *facts);
  static char text[8192];
  if (read_file("/proc/thread-self/status", text, sizeof text) <= 0) fail("/proc/thread-self/status, errno %d", errno);
  for (int i = 0; i < kFields; i++) status_field(text, fields[i], facts->fields[i], kFieldSize);
  getresuid(&facts->uids[0], &facts->uids[1], &facts->uids[2]);
  getresgid(&facts->gids[0], &facts->gids[1], &facts->gids[2]);
  // An impossible id changes nothing and tells the present one.
  facts->file_uid = setfsuid((uid_t)-1);
  facts->file_gid = setfsgid((gid_t)-1);
  facts->group_count = getgroups(64, facts->groups);
  facts->securebits = prctl(PR_GET_SECUREBITS);
  facts->keep_capabilities = prctl(PR_GET_KEEPCAPS);
  facts->no_new_privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
  facts->dumpable = prctl(PR_GET_DUMPABLE);
  facts->personality = personality(kAnyPersonality);
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  syscall(SYS_capget, &header, facts->capabilities);
  for (int i = 0; i < kLimits; i++) getrlimit((__rlimit_resource_t)i, &facts->limits[i]);
  if (!getcwd(facts->cwd, sizeof facts->cwd)) fail("getcwd, errno %d", errno);
  stat(".", &facts->cwd_status);
  stat("/", &facts->root_status);
}

static void compare(const char* who, const struct facts* before, const struct facts* now) {
  char what[64];
  for (int i = 0; i < kFields; i++) {
    snprintf(what, sizeof what, "%s: %s", who, fields[i]);
    expect_text(what, before->fields[i], now->fields[i]);
  }
  for (int i = 0; i < 3; i++) {
    static const char* const kinds[] = {"real", "effective", "saved"};
    snprintf(what, sizeof what, "%s: %s id", who, kinds[i]);
    expect_number(what, before->uids[i], now->uids[i]);
    expect_number(what, before->gids[i], now->gids[i]);
  }
  expect_number("file-system user id", before->file_uid, now->file_uid);
  expect_number("file-system group id", before->file_gid, now->file_gid);
  expect_number("number of groups", before->group_count, now->group_count);
  expect_bytes("groups", before->groups, now->groups, sizeof before->groups);
  expect_number("securebits", before->securebits, now->securebits);
  expect_number("keep-capabilities flag", before->keep_capabilities, now->keep_capabilities);
  expect_number("no_new_privs", before->no_new_privileges, now->no_new_privileges);
  expect_number("dumpable", before->dumpable, now->dumpable);
  expect_number("personality", before->personality, now->personality);
  expect_bytes("capabilities", before->capabilities, now->capabilities, sizeof before->capabilities);
  for (int i = 0; i < kLimits; i++) {
    snprintf(what, sizeof what, "%s: limit %d", who, i);
    expect_number(what, (long long)before->limits[i].rlim_cur, (long long)now->limits[i].rlim_cur);
    expect_number(what, (long long)before->limits[i].rlim_max, (long long)now->limits[i].rlim_max);
  }
  expect_text("working directory", before->cwd, now->cwd);
  expect_number("inode of the working directory", (long long)before->cwd_status.st_ino, (long long)now->cwd_status.st_ino);
  expect_number("inode of the root directory", (long long)before->root_status.st_ino, (long long)now->root_status.st_ino);
}

// Limits are only ever lowered: raising them takes CAP_SYS_RESOURCE.
static void lower(int resource, rlim_t soft, rlim_t hard) {
  struct rlimit limit;
  getrlimit((__rlimit_resource_t)resource, &limit);
  if (hard < limit.rlim_max) limit.rlim_max = hard;
  limit.rlim_cur = soft < limit.rlim_max ? soft : limit.rlim_max;
  must(setrlimit((__rlimit_resource_t)resource, &limit) == 0, "setrlimit");
}

static void reduce_capabilities(void) {
  must(prctl(PR_CAPBSET_DROP, CAP_MKNOD) == 0 && prctl(PR_CAPBSET_DROP, CAP_SYS_TIME) == 0, "PR_CAPBSET_DROP");
  // KEEP_CAPS is the flag of PR_SET_KEEPCAPS; NO_SETUID_FIXUP locked can never be undone.
  must(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS) == 0,
       "PR_SET_SECUREBITS");
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct sets[2];
  must(syscall(SYS_capget, &header, sets) == 0, "capget");
  uint32_t without = 1u << CAP_MKNOD | 1u << CAP_SYS_TIME;
  sets[0].permitted &= ~without;
  sets[0].effective &= ~without & ~(1u << CAP_CHOWN);
  sets[0].inheritable = 1u << CAP_NET_BIND_SERVICE | 1u << CAP_CHOWN;
  must(syscall(SYS_capset, &header, sets) == 0, "capset");
  must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) == 0, "PR_CAP_AMBIENT_RAISE");
}

static void set_up(void) {
  char path[PATH_MAX];
  must(mkdir(beside(".cwd", path), 0755) == 0 && chdir(path) == 0, "chdir");
  umask(027);
  must(personality(ADDR_NO_RANDOMIZE) >= 0, "personality");
  lower(RLIMIT_NOFILE, 500, 800);
  lower(RLIMIT_CORE, 12345, 1 << 20);
  lower(RLIMIT_STACK, 4 << 20, 64 << 20);
  lower(RLIMIT_MEMLOCK, 65536, 1 << 20);
  lower(RLIMIT_FSIZE, (rlim_t)1 << 40, (rlim_t)1 << 41);
  uid_t uid = (uid_t)number_option("--uid", 0);
  if (uid) {
    gid_t groups[] = {20, 100, uid, 70000};
    must(setgroups(4, groups) == 0 && setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0, "becoming a user");
  } else if (has_option("--ids")) {
    must(setgroups(0, NULL) == 0, "setgroups");
    must(setresgid(2001, 2002, 2003) == 0, "setresgid");
    setfsgid(2004);
    must(setresuid(1001, 1002, 0) == 0, "setresuid");
    setfsuid(1001);
  } else {
    reduce_capabilities();
  }
  if (has_option("--no-new-privs")) must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS");
  int dumpable = (int)number_option("--dumpable", -1);
  if (dumpable >= 0) must(prctl(PR_SET_DUMPABLE, dumpable) == 0, "PR_SET_DUMPABLE");
}

static void check_use(void) {
  bool root = !has_option("--ids") && number_option("--uid", 0) == 0;
  char path[PATH_MAX];
  if (root) {
    int fd = open("made-by-root", O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    struct stat status;
    expect_true("creating a file in the working directory", fd >= 0 && fstat(fd, &status) == 0);
    expect_number("mode of a new file", 0640, status.st_mode & 0777);
    expect_true("chown without CAP_CHOWN is refused", fchown(fd, 1, 1) == -1 && errno == EPERM);
    close(fd);
    expect_true("mknod without CAP_MKNOD is refused", mknod("device", S_IFCHR | 0600, 0x103) == -1 && errno == EPERM);
    expect_number("NO_SETUID_FIXUP stays locked", -1, prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS));
  } else {
    expect_true("creating a file in root's directory is refused", open(beside(".no", path), O_CREAT | O_WRONLY, 0600) == -1);
  }
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  expect_number("lowest descriptor above the limit", -1, fcntl(program.status, F_DUPFD, (int)limit.rlim_cur));
}

static atomic_int thread_phase;
static void* run(void* unused) {
  ask(&before_thread);
  atomic_store(&thread_phase, 1);
  while (atomic_load(&thread_phase) == 1) sleep_ms(5);
  ask(&after);
  compare("second thread", &before_thread, &after);
  return unused;
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  set_up();
  pthread_t thread;
  must((errno = pthread_create(&thread, NULL, run, NULL)) == 0, "pthread_create");
  while (atomic_load(&thread_phase) == 0) sleep_ms(1);
  ask(&before_main);
  ready();
  wait_for_check();
  if (program.sabotage) {
    umask(0);
    lower(RLIMIT_NOFILE, 400, 800);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  }
  ask(&after);
  compare("main thread", &before_main, &after);
  atomic_store(&thread_phase, 2);
  pthread_join(thread, NULL);
  check_use();
  return finish();
}
