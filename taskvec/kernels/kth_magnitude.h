#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace taskvec::kernels {

/// The k-th largest magnitude of float32 values that are seen part by part, in any order and by any number of threads: exactly,
/// in bounded memory and mostly one pass over them. The bits of magnitudes are ordered as the magnitudes are. A look at a sample
/// tells in which range of bits the wanted ones must lie. A pass counts what is larger and gathers the bits in the range; where
/// they are too many (equal ones, say), passes count them in 65,536 parts of the range, and so narrow it. Where the sample was
/// wrong, the range begins anew as that of all magnitudes. A NaN is larger than anything.
class KthMagnitude {
 public:
  /// @param n  how many values there are
  /// @param k  from 1, the largest, to n
  /// @param sample  may begin with one, where there are many values
  KthMagnitude(int64_t n, int64_t k, bool sample = true);

  bool known() const { return low_ == high_; }
  /// Whether a share of the values is enough for this pass, whichever.
  bool samples() const { return samples_; }

  /// Of a pass, in one thread.
  struct Counts {
    int64_t seen = 0, above = 0;
    std::vector<uint64_t> bins;
    std::vector<uint32_t> inside{};  // room for a part, behind what was gathered
    int64_t gathered = 0;
  };
  Counts no_counts() const;
  void count(std::span<const float> values, Counts& counts) const;
  /// Adds what a thread counted.
  void take(const Counts& counts);
  void end_pass();

  uint32_t bits() const { return low_; }                ///< of the magnitude, when known
  int64_t equal() const { return equal_; }              ///< values that are as large
  int64_t equal_wanted() const { return k_ - above_; }  ///< of those, as many as make k

 private:
  void search(uint32_t low, uint32_t high);
  void end_sample();
  void end_gathering();

  int64_t n_, k_;
  bool samples_ = false, gathers_ = false;
  uint32_t low_ = 0, high_ = 0;  // the range in which the bits lie
  unsigned shift_ = 0;           // a part of the range is 2^shift_ bit patterns
  int64_t above_ = 0, equal_ = 0;
  Counts total_;
};

}  // namespace taskvec::kernels
