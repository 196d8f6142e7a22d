#include "taskvec/edit/methods/ties.h"

#include "taskvec/core/error.h"
#include "taskvec/kernels/count_magnitudes.h"
#include "taskvec/kernels/elect.h"
#include "taskvec/kernels/kth_magnitude.h"

#include <algorithm>
#include <bit>
#include <map>
#include <numeric>
#include <optional>

namespace taskvec::edit {
namespace {

using kernels::KthMagnitude;

constexpr auto kBlock = static_cast<size_t>(kPartAlignment);

uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value) & kernels::kMagnitudeBits; }

/// Which elements of one argument are kept: those above a threshold, and of those that equal it the first ones.
struct Trim {
  static constexpr uint32_t kNothing = kernels::kMagnitudeBits + 1;

  uint32_t least = 0;  ///< bits of the smallest magnitude that is kept
  std::optional<KthMagnitude> kth{};
  /// The block of the scope that has the last kept of those that equal the threshold, and how many it keeps; every one is kept
  /// before it and none behind it. Without it all of them are kept.
  std::optional<size_t> last_equal{};
  int64_t kept_there = 0;
  double scale = 1;

  bool searched() const { return kth && !kth->known(); }
};

/// The sums of magnitudes of a block, of all elements and of those that are kept.
struct Sums {
  double all = 0, kept = 0;
};

class Ties final : public Merge {
 public:
  Ties(const Settings& settings, std::span<const int64_t> sizes)
      : mergekit_(settings.word("semantics") == "mergekit"),
        normalize_(settings.word("normalize") == "true"),
        rescale_(settings.word("rescale") == "true"),
        trims_(settings.arguments()) {
    const int64_t n = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
    for (size_t i = 0; i < trims_.size(); ++i) {
      const double density = settings("density", i);
      const auto part = static_cast<int64_t>(density * static_cast<double>(n));
      weights_.push_back(settings("weight", i));
      const bool nothing = density <= 0 || weights_[i] == 0;
      if (nothing) trims_[i].least = Trim::kNothing;
      if (nothing || density >= 1 || part >= n) continue;
      // The authors keep what is as large as the (n - part)-th smallest: one more than `part`.
      trims_[i].kth.emplace(n, mergekit_ ? std::max<int64_t>(1, part) : part + 1);
    }
    choose_stage();
  }

  bool needs_pass() const override { return stage_ != Stage::Ready; }
  bool samples() const override {
    return stage_ == Stage::Thresholds &&
           std::ranges::all_of(trims_, [](const Trim& trim) { return !trim.searched() || trim.kth->samples(); });
  }

  std::unique_ptr<Findings> findings() const override { return std::make_unique<Found>(*this); }

  void take(const Findings& findings) override {
    const auto& found = static_cast<const Found&>(findings);
    for (size_t i = 0; i < trims_.size(); ++i) {
      if (stage_ == Stage::Thresholds && trims_[i].searched()) trims_[i].kth->take(found.counts[i]);
      found_equal_[i].insert(found.equal[i].begin(), found.equal[i].end());
      found_sums_[i].insert(found.sums[i].begin(), found.sums[i].end());
    }
    majority_ += found.majority;
  }

  void end_pass() override {
    for (size_t i = 0; i < trims_.size(); ++i) {
      Trim& trim = trims_[i];
      if (stage_ == Stage::Thresholds && trim.searched()) {
        trim.kth->end_pass();
        if (trim.kth->known()) trim.least = trim.kth->bits();
      }
      // In the order of the blocks, whatever thread found them.
      int64_t left = trim.kth && trim.kth->known() ? trim.kth->equal_wanted() : 0;
      for (const auto& [block, count] : found_equal_[i]) {
        if (left > 0) trim.last_equal = block, trim.kept_there = left;
        left -= count;
      }
      Sums total;
      for (const auto& [block, sums] : found_sums_[i]) total = {total.all + sums.all, total.kept + sums.kept};
      constexpr double kLeast = 1e-7;  // mergekit's
      if (total.all >= kLeast && total.kept >= kLeast) trim.scale = total.all / total.kept;
    }
    found_equal_.clear();
    found_sums_.clear();
    done_ |= 1U << static_cast<unsigned>(stage_);
    choose_stage();
  }

  void values(const Slice& slice, std::span<float> out) const override {
    std::vector<float> kept(trims_.size() * kBlock);
    for (size_t begin = 0; begin < out.size(); begin += kBlock) {
      const size_t n = std::min(kBlock, out.size() - begin);
      keep(slice, begin, n, kept);
      kernels::merge_agreeing(kept, kBlock, factors(), weights_, mergekit_ || majority_ > 0, normalize_, out.subspan(begin, n));
    }
  }

 private:
  enum class Stage { Thresholds, Equal, Sums, Majority, Ready };

  struct Found : Findings {
    explicit Found(const Ties& of) : ties(of), counts(of.trims_.size()), equal(of.trims_.size()), sums(of.trims_.size()) {
      for (size_t i = 0; i < counts.size(); ++i)
        if (ties.stage_ == Stage::Thresholds && ties.trims_[i].searched()) counts[i] = ties.trims_[i].kth->no_counts();
    }
    void add(const Slice& slice) override { ties.find(slice, *this); }

    const Ties& ties;
    std::vector<KthMagnitude::Counts> counts;
    std::vector<std::map<size_t, int64_t>> equal;  // by block of the scope, which is one tensor
    std::vector<std::map<size_t, Sums>> sums;
    int64_t majority = 0;
  };

