#pragma once

#include "taskvec/data/task.h"
#include "taskvec/models/clip.h"

#include <filesystem>

namespace taskvec::train {

struct PretrainOptions {
  int64_t steps = 6000, batch = 256, warmup = 100;
  double learning_rate = 1e-3, weight_decay = 0.05, clip = 1.0;
  int64_t merges = 400;      ///< of the tokenizer learned from the class names
  int64_t train_images = 0;  ///< limit; 0: all
  double augment = 1.0;      ///< strength of the random maps: the default ranges times this
  uint64_t seed = 0;
  std::string device = "cpu";  ///< "cpu", "cuda", "cuda:1"
  bool force = false;
};

/// Trains a pocket CLIP from scratch on the train split of a task whose classes have many names (glyphs): image encoder and text
/// encoder together, cross entropy of every image against all class names, random affine maps as augmentation. Writes a complete
/// Hugging Face CLIP folder (config, weights, tokenizer, preprocessor) with run.json and metrics.jsonl; resumes after a kill.
void pretrain(const models::ClipConfig& config, const data::Task& task, const std::filesystem::path& output,
              const PretrainOptions& options);

/// 28x28, patch 7, vision 4 x 128, text 2 x 64: 0.97 M parameters, a folder below 4 MB.
models::ClipConfig pocket_config();

}  // namespace taskvec::train
