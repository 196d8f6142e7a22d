#include "taskvec/formats/delta/packed_delta.h"

#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/formats/delta/delta.h"
#include "taskvec/formats/delta/described_tensor.h"
#include "taskvec/formats/lora/lora_product.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;

template <typename T>
T load(std::span<const std::byte> bytes, int64_t i) {
  T value;
  std::memcpy(&value, bytes.data() + static_cast<size_t>(i) * sizeof(T), sizeof(T));
  return value;
}

/// What lies in a packed file, and the manifest of what it stands for.
class Packed {
 public:
  Packed(fs::path path, Manifest stored, std::shared_ptr<const MappedFile> file)
      : path_(std::move(path)), stored_(std::move(stored)), file_(std::move(file)) {
    for (size_t i = 0; i < stored_.tensors.size(); ++i) stored_.index.emplace(stored_.tensors[i].name, i);
    dense_.format = stored_.format;
    dense_.metadata = stored_.metadata;
    dense_.files = stored_.files;
    dense_.delta = true;
    for (auto& tensor : read_described_tensors(path_, stored_.metadata)) {
      if (!is_float(tensor.info.dtype))
        fail(ErrorCode::Format, "{}: tensor '{}' is {}; differences are floats", path_.string(), tensor.name,
             taskvec::name(tensor.info.dtype));
      dense_.tensors.push_back({std::move(tensor.name), std::move(tensor.info), 0, 0, /*as_is=*/false});
    }
    dense_.metadata.erase(kDescriptionsKey);  // the manifest says the same, shorter
    if (const size_t parts = count_parts(); stored_.tensors.size() != parts)
      fail(ErrorCode::Format, "{}: {} tensors are described, in {} parts, but {} parts are there", path_.string(),
           dense_.tensors.size(), parts, stored_.tensors.size());
  }

  const fs::path& path() const { return path_; }
  const Manifest& dense() const { return dense_; }
  const Manifest& stored() const { return stored_; }
  const std::shared_ptr<const MappedFile>& file() const { return file_; }

  bool has(const TensorEntry& tensor, const char* suffix) const { return stored_.find(tensor.name + suffix) != nullptr; }
  const TensorInfo& info(const TensorEntry& tensor, const char* suffix) const { return find(tensor, suffix).info; }
  std::span<const std::byte> bytes(const TensorEntry& tensor, const char* suffix) const {
    const TensorEntry& part = find(tensor, suffix);
    return file_->bytes().subspan(part.offset, static_cast<size_t>(part.info.nbytes()));
  }
  void expect(const TensorEntry& tensor, const char* suffix, const TensorInfo& expected) const {
    const TensorInfo& found = info(tensor, suffix);
    if (found != expected)
      fail(ErrorCode::Format, "{}: '{}{}' is {} {}; expected {} {}", path_.string(), tensor.name, suffix,
           taskvec::name(found.dtype), to_string(found.shape), taskvec::name(expected.dtype), to_string(expected.shape));
  }

 private:
  /// Two for each tensor, but one for what a rank file holds in full.
  size_t count_parts() const {
    size_t parts = 2 * dense_.tensors.size();
    if (stored_.metadata.at(kDeltaKey) == name(DeltaKind::Rank))
      for (const auto& tensor : dense_.tensors) parts -= has(tensor, kValuesSuffix) ? 1 : 0;
    return parts;
  }

  const TensorEntry& find(const TensorEntry& tensor, const char* suffix) const {
    const TensorEntry* part = stored_.find(tensor.name + suffix);
    if (part == nullptr)
      fail(ErrorCode::Format, "{}: tensor '{}' has no part '{}{}'", path_.string(), tensor.name, tensor.name, suffix);
    return *part;
  }

  fs::path path_;
  Manifest stored_, dense_;
  std::shared_ptr<const MappedFile> file_;
};

class SparseDelta : public Checkpoint {
 public:
  explicit SparseDelta(const Packed& packed) : Checkpoint(packed.path(), packed.dense(), {packed.file()}) {
    for (const auto& tensor : manifest().tensors) parts_.push_back(read(packed, tensor));
    check_positions();
  }

