// What memory can be beside content and protection: guarded, sealed, locked on fault, named, huge, in swap, given to the
// kernel, advised anew while the program is moved.
//
//   --swap        some memory is in swap (there must be some)
//   --late        advice changes after READY, by and by, in ways that no list of mappings shows
//   --lock-all    mlockall(MCL_FUTURE)         --lock-all-on-fault   the same with MCL_ONFAULT
//   --merge-all   prctl(PR_SET_MEMORY_MERGE)
#include "mappings.h"
#include <setjmp.h>
#include <sys/prctl.h>

#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
enum { kGuardInstall = 102, kGuardRemove = 103, kSysMseal = 462, kSysMlock2 = 325, kSetMemoryMerge = 67, kGetMemoryMerge = 68 };
enum { kHugePage = 2 << 20, kHugeBytes = 8 << 20, kSwapBytes = 4 << 20, kGuarded = 16, kLatePieces = 6 };
static const size_t kTera = (size_t)4 << 40;

static char *guarded, *sealed, *on_fault, *named, *huge, *huge_plain, *collapsed, *swapped, *freed, *reservation, *guarded_file, *late, *lazy,
    *guarded_locked, *open_reservation;
static bool has_guards, has_seals, has_names, freed_zero[64];
static unsigned long huge_bytes, huge_plain_bytes, collapsed_bytes;
static struct mapping_list before, after;

static char* map(size_t bytes, int protection, int flags) {
  char* at = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  must(at != MAP_FAILED, "mmap");
  return at;
}

static char* filled(size_t bytes, uint64_t seed) {
  char* at = map(bytes, PROT_READ | PROT_WRITE, 0);
  fill_words(at, bytes, seed);
  return at;
}

// A mapping of its own: nothing it could join lies beside it.
static char* apart(size_t bytes) {
  char* around = map(bytes + 2 * kHugePage, PROT_NONE, 0);
  char* at = (char*)(((uintptr_t)around + kHugePage - 1) & ~(uintptr_t)(kHugePage - 1)) + kPage * 0;
  munmap(around, (size_t)(at - around));
  munmap(at + bytes, (size_t)(around + bytes + 2 * kHugePage - at - bytes));
  must(mprotect(at, bytes, PROT_READ | PROT_WRITE) == 0, "mprotect");
  return at;
}

static sigjmp_buf fault_return;
static void on_signal(int signal) { siglongjmp(fault_return, signal); }
static int touch(volatile char* at) {
  int signal = sigsetjmp(fault_return, 1);
  if (signal) return signal;
  (void)*at;
  return 0;
}

// A field of smaps for the mapping at an address, in kilobytes.
static unsigned long smaps_field(const void* address, const char* name) {
  static char text[1 << 20];
  must(read_file("/proc/self/smaps", text, sizeof text) > 0, "reading /proc/self/smaps");
  bool inside = false;
  for (char* line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
    unsigned long start, end, value;
    if (sscanf(line, "%lx-%lx ", &start, &end) == 2) inside = start <= (uintptr_t)address && (uintptr_t)address < end;
    else if (inside && strncmp(line, name, strlen(name)) == 0 && sscanf(line + strlen(name), ": %lu", &value) == 1) return value;
  }
  return 0;
}

