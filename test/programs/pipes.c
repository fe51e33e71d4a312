// Pipes whose ends are all inside: contents, sizes, flags, missing ends, several descriptors of one end, live streams.
//
//   --packets   also one in packet mode (O_DIRECT)
#include "program.h"
#include <sys/ioctl.h>

enum { kLevels = 5, kPumps = 2, kBigPipe = 256 << 10 };

static struct pipe {
  int ends[2];
  size_t bytes;  // in it
  int size;
} held[kLevels];
static const size_t amounts[kLevels] = {0, 1, 4095, 40000, 65536};

static int big[2], nonblocking[2], no_writer[2], no_reader[2], shared[2], shared_reader, shared_writer, packets[2];
static int big_size;
static bool with_packets;

static void make(int ends[2], int flags) { must(pipe2(ends, O_CLOEXEC | flags) == 0, "pipe2"); }

static void put(int fd, size_t bytes, uint64_t seed) {
  static unsigned char data[kBigPipe];
  for (size_t i = 0; i < bytes; i++) data[i] = (unsigned char)mix(seed + i);
  must(write(fd, data, bytes) == (ssize_t)bytes, "filling a pipe");
}

static void take(const char* what, int fd, size_t bytes, uint64_t seed) {
  static unsigned char got[kBigPipe], expected[kBigPipe];
  for (size_t i = 0; i < bytes; i++) expected[i] = (unsigned char)mix(seed + i);
  int queued = -1;
  ioctl(fd, FIONREAD, &queued);
  if (!expect_number(what, (long long)bytes, queued)) return;
  for (size_t done = 0; done < bytes;) {
    ssize_t part = read(fd, got + done, bytes - done);
    if (part <= 0) {
      fail("%s: read after %zu bytes, expected more, got %zd errno %d", what, done, part, errno);
      return;
    }
    done += (size_t)part;
  }
  expect_bytes(what, expected, got, bytes);
}

// ------------------------------------------------------------- a counted stream, all the time

static struct pump {
  int ends[2];
  pthread_t reader, writer;
  int chunk;
  _Atomic uint64_t sent, received, wrong;
} pumps[kPumps];
static atomic_bool stop;

static void* run_writer(void* argument) {
  struct pump* pump = argument;
  static __thread uint64_t numbers[16 << 10];
  uint64_t next = 0;
  while (!atomic_load(&stop)) {
    size_t count = 1 + mix(next) % (size_t)pump->chunk;
    for (size_t i = 0; i < count; i++) numbers[i] = next + i;
    // Above PIPE_BUF a write may end early: go on where it stopped, as every program has to.
    for (size_t done = 0; done < count * 8;) {
      ssize_t part = write(pump->ends[1], (char*)numbers + done, count * 8 - done);
      if (part <= 0) {
        fail("pump: write, expected some bytes, got %zd errno %d", part, errno);
        return NULL;
      }
      done += (size_t)part;
    }
    next += count;
    atomic_store(&pump->sent, next);
    sleep_ms(1);
  }
  close(pump->ends[1]);
  return NULL;
}

static void* run_reader(void* argument) {
  struct pump* pump = argument;
  static __thread char buffer[64 << 10];
  size_t rest = 0;
  uint64_t expected = 0;
  for (;;) {
    ssize_t part = read(pump->ends[0], buffer + rest, sizeof buffer - rest);
    if (part == 0) break;
    if (part < 0) {
      fail("pump: read, expected data, got errno %d", errno);
      break;
    }
    size_t length = rest + (size_t)part;
    for (size_t i = 0; i + 8 <= length; i += 8, expected++) {
      uint64_t number;
      memcpy(&number, buffer + i, 8);
      if (number == expected) continue;
      if (atomic_fetch_add(&pump->wrong, 1) == 0)
        fail("pump: number in the stream, expected %llu, got %llu", (unsigned long long)expected, (unsigned long long)number);
      expected = number;
    }
    rest = length % 8;
    memmove(buffer, buffer + length - rest, rest);
    atomic_store(&pump->received, expected);
    if (mix(expected) % 4 == 0) sleep_ms(2);
  }
  return NULL;
}

// ------------------------------------------------------------- the still ones

static void set_up(void) {
  signal(SIGPIPE, SIG_IGN);
  for (int i = 0; i < kLevels; i++) {
    make(held[i].ends, 0);
    held[i].bytes = amounts[i];
    put(held[i].ends[1], amounts[i], 1000 * i);
    held[i].size = fcntl(held[i].ends[0], F_GETPIPE_SZ);
  }
  make(big, 0);
  must(fcntl(big[1], F_SETPIPE_SZ, kBigPipe) >= kBigPipe, "F_SETPIPE_SZ");
  big_size = fcntl(big[0], F_GETPIPE_SZ);
  put(big[1], 200000, 77);
  // Many small pieces, begun to be read: pieces are not what the reader sees, bytes are.
  make(nonblocking, O_NONBLOCK);
  for (int i = 0; i < 12; i++) put(nonblocking[1], 100, 500 + i * 100);
  char begun[50];
  must(read(nonblocking[0], begun, 50) == 50, "reading a part");
  must(fcntl(nonblocking[0], F_SETFL, 0) == 0, "clearing O_NONBLOCK of one end");
  make(no_writer, 0);
  put(no_writer[1], 300, 9);
  close(no_writer[1]);
  make(no_reader, 0);
  put(no_reader[1], 10, 1);
  close(no_reader[0]);
  make(shared, 0);
  put(shared[1], 64, 4);
  shared_reader = fcntl(shared[0], F_DUPFD_CLOEXEC, 100);
  shared_writer = dup(shared[1]);
  must(shared_reader >= 100 && shared_writer >= 0, "dup");
  // Packet mode: every write is read alone.
  with_packets = has_option("--packets");
  if (!with_packets) return;
  make(packets, O_DIRECT);
  must(write(packets[1], "one", 3) == 3 && write(packets[1], "second", 6) == 6, "writing packets");
}

