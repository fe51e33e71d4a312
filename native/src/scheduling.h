// Parts of the scheduler's interface that the C library does not declare.
#pragma once
#include <cstdint>

namespace godwit {

// struct sched_attr of sched_setattr(2) in its first version, which every kernel takes.
struct SchedulingAttributes {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime;
  uint64_t deadline;
  uint64_t period;
};
static_assert(sizeof(SchedulingAttributes) == 48);

constexpr int kIoPriorityOfProcess = 1;  // IOPRIO_WHO_PROCESS of linux/ioprio.h

}  // namespace godwit