static void set_up_guards(void) {
  guarded = filled(kGuarded * kPage, 1);
  has_guards = madvise(guarded + 3 * kPage, 2 * kPage, kGuardInstall) == 0;
  if (!has_guards) return;
  must(madvise(guarded + 9 * kPage, kPage, kGuardInstall) == 0, "MADV_GUARD_INSTALL");
  must(madvise(guarded + 11 * kPage, kPage, kGuardInstall) == 0, "MADV_GUARD_INSTALL");
  must(madvise(guarded + 11 * kPage, kPage, kGuardRemove) == 0, "MADV_GUARD_REMOVE");
  // Locked after the guards came: nothing can be put in any more.
  guarded_locked = apart(4 * kPage);
  fill_words(guarded_locked, 4 * kPage, 11);
  must(madvise(guarded_locked + kPage, kPage, kGuardInstall) == 0, "MADV_GUARD_INSTALL");
  mlock(guarded_locked, 4 * kPage);
  char path[PATH_MAX], page[kPage];
  int fd = open(beside(".guarded", path), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  for (int i = 0; i < 4; i++) {
    fill_words(page, kPage, 2000 + i * 1000);
    must(write(fd, page, kPage) == kPage, "writing the file");
  }
  guarded_file = mmap(NULL, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  must(guarded_file != MAP_FAILED, "mmap of a file");
  close(fd);
  guarded_file[2 * kPage] = 'x';
  if (madvise(guarded_file + kPage, kPage, kGuardInstall) != 0) guarded_file = NULL;  // Linux 6.15
}

static void set_up_huge(void) {
  huge = apart(kHugeBytes);
  madvise(huge, kHugeBytes, MADV_HUGEPAGE);
  fill_words(huge, kHugeBytes, 3);
  // Huge, and mostly zeros: what does not travel must not cost the huge page.
  huge_plain = apart(kHugeBytes);
  madvise(huge_plain, kHugeBytes, MADV_HUGEPAGE);
  for (size_t at = 0; at < kHugeBytes; at += kHugePage) *(uint64_t*)(huge_plain + at + 5 * kPage) = mix(at + 1);
  // Huge without being advised to be: MADV_COLLAPSE, Linux 6.1.
  collapsed = apart(kHugeBytes);
  fill_words(collapsed, kHugeBytes, 12);
  madvise(collapsed, kHugeBytes, 25);
  collapsed_bytes = smaps_field(collapsed, "AnonHugePages");
  huge_bytes = smaps_field(huge, "AnonHugePages");
  huge_plain_bytes = smaps_field(huge_plain, "AnonHugePages");
  say("FACT huge=%lu huge_plain=%lu collapsed=%lu", huge_bytes, huge_plain_bytes, collapsed_bytes);
}

static void page_out(char* at, size_t bytes) {
  // The kernel may leave some of it for another time.
  for (int tries = 0; tries < 50 && smaps_field(at, "Swap") * 1024 < bytes; tries++) {
    must(madvise(at, bytes, MADV_PAGEOUT) == 0, "MADV_PAGEOUT");
    sleep_ms(5);
  }
  must(smaps_field(at, "Swap") > 0, "memory in swap");
}

static void set_up(void) {
  set_up_guards();
  sealed = apart(4 * kPage);
  fill_words(sealed, 4 * kPage, 4);
  has_seals = syscall(kSysMseal, sealed, 4 * kPage, 0) == 0;
  on_fault = apart(8 * kPage);
  fill_words(on_fault, 2 * kPage, 5);
  must(syscall(kSysMlock2, on_fault, 8 * kPage, 1) == 0, "mlock2(MLOCK_ONFAULT)");
  named = apart(4 * kPage);
  fill_words(named, 4 * kPage, 6);
  has_names = prctl(0x53564d41, 0, named, 4 * kPage, "a name of its own") == 0;
  set_up_huge();
  if (has_option("--swap")) {
    swapped = apart(kSwapBytes);
    madvise(swapped, kSwapBytes, MADV_NOHUGEPAGE);
    fill_words(swapped, kSwapBytes, 8);
    page_out(swapped, kSwapBytes);
    // Brought back, changed, and again in swap: and some brought back only.
    for (size_t at = 0; at < kSwapBytes / 4; at += kPage) swapped[at] ^= 1;
    page_out(swapped, kSwapBytes / 4);
    for (size_t at = kSwapBytes / 4; at < kSwapBytes / 2; at += kPage) touch(swapped + at);
    say("FACT swap=%lu", smaps_field(swapped, "Swap"));
  }
  reservation = map(kTera, PROT_NONE, 0);
  open_reservation = map(kTera, PROT_READ | PROT_WRITE, MAP_NORESERVE);
  madvise(open_reservation, kTera, MADV_NOHUGEPAGE);
  *(uint64_t*)open_reservation = mix(1);
  *(uint64_t*)(open_reservation + kTera / 2) = mix(2);
  *(uint64_t*)(open_reservation + kTera - kPage) = mix(3);
  freed = apart(64 * kPage);
  madvise(freed, 64 * kPage, MADV_NOHUGEPAGE);
  lazy = apart(64 * kPage);
  madvise(lazy, 64 * kPage, MADV_NOHUGEPAGE);
  fill_words(lazy, 64 * kPage, 9);
  fill_words(freed, 64 * kPage, 10);
  must(madvise(freed, 64 * kPage, MADV_FREE) == 0, "MADV_FREE");
  late = apart(kLatePieces * 4 * kPage);
  for (int i = 0; i < kLatePieces; i++)
    must(mprotect(late + i * 4 * kPage, 4 * kPage, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE) == 0, "mprotect");

  static char handler_stack[64 << 10];
  stack_t stack = {.ss_sp = handler_stack, .ss_size = sizeof handler_stack};
  must(sigaltstack(&stack, NULL) == 0, "sigaltstack");
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
  must(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGBUS, &action, NULL) == 0, "sigaction");
  if (has_option("--merge-all")) must(prctl(kSetMemoryMerge, 1, 0, 0, 0) == 0, "prctl(PR_SET_MEMORY_MERGE)");
  if (has_option("--lock-all")) must(mlockall(MCL_FUTURE) == 0, "mlockall(MCL_FUTURE)");
  if (has_option("--lock-all-on-fault")) must(mlockall(MCL_FUTURE | 4) == 0, "mlockall(MCL_FUTURE | MCL_ONFAULT)");
}

// What happens after READY: pages that were given to the kernel go, and are seen to be gone.
enum { kLateSteps = 30 };
static int step;
static void change_late(void) {
  if (step >= kLateSteps) return;
  step++;
  if (step == 10) {
    madvise(freed, 64 * kPage, MADV_PAGEOUT);
    for (int i = 0; i < 64; i++) freed_zero[i] = *(volatile uint64_t*)(freed + i * kPage) == 0;
    must(madvise(lazy, 64 * kPage, MADV_FREE) == 0, "MADV_FREE");
  }
  if (!has_option("--late") || step != 20) return;
  static const int advice[kLatePieces] = {MADV_DONTDUMP, MADV_DONTFORK, MADV_WIPEONFORK, MADV_RANDOM, MADV_SEQUENTIAL, MADV_DONTDUMP};
  for (int i = 0; i < kLatePieces; i++)
    must(madvise(late + i * 4 * kPage, 4 * kPage, advice[i]) == 0, "late madvise");
  if (has_guards) {
    must(madvise(guarded + 9 * kPage, kPage, kGuardRemove) == 0, "late MADV_GUARD_REMOVE");
    must(madvise(guarded + 13 * kPage, kPage, kGuardInstall) == 0, "late MADV_GUARD_INSTALL");
  }
}

static void check_guards(void) {
  if (!has_guards) return;
  bool is_late = has_option("--late");
  for (int i = 0; i < kGuarded; i++) {
    bool guard = i == 3 || i == 4 || (is_late ? i == 13 : i == 9);
    bool was = guard || i == 9 || i == 11;
    char what[64];
    snprintf(what, sizeof what, "signal of touching page %d of guarded memory", i);
    if (!expect_number(what, guard ? SIGSEGV : 0, touch(guarded + i * kPage)) || guard) continue;
    if (was) expect_zeros("page that was a guard", guarded + i * kPage, kPage);
    else expect_words("page beside guards", guarded + i * kPage, kPage, 1 + i * kPage / 8);
  }
  for (int i = 0; i < 4; i++)
    expect_number("signal of touching guarded locked memory", i == 1 ? SIGSEGV : 0, touch(guarded_locked + i * kPage));
  expect_words("guarded locked memory", guarded_locked + 2 * kPage, 2 * kPage, 11 + 2 * kPage / 8);
  if (!guarded_file) return;
  for (int i = 0; i < 4; i++)
    expect_number("signal of touching a guarded file mapping", i == 1 ? SIGSEGV : 0, touch(guarded_file + i * kPage));
  expect_number("guarded file mapping, own page", 'x', guarded_file[2 * kPage]);
}

static void check_flags(void) {
  expect_flag(&after, "mlock2(MLOCK_ONFAULT)", on_fault, "lf");
  if (has_seals) expect_flag(&after, "mseal", sealed, "sl");
  if (has_guards) expect_flag(&after, "mlock over guards", guarded_locked, "lo");
  if (has_names) expect_text("name of memory", "[anon:a name of its own]", mapping_at(&after, named)->name);
  if (!has_option("--late")) return;
  static const char* const flags[kLatePieces] = {"dd", "dc", "wf", "rr", "sr", "dd"};
  for (int i = 0; i < kLatePieces; i++) expect_flag(&after, "late advice", late + i * 4 * kPage, flags[i]);
}

static void check_locks(void) {
  char* fresh = map(8 * kPage, PROT_READ | PROT_WRITE, 0);
  unsigned char resident[8] = {0};
  must(mincore(fresh, 8 * kPage, resident) == 0, "mincore");
  bool locked = madvise(fresh, 8 * kPage, MADV_DONTNEED) != 0;
  bool wanted = has_option("--lock-all") || has_option("--lock-all-on-fault");
  expect_number("new memory is locked", wanted, locked);
  expect_number("new memory is there at once", has_option("--lock-all"), resident[3] & 1);
  munmap(fresh, 8 * kPage);
  int merge = prctl(kGetMemoryMerge, 0, 0, 0, 0);
  if (merge >= 0) expect_number("PR_GET_MEMORY_MERGE", has_option("--merge-all"), merge);
}

static void check(void) {
  check_guards();
  expect_words("sealed memory", sealed, 4 * kPage, 4);
  if (has_seals) expect_number("munmap of sealed memory", -1, munmap(sealed, kPage));
  expect_words("memory locked on fault", on_fault, 2 * kPage, 5);
  unsigned char resident[8];
  must(mincore(on_fault, 8 * kPage, resident) == 0, "mincore");
  expect_number("untouched page of memory locked on fault is there", 0, resident[5] & 1);
  expect_words("named memory", named, 4 * kPage, 6);
  expect_words("huge memory", huge, kHugeBytes, 3);
  for (size_t at = 0; at < kHugeBytes; at += kHugePage)
    expect_number("sparse huge memory", (long long)mix(at + 1), *(long long*)(huge_plain + at + 5 * kPage));
  expect_number("kilobytes of huge pages", (long long)huge_bytes, (long long)smaps_field(huge, "AnonHugePages"));
  expect_number("kilobytes of sparse huge pages", (long long)huge_plain_bytes, (long long)smaps_field(huge_plain, "AnonHugePages"));
  expect_words("collapsed memory", collapsed, kHugeBytes, 12);
  expect_number("kilobytes of collapsed pages", (long long)collapsed_bytes, (long long)smaps_field(collapsed, "AnonHugePages"));
  if (swapped) {
    for (size_t at = 0; at < kSwapBytes / 4; at += kPage) swapped[at] ^= 1;
    expect_words("memory that was in swap", swapped, kSwapBytes, 8);
  }
  expect_number("signal of touching a reservation", SIGSEGV, touch(reservation + kTera / 3));
  expect_number("first page of an open reservation", (long long)mix(1), *(long long*)open_reservation);
  expect_number("middle page of an open reservation", (long long)mix(2), *(long long*)(open_reservation + kTera / 2));
  expect_number("last page of an open reservation", (long long)mix(3), *(long long*)(open_reservation + kTera - kPage));
  expect_number("empty page of an open reservation", 0, *(long long*)(open_reservation + kTera / 4));
  expect_true("page tables stay small", smaps_field(reservation, "Rss") == 0);
  // What was seen to be gone must not come back; what is still there is whole.
  for (int i = 0; i < 64; i++) {
    if (freed_zero[i]) expect_zeros("page that was given away and seen gone", freed + i * kPage, kPage);
    bool gone = *(volatile uint64_t*)(lazy + i * kPage) == 0;
    if (gone) expect_zeros("page given away", lazy + i * kPage, kPage);
    else expect_words("page given away, not yet taken", lazy + i * kPage, kPage, 9 + i * kPage / 8);
  }
}

static void sabotage(void) {
  munlock(on_fault, kPage);
  if (has_guards) madvise(guarded + 3 * kPage, kPage, kGuardRemove);
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  set_up();
  if (!has_option("--late")) {
    read_mappings(&before);
    read_mappings(&before);
  }
  ready();
  while (step < kLateSteps || !check_wanted()) {
    change_late();
    sleep_ms(10);
  }
  check_common();
  if (program.sabotage) sabotage();
  read_mappings(&after);
  if (!has_option("--late")) expect_same_mappings(&before, &after);
  check_flags();
  check();
  check_locks();
  return finish();
}
