// Threads in tight loops with known values in every register: general, flags, x87, SSE, AVX, AVX-512, mask, control
// words, protection keys, segment bases. Each loop ends by comparing all of them with what was put in.
#include "program.h"
#include <cpuid.h>
#include <stddef.h>

// Offsets are used by the assembly below.
struct state {
  uint64_t general[16];     // rax rbx rcx rdx rsi rdi rbp (rsp) r8 ... r15
  uint64_t flags;           // at 128
  uint64_t mask[8];         // at 136: k0 ... k7
  uint8_t x87[8][16];       // at 200: st0 ... st7, ten bytes each
  uint32_t mxcsr;           // at 328
  uint16_t control, status; // at 332: of the x87
  uint8_t padding[48];
  uint8_t vector[32][64];   // at 384
};
_Static_assert(offsetof(struct state, flags) == 128 && offsetof(struct state, mask) == 136 &&
                   offsetof(struct state, x87) == 200 && offsetof(struct state, mxcsr) == 328 &&
                   offsetof(struct state, control) == 332 && offsetof(struct state, vector) == 384,
               "the assembly knows these offsets");

enum { kRcx = 2, kRsp = 7 };

// Loads everything from `in`, spins in[rcx] times without touching anything but rcx, stores everything to `out`. Flags
// stay as they are: lea and jrcxz neither read nor write them.
#define PREPARE                                                                                          \
  "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rsi; sub $16, %rsp\n"         \
  "stmxcsr (%rsp); fnstcw 4(%rsp)\n"                                                                     \
  "ldmxcsr 328(%rdi); fninit; fldcw 332(%rdi)\n"                                                         \
  "fldt 312(%rdi); fldt 296(%rdi); fldt 280(%rdi); fldt 264(%rdi)\n"                                     \
  "fldt 248(%rdi); fldt 232(%rdi); fldt 216(%rdi); fldt 200(%rdi)\n"
#define SPIN                                                                                             \
  "mov (%rdi), %rax; mov 8(%rdi), %rbx; mov 16(%rdi), %rcx; mov 24(%rdi), %rdx; mov 32(%rdi), %rsi\n"    \
  "mov 48(%rdi), %rbp; mov 64(%rdi), %r8; mov 72(%rdi), %r9; mov 80(%rdi), %r10; mov 88(%rdi), %r11\n"   \
  "mov 96(%rdi), %r12; mov 104(%rdi), %r13; mov 112(%rdi), %r14; mov 120(%rdi), %r15\n"                  \
  "push 128(%rdi); mov 40(%rdi), %rdi; popfq\n"                                                          \
  "1: jrcxz 2f; lea -1(%rcx), %rcx; jmp 1b\n"                                                            \
  "2: pushfq; push %rdi; mov 32(%rsp), %rdi\n"                                                           \
  "mov %rax, (%rdi); mov %rbx, 8(%rdi); mov %rcx, 16(%rdi); mov %rdx, 24(%rdi); mov %rsi, 32(%rdi)\n"    \
  "mov %rbp, 48(%rdi); mov %r8, 64(%rdi); mov %r9, 72(%rdi); mov %r10, 80(%rdi); mov %r11, 88(%rdi)\n"   \
  "mov %r12, 96(%rdi); mov %r13, 104(%rdi); mov %r14, 112(%rdi); mov %r15, 120(%rdi)\n"                  \
  "pop %rax; mov %rax, 40(%rdi); pop %rax; mov %rax, 128(%rdi); cld\n"
#define FINISH                                                                                           \
  "stmxcsr 328(%rdi); fnstcw 332(%rdi); fnstsw 334(%rdi)\n"                                              \
  "fstpt 200(%rdi); fstpt 216(%rdi); fstpt 232(%rdi); fstpt 248(%rdi)\n"                                 \
  "fstpt 264(%rdi); fstpt 280(%rdi); fstpt 296(%rdi); fstpt 312(%rdi)\n"                                 \
  "fninit; ldmxcsr (%rsp); fldcw 4(%rsp)\n"                                                              \
  "add $16, %rsp; pop %rsi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n"

#define SIXTEEN(each) \
  each(0) each(1) each(2) each(3) each(4) each(5) each(6) each(7) each(8) each(9) each(10) each(11) each(12) each(13) \
      each(14) each(15)
