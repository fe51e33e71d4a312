// Tens of thousands of mappings, and a few that come and go all the time.
//
//   --count N    mappings beside those of every program (1000)
//   --gaps       with holes between them (else they touch, and differ in protection)
//   --churn      a thread maps and unmaps a little memory all the time
#include "program.h"

static char* area;
static size_t count, step;
static atomic_bool stop;

static void* churn(void* unused) {
  (void)unused;
  while (!atomic_load(&stop)) {
    char* at = mmap(NULL, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
      fail("mmap while churning, expected to work, got errno %d", errno);
      break;
    }
    fill_words(at, 4 * kPage, (uintptr_t)at);
    sleep_ms(1);
    expect_words("churned memory", at, 4 * kPage, (uintptr_t)at);
    munmap(at, 4 * kPage);
  }
  return NULL;
}

// Lines of maps, without allocating.
static size_t count_mappings(void) {
  static char text[1 << 16];
  int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  size_t lines = 0;
  for (ssize_t got; (got = read(fd, text, sizeof text)) > 0;)
    for (ssize_t i = 0; i < got; i++) lines += text[i] == '\n';
  close(fd);
  return lines;
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  count = (size_t)number_option("--count", 1000);
  step = has_option("--gaps") ? 2 : 1;
  area = mmap(NULL, count * step * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(area != MAP_FAILED, "mmap");
  for (size_t i = 0; i < count; i++) *(uint64_t*)(area + i * step * kPage) = mix(i + 1);
  for (size_t i = 0; i < count; i++) {
    char* at = area + i * step * kPage;
    if (step == 2) must(munmap(at + kPage, kPage) == 0, "munmap");
    else if (i % 2) must(mprotect(at, kPage, PROT_READ) == 0, "mprotect");
  }
  size_t before = count_mappings();
  must(before >= count, "that many mappings");
  say("FACT mappings=%zu", before);
  pthread_t churner;
  if (has_option("--churn")) must(pthread_create(&churner, NULL, churn, NULL) == 0, "pthread_create");
  ready();
  wait_for_check();
  if (has_option("--churn")) {
    atomic_store(&stop, true);
    pthread_join(churner, NULL);
  } else {
    expect_number("mappings", (long long)before, (long long)count_mappings());
  }
  if (program.sabotage) *(uint64_t*)area ^= 1;
  for (size_t i = 0; i < count; i++)
    if (!expect_number("page", (long long)mix(i + 1), *(long long*)(area + i * step * kPage))) break;
  return finish();
}
