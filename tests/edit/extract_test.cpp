// Task vectors as files of their own: made, added, applied.
#include "taskvec/edit/extract/extract.h"
#include "taskvec/core/random.h"
#include "taskvec/edit/extract/apply.h"
#include "tests/formats/checkpoint_folder.h"

#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace taskvec::edit {
namespace {

using formats::DeltaKind;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;
using Source = std::shared_ptr<const formats::Checkpoint>;

std::vector<double> normals(size_t n, uint64_t seed, double scale = 1) {
  std::vector<double> values(n);
  const Philox random(seed, 0);
  for (size_t i = 0; i < n; ++i) values[i] = scale * random.normal(i);
  return values;
}

const std::vector<ExtractOptions> kKinds{{.kind = DeltaKind::Dense},
                                         {.kind = DeltaKind::Dense, .dtype = Dtype::BF16},
                                         {.kind = DeltaKind::Sparse, .density = 0.1},
                                         {.kind = DeltaKind::Sparse, .density = 0.1, .random = true, .seed = 3},
                                         {.kind = DeltaKind::Sign},
                                         {.kind = DeltaKind::Rank, .rank = 3},
                                         {.kind = DeltaKind::Lossless}};

class ExtractTest : public FolderTest {
 protected:
  /// Two models of which the larger tensor has several tiles.
  std::pair<Source, Source> models() const {
    const auto model = [&](const std::string& name, double step) {
      auto v = normals(700'000, 1), w = normals(501, 2);
      const auto dv = normals(v.size(), 3, step), dw = normals(w.size(), 4, step);
      for (size_t i = 0; i < v.size(); ++i) v[i] += dv[i];
      for (size_t i = 0; i < w.size(); ++i) w[i] += dw[i];
      return folder_.write(name, {made("v", Dtype::BF16, {700, 1000}, v), made("w", Dtype::F32, {501}, w),
                                  made_of_bits<int64_t>("ids", Dtype::I64, {1}, {7}), made("none", Dtype::F32, {0, 3}, {})});
    };
    return {model("base.safetensors", 0), model("ft.safetensors", 0.01)};
  }
  Source one(const std::string& name, const std::vector<double>& values, Dtype dtype = Dtype::F32) const {
    return folder_.write(name, {made("w", dtype, {static_cast<int64_t>(values.size())}, values)});
  }
  std::pair<Source, ExtractSummary> extracted(const Source& base, const Source& ft, const ExtractOptions& options) const {
    const auto summary = extract(base, ft, options, folder_ / "tv.safetensors");
    return {formats::open(folder_ / "tv.safetensors"), summary};
  }
  std::string error_of(const Source& base, const Source& ft, const ExtractOptions& options = {}) const {
    return message_of([&] { extract(base, ft, options, folder_ / "none.safetensors"); });
  }
};

TEST_F(ExtractTest, DenseIsTheDifferenceThatEditWrites) {
  const auto [base, ft] = models();
  for (const auto& [dtype, error] : {std::pair(Dtype::F32, 1e-7), std::pair(Dtype::BF16, 1e-2)}) {
    const auto [tv, summary] = extracted(base, ft, {.dtype = dtype});
    run(plan(parse("ft - base"), {{"base", base}, {"ft", ft}}, {.dtype = dtype}), folder_ / "edit.safetensors");
    const auto edited = formats::open(folder_ / "edit.safetensors");
    for (const char* name : {"v", "w", "none"}) EXPECT_EQ(bytes_of(*tv, name), bytes_of(*edited, name)) << name;
    EXPECT_EQ(tv->manifest().find("ids"), nullptr);
    EXPECT_EQ(summary.tensors, 3);
    EXPECT_EQ(summary.dense_bytes, 4 * 700'501);
    EXPECT_LT(summary.relative_error, error);
    EXPECT_EQ(summary.bytes, static_cast<int64_t>(fs::file_size(folder_ / "tv.safetensors")));
  }
}

// 700,501 squares, added in another order: 1e-10 is their number times the float64 epsilon.
TEST_F(ExtractTest, TheErrorIsThatOfTheFile) {
  const auto [base, ft] = models();
  for (const auto& options : kKinds) {
    if (options.kind == DeltaKind::Lossless) continue;
    const auto [tv, summary] = extracted(base, ft, options);
    double error = 0, norm = 0;
    for (const char* name : {"v", "w"}) {
      const auto stored = values_of(*tv, name);
      const auto b = values_of(*base, name), f = values_of(*ft, name);
      for (size_t i = 0; i < b.size(); ++i) {
        error += (stored[i] - (f[i] - b[i])) * (stored[i] - (f[i] - b[i]));
        norm += (f[i] - b[i]) * (f[i] - b[i]);
      }
    }
    EXPECT_NEAR(summary.relative_error, std::sqrt(error / norm), 1e-10) << tv->manifest().format;
  }
}

TEST_F(ExtractTest, SparseKeepsTheLargestAndOfEqualOnesTheFirst) {
  const auto base = one("base.safetensors", std::vector<double>(10)),
             ft = one("ft.safetensors", {1, -5, 2, 3, -3, 3, 0, 9, 3, 1});
  EXPECT_THAT(values_of(*extracted(base, ft, {.kind = DeltaKind::Sparse, .density = 0.4}).first, "w"),
              ElementsAre(0, -5, 0, 3, -3, 0, 0, 9, 0, 0));
  EXPECT_THAT(values_of(*extracted(base, ft, {.kind = DeltaKind::Sparse, .density = 0.01}).first, "w"),  // never none
              ElementsAre(0, 0, 0, 0, 0, 0, 0, 9, 0, 0));
  EXPECT_EQ(values_of(*extracted(base, ft, {.kind = DeltaKind::Sparse, .density = 1}).first, "w"), values_of(*ft, "w"));
}

// Few distinct magnitudes, so that ties cross tiles.
TEST_F(ExtractTest, SparseKeepsExactlyKAcrossTiles) {
  constexpr size_t kN = 900'000;
  std::vector<double> values(kN);
  const Philox random(5, 0);
  for (size_t i = 0; i < kN; ++i) values[i] = static_cast<double>(random.below(i, 7)) - 3;
  const auto base = one("base.safetensors", std::vector<double>(kN), Dtype::BF16),
             ft = one("ft.safetensors", values, Dtype::BF16);
  std::vector<size_t> order(kN);
  for (size_t i = 0; i < kN; ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return std::abs(values[a]) > std::abs(values[b]); });
  for (const double density : {0.2, 0.5, 0.9}) {
    const auto k = static_cast<size_t>(std::llround(density * kN));
    std::vector<double> expected(kN);
    for (size_t i = 0; i < k; ++i) expected[order[i]] = values[order[i]];
    const Source tv = extracted(base, ft, {.kind = DeltaKind::Sparse, .density = density}).first;
    EXPECT_EQ(values_of(*tv, "w"), expected) << density;
  }
}

RC_GTEST_PROP(ExtractProperty, SparseKeepsExactlyKOfTheLargest, ()) {
  const CheckpointFolder folder;
  const auto raw = *rc::gen::nonEmpty(rc::gen::container<std::vector<int>>(rc::gen::inRange(-20, 21)));
  const double density = *rc::gen::inRange(1, 101) / 100.0;
  std::vector<double> values(raw.begin(), raw.end());
  const auto n = static_cast<int64_t>(values.size());
  const auto base = folder.write("base.safetensors", {made("w", Dtype::F32, {n}, std::vector<double>(values.size()))});
  const auto ft = folder.write("ft.safetensors", {made("w", Dtype::F32, {n}, values)});
  extract(base, ft, {.kind = DeltaKind::Sparse, .density = density}, folder / "tv.safetensors");
  const auto kept = values_of(*formats::open(folder / "tv.safetensors"), "w");
  const int64_t k = std::clamp<int64_t>(std::llround(density * static_cast<double>(n)), 1, n);
  std::vector<double> magnitudes;
  for (const double value : values) magnitudes.push_back(std::abs(value));
  std::sort(magnitudes.rbegin(), magnitudes.rend());
  const double least = magnitudes[static_cast<size_t>(k - 1)];
  int64_t dropped_above = 0, kept_below = 0;
  double sum = 0, expected = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    RC_ASSERT(kept[i] == 0 || kept[i] == values[i]);
    if (kept[i] == 0 && std::abs(values[i]) > least) ++dropped_above;
    if (kept[i] != 0 && std::abs(values[i]) < least) ++kept_below;
    sum += std::abs(kept[i]);
  }
  for (int64_t i = 0; i < k; ++i) expected += magnitudes[static_cast<size_t>(i)];
  RC_ASSERT(dropped_above == 0 && kept_below == 0 && sum == expected);
}

// Of n = 40,000 ones with p = 0.2 the mean has standard deviation sqrt((1 - p)/(p n)) = 0.01; 16 seeds stay within four of them,
// and so does their mean within four of its own (0.0025).
TEST_F(ExtractTest, ARandomShareIsUnbiased) {
  constexpr size_t kN = 40'000;
  const auto base = one("base.safetensors", std::vector<double>(kN)), ft = one("ft.safetensors", std::vector<double>(kN, 1));
  double total = 0;
  std::set<std::vector<double>> different;
  for (uint64_t seed = 0; seed < 16; ++seed) {
    const Source tv = extracted(base, ft, {.kind = DeltaKind::Sparse, .density = 0.2, .random = true, .seed = seed}).first;
    const auto values = values_of(*tv, "w");
    double mean = 0;
    for (const double value : values) {
      ASSERT_TRUE(value == 0 || std::abs(value - 5) < 1e-6) << value;
      mean += value / kN;
    }
    EXPECT_NEAR(mean, 1, 0.04) << seed;
    total += mean / 16;
    different.insert(values);
  }
  EXPECT_NEAR(total, 1, 0.01);
  EXPECT_EQ(different.size(), 16U);
}

TEST_F(ExtractTest, SignIsTheMeanMagnitude) {
  const auto base = one("base.safetensors", {0, 0, 0, 0}), ft = one("ft.safetensors", {1, -3, 0, 4});
  const auto [tv, summary] = extracted(base, ft, {.kind = DeltaKind::Sign});
  EXPECT_THAT(values_of(*tv, "w"), ElementsAre(2, -2, 2, 2));
  EXPECT_NEAR(summary.relative_error, std::sqrt((1 + 1 + 4 + 4) / 26.0), 1e-12);
}

// 40 x 3 x 3 x 5 = a matrix [40, 45] of rank 4.
TEST_F(ExtractTest, RankIsExactWhereTheMatrixHasNoLargerOne) {
  const auto left = normals(40 * 4, 5), right = normals(4 * 45, 6);
  std::vector<double> product(40 * 45);
  for (size_t r = 0; r < 40; ++r)
    for (size_t c = 0; c < 45; ++c)
      for (size_t k = 0; k < 4; ++k) product[r * 45 + c] += left[r * 4 + k] * right[k * 45 + c];
  const auto model = [&](const std::string& name, const std::vector<double>& kernel, double bias) {
    return folder_.write(name, {made("kernel", Dtype::F32, {40, 3, 3, 5}, kernel), made("bias", Dtype::F32, {2}, {bias, 1})});
  };
  const auto base = model("base.safetensors", std::vector<double>(product.size()), 0), ft = model("ft.safetensors", product, 3);
  for (const int64_t rank : {4, 6, 1000}) {
    const auto [tv, summary] = extracted(base, ft, {.kind = DeltaKind::Rank, .rank = rank});
    EXPECT_LT(summary.relative_error, 1e-6) << rank;
    EXPECT_EQ(tv->entry("kernel").info, (TensorInfo{Dtype::F32, {40, 3, 3, 5}}));
    EXPECT_THAT(values_of(*tv, "bias"), ElementsAre(3, 0));
    const auto values = values_of(*tv, "kernel");
    for (size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(values[i], product[i], 1e-5);
  }
}

// The best that any factors can do is the root of the squares of the singular values that are left out. Four fifths from one to
// the next, two power iterations and eight more directions than asked for miss far less than a thousandth of it.
TEST_F(ExtractTest, RankLeavesTheSmallestSingularValues) {
  constexpr size_t kSize = 60;
  std::vector<double> diagonal(kSize * kSize);
  double norm = 0, tail = 0;
  for (size_t i = 0; i < kSize; ++i) {
    const double value = std::pow(0.8, static_cast<double>(i));
    diagonal[i * kSize + (7 * i + 3) % kSize] = i % 2 == 0 ? value : -value;
    norm += value * value;
    tail += i < 10 ? 0 : value * value;
  }
  const auto model = [&](const std::string& name, const std::vector<double>& values) {
    return folder_.write(name, {made("w", Dtype::F64, {kSize, kSize}, values)});
  };
  const auto base = model("base.safetensors", std::vector<double>(diagonal.size())), ft = model("ft.safetensors", diagonal);
  const auto [tv, summary] = extracted(base, ft, {.kind = DeltaKind::Rank, .rank = 10});
  EXPECT_NEAR(summary.relative_error, std::sqrt(tail / norm), 1e-3 * std::sqrt(tail / norm));
  EXPECT_LT(summary.bytes, static_cast<int64_t>(4 * diagonal.size()));
}

TEST_F(ExtractTest, ARankOfNothingIsRefused) {
  const auto [base, ft] = models();
  EXPECT_THAT(error_of(base, ft, {.kind = DeltaKind::Rank}), HasSubstr("a rank of 0; expected at least 1"));
}

TEST_F(ExtractTest, TheSameBytesOnAnyNumberOfThreads) {
  const auto [base, ft] = models();
  for (const auto& options : kKinds) {
    std::string expected;
    double error = 0;
    for (const int threads : {1, 2, 7}) {
      set_thread_count(threads);
      const auto [tv, summary] = extracted(base, ft, options);
      const std::string bytes = file_bytes(folder_ / "tv.safetensors");
      if (expected.empty()) {
        expected = bytes;
        error = summary.relative_error;
      }
      EXPECT_TRUE(bytes == expected) << tv->manifest().format << ", " << threads << " threads";
      EXPECT_EQ(summary.relative_error, error);
    }
  }
}

TEST_F(ExtractTest, IsATermOfExpressions) {
  const auto [base, ft] = models();
  const Source tv = extracted(base, ft, {}).first;
  run(plan(parse("base + 0.4*tv"), {{"base", base}, {"tv", tv}}), folder_ / "a.safetensors");
  run(plan(parse("base + 0.4*(ft - base)"), {{"base", base}, {"ft", ft}}, {.dtype = Dtype::F32}), folder_ / "b.safetensors");
  const auto a = formats::open(folder_ / "a.safetensors"), b = formats::open(folder_ / "b.safetensors");
  EXPECT_EQ(a->entry("v").info.dtype, Dtype::BF16);
  EXPECT_EQ(bytes_of(*a, "ids"), bytes_of(*base, "ids"));
  const auto x = values_of(*a, "w"), y = values_of(*b, "w");
  for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], y[i], 1e-6);
  EXPECT_EQ(apply(base, tv, 1, false, folder_ / "ft2.safetensors").fingerprint, "");
  EXPECT_EQ(bytes_of(*formats::open(folder_ / "ft2.safetensors"), "v"), bytes_of(*ft, "v"));
}

