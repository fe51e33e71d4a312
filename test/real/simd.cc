// Threads that keep sums in vector registers, the wider the better, and compare them with the same sums made one by
// one. Asked to check itself by STATUS-FILE.check.
#include <immintrin.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace {

std::atomic<bool> stop{false};
std::atomic<long> rounds{0};
std::mutex mutex;
std::vector<std::string> errors;

void Report(const std::string& what) {
  std::lock_guard lock(mutex);
  errors.push_back(what);
}

bool Exists(const std::string& path) {
  struct stat found;
  return stat(path.c_str(), &found) == 0;
}

// The whole loop lives in ymm or zmm registers: what is in them crosses any stop.
__attribute__((target("avx2,fma"))) double SumAvx2(const std::vector<double>& values, int passes) {
  __m256d sums[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
  for (int pass = 0; pass < passes; pass++) {
    for (size_t i = 0; i + 16 <= values.size(); i += 16) {
      for (int k = 0; k < 4; k++) sums[k] = _mm256_add_pd(sums[k], _mm256_loadu_pd(&values[i + 4 * k]));
    }
  }
  double all[4];
  _mm256_storeu_pd(all, _mm256_add_pd(_mm256_add_pd(sums[0], sums[1]), _mm256_add_pd(sums[2], sums[3])));
  return all[0] + all[1] + all[2] + all[3];
}

__attribute__((target("avx512f"))) double SumAvx512(const std::vector<double>& values, int passes) {
  __m512d sums[2] = {_mm512_setzero_pd(), _mm512_setzero_pd()};
  for (int pass = 0; pass < passes; pass++) {
    for (size_t i = 0; i + 16 <= values.size(); i += 16) {
      for (int k = 0; k < 2; k++) sums[k] = _mm512_add_pd(sums[k], _mm512_loadu_pd(&values[i + 8 * k]));
    }
  }
  double all[8];
  _mm512_storeu_pd(all, _mm512_add_pd(sums[0], sums[1]));
  double sum = 0;
  for (double part : all) sum += part;
  return sum;
}

double SumPlain(const std::vector<double>& values, int passes) {
  double sum = 0;
  for (int pass = 0; pass < passes; pass++) {
    for (double value : values) sum += value;
  }
  return sum;
}

void Work(int number) {
  // Whole numbers: sums are exact in any order.
  std::vector<double> values(4096);
  std::unordered_map<int, double> history;
  for (int round = 0; !stop; round++) {
    for (size_t i = 0; i < values.size(); i++) values[i] = static_cast<double>((i * 31 + round * 7 + number) % 1009);
    const double expected = SumPlain(values, 50);
    const double found = __builtin_cpu_supports("avx512f") ? SumAvx512(values, 50)
                         : __builtin_cpu_supports("avx2") ? SumAvx2(values, 50)
                                                          : SumPlain(values, 50);
    if (found != expected) Report("thread " + std::to_string(number) + ": a sum is wrong");
    history[round % 512] = found;
    try {
      if (round % 64 == 0) throw std::runtime_error("unwinding works");
    } catch (const std::runtime_error&) {
      rounds++;
    }
  }
}

}  // namespace

int main(int, char** argv) {
  const std::string status_file = argv[1];
  std::ofstream status(status_file, std::ios::app);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++) threads.emplace_back(Work, i);
  status << "READY" << std::endl;
  while (!Exists(status_file + ".check")) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const long before = rounds;
  // On a host under load they may have to wait for their turn.
  for (int i = 0; i < 600 && rounds == before; i++) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  if (rounds == before) Report("the threads stand still");
  stop = true;
  for (auto& thread : threads) thread.join();
  for (auto& error : errors) status << "FAIL: " << error << std::endl;
  if (errors.empty()) status << "PASS" << std::endl;
}
