// Calls that block on what is refused when the program is to be moved (System V IPC, message queues, sockets, locks,
// children, other descriptors): the source goes on with them all the same. See probes.h for the options.
#include "probes.h"
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>

static pid_t child;        // holds a lock, and is waited for
static int lock_of_child;  // its descriptor

// --- System V IPC

struct message {
  long type;
  char text[8192];
};

static void make_semaphore(struct probe* probe) {
  int id = semget(IPC_PRIVATE, 1, 0600);
  must(id >= 0, "semget");
  probe->word = (uint32_t)id;
}
static void make_queue(struct probe* probe) {
  int id = msgget(IPC_PRIVATE, 0600);
  must(id >= 0, "msgget");
  probe->word = (uint32_t)id;
}
static void fill_queue(struct probe* probe) {
  static const struct message message = {.type = 1};
  make_queue(probe);
  while (msgsnd((int)probe->word, &message, sizeof message.text, IPC_NOWAIT) == 0) {
  }
  must(errno == EAGAIN, "filling a queue");
}

static long semaphore_timeout(struct probe* probe) {
  struct sembuf down = {0, -1, 0};
  struct timespec t = relative();
  return with_constant(probe, &t, raw(syscall(SYS_semtimedop, (int)probe->word, &down, 1, &t)));
}
static long semaphore(struct probe* probe) {
  struct sembuf down = {0, -1, 0};
  return raw(syscall(SYS_semop, (int)probe->word, &down, 1));
}
static void semaphore_up(struct probe* probe) {
  struct sembuf up = {0, 1, 0};
  expect_number("semop", 0, semop((int)probe->word, &up, 1));
}
static long queue_receive(struct probe* probe) {
  static struct message message;
  return raw(syscall(SYS_msgrcv, (int)probe->word, &message, sizeof message.text, 0, 0));
}
static void queue_put(struct probe* probe) {
  struct message message = {.type = 1, .text = "abcdefg"};
  expect_number("msgsnd", 0, msgsnd((int)probe->word, &message, 8, 0));
}
static long queue_send(struct probe* probe) {
  static const struct message message = {.type = 2};
  return raw(syscall(SYS_msgsnd, (int)probe->word, &message, sizeof message.text, 0));
}
static void queue_take(struct probe* probe) {
  static struct message message;
  expect_number("msgrcv", sizeof message.text, msgrcv((int)probe->word, &message, sizeof message.text, 0, IPC_NOWAIT));
}

// --- POSIX message queues

static void make_posix_queue(struct probe* probe) {
  char name[64];
  snprintf(name, sizeof name, "/godwit-%d-%s", getpid(), probe->name);
  struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 8};
  probe->fd[1] = mq_open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600, &attributes);
  must(probe->fd[1] >= 0, "mq_open");
  mq_unlink(name);
}
static void fill_posix_queue(struct probe* probe) {
  make_posix_queue(probe);
  must(mq_send(probe->fd[1], "12345678", 8, 0) == 0, "mq_send");
}
static long posix_receive(struct probe* probe) {
  struct timespec t = absolute(CLOCK_REALTIME);
  return raw(syscall(SYS_mq_timedreceive, probe->fd[1], probe->data, 8, NULL, &t));
}
static long posix_receive_any_time(struct probe* probe) {
  return raw(syscall(SYS_mq_timedreceive, probe->fd[1], probe->data, 8, NULL, NULL));
}
static void posix_put(struct probe* probe) { expect_number("mq_send", 0, mq_send(probe->fd[1], "abcdefgh", 8, 0)); }
static long posix_send(struct probe* probe) {
  struct timespec t = absolute(CLOCK_REALTIME);
  return raw(syscall(SYS_mq_timedsend, probe->fd[1], "x", 1, 0, &t));
}

// --- sockets