static void check(void) {
  for (int i = 0; i < kLevels; i++) {
    expect_number("size of a pipe", held[i].size, fcntl(held[i].ends[0], F_GETPIPE_SZ));
    take("content of a pipe", held[i].ends[0], held[i].bytes, 1000 * i);
    put(held[i].ends[1], 5000, 3);
    take("new content of a pipe", held[i].ends[0], 5000, 3);
  }
  expect_number("size of the enlarged pipe", big_size, fcntl(big[0], F_GETPIPE_SZ));
  take("content of the enlarged pipe", big[0], 200000, 77);
  expect_number("O_NONBLOCK of the writing end", O_NONBLOCK, fcntl(nonblocking[1], F_GETFL) & O_NONBLOCK);
  expect_number("O_NONBLOCK of the reading end", 0, fcntl(nonblocking[0], F_GETFL) & O_NONBLOCK);
  expect_number("access mode of the writing end", O_WRONLY, fcntl(nonblocking[1], F_GETFL) & O_ACCMODE);
  expect_number("access mode of the reading end", O_RDONLY, fcntl(nonblocking[0], F_GETFL) & O_ACCMODE);
  take("content of a pipe that was read in part", nonblocking[0], 1150, 550);
  fcntl(nonblocking[0], F_SETFL, O_NONBLOCK);
  char byte;
  expect_true("empty pipe with O_NONBLOCK gives EAGAIN", read(nonblocking[0], &byte, 1) == -1 && errno == EAGAIN);
  take("content of the pipe without a writer", no_writer[0], 300, 9);
  expect_number("end of the pipe without a writer", 0, read(no_writer[0], &byte, 1));
  expect_true("pipe without a reader gives EPIPE", write(no_reader[1], "x", 1) == -1 && errno == EPIPE);
  // Both descriptors of an end are the same pipe, and the same open file.
  fcntl(shared[0], F_SETFL, O_NONBLOCK);
  expect_number("flags are shared by descriptors of one end", O_NONBLOCK, fcntl(shared_reader, F_GETFL) & O_NONBLOCK);
  fcntl(shared[0], F_SETFL, 0);
  take("content by the second reader", shared_reader, 64, 4);
  put(shared_writer, 20, 6);
  take("content by the first reader", shared[0], 20, 6);
  close(shared[1]);
  put(shared_writer, 20, 8);
  take("content after one writer was closed", shared[0], 20, 8);
  close(shared_writer);
  expect_number("end after the last writer was closed", 0, read(shared_reader, &byte, 1));
  if (!with_packets) return;
  char packet[16];
  expect_number("O_DIRECT of the packet pipe", O_DIRECT, fcntl(packets[1], F_GETFL) & O_DIRECT);
  expect_number("length of the first packet", 3, read(packets[0], packet, sizeof packet));
  expect_number("length of the second packet", 6, read(packets[0], packet, sizeof packet));
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  set_up();
  for (int i = 0; i < kPumps; i++) {
    make(pumps[i].ends, 0);
    pumps[i].chunk = i ? 12 << 10 : 100;
    must((errno = pthread_create(&pumps[i].writer, NULL, run_writer, &pumps[i])) == 0, "pthread_create");
    must((errno = pthread_create(&pumps[i].reader, NULL, run_reader, &pumps[i])) == 0, "pthread_create");
  }
  for (int i = 0; i < kPumps; i++)
    while (atomic_load(&pumps[i].received) < 100) sleep_ms(1);
  ready();
  wait_for_check();
  if (program.sabotage) {
    put(held[3].ends[1], 1, 12345);
    fcntl(big[0], F_SETPIPE_SZ, 2 * kBigPipe);
  }
  check();
  uint64_t before[kPumps];
  for (int i = 0; i < kPumps; i++) before[i] = atomic_load(&pumps[i].received);
  uint64_t limit = nanoseconds(CLOCK_MONOTONIC) + 10000000000u;
  for (int i = 0; i < kPumps; i++) {
    while (atomic_load(&pumps[i].received) == before[i] && nanoseconds(CLOCK_MONOTONIC) < limit) sleep_ms(5);
    expect_true("the stream flows on", atomic_load(&pumps[i].received) > before[i]);
  }
  atomic_store(&stop, true);
  for (int i = 0; i < kPumps; i++) {
    pthread_join(pumps[i].writer, NULL);
    pthread_join(pumps[i].reader, NULL);
    expect_number("numbers received", (long long)atomic_load(&pumps[i].sent), (long long)atomic_load(&pumps[i].received));
  }
  return finish();
}