TEST_F(ExtractTest, BelongsToItsBase) {
  const auto base = one("base.safetensors", {1, 2}), ft = one("ft.safetensors", {2, 2}), other = one("other.safetensors", {5, 5});
  const Source tv = extracted(base, ft, {}).first;
  const Bindings wrong{{"other", other}, {"tv", tv}};
  const fs::path out = folder_ / "out.safetensors";
  const std::string message = message_of([&] { run(plan(parse("other + tv"), wrong), out); });
  EXPECT_THAT(message, HasSubstr("made from a base with fingerprint " + base->fingerprint()));
  EXPECT_THAT(message, HasSubstr("has " + other->fingerprint() + "; --any-base"));
  EXPECT_FALSE(fs::exists(out));
  EXPECT_THAT(message_of([&] { Resident(parse("other + tv"), wrong); }), HasSubstr(base->fingerprint()));
  EXPECT_THAT(message_of([&] { apply(other, tv, 1, false, out); }), HasSubstr(other->fingerprint()));
  run(plan(parse("other + tv"), wrong, {.any_base = true}), out);
  EXPECT_THAT(values_of(*formats::open(out), "w"), ElementsAre(6, 5));
  run(plan(parse("other + tv + 0.5*(base - other)"), {{"base", base}, {"other", other}, {"tv", tv}}), out);  // its base is there
  run(plan(parse("0.5*tv"), {{"tv", tv}}), out);                                                             // no model at all
  EXPECT_THAT(values_of(*formats::open(out), "w"), ElementsAre(0.5, 0));
}

