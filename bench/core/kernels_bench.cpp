// Kernels against the floor: memcpy of the bytes that they read and write.
#include "taskvec/core/random.h"
#include "taskvec/formats/fingerprint.h"
#include "taskvec/kernels/convert.h"
#include "taskvec/kernels/statistics.h"
#include "taskvec/kernels/weighted_sum.h"

#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

namespace taskvec {
namespace {

constexpr int64_t kElements = 1 << 17;  // a tile: everything stays in the second-level cache

/// Small finite numbers in any float dtype.
std::vector<std::byte> values(Dtype dtype, uint64_t seed) {
  const Philox random(seed, 0);
  std::vector<double> numbers(kElements);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = random.normal(i);
  std::vector<std::byte> bytes(static_cast<size_t>(kElements * itemsize(dtype)));
  kernels::convert(Dtype::F64, std::as_bytes(std::span(numbers)), dtype, bytes);
  return bytes;
}

void count_bytes(benchmark::State& state, int64_t bytes) { state.SetBytesProcessed(state.iterations() * bytes); }

void copy(benchmark::State& state) {
  const auto source = values(Dtype::F32, 1);
  std::vector<std::byte> target(source.size());
  for (auto _ : state) {
    std::memcpy(target.data(), source.data(), source.size());
    benchmark::DoNotOptimize(target.data());
    benchmark::ClobberMemory();
  }
  count_bytes(state, 2 * static_cast<int64_t>(source.size()));
}
BENCHMARK(copy);

void weighted_sum_of_four(benchmark::State& state, Dtype dtype) {
  std::vector<std::vector<std::byte>> sources;
  std::vector<kernels::Addend> addends;
  for (uint64_t k = 0; k < 4; ++k) sources.push_back(values(dtype, k));
  for (const auto& source : sources) addends.push_back({dtype, source.data(), 0.3});
  std::vector<std::byte> out(sources[0].size());
  for (auto _ : state) {
    kernels::weighted_sum(addends, kElements, dtype, out.data());
    benchmark::DoNotOptimize(out.data());
  }
  count_bytes(state, 5 * static_cast<int64_t>(out.size()));
}
BENCHMARK_CAPTURE(weighted_sum_of_four, bf16, Dtype::BF16);
BENCHMARK_CAPTURE(weighted_sum_of_four, f16, Dtype::F16);
BENCHMARK_CAPTURE(weighted_sum_of_four, f32, Dtype::F32);

void convert(benchmark::State& state, Dtype from, Dtype to) {
  const auto source = values(from, 1);
  std::vector<std::byte> target(static_cast<size_t>(kElements * itemsize(to)));
  for (auto _ : state) {
    kernels::convert(from, source, to, target);
    benchmark::DoNotOptimize(target.data());
    benchmark::ClobberMemory();
  }
  count_bytes(state, static_cast<int64_t>(source.size() + target.size()));
}
BENCHMARK_CAPTURE(convert, bf16_to_f32, Dtype::BF16, Dtype::F32);
BENCHMARK_CAPTURE(convert, f32_to_bf16, Dtype::F32, Dtype::BF16);
BENCHMARK_CAPTURE(convert, f16_to_f32, Dtype::F16, Dtype::F32);
BENCHMARK_CAPTURE(convert, f32_to_f16, Dtype::F32, Dtype::F16);
BENCHMARK_CAPTURE(convert, f64_to_bf16, Dtype::F64, Dtype::BF16);

void count_non_finite(benchmark::State& state, Dtype dtype) {
  const auto source = values(dtype, 1);
  for (auto _ : state) benchmark::DoNotOptimize(kernels::count_non_finite(dtype, source.data(), kElements));
  count_bytes(state, static_cast<int64_t>(source.size()));
}
BENCHMARK_CAPTURE(count_non_finite, bf16, Dtype::BF16);

void difference(benchmark::State& state, Dtype dtype) {
  const auto a = values(dtype, 1), b = values(dtype, 2);
  for (auto _ : state) benchmark::DoNotOptimize(kernels::difference(dtype, a.data(), dtype, b.data(), kElements));
  count_bytes(state, 2 * static_cast<int64_t>(a.size()));
}
BENCHMARK_CAPTURE(difference, bf16, Dtype::BF16);

void hash_chunk(benchmark::State& state) {
  const auto source = values(Dtype::F32, 1);
  for (auto _ : state) benchmark::DoNotOptimize(formats::hash_chunk(source));
  count_bytes(state, static_cast<int64_t>(source.size()));
}
BENCHMARK(hash_chunk);

}  // namespace
}  // namespace taskvec
