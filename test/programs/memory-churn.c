// Three writers that never stop changing their memory in every way a tracker has to follow: plain writes, read() into
// it, filling, dropping, protecting, moving, exchanging, growing, mapping anew. What each page must hold is written down
// in a ledger apart.
//
//   --mb N    memory in all, megabytes (48)      --uid N   give up root for this user and group first
//   --ops N   operations a second of each writer, 0 for as many as possible (3000)
//   --seed N  other sequences of operations (0)
// Each writer owns its mappings and looks at all of them all the time; everything is compared at the end.
#include "program.h"
#include <grp.h>

enum { kWriters = 3, kSegments = 8, kBreakPages = 512, kLedgerPages = 1 << 18, kBlockPages = 512 };
enum kind { kAnonymous, kHuge, kFile };
static const char* const kind_names[] = {"anonymous", "huge", "private file"};

// A ledger entry says what a page holds: two bits of what, thirty of which.
enum { kBase = 0, kPattern = 1, kInput = 2, kZeroed = 3 };
static uint32_t entry(unsigned what, uint32_t which) { return what << 30 | (which & 0x3fffffff); }

struct segment {
  char* at;  // NULL when unused
  size_t pages;
  size_t file_page;  // where in the data file a file mapping begins
  uint32_t* ledger;
  const char* last;  // the last thing done to the mapping, for the report
  uint64_t last_ns;
  bool is_break;  // the heap: grows by brk only
  bool in_pieces;  // parts of it were mapped again: several mappings, perhaps
  bool in_blocks;  // the pieces are blocks of whole page tables
};

static struct writer {
  pthread_t handle;
  int number;
  enum kind kind;
  struct segment segments[kSegments];
  uint64_t random;
  uint32_t generation;
  uint64_t operations, writes, reads, drops, protections, moves, exchanges, resizes, mappings, refused;
  int swept_segment;
  size_t swept_page;
} writers[kWriters];

static int data_file;
static size_t capacity, file_pages;  // pages of a segment at most, of the data file
static atomic_bool go, stop;
static uint64_t pace_ns;
// A hole that one writer is about to fill again must not be given to another one's mmap in between.
static pthread_mutex_t holes = PTHREAD_MUTEX_INITIALIZER;

static uint64_t next_random(struct writer* w, uint64_t below) {
  w->random ^= w->random << 13;
  w->random ^= w->random >> 7;
  w->random ^= w->random << 17;
  return w->random % below;
}

static uint64_t file_word(size_t file_page, size_t word) { return mix(0xf11e000000000000u + file_page * 512 + word); }

// The first word says in clear whose page it is: writer and generation. Pages move, so where it is says nothing.
static uint64_t pattern_key(const struct writer* w, uint32_t generation) {
  return (uint64_t)(w->number + 1) << 60 | (uint64_t)generation << 28;
}
static uint64_t pattern_word(uint64_t key, size_t word) { return word ? mix(key + (word << 20)) : key; }

static uint64_t expected_word(const struct writer* w, const struct segment* s, size_t page, size_t word) {
  uint32_t which = s->ledger[page] & 0x3fffffff;
  switch (s->ledger[page] >> 30) {
    case kPattern: return pattern_word(pattern_key(w, which), word);
    case kInput: return file_word(which, word);
    case kZeroed: return 0;
    default: return w->kind == kFile && !s->is_break ? file_word(s->file_page + page, word) : 0;
  }
}

static bool verify_page(const struct writer* w, const struct segment* s, size_t page) {
  const uint64_t* words = (const uint64_t*)(s->at + page * kPage);
  for (size_t i = 0; i < kPage / 8; i++) {
    if (words[i] == expected_word(w, s, page, i)) continue;
    static const char* const names[] = {"as mapped", "pattern", "read from file", "zeroed"};
    fail("%s memory, segment %d of %zu pages at %p, page %zu word %zu, last %s %llu ms ago; expected 0x%llx (%s %u), "
         "got 0x%llx (first word 0x%llx)",
         s->is_break ? "heap" : kind_names[w->kind], (int)(s - w->segments), s->pages, (void*)s->at, page, i, s->last,
         (unsigned long long)(nanoseconds(CLOCK_MONOTONIC) - s->last_ns) / 1000000,
         (unsigned long long)expected_word(w, s, page, i), names[s->ledger[page] >> 30],
         s->ledger[page] & 0x3fffffff, (unsigned long long)words[i], (unsigned long long)words[0]);
    return false;
  }
  return true;
}