TEST_F(ExtractTest, WhatIsNoDifferenceIsNamed) {
  const auto base = one("base.safetensors", {1, 2}), ft = one("ft.safetensors", {2, 2});
  EXPECT_THAT(error_of(base, folder_.write("x.safetensors", {made("v", Dtype::F32, {1}, {1})})), HasSubstr("share no tensor"));
  EXPECT_THAT(
      error_of(base, folder_.write("x.safetensors", {made("w", Dtype::F32, {2}, {1, 2}), made("v", Dtype::F32, {1}, {1})})),
      HasSubstr("tensor 'v' is in " + (folder_ / "x.safetensors").string() + " but not in"));
  EXPECT_THAT(error_of(base, one("x.safetensors", {1, 2, 3})), HasSubstr("tensor 'w' is F32 [3] in"));
  EXPECT_THAT(error_of(base, one("x.safetensors", {1, std::nan("")})),
              HasSubstr("tensor 'w': 1 elements from 0 on have a difference that is NaN or infinite; --lossless keeps it"));
  EXPECT_THAT(error_of(one("y.safetensors", {0, 0}, Dtype::F64), one("x.safetensors", {1, 1e300}, Dtype::F64)),
              HasSubstr("tensor 'w': a difference is too large for F32"));
  EXPECT_THAT(error_of(one("y.safetensors", {0, -3e38}, Dtype::BF16), one("x.safetensors", {1, 3e38}, Dtype::BF16),
                       {.dtype = Dtype::BF16}),
              HasSubstr("tensor 'w': a difference is too large for BF16"));
  EXPECT_THAT(error_of(base, ft, {.dtype = Dtype::F16}), HasSubstr("written as F32 or BF16, not as F16"));
  EXPECT_THAT(error_of(base, ft, {.kind = DeltaKind::Sparse, .density = 1.5}), HasSubstr("a density of 1.5"));
  EXPECT_THAT(error_of(base, ft, {.kind = DeltaKind::Sparse, .density = 1e-12, .random = true}), HasSubstr("keeps nothing"));
  EXPECT_THAT(message_of([&] { extract(base, ft, {}, folder_ / "tv.gguf"); }),
              HasSubstr("tv.gguf: this is written as safetensors"));
  const Source tv = extracted(base, ft, {}).first;
  EXPECT_THAT(error_of(base, tv), HasSubstr("tv.safetensors is a task vector"));
  EXPECT_THAT(message_of([&] { extract(base, ft, {}, folder_ / "ft.safetensors"); }),
              HasSubstr("would replace source 'finetuned'"));
  const auto ids = [&](const std::string& name, int64_t id) {
    return folder_.write(name, {made_of_bits<int64_t>("ids", Dtype::I64, {1}, {id}), made("w", Dtype::F32, {1}, {1})});
  };
  const Source one_id = ids("i1.safetensors", 1), two_ids = ids("i2.safetensors", 2);
  EXPECT_THAT(error_of(one_id, two_ids), HasSubstr("I64 tensor 'ids' differs between"));
  EXPECT_EQ(error_of(one_id, two_ids, {.allow_differing_integers = true}), "no error");
}