 private:
  struct Parts {
    std::span<const std::byte> indices, values;
    int64_t count = 0;
    bool wide = false;  // positions are U64

    uint64_t position(int64_t i) const { return wide ? load<uint64_t>(indices, i) : load<uint32_t>(indices, i); }
  };

  static Parts read(const Packed& packed, const TensorEntry& tensor) {
    const TensorInfo& values = packed.info(tensor, kValuesSuffix);
    const int64_t count = values.numel();
    packed.expect(tensor, kValuesSuffix, {tensor.info.dtype, {count}});
    const Dtype index = index_dtype(tensor.info.numel());
    packed.expect(tensor, kIndicesSuffix, {index, {count}});
    return {packed.bytes(tensor, kIndicesSuffix), packed.bytes(tensor, kValuesSuffix), count, index == Dtype::U64};
  }

  /// make() searches the positions, so they must be rising, and writes where they point.
  void check_positions() const {
    constexpr int64_t kRange = int64_t{1} << 20;
    std::vector<std::pair<size_t, int64_t>> ranges;
    for (size_t t = 0; t < parts_.size(); ++t)
      for (int64_t begin = 0; begin < parts_[t].count; begin += kRange) ranges.emplace_back(t, begin);
    parallel_for(static_cast<int64_t>(ranges.size()), [&](int64_t r) {
      const auto [t, begin] = ranges[static_cast<size_t>(r)];
      const auto& tensor = manifest().tensors[t];
      const auto numel = static_cast<uint64_t>(tensor.info.numel());
      for (int64_t i = begin; i < std::min(begin + kRange, parts_[t].count); ++i) {
        const uint64_t position = parts_[t].position(i);
        if (position >= numel)
          fail(ErrorCode::Format, "{}: '{}{}' holds position {} of a tensor of {} elements", path().string(), tensor.name,
               kIndicesSuffix, position, numel);
        if (i > 0 && parts_[t].position(i - 1) >= position)
          fail(ErrorCode::Format, "{}: '{}{}' is not in rising order: {} comes behind {}", path().string(), tensor.name,
               kIndicesSuffix, position, parts_[t].position(i - 1));
      }
    });
  }

  void make(const TensorEntry& entry, uint64_t offset, std::span<std::byte> out) const override {
    const Parts& parts = parts_[manifest().index.find(entry.name)->second];
    const auto item = static_cast<size_t>(itemsize(entry.info.dtype));
    const uint64_t begin = offset / item, end = begin + out.size() / item;
    std::fill(out.begin(), out.end(), std::byte{0});
    int64_t low = 0, high = parts.count;  // the first position that is not before the range
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      (parts.position(middle) < begin ? low : high) = parts.position(middle) < begin ? middle + 1 : middle;
    }
    for (int64_t i = low; i < parts.count; ++i) {
      const uint64_t position = parts.position(i);
      if (position >= end) break;
      std::memcpy(out.data() + (position - begin) * item, parts.values.data() + static_cast<size_t>(i) * item, item);
    }
  }

  std::vector<Parts> parts_;
};

class SignDelta : public Checkpoint {
 public:
  explicit SignDelta(const Packed& packed) : Checkpoint(packed.path(), packed.dense(), {packed.file()}) {
    for (const auto& tensor : manifest().tensors) parts_.push_back(read(packed, tensor));
  }

 private:
  struct Parts {
    std::span<const std::byte> bits;
    float scale = 0;
  };

  static Parts read(const Packed& packed, const TensorEntry& tensor) {
    const int64_t n = tensor.info.numel();
    if (tensor.info.dtype != Dtype::F32)
      fail(ErrorCode::Format, "{}: tensor '{}' is {}; signs stand for F32", packed.path().string(), tensor.name,
           taskvec::name(tensor.info.dtype));
    packed.expect(tensor, kBitsSuffix, {Dtype::U8, {n / 8 + (n % 8 != 0 ? 1 : 0)}});
    packed.expect(tensor, kScaleSuffix, {Dtype::F32, {}});
    const auto scale = load<float>(packed.bytes(tensor, kScaleSuffix), 0);
    if (!std::isfinite(scale) || scale < 0)
      fail(ErrorCode::Format, "{}: '{}{}' is {}; expected a finite magnitude", packed.path().string(), tensor.name, kScaleSuffix,
           scale);
    return {packed.bytes(tensor, kBitsSuffix), scale};
  }