static void write_pattern(struct writer* w, struct segment* s, size_t page) {
  uint32_t generation = ++w->generation;
  uint64_t key = pattern_key(w, generation);
  volatile uint64_t* words = (volatile uint64_t*)(s->at + page * kPage);
  for (size_t i = 0; i < kPage / 8; i++) words[i] = pattern_word(key, i);
  s->ledger[page] = entry(kPattern, generation);
  w->writes++;
}

static void done(struct segment* s, const char* what) {
  s->last = what;
  s->last_ns = nanoseconds(CLOCK_MONOTONIC);
}

static void need(bool worked, const struct segment* s, const char* what) {
  if (!worked) fail("%s at %p of %zu pages, expected to work, got errno %d", what, (void*)s->at, s->pages, errno);
}

static void* map_pages(const struct writer* w, void* at, size_t pages, size_t file_page) {
  int fixed = at ? MAP_FIXED : 0;
  if (w->kind == kFile)
    return mmap(at, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | fixed, data_file, (off_t)(file_page * kPage));
  void* got = mmap(at, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
  if (got != MAP_FAILED) madvise(got, pages * kPage, w->kind == kHuge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  return got;
}

struct span {
  size_t from, pages;
};
static struct span some_pages(struct writer* w, const struct segment* s, size_t most) {
  size_t pages = 1 + next_random(w, most < s->pages ? most : s->pages);
  return (struct span){next_random(w, s->pages - pages + 1), pages};
}

static void plain_write(struct writer* w, struct segment* s) {
  struct span span = some_pages(w, s, 4);
  for (size_t i = 0; i < span.pages; i++) {
    verify_page(w, s, span.from + i);
    write_pattern(w, s, span.from + i);
  }
}

static void fill(struct writer* w, struct segment* s) {
  struct span span = some_pages(w, s, 512);
  for (size_t i = 0; i < span.pages; i++) write_pattern(w, s, span.from + i);
  done(s, "filling");
}

// The kernel writes here, not the program.
static void read_into(struct writer* w, struct segment* s) {
  struct span span = some_pages(w, s, 8);
  size_t from = next_random(w, file_pages - span.pages + 1);
  ssize_t got = pread(data_file, s->at + span.from * kPage, span.pages * kPage, (off_t)(from * kPage));
  need(got == (ssize_t)(span.pages * kPage), s, "pread");
  for (size_t i = 0; i < span.pages; i++) s->ledger[span.from + i] = entry(kInput, (uint32_t)(from + i));
  w->reads++;
}

static void zero(struct writer* w, struct segment* s) {
  struct span span = some_pages(w, s, 4);
  memset(s->at + span.from * kPage, 0, span.pages * kPage);
  for (size_t i = 0; i < span.pages; i++) s->ledger[span.from + i] = entry(kZeroed, 0);
}

static void drop(struct writer* w, struct segment* s) {
  // Now and then so much that whole huge pages go.
  struct span span = some_pages(w, s, next_random(w, 16) ? 32 : 1024);
  need(madvise(s->at + span.from * kPage, span.pages * kPage, MADV_DONTNEED) == 0, s, "madvise(MADV_DONTNEED)");
  memset(s->ledger + span.from, 0, span.pages * sizeof *s->ledger);
  w->drops++;
  done(s, "dropping pages");
}

static void protect(struct writer* w, struct segment* s) {
  struct span span = some_pages(w, s, 64);
  char* at = s->at + span.from * kPage;
  bool readable = next_random(w, 2);
  need(mprotect(at, span.pages * kPage, readable ? PROT_READ : PROT_NONE) == 0, s, "mprotect away");
  if (readable) verify_page(w, s, span.from);
  if (next_random(w, 4) == 0) sched_yield();
  need(mprotect(at, span.pages * kPage, PROT_READ | PROT_WRITE) == 0, s, "mprotect back");
  verify_page(w, s, span.from);
  write_pattern(w, s, span.from);
  w->protections++;
  done(s, "protecting pages");
}

// Makes the same range anew: by unmapping first, or by mapping over it.
static void map_again(struct writer* w, struct segment* s) {
  struct span span = some_pages(w, s, 48);
  char* at = s->at + span.from * kPage;
  pthread_mutex_lock(&holes);
  if (next_random(w, 2)) need(munmap(at, span.pages * kPage) == 0, s, "munmap");
  need(map_pages(w, at, span.pages, s->file_page + span.from) == at, s, "mmap at the same place");
  pthread_mutex_unlock(&holes);
  memset(s->ledger + span.from, 0, span.pages * sizeof *s->ledger);
  s->in_pieces = true;
  s->in_blocks = false;
  w->mappings++;
  done(s, "mapping pages again");
}

static void resize_break(struct writer* w, struct segment* s) {
  long change = s->pages + 8 > kBreakPages ? -(long)(kBreakPages / 2) : (long)(1 + next_random(w, 8));
  need(sbrk(change * kPage) == s->at + s->pages * kPage, s, "sbrk");
  if (change > 0) memset(s->ledger + s->pages, 0, (size_t)change * sizeof *s->ledger);
  s->pages = (size_t)((long)s->pages + change);
  w->resizes++;
  done(s, "moving the program break");
}

// Since Linux 6.17 mremap(2) moves several mappings one by one and may fail in between with some of them moved; before
// that it refused them all. So what may be several mappings (pages of it were mapped again) stays where it is.
static bool is_one_mapping(struct writer* w, const struct segment* s) {
  if (s->in_pieces) w->refused++;
  return !s->in_pieces;
}

static void resize(struct writer* w, struct segment* s) {
  if (s->is_break) return resize_break(w, s);
  if (!is_one_mapping(w, s)) return;
  size_t pages = 1 + next_random(w, capacity);
  if (w->kind == kFile && s->file_page + pages > file_pages) pages = file_pages - s->file_page;
  pthread_mutex_lock(&holes);
  char* at = mremap(s->at, s->pages * kPage, pages * kPage, MREMAP_MAYMOVE);
  int error = errno;
  pthread_mutex_unlock(&holes);
  if (at == MAP_FAILED) {
    // While it is tracked one mapping may be two for a moment (docs/limits.md): then nothing has changed.
    need(error == EFAULT, s, "mremap");
    w->refused++;
    return;
  }
  if (pages > s->pages) memset(s->ledger + s->pages, 0, (pages - s->pages) * sizeof *s->ledger);
  s->at = at;
  s->pages = pages;
  w->resizes++;
  done(s, "growing or shrinking");
}

static void move(struct writer* w, struct segment* s) {
  if (s->is_break || !is_one_mapping(w, s)) return;
  pthread_mutex_lock(&holes);
  void* place = mmap(NULL, s->pages * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  need(place != MAP_FAILED, s, "mmap of a new place");
  char* at = mremap(s->at, s->pages * kPage, s->pages * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, place);
  int error = errno;
  if (at == MAP_FAILED) {
    // As above, but some of it may have been moved already: the segment is given up.
    munmap(place, s->pages * kPage);
    munmap(s->at, s->pages * kPage);
    s->at = NULL;
  }
  pthread_mutex_unlock(&holes);
  if (at == MAP_FAILED) {
    need(error == EFAULT, s, "mremap to a new place");
    w->refused++;
    return;
  }
  s->at = at;
  w->moves++;
  done(s, "moving");
}

static bool move_block(char* from, char* to) {
  return mremap(from, kBlockPages * kPage, kBlockPages * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to;
}

// Two blocks of a segment change places. The kernel moves their page tables whole, with all that is noted in them.
static void exchange(struct writer* w, struct segment* s) {
  const size_t bytes = kBlockPages * kPage;
  size_t first = (-(uintptr_t)s->at & (bytes - 1)) / kPage;
  size_t blocks = s->pages > first ? (s->pages - first) / kBlockPages : 0;
  if (s->is_break || w->kind == kFile || blocks < 2 || (s->in_pieces && !s->in_blocks)) return;
  size_t one = next_random(w, blocks), other = (one + 1 + next_random(w, blocks - 1)) % blocks;
  char *a = s->at + (first + one * kBlockPages) * kPage, *b = s->at + (first + other * kBlockPages) * kPage;
  pthread_mutex_lock(&holes);
  char* room = mmap(NULL, 2 * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  must(room != MAP_FAILED, "mmap of a place between");
  char* between = (char*)(((uintptr_t)room + bytes - 1) & ~(bytes - 1));
  bool moved = move_block(a, between) && move_block(b, a) && move_block(between, b);
  int error = errno;
  munmap(room, 2 * bytes);
  if (!moved) {
    // As for a move: some of it may be elsewhere by now.
    munmap(s->at, s->pages * kPage);
    s->at = NULL;
  }
  pthread_mutex_unlock(&holes);
  if (!moved) {
    need(error == EFAULT, s, "mremap of a block");
    w->refused++;
    return;
  }
  for (size_t i = 0; i < kBlockPages; i++) {
    uint32_t* ledger = s->ledger + first;
    uint32_t kept = ledger[one * kBlockPages + i];
    ledger[one * kBlockPages + i] = ledger[other * kBlockPages + i];
    ledger[other * kBlockPages + i] = kept;
  }
  s->in_pieces = s->in_blocks = true;
  w->exchanges++;
  done(s, "exchanging blocks");
}

static void create(struct writer* w, struct segment* s) {
  s->pages = 1 + next_random(w, capacity);
  s->file_page = next_random(w, file_pages - s->pages + 1);
  pthread_mutex_lock(&holes);
  void* at = map_pages(w, NULL, s->pages, s->file_page);
  pthread_mutex_unlock(&holes);
  need(at != MAP_FAILED, s, "mmap");
  s->at = at;
  s->in_pieces = s->in_blocks = false;
  memset(s->ledger, 0, s->pages * sizeof *s->ledger);
  // Some pages stay as mapped.
  for (size_t page = 0; page < s->pages; page++)
    if (next_random(w, 4)) write_pattern(w, s, page);
  w->mappings++;
  done(s, "mapping");
}

static void destroy(struct writer* w, struct segment* s) {
  if (s->is_break) return;
  pthread_mutex_lock(&holes);
  need(munmap(s->at, s->pages * kPage) == 0, s, "munmap");
  pthread_mutex_unlock(&holes);
  s->at = NULL;
  w->mappings++;
}

// One page after the other, through all segments, for ever.
static void sweep(struct writer* w) {
  struct segment* s = &w->segments[w->swept_segment];
  if (!s->at || w->swept_page >= s->pages) {
    w->swept_segment = (w->swept_segment + 1) % kSegments;
    w->swept_page = 0;
    return;
  }
  verify_page(w, s, w->swept_page++);
}

static void operate(struct writer* w) {
  struct segment* s = &w->segments[next_random(w, kSegments)];
  if (!s->at) {
    if (next_random(w, 30) == 0) create(w, s);
    return;
  }
  uint64_t dice = next_random(w, 1000);
  if (dice < 530) plain_write(w, s);
  else if (dice < 540) fill(w, s);
  else if (dice < 550) exchange(w, s);
  else if (dice < 700) read_into(w, s);
  else if (dice < 750) zero(w, s);
  else if (dice < 850) drop(w, s);
  else if (dice < 940) protect(w, s);
  else if (dice < 960) s->is_break ? drop(w, s) : map_again(w, s);
  else if (dice < 980) resize(w, s);
  else if (dice < 996) move(w, s);
  else destroy(w, s);
  w->operations++;
}

static void* run(void* argument) {
  struct writer* w = argument;
  while (!atomic_load(&go)) sleep_ms(1);
  uint64_t next = nanoseconds(CLOCK_MONOTONIC);
  while (!atomic_load(&stop)) {
    for (int i = 0; i < 16; i++) {
      operate(w);
      sweep(w);
    }
    uint64_t now = nanoseconds(CLOCK_MONOTONIC);
    next += 16 * pace_ns;
    // Late by more than a moment: go on from here instead of running after it.
    if (now > next + 50000000) next = now;
    if (now < next) {
      struct timespec pause = timespec_of(next - now);
      nanosleep(&pause, NULL);
    }
  }
  return NULL;
}

static void set_up_file(void) {
  char path[PATH_MAX];
  int fd = open(beside(".data", path), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  must(fd >= 0, "creating the data file");
  uint64_t page[kPage / 8];
  for (size_t i = 0; i < file_pages; i++) {
    for (size_t word = 0; word < kPage / 8; word++) page[word] = file_word(i, word);
    must(write(fd, page, kPage) == kPage, "writing the data file");
  }
  close(fd);
  data_file = open(path, O_RDONLY | O_CLOEXEC);
  must(data_file >= 0, "opening the data file");
}

static void set_up_writer(struct writer* w, int number) {
  w->number = number;
  w->kind = (enum kind)number;
  w->random = mix((uint64_t)number + 1 + (uint64_t)number_option("--seed", 0) * 1000);
  for (int i = 0; i < kSegments; i++) {
    w->segments[i].ledger = mmap(NULL, capacity * sizeof(uint32_t) + kBreakPages * sizeof(uint32_t), PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(w->segments[i].ledger != MAP_FAILED, "mmap of a ledger");
  }
  // The heap has one user: nothing calls malloc any more.
  if (w->kind == kAnonymous) {
    struct segment* heap = &w->segments[kSegments - 1];
    uintptr_t end = (uintptr_t)sbrk(0);
    must(sbrk((intptr_t)(-end & (kPage - 1))) != (void*)-1, "sbrk");
    heap->at = sbrk(16 * kPage);
    must(heap->at != (void*)-1, "sbrk");
    heap->pages = 16;
    heap->is_break = true;
    done(heap, "set-up");
  }
  for (int i = 0; i < kSegments - 2; i++) create(w, &w->segments[i]);
}

static void give_up_root(void) {
  uid_t uid = (uid_t)number_option("--uid", 0);
  if (uid == 0) return;
  must(setgroups(0, NULL) == 0 && setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0, "giving up root");
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  capacity = (size_t)(number_option("--mb", 48) * 256 / kWriters / (kSegments - 2) * 2);
  must(capacity >= 16 && capacity < kLedgerPages, "--mb within 1 and some thousands");
  file_pages = capacity + capacity / 2;
  double operations = number_option("--ops", 3000);
  pace_ns = operations > 0 ? (uint64_t)(1e9 / operations) : 0;
  set_up_file();
  give_up_root();
  // Threads first: creating them calls malloc, which would move the program break.
  for (int i = 0; i < kWriters; i++)
    must((errno = pthread_create(&writers[i].handle, NULL, run, &writers[i])) == 0, "pthread_create");
  for (int i = 0; i < kWriters; i++) set_up_writer(&writers[i], i);
  atomic_store(&go, true);
  ready();
  wait_for_check();
  atomic_store(&stop, true);
  for (int i = 0; i < kWriters; i++) pthread_join(writers[i].handle, NULL);
  if (program.sabotage)
    for (int i = 0; i < kSegments; i++)
      if (writers[1].segments[i].at) writers[1].segments[i].at[9] ^= 1;
  for (int i = 0; i < kWriters; i++) {
    struct writer* w = &writers[i];
    for (int k = 0; k < kSegments; k++) {
      struct segment* s = &w->segments[k];
      if (!s->at) continue;
      for (size_t page = 0; page < s->pages; page++) verify_page(w, s, page);
    }
    say("FACT %s: operations=%llu writes=%llu reads=%llu drops=%llu protections=%llu moves=%llu exchanges=%llu resizes=%llu "
        "mappings=%llu refused=%llu",
        kind_names[w->kind], (unsigned long long)w->operations, (unsigned long long)w->writes,
        (unsigned long long)w->reads, (unsigned long long)w->drops, (unsigned long long)w->protections,
        (unsigned long long)w->moves, (unsigned long long)w->exchanges, (unsigned long long)w->resizes, (unsigned long long)w->mappings,
        (unsigned long long)w->refused);
  }
  return finish();
}