static void make_sockets(struct probe* probe, int type) {
  must(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, probe->fd) == 0, "socketpair");
}
static void limit(int fd, int option) {
  struct timeval t = {.tv_sec = (time_t)(timeout_ns / 1000000000), .tv_usec = (long)(timeout_ns / 1000 % 1000000)};
  must(setsockopt(fd, SOL_SOCKET, option, &t, sizeof t) == 0, "setsockopt");
}
static void make_stream(struct probe* probe) { make_sockets(probe, SOCK_STREAM); }
static void make_limited(struct probe* probe) {
  make_stream(probe);
  limit(probe->fd[0], SO_RCVTIMEO);
}
static void make_datagrams(struct probe* probe) { make_sockets(probe, SOCK_DGRAM); }
static void fill_limited(struct probe* probe) {
  static char block[kPage];
  make_stream(probe);
  limit(probe->fd[0], SO_SNDTIMEO);
  while (send(probe->fd[0], block, sizeof block, MSG_DONTWAIT) > 0) {
  }
}
static void make_listener(struct probe* probe) {
  struct sockaddr_un any = {.sun_family = AF_UNIX};
  probe->fd[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  must(bind(probe->fd[0], (struct sockaddr*)&any, sizeof any.sun_family) == 0 && listen(probe->fd[0], 0) == 0, "listen");
}
static void make_limited_listener(struct probe* probe) {
  make_listener(probe);
  limit(probe->fd[0], SO_RCVTIMEO);
}
static int connected(struct probe* probe, int flags) {
  struct sockaddr_un address;
  socklen_t length = sizeof address;
  must(getsockname(probe->fd[0], (struct sockaddr*)&address, &length) == 0, "getsockname");
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
  limit(fd, SO_SNDTIMEO);
  long result = raw(syscall(SYS_connect, fd, &address, length));
  probe->got = result;
  return fd;
}
static void make_busy_listener(struct probe* probe) {
  make_listener(probe);
  for (probe->got = 0; probe->got == 0;) connected(probe, SOCK_NONBLOCK);
}
static long socket_connect(struct probe* probe) {
  int fd = connected(probe, 0);
  close(fd);
  return probe->got;
}
static void connect_once(struct probe* probe) { close(connected(probe, 0)); }
static long accept_one(struct probe* probe) {
  int fd = (int)raw(syscall(SYS_accept, probe->fd[0], NULL, NULL));
  if (fd >= 0) close(fd);
  return fd < 0 ? fd : 0;
}
static long accept_limited(struct probe* probe) {
  return raw(syscall(SYS_accept4, probe->fd[0], NULL, NULL, SOCK_CLOEXEC));
}
static long receive(struct probe* probe) {
  return raw(syscall(SYS_recvfrom, probe->fd[0], probe->data, 8, 0, NULL, NULL));
}
static long receive_several(struct probe* probe) {
  struct iovec part = {probe->data, 8};
  struct mmsghdr messages[1] = {{.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}}};
  struct timespec t = timespec_of(3600000000000u);
  return raw(syscall(SYS_recvmmsg, probe->fd[0], messages, 1, 0, &t));
}
static long send_one(struct probe* probe) {
  struct iovec part = {probe->data, 8};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  return raw(syscall(SYS_sendmsg, probe->fd[0], &message, 0));
}
static long read_first(struct probe* probe) { return raw(syscall(SYS_read, probe->fd[0], probe->data, 8)); }

// --- reading from descriptors of other kinds

static void make_eventfd(struct probe* probe) { must((probe->fd[0] = eventfd(0, EFD_CLOEXEC)) >= 0, "eventfd"); }
static void count_event(struct probe* probe) { expect_number("eventfd", 0, eventfd_write(probe->fd[0], 1)); }
static void make_timerfd(struct probe* probe) {
  must((probe->fd[0] = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) >= 0, "timerfd_create");
  // It begins before the call: the check takes the call's own time for its lower bound.
  struct itimerspec once = {.it_value = timespec_of(timeout_ns + 500000000)};
  must(timerfd_settime(probe->fd[0], 0, &once, NULL) == 0, "timerfd_settime");
}
static long read_signal(struct probe* probe) {
  struct signalfd_siginfo info;
  return raw(syscall(SYS_read, probe->fd[0], &info, sizeof info));
}
static void make_signalfd(struct probe* probe) {
  must((probe->fd[0] = signalfd(-1, &probe->inner, SFD_CLOEXEC)) >= 0, "signalfd");
}
static long read_changes(struct probe* probe) {
  char events[512];
  return raw(syscall(SYS_read, probe->fd[0], events, sizeof events)) > 0 ? 0 : -1;
}
static void make_inotify(struct probe* probe) {
  char path[PATH_MAX];
  close(open(beside(".watched", path), O_CREAT | O_CLOEXEC | O_WRONLY, 0600));
  probe->fd[0] = inotify_init1(IN_CLOEXEC);
  must(inotify_add_watch(probe->fd[0], path, IN_ATTRIB) >= 0, "inotify_add_watch");
}
static void change_watched(struct probe* probe) {
  (void)probe;
  char path[PATH_MAX];
  expect_number("chmod", 0, chmod(beside(".watched", path), 0644));
}
static void make_terminal(struct probe* probe) {
  probe->fd[1] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  must(grantpt(probe->fd[1]) == 0 && unlockpt(probe->fd[1]) == 0, "posix_openpt");
  probe->fd[0] = open(ptsname(probe->fd[1]), O_RDWR | O_NOCTTY | O_CLOEXEC);
  struct termios plain;
  must(tcgetattr(probe->fd[0], &plain) == 0, "tcgetattr");
  cfmakeraw(&plain);
  plain.c_cc[VMIN] = 8;
  must(tcsetattr(probe->fd[0], TCSANOW, &plain) == 0, "tcsetattr");
}
static void make_fifo(struct probe* probe) {
  (void)probe;
  char path[PATH_MAX];
  must(mkfifo(beside(".fifo", path), 0600) == 0, "mkfifo");
}
static long open_fifo(struct probe* probe) {
  char path[PATH_MAX];
  probe->fd[0] = (int)raw(syscall(SYS_openat, AT_FDCWD, beside(".fifo", path), O_RDONLY | O_CLOEXEC));
  if (probe->fd[0] >= 0) close(probe->fd[0]);
  return probe->fd[0] < 0 ? probe->fd[0] : 0;
}
static void open_other_end(struct probe* probe) {
  (void)probe;
  char path[PATH_MAX];
  close(open(beside(".fifo", path), O_WRONLY | O_CLOEXEC));
}