#define THIRTY_TWO(each) \
  SIXTEEN(each) each(16) each(17) each(18) each(19) each(20) each(21) each(22) each(23) each(24) each(25) each(26) \
      each(27) each(28) each(29) each(30) each(31)
#define LOAD_SSE(n) "movups 384+" #n "*64(%rdi), %xmm" #n "\n"
#define STORE_SSE(n) "movups %xmm" #n ", 384+" #n "*64(%rdi)\n"
#define LOAD_AVX(n) "vmovups 384+" #n "*64(%rdi), %ymm" #n "\n"
#define STORE_AVX(n) "vmovups %ymm" #n ", 384+" #n "*64(%rdi)\n"
#define LOAD_AVX512(n) "vmovups 384+" #n "*64(%rdi), %zmm" #n "\n"
#define STORE_AVX512(n) "vmovups %zmm" #n ", 384+" #n "*64(%rdi)\n"
#define LOAD_MASKS                                                                                      \
  "kmovq 136(%rdi), %k0; kmovq 144(%rdi), %k1; kmovq 152(%rdi), %k2; kmovq 160(%rdi), %k3\n"            \
  "kmovq 168(%rdi), %k4; kmovq 176(%rdi), %k5; kmovq 184(%rdi), %k6; kmovq 192(%rdi), %k7\n"
#define STORE_MASKS                                                                                     \
  "kmovq %k0, 136(%rdi); kmovq %k1, 144(%rdi); kmovq %k2, 152(%rdi); kmovq %k3, 160(%rdi)\n"            \
  "kmovq %k4, 168(%rdi); kmovq %k5, 176(%rdi); kmovq %k6, 184(%rdi); kmovq %k7, 192(%rdi)\n"

typedef void spin_function(const struct state* in, struct state* out);
__attribute__((naked, noinline)) static void spin_sse(__attribute__((unused)) const struct state* in,
                                                      __attribute__((unused)) struct state* out) {
  __asm__(PREPARE SIXTEEN(LOAD_SSE) SPIN SIXTEEN(STORE_SSE) FINISH);
}
__attribute__((naked, noinline)) static void spin_avx(__attribute__((unused)) const struct state* in,
                                                      __attribute__((unused)) struct state* out) {
  __asm__(PREPARE SIXTEEN(LOAD_AVX) SPIN SIXTEEN(STORE_AVX) "vzeroupper\n" FINISH);
}
__attribute__((naked, noinline)) static void spin_avx512(__attribute__((unused)) const struct state* in,
                                                         __attribute__((unused)) struct state* out) {
  __asm__(PREPARE THIRTY_TWO(LOAD_AVX512) LOAD_MASKS SPIN THIRTY_TWO(STORE_AVX512) STORE_MASKS "vzeroupper\n" FINISH);
}

enum { kThreads = 4, kSpins = 200000 };
enum { kSse, kAvx, kAvx512, kModes };

static struct thread {
  pthread_t handle;
  int number, mode;
  _Atomic uint64_t rounds;
  uint64_t fs_base, gs_word;
} threads[kThreads];
static const char* const mode_names[kModes] = {"SSE", "AVX", "AVX-512"};
static spin_function* const spins[kModes] = {spin_sse, spin_avx, spin_avx512};
static const struct {
  int registers;
  size_t bytes;
} widths[kModes] = {{16, 16}, {16, 32}, {32, 64}};
static atomic_bool stop;
static atomic_int sabotage_left;

static int best_mode(void) {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) return kAvx512;
  return __builtin_cpu_supports("avx") ? kAvx : kSse;
}

static bool has_protection_keys(void) {
  unsigned a, b, c = 0, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & 1u << 4);  // OSPKE
}
static uint32_t read_pkru(void) {
  uint32_t value, high;
  __asm__ volatile("rdpkru" : "=a"(value), "=d"(high) : "c"(0));
  return value;
}
static void write_pkru(uint32_t value) { __asm__ volatile("wrpkru" : : "a"(value), "c"(0), "d"(0) : "memory"); }