template <typename Bits>
Made random_bits(const std::string& name, Dtype dtype) {
  auto bits = *rc::gen::container<std::vector<Bits>>(rc::gen::arbitrary<Bits>());
  const auto n = static_cast<int64_t>(bits.size());
  return made_of_bits<Bits>(name, dtype, {n}, bits);
}

Made random_tensor(const std::string& name, Dtype dtype) {
  switch (itemsize(dtype)) {
    case 1: return random_bits<uint8_t>(name, dtype);
    case 2: return random_bits<uint16_t>(name, dtype);
    case 4: return random_bits<uint32_t>(name, dtype);
    default: return random_bits<uint64_t>(name, dtype);
  }
}

// Random bits of every dtype: NaN with payloads, infinities, -0, whatever.
RC_GTEST_PROP(ExtractProperty, LosslessGivesEveryBitBack, ()) {
  const CheckpointFolder folder;
  std::vector<Made> base, ft;
  for (const Dtype dtype : {Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F8_E4M3, Dtype::F8_E5M2, Dtype::I64,
                            Dtype::I32, Dtype::I16, Dtype::I8, Dtype::U64, Dtype::U32, Dtype::U16, Dtype::U8, Dtype::BOOL}) {
    const std::string tensor(name(dtype));
    ft.push_back(random_tensor(tensor, dtype));
    const int kind = *rc::gen::inRange(0, 4);  // the same, other bits, another shape, none
    base.push_back(ft.back());
    if (kind == 1)
      for (auto& byte : base.back().bytes) byte = static_cast<std::byte>(*rc::gen::arbitrary<uint8_t>());
    if (kind == 2) base.back() = random_tensor(tensor, dtype);
    if (kind == 3) base.pop_back();
  }
  if (*rc::gen::arbitrary<bool>()) std::reverse(ft.begin(), ft.end());
  const auto a = folder.write("base.safetensors", base),
             b = folder.write("ft.safetensors", ft, {{"format", "pt"}, {"x", "é\"\n"}});
  extract(a, b, {.kind = DeltaKind::Lossless}, folder / "tv.safetensors");
  const auto applied = apply(a, formats::open(folder / "tv.safetensors"), 1, false, folder / "out.safetensors");
  RC_ASSERT(applied.fingerprint == b->fingerprint());
  RC_ASSERT(file_bytes(folder / "out.safetensors") == file_bytes(folder / "ft.safetensors"));
}

