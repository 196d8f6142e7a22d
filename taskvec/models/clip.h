#pragma once

#include "taskvec/models/dual.h"
#include "taskvec/models/network.h"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <span>

namespace taskvec::models {

enum class Activation { QuickGelu, Gelu, GeluTanh };

/// One tower of CLIP, in the words of config.json.
struct ClipTowerConfig {
  int64_t hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0, num_attention_heads = 0;
  double layer_norm_eps = 1e-5;
  Activation hidden_act = Activation::QuickGelu;
};

struct ClipConfig {
  ClipTowerConfig vision, text;
  int64_t image_size = 224, patch_size = 32, num_channels = 3;
  int64_t vocab_size = 49408, max_position_embeddings = 77, eos_token_id = 49407, bos_token_id = 49406, pad_token_id = 49407;
  int64_t projection_dim = 512;
  double logit_scale_init_value = 2.6592;

  /// From config.json of a Hugging Face CLIP (any size; missing keys have transformers' defaults).
  /// @throws Error{Unsupported} when model_type is not "clip" (naming `path` and the type), Error{Format} for values out of
  /// range.
  static ClipConfig from_json(const nlohmann::json& json, const std::filesystem::path& path);
  nlohmann::json to_json() const;  ///< a complete config.json that transformers loads
};

/// CLIP (Radford et al. 2021) as pure functions of Hugging Face parameters: vision_model.*, text_model.*,
/// visual_projection.weight, text_projection.weight, logit_scale. Autograd flows through every parameter that requires it.
class Clip {
 public:
  explicit Clip(ClipConfig config);
  const ClipConfig& config() const { return config_; }
  const ParamSpec& params() const { return spec_; }  ///< every parameter, in transformers' order

  /// Of the image encoder's blocks: keep their inputs alone for the reverse pass, and compute the rest again there. Less memory,
  /// a third more time, the same bits.
  void checkpoint_activations(bool on) { checkpoint_activations_ = on; }

  /// @param pixels  [batch, channels, image_size, image_size], normalised, in the dtype of the parameters
  /// @return        [batch, projection_dim], not L2-normalised
  at::Tensor image_features(const bridge::Params& params, const at::Tensor& pixels) const {
    return image_features(params, {}, pixels).primal;
  }
  /// @param ids  [batch, length <= max_position_embeddings] int64. Causal; pooled at the first eos token (at the largest id for
  /// old
  ///             configs with eos_token_id 2, as transformers does).
  /// @return     [batch, projection_dim], not L2-normalised
  at::Tensor text_features(const bridge::Params& params, const at::Tensor& ids) const {
    return text_features(params, {}, ids).primal;
  }

  /// The same, with the derivatives along directions of weight space. @param directions  name -> tangent; names that one lacks
  /// do not move.
  Dual image_features(const bridge::Params& params, std::span<const bridge::Params> directions, const at::Tensor& pixels) const;
  Dual text_features(const bridge::Params& params, std::span<const bridge::Params> directions, const at::Tensor& ids) const;
  /// Hidden states after each block, for tests and analysis; element 0 is after the embedding and pre layer norm.
  std::vector<at::Tensor> vision_hidden_states(const bridge::Params& params, const at::Tensor& pixels) const;

  /// True for the parameters that fine-tuning the image encoder changes: vision_model.* and visual_projection.weight.
  static bool is_image_encoder(std::string_view name);

  /// Random parameters as transformers initialises them, from Philox streams named after the parameters.
  bridge::Params initialise(uint64_t seed) const;

 private:
  ClipConfig config_;
  ParamSpec spec_;
  bool checkpoint_activations_ = false;
};

/// A CLIP folder in Hugging Face layout, opened and checked: config.json, weights, preprocessor and tokenizer files.
struct ClipModel {
  std::filesystem::path path;
  std::shared_ptr<const formats::Checkpoint> checkpoint;
  Clip network;
  bridge::Params params;  ///< zero-copy views; NaN weights are an error that names the tensor
};

/// @throws Error naming the file: no config.json, non-CLIP config, missing or misshapen tensors, NaN weights.
ClipModel open_clip(const std::filesystem::path& folder);

}  // namespace taskvec::models
