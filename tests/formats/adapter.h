#pragma once

#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/random.h"
#include "taskvec/formats/writer.h"

#include <cstring>
#include <string>
#include <vector>

namespace taskvec::testing_adapters {

struct Factor {
  std::string name;
  Shape shape;
  Dtype dtype = Dtype::F32;
};

/// A file of float32 normal numbers (bfloat16: truncated), different for every name and seed.
inline void write_tensors(const std::filesystem::path& file, const std::vector<Factor>& tensors, uint64_t seed) {
  formats::OutputLayout layout;
  for (const auto& tensor : tensors) layout.tensors.push_back({tensor.name, {tensor.dtype, tensor.shape}, 0});
  layout.metadata = {{"format", "pt"}};
  formats::CheckpointWriter writer(file, layout);
  for (size_t t = 0; t < tensors.size(); ++t) {
    const Philox random(seed, tensors[t].name);
    const auto bytes = writer.tensor(t);
    const auto item = static_cast<size_t>(itemsize(tensors[t].dtype));
    for (size_t i = 0; i < bytes.size() / item; ++i) {
      const auto value = static_cast<float>(random.normal(i));
      std::memcpy(bytes.data() + i * item, reinterpret_cast<const char*>(&value) + 4 - std::min<size_t>(item, 4), item);
    }
  }
  writer.commit();
}

/// A PEFT folder. @param options  of adapter_config.json beside peft_type, r and lora_alpha, e.g. R"("use_dora": true)"
inline std::filesystem::path write_adapter(const std::filesystem::path& folder, const std::vector<Factor>& factors,
                                           const std::string& options = "", uint64_t seed = 1) {
  std::filesystem::create_directory(folder);
  write_tensors(folder / "adapter_model.safetensors", factors, seed);
  write_file_atomically(folder / "adapter_config.json",
                        R"({"peft_type": "LORA", "base_model_name_or_path": "base", "r": 4, "lora_alpha": 8, "bias": "none")" +
                            (options.empty() ? "" : ", " + options) + "}\n");
  return folder;
}

/// A float tensor of a checkpoint as float64.
inline std::vector<double> values(const formats::Checkpoint& checkpoint, const std::string& name) {
  const auto tensor = checkpoint.tensor(name);
  const auto bytes = tensor.view.bytes;
  std::vector<double> out(static_cast<size_t>(tensor.view.info.numel()));
  for (size_t i = 0; i < out.size(); ++i) {
    float value = 0;
    if (tensor.view.info.dtype == Dtype::BF16) {
      std::memcpy(reinterpret_cast<char*>(&value) + 2, bytes.data() + 2 * i, 2);
    } else {
      std::memcpy(&value, bytes.data() + 4 * i, 4);
    }
    out[i] = value;
  }
  return out;
}

/// s * sum_k B[r, k] * A[k, c], row-major, by the definition. @param a  [rank, in] @param b  [out, rank]
inline std::vector<double> dense(const std::vector<double>& a, const std::vector<double>& b, size_t rank, double scale) {
  const size_t in = a.size() / rank, out = b.size() / rank;
  std::vector<double> product(out * in);
  for (size_t r = 0; r < out; ++r)
    for (size_t c = 0; c < in; ++c) {
      for (size_t k = 0; k < rank; ++k) product[r * in + c] += b[r * rank + k] * a[k * in + c];
      product[r * in + c] *= scale;
    }
  return product;
}

}  // namespace taskvec::testing_adapters