  bool done(Stage stage) const { return (done_ >> static_cast<unsigned>(stage) & 1U) != 0; }

  std::vector<double> factors() const {
    std::vector<double> factors;
    for (size_t i = 0; i < trims_.size(); ++i) factors.push_back(weights_[i] * trims_[i].scale);
    return factors;
  }

  /// The stage that comes next: what is not known yet, and needed.
  void choose_stage() {
    found_equal_.resize(trims_.size());
    found_sums_.resize(trims_.size());
    const bool searching = std::ranges::any_of(trims_, &Trim::searched);
    const bool some_equal = mergekit_ && !searching && std::ranges::any_of(trims_, [](const Trim& trim) {
                              return trim.kth && trim.kth->equal_wanted() < trim.kth->equal();
                            });
    if (searching)
      stage_ = Stage::Thresholds;
    else if (some_equal && !done(Stage::Equal))
      stage_ = Stage::Equal;
    else if (rescale_ && !done(Stage::Sums))
      stage_ = Stage::Sums;
    else if (!mergekit_ && !done(Stage::Majority))
      stage_ = Stage::Majority;
    else
      stage_ = Stage::Ready;
  }

  void find(const Slice& slice, Found& found) const {
    const size_t size = slice.arguments.front().size();
    if (stage_ == Stage::Thresholds) {
      for (size_t i = 0; i < trims_.size(); ++i)
        if (trims_[i].searched()) trims_[i].kth->count(slice.arguments[i], found.counts[i]);
      return;
    }
    std::vector<float> kept(trims_.size() * kBlock);
    for (size_t begin = 0; begin < size; begin += kBlock) {
      const size_t n = std::min(kBlock, size - begin);
      if (stage_ != Stage::Equal) keep(slice, begin, n, kept);
      if (stage_ == Stage::Majority) {
        found.majority += kernels::sign_balance(kept, kBlock, factors(), n);
        continue;
      }
      for (size_t i = 0; i < trims_.size(); ++i) {
        const auto values = slice.arguments[i].subspan(begin, n);
        if (stage_ == Stage::Equal && trims_[i].kth)
          found.equal[i][block(slice, begin)] = kernels::count_magnitude(values, trims_[i].least);
        if (stage_ != Stage::Sums) continue;
        Sums& sums = found.sums[i][block(slice, begin)];
        for (size_t j = 0; j < n; ++j) {
          sums.all += std::abs(static_cast<double>(values[j]));
          sums.kept += std::abs(static_cast<double>(kept[i * kBlock + j]));
        }
      }
    }
  }

  static size_t block(const Slice& slice, size_t begin) { return static_cast<size_t>(slice.first) / kBlock + begin / kBlock; }

  /// Elements [begin, begin + n) of every argument with zeros where it is trimmed, kBlock apart.
  void keep(const Slice& slice, size_t begin, size_t n, std::span<float> kept) const {
    for (size_t i = 0; i < trims_.size(); ++i) {
      const Trim& trim = trims_[i];
      const auto values = slice.arguments[i].subspan(begin, n);
      float* to = kept.data() + i * kBlock;
      uint32_t least = trim.least;
      const size_t at = block(slice, begin);
      if (trim.last_equal && at == *trim.last_equal) {
        int64_t left = trim.kept_there;
        for (size_t k = 0; k < n; ++k) {
          const uint32_t bits = bits_of(values[k]);
          to[k] = bits > least || (bits == least && left-- > 0) ? values[k] : 0;
        }
        continue;
      }
      if (trim.last_equal && at > *trim.last_equal) ++least;
      kernels::keep_magnitudes(values, least, to);
    }
  }

  bool mergekit_, normalize_, rescale_;
  std::vector<Trim> trims_;
  std::vector<double> weights_;
  Stage stage_ = Stage::Ready;
  unsigned done_ = 0;  // stages, by bits
  std::vector<std::map<size_t, int64_t>> found_equal_;
  std::vector<std::map<size_t, Sums>> found_sums_;
  int64_t majority_ = 0;  // elements whose sum is positive, less those whose sum is negative
};

bool whole_model(const Settings& settings) { return settings.word("semantics") == "paper"; }

void check(const Settings& settings) {
  for (size_t i = 0; i < settings.arguments() && whole_model(settings); ++i)
    if (settings("weight", i) != 1 || settings.word("rescale") == "true")
      fail(ErrorCode::InvalidArgument,
           "ties: weight and rescale are not in the paper; scale the whole, as in 0.5*ties(...), or say semantics=mergekit");
}

std::unique_ptr<Merge> begin(const Settings& settings, std::span<const int64_t> sizes) {
  return std::make_unique<Ties>(settings, sizes);
}

}  // namespace

const Method kTies{.name = "ties",
                   .summary = "trim, elect signs, merge: what task vectors disagree about does not cancel",
                   .parameters = {{.name = "density", .value = 0.2, .of_argument = true},
                                  {.name = "weight", .value = 1, .low = -1e6, .high = 1e6, .of_argument = true},
                                  {.name = "normalize", .value = 1, .words = {"false", "true"}},
                                  {.name = "rescale", .value = 0, .words = {"false", "true"}},
                                  {.name = "semantics", .value = 0, .words = {"paper", "mergekit"}}},
                   .least_arguments = 1,
                   .check = check,
                   .whole_model = whole_model,
                   .begin = begin};

}  // namespace taskvec::edit