  void make(const TensorEntry& entry, uint64_t offset, std::span<std::byte> out) const override {
    const Parts& parts = parts_[manifest().index.find(entry.name)->second];
    const uint64_t begin = offset / sizeof(float), n = out.size() / sizeof(float);
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t element = begin + i;
      const bool negative = (std::to_integer<unsigned>(parts.bits[element / 8]) >> (element % 8) & 1U) != 0;
      const float value = negative ? -parts.scale : parts.scale;
      std::memcpy(out.data() + i * sizeof(float), &value, sizeof(float));
    }
  }

  std::vector<Parts> parts_;
};

class RankDelta : public Checkpoint {
 public:
  explicit RankDelta(const Packed& packed)
      : Checkpoint(packed.path(), packed.dense(), {packed.file()}), stored_(packed.path(), packed.stored(), {packed.file()}) {
    for (const auto& tensor : manifest().tensors) parts_.push_back(read(packed, tensor));
  }

 private:
  struct Parts {
    std::span<const std::byte> values;  // of a tensor that is there in full
    LoraFactors factors;                // of any other: left * right
  };

  Parts read(const Packed& packed, const TensorEntry& tensor) const {
    const Shape& shape = tensor.info.shape;
    if (tensor.info.dtype != Dtype::F32)
      fail(ErrorCode::Format, "{}: tensor '{}' is {}; factors stand for F32", packed.path().string(), tensor.name,
           taskvec::name(tensor.info.dtype));
    if (packed.has(tensor, kValuesSuffix)) {
      packed.expect(tensor, kValuesSuffix, tensor.info);
      return {packed.bytes(tensor, kValuesSuffix), {}};
    }
    const Shape& left = packed.info(tensor, kLeftSuffix).shape;
    const int64_t rank = left.size() == 2 ? left[1] : 0, n = tensor.info.numel();
    if (shape.size() < 2 || n == 0 || rank == 0)
      fail(ErrorCode::Format, "{}: '{}{}' {} is no factor of tensor '{}' {}; expected [rows, rank]", packed.path().string(),
           tensor.name, kLeftSuffix, to_string(left), tensor.name, to_string(shape));
    packed.expect(tensor, kLeftSuffix, {Dtype::F32, {shape[0], rank}});
    packed.expect(tensor, kRightSuffix, {Dtype::F32, {rank, n / shape[0]}});
    LoraFactors factors;
    factors.a = &stored_.entry(tensor.name + kRightSuffix);
    factors.b = &stored_.entry(tensor.name + kLeftSuffix);
    factors.rank = rank;
    factors.scale = 1;
    return {{}, factors};
  }

  void make(const TensorEntry& entry, uint64_t offset, std::span<std::byte> out) const override {
    const Parts& parts = parts_[manifest().index.find(entry.name)->second];
    if (parts.factors.rank > 0) {
      lora_product(stored_, parts.factors, entry.info.shape, static_cast<int64_t>(offset / sizeof(float)), out);
    } else {
      std::copy_n(parts.values.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    }
  }

  Checkpoint stored_;  // as it lies in the file
  std::vector<Parts> parts_;
};

}  // namespace

std::shared_ptr<const Checkpoint> open_sparse_delta(const fs::path& path, Manifest manifest,
                                                    std::shared_ptr<const MappedFile> file) {
  return std::make_shared<SparseDelta>(Packed(path, std::move(manifest), std::move(file)));
}

std::shared_ptr<const Checkpoint> open_sign_delta(const fs::path& path, Manifest manifest,
                                                  std::shared_ptr<const MappedFile> file) {
  return std::make_shared<SignDelta>(Packed(path, std::move(manifest), std::move(file)));
}

std::shared_ptr<const Checkpoint> open_rank_delta(const fs::path& path, Manifest manifest,
                                                  std::shared_ptr<const MappedFile> file) {
  return std::make_shared<RankDelta>(Packed(path, std::move(manifest), std::move(file)));
}

}  // namespace taskvec::formats
