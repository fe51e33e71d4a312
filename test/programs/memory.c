// Kinds of memory: private anonymous in all protections, private files, heap, stack, huge, reserved, growing, locked.
#include "mappings.h"
#include <setjmp.h>

enum { kFilePages = 16, kFileTail = 100, kStackBytes = 3 << 20, kHugeBytes = 8 << 20 };
static const size_t kReserved = (size_t)1 << 30;
static const size_t kOddHeap = 12345 * 3;

static char *plain, *read_only, *no_access, *file_copy, *file_offset, *huge, *small, *reserved, *growing, *locked, *not_forked,
    *wiped, *not_dumped, *sequential, *random_access, *code, *zero_read, *zeroed, *gap, *patchwork, *heap;
static void* program_break;
static int patchwork_protection[] = {PROT_READ, PROT_READ | PROT_WRITE, PROT_NONE, PROT_READ | PROT_EXEC,
                                     PROT_READ | PROT_WRITE};
enum { kPatches = sizeof patchwork_protection / sizeof *patchwork_protection };
static struct mapping_list before, after;

static char* map(size_t bytes, int protection, int flags) {
  char* at = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  must(at != MAP_FAILED, "mmap");
  return at;
}

static char* filled(size_t pages, uint64_t seed) {
  char* at = map(pages * kPage, PROT_READ | PROT_WRITE, 0);
  fill_words(at, pages * kPage, seed);
  return at;
}

static char* advised(size_t pages, uint64_t seed, int advice) {
  char* at = filled(pages, seed);
  must(madvise(at, pages * kPage, advice) == 0, "madvise");
  return at;
}

static void set_up_file(void) {
  char path[PATH_MAX];
  int fd = open(beside(".data", path), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  must(fd >= 0, "creating the data file");
  char page[kPage];
  for (int i = 0; i < kFilePages; i++) {
    fill_words(page, kPage, 9000 + i * 1000);
    must(write(fd, page, kPage) == kPage, "writing the data file");
  }
  memset(page, 't', kFileTail);
  must(write(fd, page, kFileTail) == kFileTail, "writing the data file");
  // Two pages longer than the file: one with the file's tail, one beyond its end.
  file_copy = mmap(NULL, (kFilePages + 2) * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  must(file_copy != MAP_FAILED, "mapping the data file");
  fill_words(file_copy + 3 * kPage, kPage, 501);
  memcpy(file_copy + 7 * kPage + 100, "partly written", 14);
  file_copy[kFilePages * kPage + kFileTail] = 'x';
  file_offset = mmap(NULL, 4 * kPage, PROT_READ, MAP_PRIVATE, fd, 5 * kPage);
  must(file_offset != MAP_FAILED, "mapping the data file at an offset");
  close(fd);
}

static sigjmp_buf fault_return;
static void on_fault(int signal) { siglongjmp(fault_return, signal); }

// The signal that reading (or writing) one byte raises, 0 for none.
static int touch(volatile char* at, bool writing) {
  int signal = sigsetjmp(fault_return, 1);
  if (signal) return signal;
  if (writing)
    *at = 1;
  else
    (void)*at;
  return 0;
}

static void set_up(void) {
  plain = map(64 * kPage, PROT_READ | PROT_WRITE, 0);
  for (int i = 0; i < 64; i++)
    if (i % 5 != 0) fill_words(plain + i * kPage, kPage, 100000 + i * 1000);
  read_only = filled(8, 1);
  must(mprotect(read_only, 8 * kPage, PROT_READ) == 0, "mprotect");
  no_access = filled(8, 2);
  must(mprotect(no_access, 8 * kPage, PROT_NONE) == 0, "mprotect");
  set_up_file();

  zero_read = map(8 * kPage, PROT_READ | PROT_WRITE, 0);
  for (int i = 0; i < 8; i++) touch(zero_read + i * kPage, false);
  zeroed = filled(8, 3);
  memset(zeroed + 2 * kPage, 0, 3 * kPage);

  char* room = map(kHugeBytes + (2 << 20), PROT_READ | PROT_WRITE, 0);
  huge = (char*)(((uintptr_t)room + (2 << 20) - 1) & ~(uintptr_t)((2 << 20) - 1));
  // Trim to the aligned part, so that its flags are those of one mapping.
  if (huge > room) munmap(room, huge - room);
  munmap(huge + kHugeBytes, room + (2 << 20) - huge);
  if (madvise(huge, kHugeBytes, MADV_HUGEPAGE) != 0) must(errno == EINVAL, "madvise(MADV_HUGEPAGE)");
  fill_words(huge, kHugeBytes, 5000000);
  small = map(4 * kPage, PROT_READ | PROT_WRITE, 0);
  if (madvise(small, 4 * kPage, MADV_NOHUGEPAGE) != 0) must(errno == EINVAL, "madvise(MADV_NOHUGEPAGE)");
  fill_words(small, 4 * kPage, 6);

  reserved = map(kReserved, PROT_READ | PROT_WRITE, MAP_NORESERVE);
  fill_words(reserved, kPage, 7);
  fill_words(reserved + kReserved / 2, kPage, 8);
  fill_words(reserved + kReserved - kPage, kPage, 9);

  // Below it there must be room to grow: more than the kernel's gap of 256 pages.
  char* around = map(1024 * kPage, PROT_NONE, 0);
  munmap(around, 1024 * kPage);
  growing = mmap(around + 1000 * kPage, 4 * kPage, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE, -1, 0);
  must(growing != MAP_FAILED, "mmap(MAP_GROWSDOWN)");
  growing -= 2 * kPage;
  fill_words(growing + kPage, kPage, 10);
  fill_words(growing, kPage, 11);
  for (int i = 2; i < 6; i++) fill_words(growing + i * kPage, kPage, 12 + i);

  locked = filled(1, 20);
  must(mlock(locked, kPage) == 0, "mlock");
  not_forked = advised(2, 21, MADV_DONTFORK);
  wiped = advised(2, 22, MADV_WIPEONFORK);
  not_dumped = advised(2, 23, MADV_DONTDUMP);
  sequential = advised(2, 24, MADV_SEQUENTIAL);
  random_access = advised(2, 25, MADV_RANDOM);

  code = map(kPage, PROT_READ | PROT_WRITE, 0);
  // lea 7(%rdi), %eax; ret
  memcpy(code, "\x8d\x47\x07\xc3", 4);
  must(mprotect(code, kPage, PROT_READ | PROT_EXEC) == 0, "mprotect(PROT_EXEC)");

  gap = filled(12, 30);
  must(munmap(gap + 4 * kPage, 4 * kPage) == 0, "munmap");
  patchwork = filled(kPatches, 40);
  for (int i = 0; i < kPatches; i++)
    must(mprotect(patchwork + i * kPage, kPage, patchwork_protection[i]) == 0, "mprotect");

  heap = sbrk(0);
  must(sbrk((intptr_t)kOddHeap) == heap, "sbrk");
  for (size_t i = 0; i < kOddHeap; i++) heap[i] = (char)(i * 7 + 1);
  program_break = (void*)syscall(SYS_brk, 0);

  static char handler_stack[64 << 10];
  stack_t stack = {.ss_sp = handler_stack, .ss_size = sizeof handler_stack};
  must(sigaltstack(&stack, NULL) == 0, "sigaltstack");
  struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK};
  must(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGBUS, &action, NULL) == 0, "sigaction");
}

