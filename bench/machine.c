// What the machine itself can do, for comparison: memcpy, process_vm_readv out of another process, and a TCP connection
// over loopback. One core each, but for TCP, whose two ends may run on two. Prints "NAME GB/s" for each.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kRounds = 5 };
static const size_t kBytes = 256u << 20, kChunk = 1u << 20;

static void must(int worked, const char* what) {
  if (worked) return;
  perror(what);
  exit(1);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// Small pages with content, as most programs have.
static char* populated(size_t bytes, int value) {
  char* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(memory != MAP_FAILED, "mmap");
  madvise(memory, bytes, MADV_NOHUGEPAGE);
  memset(memory, value, bytes);
  return memory;
}

// The median of a few rounds, after one that warms up.
static int ascending(const void* a, const void* b) {
  double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

static void measure(const char* name, void (*once)(void* given), void* given) {
  double rates[kRounds];
  once(given);
  for (int i = 0; i < kRounds; i++) {
    double started = seconds();
    once(given);
    rates[i] = (double)kBytes / (seconds() - started) / 1e9;
  }
  qsort(rates, kRounds, sizeof *rates, ascending);
  printf("%s %.3f\n", name, rates[kRounds / 2]);
  fflush(stdout);
}

struct copy {
  char *from, *to;
  pid_t other;
  int socket;
};

static void copy_once(void* given) {
  struct copy* copy = given;
  memcpy(copy->to, copy->from, kBytes);
}

static void read_once(void* given) {
  struct copy* copy = given;
  for (size_t at = 0; at < kBytes; at += kChunk) {
    struct iovec local = {copy->to, kChunk}, remote = {copy->from + at, kChunk};
    must(process_vm_readv(copy->other, &local, 1, &remote, 1, 0) == (ssize_t)kChunk, "process_vm_readv");
  }
}

static void send_once(void* given) {
  struct copy* copy = given;
  for (size_t sent = 0; sent < kBytes;) {
    ssize_t wrote = send(copy->socket, copy->from + sent, kBytes - sent < kChunk ? kBytes - sent : kChunk, 0);
    must(wrote > 0, "send");
    sent += (size_t)wrote;
  }
  char all;
  must(recv(copy->socket, &all, 1, 0) == 1, "recv");
}

// The other end: says one byte for each round it has received.
static void receive(int listener) {
  int connection = accept(listener, NULL, NULL);
  char* buffer = populated(kChunk, 1);
  for (size_t received = 0;;) {
    ssize_t got = recv(connection, buffer, kChunk, 0);
    if (got <= 0) _exit(got < 0);
    received += (size_t)got;
    if (received < kBytes) continue;
    received -= kBytes;
    if (send(connection, "", 1, 0) != 1) _exit(1);
  }
}

static pid_t child(void) {
  pid_t pid = fork();
  must(pid >= 0, "fork");
  if (pid == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
  return pid;
}

static void end(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
}

int main(void) {
  struct copy copy = {.from = populated(kBytes, 1), .to = populated(kBytes, 2)};
  measure("memcpy", copy_once, &copy);

  copy.other = child();
  if (copy.other == 0) {
    memset(copy.from, 3, kBytes);  // pages of its own
    for (;;) pause();
  }
  measure("process_vm_readv", read_once, &copy);
  end(copy.other);

  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  must(bind(listener, (struct sockaddr*)&address, length) == 0, "bind");
  must(listen(listener, 1) == 0, "listen");
  must(getsockname(listener, (struct sockaddr*)&address, &length) == 0, "getsockname");
  pid_t receiver = child();
  if (receiver == 0) receive(listener);
  copy.socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  must(connect(copy.socket, (struct sockaddr*)&address, length) == 0, "connect");
  measure("loopback", send_once, &copy);
  end(receiver);
  return 0;
}