TEST_F(ExtractTest, LosslessKeepsFoldersShardsAndTheFilesBeside) {
  std::vector<double> values(600'000, 1);
  const auto write = [&](const std::string& name, double first, const std::map<std::string, std::string>& files) {
    formats::OutputLayout layout;
    layout.tensors = {{"b", {Dtype::F32, {600'000}}, 0}, {"a", {Dtype::F32, {600'000}}, 1}};
    layout.metadata = {{"format", "pt"}};
    std::vector<std::string> kept;
    for (const auto& [file, text] : files) layout.contents.emplace_back(file, std::as_bytes(std::span(text)));
    formats::CheckpointWriter writer(folder_ / name, layout);
    values[0] = first;
    for (const size_t t : {0U, 1U}) writer.write(t, 0, made("", Dtype::F32, {600'000}, values).bytes);
    writer.commit();
    return formats::open(folder_ / name);
  };
  const auto base = write("base", 1, {{"config.json", "{}"}, {"vocab.json", "[1]"}});
  const auto ft = write("ft", 2, {{"config.json", "{}"}, {"vocab.json", "[2]"}, {"empty.txt", ""}});
  const auto [tv, summary] = extracted(base, ft, {.kind = DeltaKind::Lossless});
  EXPECT_EQ(summary.tensors, 2);
  EXPECT_EQ(summary.whole, 0);
  EXPECT_EQ(summary.relative_error, 0);
  EXPECT_LT(summary.bytes, 4000);  // all chunks but two are the base's
  apply(base, tv, 1, false, folder_ / "out");
  std::vector<std::string> files;
  for (const auto& file : fs::directory_iterator(folder_ / "ft")) {
    files.push_back(file.path().filename().string());
    EXPECT_TRUE(file_bytes(file.path()) == file_bytes(folder_ / "out" / files.back())) << files.back();
  }
  EXPECT_THAT(files, UnorderedElementsAre("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                          "model.safetensors.index.json", "config.json", "vocab.json", "empty.txt"));
  fs::remove(folder_ / "base" / "config.json");
  EXPECT_THAT(message_of([&] { apply(formats::open(folder_ / "base"), tv, 1, false, folder_ / "out2"); }),
              HasSubstr("takes 'config.json' from the base"));
  EXPECT_EQ(apply(formats::open(folder_ / "base"), tv, 1, false, folder_ / "one.safetensors").fingerprint, ft->fingerprint());
}

TEST_F(ExtractTest, LosslessIsAppliedAndNothingElse) {
  const auto base = one("base.safetensors", {1, 2}), ft = one("ft.safetensors", {2, 2}), other = one("other.safetensors", {5, 5});
  const Source tv = extracted(base, ft, {.kind = DeltaKind::Lossless}).first;
  const fs::path out = folder_ / "out.safetensors";
  EXPECT_THAT(message_of([&] {
                plan(parse("base + tv"), {{"base", base}, {"tv", tv}});
              }),
              HasSubstr("is a lossless task vector, which cannot be added or scaled; `taskvec apply BASE"));
  EXPECT_THAT(message_of([&] { apply(base, tv, 0.5, false, out); }), HasSubstr("which cannot be scaled"));
  EXPECT_THAT(message_of([&] { apply(base, ft, 1, false, out); }), HasSubstr("ft.safetensors is no task vector"));
  EXPECT_THAT(message_of([&] { apply(other, tv, 1, false, out); }),
              HasSubstr("was made from a base with fingerprint " + base->fingerprint()));
  EXPECT_THAT(message_of([&] { apply(other, tv, 1, true, out); }), HasSubstr("but " + ft->fingerprint() + " is recorded"));
  EXPECT_THAT(message_of([&] {
                apply(one("long.safetensors", {1, 2, 3}), tv, 1, true, out);
              }),
              HasSubstr("changes tensor 'w' (F32 [2]), which"));
  EXPECT_FALSE(fs::exists(out));
}

}  // namespace
}  // namespace taskvec::edit
