#pragma once

#include "taskvec/formats/checkpoint.h"
#include "taskvec/formats/lora/lora_config.h"

namespace taskvec::formats {

/// The two factors of one changed tensor: change = scale * B * A, transposed where `transposed` says so.
struct LoraFactors {
  std::string module;              ///< in the base model, e.g. "model.layers.0.self_attn.q_proj"
  const TensorEntry* a = nullptr;  ///< [rank, in] or, of a convolution, [rank, in, ...kernel]
  const TensorEntry* b = nullptr;  ///< [out, rank] or, of a convolution, [out, rank, 1, ...]
  int64_t rank = 0;
  double scale = 0;         ///< alpha/rank, or alpha/sqrt(rank)
  bool embedding = false;   ///< A and B are called lora_embedding_A and lora_embedding_B
  bool transposed = false;  ///< the base's tensor is [in, out]: embeddings, and matrices with fan_in_fan_out
};

/// A PEFT LoRA adapter as a task vector: its manifest lists the tensors of the base that it changes, each float32, made of the
/// factors range by range, never as a whole: sums over the rank in float64, in order, scaled and rounded once.
class LoraAdapter : public Checkpoint {
 public:
  /// @param factors  of manifest.tensors, in their order, pointing into `weights`
  LoraAdapter(std::filesystem::path path, Manifest manifest, std::shared_ptr<const Checkpoint> weights,
              std::vector<LoraFactors> factors, LoraConfig config);

  const std::vector<LoraFactors>& factors() const& { return factors_; }
  const Checkpoint& weights() const& { return *weights_; }  ///< the file of the factors
  const LoraConfig& config() const& { return config_; }
  std::filesystem::path config_path() const { return path() / "adapter_config.json"; }

  void check_unchanged() const override;

 private:
  void make(const TensorEntry& entry, uint64_t offset, std::span<std::byte> out) const override;

  std::shared_ptr<const Checkpoint> weights_;
  std::vector<LoraFactors> factors_;
  LoraConfig config_;
};

/// True for a folder that PEFT's save_pretrained() wrote.
bool is_lora(const std::filesystem::path& folder);

/// @throws Error{Format | NotFound | Unsupported} naming the file, the tensor and the rule: factors come in pairs whose shapes
/// agree with each other and with the rank that the config says, and nothing else is in the file but the base layer's copy that
/// PEFT saves beside the factors of an embedding, which is not looked at.
/// Source: peft 0.21, get_delta_weight() in tuners/lora/layer.py and utils/save_and_load.py.
std::shared_ptr<const Checkpoint> open_lora(const std::filesystem::path& folder);

}  // namespace taskvec::formats