static void check_file(void) {
  char expected[kPage];
  for (int i = 0; i < kFilePages; i++) {
    fill_words(expected, kPage, i == 3 ? 501 : 9000 + i * 1000);
    if (i == 7) memcpy(expected + 100, "partly written", 14);
    expect_bytes("private file page", expected, file_copy + i * kPage, kPage);
    fill_words(expected, kPage, 9000 + i * 1000);
    if (i >= 5 && i < 9) expect_bytes("private file page, read only", expected, file_offset + (i - 5) * kPage, kPage);
  }
  memset(expected, 0, kPage);
  memset(expected, 't', kFileTail);
  expected[kFileTail] = 'x';
  expect_bytes("tail of the private file mapping", expected, file_copy + kFilePages * kPage, kPage);
  expect_number("signal beyond the end of the file", SIGBUS, touch(file_copy + (kFilePages + 1) * kPage, false));
  // Pages that were not written must still follow the file, not a copy of it.
  char path[PATH_MAX];
  int fd = open(beside(".data", path), O_RDWR | O_CLOEXEC);
  expect_true("data file opens", fd >= 0);
  char byte = 'F';
  expect_number("write to the data file", 1, pwrite(fd, &byte, 1, 12 * kPage));
  expect_number("untouched page of a private file mapping follows the file", 'F', file_copy[12 * kPage]);
  expect_number("written page of a private file mapping stays", 1, pwrite(fd, &byte, 1, 3 * kPage));
  expect_words("written page of a private file mapping", file_copy + 3 * kPage, kPage, 501);
  close(fd);
}

// Goes deeper than the program ever was: the stack must still grow.
static __attribute__((noinline)) int descend(int levels) {
  volatile char frame[64 << 10];
  for (size_t i = 0; i < sizeof frame; i += kPage) frame[i] = (char)levels;
  if (levels == 0) return frame[kPage];
  int below = descend(levels - 1);
  return below + frame[2 * kPage];
}

static void check_flags(void) {
  expect_flag(&after, "locked page", locked, "lo");
  expect_flag(&after, "MADV_DONTFORK", not_forked, "dc");
  expect_flag(&after, "MADV_WIPEONFORK", wiped, "wf");
  expect_flag(&after, "MADV_DONTDUMP", not_dumped, "dd");
  expect_flag(&after, "MADV_SEQUENTIAL", sequential, "sr");
  expect_flag(&after, "MADV_RANDOM", random_access, "rr");
  expect_flag(&after, "MAP_NORESERVE", reserved, "nr");
  expect_flag(&after, "MAP_GROWSDOWN", growing, "gd");
}

