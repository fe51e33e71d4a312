// The mappings of the program as the kernel tells them, recorded once and compared later.
#ifndef GODWIT_TEST_MAPPINGS_H
#define GODWIT_TEST_MAPPINGS_H
#include "program.h"

enum { kMaxMappings = 512, kMaxFlags = 96 };

struct mapping {
  uint64_t start, end, offset, inode;
  char permissions[5];
  char device[16];
  char name[200];
  char flags[kMaxFlags];  // VmFlags, without those named in ignored_flag
};

struct mapping_list {
  int count;
  struct mapping items[kMaxMappings];
};

// Flags that say nothing about what the program sees: trackers (um, uw, ui, sd) and accounting (ac), which a
// read-only mapping keeps when it once was writable.
static inline bool ignored_flag(const char* flag) {
  static const char* const ignored[] = {"um", "uw", "ui", "sd", "ac"};
  for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
    if (memcmp(flag, ignored[i], 2) == 0) return true;
  return false;
}

// Adjacent mappings that differ in nothing are one: where the kernel merges them is its own affair.
static inline void append_mapping(struct mapping_list* list, const struct mapping* next) {
  struct mapping* last = list->count ? &list->items[list->count - 1] : NULL;
  if (last && last->end == next->start && strcmp(last->permissions, next->permissions) == 0 &&
      strcmp(last->name, next->name) == 0 && strcmp(last->flags, next->flags) == 0 && last->inode == next->inode &&
      (next->inode == 0 || last->offset + (last->end - last->start) == next->offset)) {
    last->end = next->end;
    return;
  }
  must(list->count < kMaxMappings, "room for the mappings");
  list->items[list->count++] = *next;
}

static inline void read_mappings(struct mapping_list* list) {
  // Static: reading must not change what is read.
  static char text[1 << 20];
  list->count = 0;
  must(read_file("/proc/self/smaps", text, sizeof text) > 0, "reading /proc/self/smaps");
  struct mapping next = {0};
  for (char* line = text; line && *line;) {
    char* end = strchr(line, '\n');
    if (end) *end = 0;
    unsigned long start, stop, offset, inode;
    int name_at = 0;
    char permissions[5], device[16];
    if (sscanf(line, "%lx-%lx %4s %lx %15s %lu %n", &start, &stop, permissions, &offset, device, &inode, &name_at) == 6) {
      next = (struct mapping){.start = start, .end = stop, .offset = offset, .inode = inode};
      memcpy(next.permissions, permissions, 5);
      memcpy(next.device, device, sizeof device);
      snprintf(next.name, sizeof next.name, "%s", line + name_at);
    } else if (strncmp(line, "VmFlags:", 8) == 0) {
      size_t length = 0;
      for (const char* flag = line + 9; flag[0] && flag[1]; flag += flag[2] ? 3 : 2) {
        if (ignored_flag(flag) || length + 4 > kMaxFlags) continue;
        memcpy(next.flags + length, flag, 2);
        next.flags[length + 2] = ' ';
        length += 3;
      }
      next.flags[length] = 0;
      append_mapping(list, &next);
    }
    line = end ? end + 1 : NULL;
  }
}

static inline const struct mapping* mapping_at(const struct mapping_list* list, const void* address) {
  for (int i = 0; i < list->count; i++)
    if (list->items[i].start <= (uint64_t)address && (uint64_t)address < list->items[i].end) return &list->items[i];
  return NULL;
}

static inline void expect_flag(const struct mapping_list* list, const char* what, const void* address, const char* flag) {
  const struct mapping* found = mapping_at(list, address);
  if (!found || !strstr(found->flags, flag))
    fail("%s, expected VmFlags with %s, got %s", what, flag, found ? found->flags : "no mapping");
}

static inline void expect_same_mappings(const struct mapping_list* before, const struct mapping_list* after) {
  int i = 0, j = 0;
  while (i < before->count || j < after->count) {
    const struct mapping* a = i < before->count ? &before->items[i] : NULL;
    const struct mapping* b = j < after->count ? &after->items[j] : NULL;
    // The stack's start moves when the program itself goes deeper.
    bool stack = a && b && strcmp(a->name, "[stack]") == 0 && strcmp(b->name, "[stack]") == 0 && a->end == b->end;
    if (a && (!b || (a->start < b->start && !stack))) {
      fail("mapping %llx-%llx %s %s, expected present, got none", (unsigned long long)a->start,
           (unsigned long long)a->end, a->permissions, a->name);
      i++;
      continue;
    }
    if (b && (!a || (b->start < a->start && !stack))) {
      fail("mapping %llx-%llx %s %s, expected none, got one", (unsigned long long)b->start, (unsigned long long)b->end,
           b->permissions, b->name);
      j++;
      continue;
    }
    char what[PATH_MAX + 300], expected[600], got[600];
    snprintf(what, sizeof what, "mapping at %llx", (unsigned long long)a->start);
    snprintf(expected, sizeof expected, "%llx %s %llx %s %llu %s %s", (unsigned long long)a->end, a->permissions,
             (unsigned long long)a->offset, a->device, (unsigned long long)a->inode, a->name, a->flags);
    snprintf(got, sizeof got, "%llx %s %llx %s %llu %s %s", (unsigned long long)b->end, b->permissions,
             (unsigned long long)b->offset, b->device, (unsigned long long)b->inode, b->name, b->flags);
    expect_text(what, expected, got);
    i++;
    j++;
  }
}

#endif