static void fill(struct state* in, const struct thread* self, uint64_t round) {
  uint64_t seed = mix(round * kThreads + (uint64_t)self->number + 1);
  fill_words(in, sizeof *in, seed);
  in->general[kRcx] = kSpins;
  // Carry, parity, adjust, zero, sign, direction, overflow in every mixture; interrupts on and bit 1 always.
  in->flags = (mix(seed) & 0xcd5) | 0x202;
  // Rounding modes, flush and denormals vary; all exceptions stay masked.
  in->mxcsr = 0x1f80 | (uint32_t)(seed & 0x603f) | (uint32_t)(seed & 0x8040);
  in->control = (uint16_t)(0x37f & ~0x300) | (uint16_t)((seed >> 8) & 0xc00) | (seed & 1 ? 0x300 : 0x200);
  // Normal numbers, so that a load and a store keep every bit.
  for (int i = 0; i < 8; i++) {
    in->x87[i][7] |= 0x80;
    in->x87[i][8] = (uint8_t)(i + 1);
    in->x87[i][9] = 0x3f;
  }
}

static void compare(const struct thread* self, const struct state* in, const struct state* out) {
  for (int i = 0; i < 16; i++) {
    static const char* const names[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
                                        "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    if (i != kRsp) expect_number(names[i], i == kRcx ? 0 : (long long)in->general[i], (long long)out->general[i]);
  }
  expect_number("flags", (long long)in->flags, (long long)out->flags);
  for (int i = 0; i < 8; i++) {
    if (self->mode == kAvx512) expect_number("AVX-512 mask register", (long long)in->mask[i], (long long)out->mask[i]);
    expect_bytes("x87 register", in->x87[i], out->x87[i], 10);
  }
  expect_number("MXCSR", in->mxcsr, out->mxcsr);
  expect_number("x87 control word", in->control, out->control);
  expect_number("x87 status word", 0, out->status);
  for (int i = 0; i < widths[self->mode].registers; i++)
    if (!expect_bytes(mode_names[self->mode], in->vector[i], out->vector[i], widths[self->mode].bytes)) break;
}

static void* run(void* argument) {
  struct thread* self = argument;
  bool keys = has_protection_keys();
  // Key 0 stays open, the others are closed in a pattern of this thread's own.
  uint32_t pkru = 0x55555554u ^ (uint32_t)(self->number << 4);
  if (keys) write_pkru(pkru);
  self->gs_word = mix((uint64_t)self->number);
  must(syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, &self->gs_word) == 0, "ARCH_SET_GS");
  must(syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &self->fs_base) == 0, "ARCH_GET_FS");
  static __thread struct state in, out;
  for (uint64_t round = 0; !atomic_load(&stop); round++) {
    fill(&in, self, round);
    spins[self->mode](&in, &out);
    if (atomic_load(&sabotage_left) > 0 && atomic_fetch_sub(&sabotage_left, 1) > 0) out.vector[3][1] ^= 1;
    compare(self, &in, &out);
    if (keys) expect_number("PKRU", pkru, read_pkru());
    uint64_t word, base = 0;
    __asm__ volatile("mov %%gs:0, %0" : "=r"(word));
    expect_number("memory at the GS base", (long long)self->gs_word, (long long)word);
    syscall(SYS_arch_prctl, 0x1003, &base);
    expect_number("FS base", (long long)self->fs_base, (long long)base);
    atomic_fetch_add(&self->rounds, 1);
  }
  return NULL;
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  int best = best_mode();
  say("FACT up to %s, protection keys %s", mode_names[best], has_protection_keys() ? "in use" : "absent");
  for (int i = 0; i < kThreads; i++) {
    threads[i].number = i;
    threads[i].mode = best - i % (best + 1);
    must((errno = pthread_create(&threads[i].handle, NULL, run, &threads[i])) == 0, "pthread_create");
  }
  for (int i = 0; i < kThreads; i++)
    while (atomic_load(&threads[i].rounds) < 3) sleep_ms(1);
  ready();
  wait_for_check();
  if (program.sabotage) atomic_store(&sabotage_left, 1);
  for (int i = 0; i < kThreads; i++) {
    uint64_t before = atomic_load(&threads[i].rounds);
    time_t limit = time(NULL) + 20;
    while (atomic_load(&threads[i].rounds) < before + 2 && time(NULL) < limit) sleep_ms(1);
    expect_true("the loop goes on", atomic_load(&threads[i].rounds) > before);
  }
  atomic_store(&stop, true);
  for (int i = 0; i < kThreads; i++) {
    pthread_join(threads[i].handle, NULL);
    say("FACT thread %d (%s): %llu rounds", i, mode_names[threads[i].mode], (unsigned long long)threads[i].rounds);
  }
  return finish();
}