static void check(void) {
  for (int i = 0; i < 64; i++) {
    if (i % 5 == 0)
      expect_zeros("untouched anonymous page", plain + i * kPage, kPage);
    else
      expect_words("anonymous page", plain + i * kPage, kPage, 100000 + i * 1000);
  }
  expect_words("read-only memory", read_only, 8 * kPage, 1);
  expect_number("signal of a write to read-only memory", SIGSEGV, touch(read_only, true));
  expect_number("signal of a read of PROT_NONE memory", SIGSEGV, touch(no_access, false));
  expect_number("mprotect of PROT_NONE memory", 0, mprotect(no_access, 8 * kPage, PROT_READ));
  expect_words("memory that was PROT_NONE", no_access, 8 * kPage, 2);
  check_file();
  expect_zeros("pages only read", zero_read, 8 * kPage);
  expect_words("pages before the zeroed ones", zeroed, 2 * kPage, 3);
  expect_zeros("pages written, then zeroed", zeroed + 2 * kPage, 3 * kPage);
  expect_words("pages after the zeroed ones", zeroed + 5 * kPage, 3 * kPage, 3 + 5 * kPage / 8);
  expect_words("huge pages", huge, kHugeBytes, 5000000);
  expect_words("pages kept small", small, 4 * kPage, 6);
  expect_words("reservation, first page", reserved, kPage, 7);
  expect_words("reservation, middle page", reserved + kReserved / 2, kPage, 8);
  expect_words("reservation, last page", reserved + kReserved - kPage, kPage, 9);
  expect_zeros("reservation, empty page", reserved + kReserved / 4, kPage);
  expect_words("growing mapping, grown", growing, kPage, 11);
  expect_words("growing mapping, grown", growing + kPage, kPage, 10);
  for (int i = 2; i < 6; i++) expect_words("growing mapping", growing + i * kPage, kPage, 12 + i);
  expect_number("signal of growing further", 0, touch(growing - kPage, true));
  expect_words("locked page", locked, kPage, 20);
  expect_words("MADV_DONTFORK pages", not_forked, 2 * kPage, 21);
  expect_words("MADV_WIPEONFORK pages", wiped, 2 * kPage, 22);
  expect_words("MADV_DONTDUMP pages", not_dumped, 2 * kPage, 23);
  expect_words("MADV_SEQUENTIAL pages", sequential, 2 * kPage, 24);
  expect_words("MADV_RANDOM pages", random_access, 2 * kPage, 25);
  expect_number("code in anonymous memory", 49, ((int (*)(int))(void*)code)(42));
  expect_words("below the gap", gap, 4 * kPage, 30);
  expect_words("above the gap", gap + 8 * kPage, 4 * kPage, 30 + 8 * kPage / 8);
  expect_number("signal inside the gap", SIGSEGV, touch(gap + 5 * kPage, false));
  for (int i = 0; i < kPatches; i++) {
    int protection = patchwork_protection[i];
    expect_number("signal of a read in the patchwork", protection ? 0 : SIGSEGV, touch(patchwork + i * kPage, false));
    if (!(protection & PROT_WRITE))
      expect_number("signal of a write in the patchwork", SIGSEGV, touch(patchwork + i * kPage, true));
    expect_number("mprotect in the patchwork", 0, mprotect(patchwork + i * kPage, kPage, PROT_READ | PROT_WRITE));
    expect_words("patchwork", patchwork + i * kPage, kPage, 40 + i * kPage / 8);
  }
  expect_number("program break of the kernel", (intptr_t)program_break, syscall(SYS_brk, 0));
  for (size_t i = 0; i < kOddHeap; i++) {
    if (heap[i] == (char)(i * 7 + 1)) continue;
    fail("heap at byte %zu, expected 0x%02x, got 0x%02x", i, (unsigned char)(i * 7 + 1), (unsigned char)heap[i]);
    break;
  }
  expect_number("heap grows on", (intptr_t)program_break, (intptr_t)sbrk(100 * kPage));
  expect_number("the new end of the heap is usable", 0, touch((char*)program_break + 99 * kPage, true));
}

// Writing at the places where a write would go unseen by a tracker or a copy of protections.
static void sabotage(void) {
  plain[17 * kPage + 4095] ^= 1;
  mprotect(gap, kPage, PROT_READ);
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  uint64_t on_stack[kStackBytes / 8];
  fill_words(on_stack, sizeof on_stack, 77);
  set_up();
  read_mappings(&before);
  read_mappings(&before);  // the first reading has touched the memory of its own buffers
  ready();
  wait_for_check();
  if (program.sabotage) sabotage();
  read_mappings(&after);
  expect_same_mappings(&before, &after);
  check_flags();
  check();
  expect_words("data on the stack", on_stack, sizeof on_stack, 77);
  expect_number("a deeper stack", 32 * 33 / 2, descend(32));
  return finish();
}