// --- asynchronous input and output

static long aio_timeout(struct probe* probe, long number) {
  aio_context_t context = 0;
  struct io_event event;
  struct timespec t = relative();
  must(syscall(SYS_io_setup, 4, &context) == 0, "io_setup");
  long result = with_constant(probe, &t, raw(syscall(number, context, 1, 1, &event, &t, NULL)));
  syscall(SYS_io_destroy, context);
  return result;
}
static long aio_events(struct probe* probe) { return aio_timeout(probe, SYS_io_getevents); }
static long aio_events_masked(struct probe* probe) { return aio_timeout(probe, 333 /* io_pgetevents */); }

static long ring_enter(struct probe* probe) {
  struct io_uring_params parameters = {0};
  struct timespec t = relative();
  struct io_uring_getevents_arg extra = {.ts = (uintptr_t)&t};
  int ring = (int)syscall(425 /* io_uring_setup */, 4, &parameters);
  must(ring >= 0, "io_uring_setup");
  unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
  long result = with_constant(probe, &t, raw(syscall(426 /* io_uring_enter */, ring, 0, 1, flags, &extra, sizeof extra)));
  close(ring);
  return result;
}

// --- locks and children

static void lock_file(struct probe* probe) {
  char path[PATH_MAX], suffix[64];
  snprintf(suffix, sizeof suffix, ".%s", probe->name);
  beside(suffix, path);
  for (int i = 0; i < 2; i++) probe->fd[i] = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  must(probe->fd[1] >= 0, "open");
}
static void hold_whole(struct probe* probe) {
  lock_file(probe);
  must(flock(probe->fd[1], LOCK_EX) == 0, "flock");
}
static long lock_whole(struct probe* probe) { return raw(syscall(SYS_flock, probe->fd[0], LOCK_EX)); }
static void release_whole(struct probe* probe) { expect_number("flock", 0, flock(probe->fd[1], LOCK_UN)); }
static void hold_range(struct probe* probe) {
  struct flock range = {.l_type = F_WRLCK};
  lock_file(probe);
  must(fcntl(probe->fd[1], F_OFD_SETLK, &range) == 0, "F_OFD_SETLK");
}
static long lock_range(struct probe* probe) {
  struct flock range = {.l_type = F_WRLCK};
  return raw(syscall(SYS_fcntl, probe->fd[0], F_OFD_SETLKW, &range));
}
static void release_range(struct probe* probe) {
  struct flock range = {.l_type = F_UNLCK};
  expect_number("F_OFD_SETLK", 0, fcntl(probe->fd[1], F_OFD_SETLK, &range));
}
static long lock_posix(struct probe* probe) {
  (void)probe;
  char path[PATH_MAX];
  struct flock range = {.l_type = F_WRLCK};
  int fd = open(beside(".posix", path), O_RDWR | O_CLOEXEC);
  long result = raw(syscall(SYS_fcntl, fd, F_SETLKW, &range));
  close(fd);
  return result;
}
static void make_child_unlock(struct probe* probe) {
  (void)probe;
  kill(child, SIGUSR2);
}
static void unlock(int signal) {
  (void)signal;
  struct flock range = {.l_type = F_UNLCK};
  fcntl(lock_of_child, F_SETLK, &range);
}
static long wait_for_end(struct probe* probe) {
  (void)probe;
  siginfo_t info;
  return raw(syscall(SYS_waitid, P_PID, child, &info, WEXITED | WNOWAIT, NULL));
}
static long wait_for_child(struct probe* probe) {
  (void)probe;
  return raw(syscall(SYS_wait4, child, NULL, WUNTRACED, NULL)) == child ? 0 : -1;
}
static void end_child(struct probe* probe) {
  (void)probe;
  kill(child, SIGKILL);
}
static void stop_child(struct probe* probe) {
  (void)probe;
  kill(child, SIGSTOP);
}

