#pragma once

#include "taskvec/eval/edited_clip.h"

#include <optional>

namespace taskvec::eval {

/// How a model is evaluated.
enum class Mode {
  Auto,      ///< linear where a source was trained so (metadata taskvec.mode), standard otherwise
  Standard,  ///< the network at the model's weights
  Linear     ///< its linearisation at θ0; of vectors that were trained in standard mode this is post-hoc linearisation
};

/// "auto", "standard", "linear" or "posthoc" (another word for linear). @throws Error{InvalidArgument} for anything else
Mode parse_mode(std::string_view text);

/// θ0 of a linearised network, and where it was found.
struct Origin {
  bridge::Params params;  ///< on the model's device
  std::string path;       ///< for people and records
};

/// θ0 of the linearised network that `model` is evaluated as; nothing where it is the network itself.
///
/// Sources that were trained in linear mode say which θ0 they belong to (taskvec.finetuned_from, a fingerprint). It is looked for
/// in `given`, among the sources, and where the source's run.json says that it was. Without such sources it is `given` or else
/// the expression's base.
/// @throws Error{InvalidArgument} naming both where sources belong to different origins or `given` is another one,
/// Error{NotFound}
///         where θ0 is nowhere
std::optional<Origin> linear_origin(const EditedClip& model, Mode mode, const std::filesystem::path& given = {});

}  // namespace taskvec::eval
