// Reads a file past the page cache, straight into memory that it compares all the time: what a device writes shows in no
// page table. Each read brings other content into the same pages.
//
//   --reopen      opens the file for each read and closes it after
//   --mb N        memory (16)
#include "program.h"

enum { kThreads = 4, kBlock = 1 << 20, kFileBlocks = 16, kBlockPages = kBlock / kPage };
static char path[PATH_MAX];
static size_t blocks;
static char* memory;
static atomic_bool stop;
static int shared_fd = -1;
// What each block of memory holds: the number of the block of the file, or -1 while it is read.
static int* holds;
static atomic_ullong reads;

static uint64_t word_of(int block, size_t word) { return mix(((uint64_t)block + 1) << 32 | word); }

static void verify(size_t block) {
  const uint64_t* words = (const uint64_t*)(memory + block * kBlock);
  for (size_t i = 0; i < kBlock / 8; i += 64) {
    if (words[i] == word_of(holds[block], i)) continue;
    fail("block %zu, page %zu, expected 0x%llx, got 0x%llx", block, i * 8 / kPage,
         (unsigned long long)word_of(holds[block], i), (unsigned long long)words[i]);
    return;
  }
}

static void* read_on(void* argument) {
  size_t thread = (size_t)argument;
  uint64_t random = mix(thread + 1);
  size_t turn = 0;
  while (!atomic_load(&stop)) {
    random = mix(random + 1);
    size_t block = (turn++ % (blocks / kThreads)) * kThreads + thread;
    int from = (int)(random >> 32) % kFileBlocks;
    if (from < 0) from = -from;
    verify(block);
    int fd = shared_fd >= 0 ? shared_fd : open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    holds[block] = from;
    ssize_t got = pread(fd, memory + block * kBlock, kBlock, (off_t)from * kBlock);
    if (got != kBlock) {
      fail("pread, expected %d, got %zd, errno %d", kBlock, got, errno);
      break;
    }
    if (fd != shared_fd) close(fd);
    verify(block);
    atomic_fetch_add(&reads, 1);
    sleep_ms(10);
  }
  return NULL;
}

static void set_up_file(void) {
  int fd = open(beside(".data", path), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  must(fd >= 0, "creating the file");
  uint64_t* words = (uint64_t*)memory;
  for (int block = 0; block < kFileBlocks; block++) {
    for (size_t i = 0; i < kBlock / 8; i++) words[i] = word_of(block, i);
    must(write(fd, words, kBlock) == kBlock, "writing the file");
  }
  must(fsync(fd) == 0, "fsync");
  close(fd);
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  blocks = (size_t)number_option("--mb", 16);
  memory = mmap(NULL, blocks * kBlock, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(memory != MAP_FAILED, "mmap");
  madvise(memory, blocks * kBlock, MADV_NOHUGEPAGE);
  holds = mmap(NULL, blocks * sizeof *holds, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(holds != MAP_FAILED, "mmap");
  set_up_file();
  int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
  must(fd >= 0, "open with O_DIRECT");
  for (size_t i = 0; i < blocks; i++) must(pread(fd, memory + i * kBlock, kBlock, 0) == kBlock, "pread");
  if (has_option("--reopen")) close(fd);
  else shared_fd = fd;
  pthread_t threads[kThreads];
  for (size_t i = 0; i < kThreads; i++)
    must(pthread_create(&threads[i], NULL, read_on, (void*)i) == 0, "pthread_create");
  ready();
  while (!check_wanted()) sleep_ms(20);
  atomic_store(&stop, true);
  for (int i = 0; i < kThreads; i++) pthread_join(threads[i], NULL);
  // With --reopen a descriptor may have been open when they were listed.
  if (!has_option("--reopen")) check_common();
  if (program.sabotage) memory[blocks / 2 * kBlock] ^= 1;
  for (size_t i = 0; i < blocks; i++) verify(i);
  say("FACT reads=%llu", (unsigned long long)atomic_load(&reads));
  return finish();
}