// Before there are threads and descriptors. What is made in an IPC namespace of its own ends with the program.
__attribute__((constructor)) static void make_child(int argc, char** argv) {
  char path[PATH_MAX];
  int ready[2];
  if (argc < 2 || pipe2(ready, O_CLOEXEC) != 0) _exit(2);
  snprintf(path, sizeof path, "%s.posix", argv[1]);
  if (unshare(CLONE_NEWIPC) != 0) _exit(2);
  pid_t parent = getpid();
  child = fork();
  if (child == 0) {
    struct flock range = {.l_type = F_WRLCK};
    lock_of_child = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    signal(SIGUSR2, unlock);
    if (fcntl(lock_of_child, F_SETLK, &range) != 0 || write(ready[1], "", 1) != 1) _exit(2);
    while (getppid() == parent) usleep(50000);
    _exit(0);
  }
  char got;
  if (read(ready[0], &got, 1) != 1) _exit(2);
  close(ready[0]);
  close(ready[1]);
}

#define READS_EIGHT .verify = verify_eight, .result = 8
static struct probe probes[] = {
    {.name = "semtimedop", .call = semaphore_timeout, .prepare = make_semaphore, .result = -EAGAIN},
    {.name = "semop", .call = semaphore, .prepare = make_semaphore, .let_go = semaphore_up},
    {.name = "msgrcv", .call = queue_receive, .prepare = make_queue, .let_go = queue_put, .result = 8},
    {.name = "msgsnd", .call = queue_send, .prepare = fill_queue, .let_go = queue_take},
    {.name = "mq_timedreceive", .call = posix_receive, .prepare = make_posix_queue, .result = -ETIMEDOUT,
     .wall_clock = true},
    {.name = "mq_timedreceive-message", .call = posix_receive_any_time, .prepare = make_posix_queue,
     .let_go = posix_put, READS_EIGHT},
    {.name = "mq_timedsend", .call = posix_send, .prepare = fill_posix_queue, .result = -ETIMEDOUT, .wall_clock = true},
    {.name = "accept", .call = accept_one, .prepare = make_listener, .let_go = connect_once},
    {.name = "accept4-limited", .call = accept_limited, .prepare = make_limited_listener, .result = -EAGAIN,
     .starts_over = true},
    {.name = "connect-limited", .call = socket_connect, .prepare = make_busy_listener, .result = -EAGAIN,
     .starts_over = true},
    {.name = "recvfrom", .call = receive, .prepare = make_stream, .let_go = write_eight, READS_EIGHT},
    {.name = "recvfrom-limited", .call = receive, .prepare = make_limited, .result = -EAGAIN, .starts_over = true},
    {.name = "recvmmsg", .call = receive_several, .prepare = make_datagrams, .let_go = write_eight,
     .verify = verify_eight, .result = 1},
    {.name = "sendmsg-limited", .call = send_one, .prepare = fill_limited, .result = -EAGAIN, .starts_over = true},
    {.name = "read-socket", .call = read_first, .prepare = make_stream, .let_go = write_eight, READS_EIGHT},
    {.name = "read-socket-limited", .call = read_first, .prepare = make_limited, .result = -EAGAIN,
     .starts_over = true},
    {.name = "read-eventfd", .call = read_first, .prepare = make_eventfd, .let_go = count_event, .result = 8},
    {.name = "read-timerfd", .call = read_first, .prepare = make_timerfd, .result = 8},
    {.name = "read-signalfd", .call = read_signal, .prepare = make_signalfd, .let_go = send_awaited,
     .result = sizeof(struct signalfd_siginfo)},
    {.name = "read-inotify", .call = read_changes, .prepare = make_inotify, .let_go = change_watched},
    {.name = "read-terminal", .call = read_first, .prepare = make_terminal, .let_go = write_eight, READS_EIGHT},
    {.name = "open-fifo", .call = open_fifo, .prepare = make_fifo, .let_go = open_other_end},
    {.name = "io_getevents", .call = aio_events},
    {.name = "io_pgetevents", .call = aio_events_masked},
    {.name = "io_uring_enter", .call = ring_enter, .result = -ETIME, .starts_over = true},
    {.name = "flock", .call = lock_whole, .prepare = hold_whole, .let_go = release_whole},
    {.name = "F_OFD_SETLKW", .call = lock_range, .prepare = hold_range, .let_go = release_range},
    {.name = "F_SETLKW", .call = lock_posix, .let_go = make_child_unlock},
    {.name = "wait4", .call = wait_for_child, .let_go = stop_child},
    {.name = "waitid", .call = wait_for_end, .let_go = end_child},
};

int main(int argc, char** argv) { return run_probes(probes, sizeof probes / sizeof *probes, argc, argv); }
