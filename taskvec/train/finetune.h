#pragma once

#include "taskvec/bridge/precision.h"
#include "taskvec/data/dataset.h"
#include "taskvec/models/clip.h"

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace taskvec::train {

/// What is trained: the network, or its linearisation at the model that training starts from (taskvec/tangent).
enum class Mode { Standard, Linear };
std::string_view name(Mode mode);  ///< "standard", "linear"

/// The papers' recipe; the defaults are theirs scaled for the pocket model (experiments: AdamW, cosine with warm-up, clip 1.0).
struct FinetuneOptions {
  Mode mode = Mode::Standard;
  std::string only = "*";  ///< glob of the parameters that move, e.g. "*.self_attn.*"
  int64_t lora = 0;        ///< rank of adapters that move in place of the blocks' matrices (train/moves.h); 0: none
  std::optional<uint64_t> from_random = {};    ///< start from an image encoder that is initialised with this seed
  std::vector<data::Task> penalty_tasks = {};  ///< whose images, without labels, τ shall not move the outputs on (linear mode)
  double penalty = 0.1;                        ///< weight of jvp_penalty() on them
  int64_t steps = 300, batch = 128, warmup = 20;
  double learning_rate = 3e-4, weight_decay = 0.1, clip = 1.0, label_smoothing = 0.0;
  uint64_t seed = 0;
  int64_t save_steps = 0;      ///< also keep OUT/checkpoints/step-N every so many steps; 0: none
  int64_t resume_every = 100;  ///< steps between the snapshots that a killed run resumes from
  std::string device = "cpu";  ///< "cpu", "cuda", "cuda:1"
  bridge::Precision precision = bridge::Precision::Float32;
  int64_t micro_batch = 0;              ///< images at a time, whose gradients are added up to the batch's; 0: the whole batch
  bool checkpoint_activations = false;  ///< of the blocks: less memory, a third more time, the same bits
  bool force = false;                   ///< start anew over a finished run
  bool quiet = false;
  std::function<void(int64_t step, double loss)> on_step;  ///< called after each step, counted from 1; may throw to stop
};

struct FinetuneResult {
  double final_loss = 0;  ///< mean over the last 20 steps
  double seconds = 0;     ///< of this process
  int64_t steps = 0;
  bool already_done = false;
};

/// Fine-tunes the image encoder of a CLIP on the train split of a task under its frozen zero-shot head and writes `output` as a
/// complete Hugging Face folder with run.json and metrics.jsonl, in the dtypes of the model. Killed runs resume from their last
/// snapshot with the same bytes as a run without interruption (same machine, thread count and device). Weights and optimiser are
/// float32 in every precision.
///
/// From a random image encoder the start is written to OUT/origin, the base of the task vector; one seed gives one origin. With
/// adapters the output has them merged.
///
/// In linear mode θ0 + τ is trained as f_lin(x; θ0 + τ) and written as an ordinary checkpoint whose metadata say so:
/// taskvec.mode = linear, taskvec.finetuned_from = the fingerprint of θ0.
/// @throws Error{Numeric} when the loss is not finite (naming the step), Error{InvalidArgument} for options out of range and for
///         an output folder that holds something else, Error as the loaders do.
FinetuneResult finetune(const std::filesystem::path& model, const data::Task& task, const std::filesystem::path& output,
                        const FinetuneOptions& options);

}  // namespace taskvec::train
