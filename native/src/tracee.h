// Threads under ptrace(2): stopping, reading and writing them. Everything here belongs to the thread that seized.
#pragma once
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>
#include <cstdint>
#include <vector>

#include "error.h"

namespace godwit {

// Constants that Debian 12's headers lack or that glibc and the kernel declare in conflicting ways.
constexpr int kGetSignalMask = 0x420a;         // PTRACE_GETSIGMASK
constexpr int kSetSignalMask = 0x420b;         // PTRACE_SETSIGMASK
constexpr int kGetRseqConfiguration = 0x420f;  // PTRACE_GET_RSEQ_CONFIGURATION
constexpr int kEventStop = 128;                // PTRACE_EVENT_STOP

struct WaitResult {
  pid_t tid = 0;
  int status = 0;
  bool gone = false;  // nothing to wait for: the thread ended and was reaped
  bool Stopped() const;
  int Signal() const;
  int Event() const { return status >> 16; }
};

// Waits for one tracee without ever blocking longer than the deadline. Throws ETIMEDOUT.
WaitResult WaitFor(pid_t tid, int64_t deadline_ns);
// Waits until an interrupted tracee has stopped. A signal that was on its way is let through: the program gets it
// before it stops, as if it had come a moment earlier. Throws ETIMEDOUT.
WaitResult WaitForInterrupt(pid_t tid, int64_t deadline_ns);
// The state of a task as /proc/PID/stat shows it; 0 where there is no such task.
char StateLetter(pid_t tid);
int64_t DeadlineIn(int64_t milliseconds);
bool HasPassed(int64_t deadline_ns);
// Between two looks at something that takes some 10 us, or much longer: a pause at first, then a short sleep.
void PauseBetweenLooks(int look);

user_regs_struct GetRegisters(pid_t tid);
void SetRegisters(pid_t tid, const user_regs_struct& registers);
uint64_t GetSignalMask(pid_t tid);
void SetSignalMask(pid_t tid, uint64_t mask);
std::vector<uint8_t> GetExtendedState(pid_t tid);

void ReadProcess(pid_t pid, uint64_t address, void* data, size_t bytes);
void WriteProcess(pid_t pid, uint64_t address, const void* data, size_t bytes);

}  // namespace godwit
