#pragma once

#include "taskvec/formats/checkpoint.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace taskvec::edit {

/// Metadata by which a checkpoint says that its weights mean a point of a linearised network, and whose: "linear", and the
/// fingerprint of θ0. Whatever writes a sum of such points has to say so, too: as an ordinary network they score otherwise.
inline constexpr const char* kModeKey = "taskvec.mode";
inline constexpr const char* kOriginKey = "taskvec.finetuned_from";
inline constexpr std::string_view kLinear = "linear";

/// How an edit's result is meant.
enum class Mode {
  Auto,      ///< as its sources are
  Standard,  ///< as an ordinary network, whatever they are
  Linear     ///< as a point of their tangent space, whatever else takes part
};

/// The fingerprint of θ0 where the sources are points and task vectors of one tangent space, θ0 itself among them or not; empty
/// where none is.
/// @param names  how messages call the sources
/// @throws Error{InvalidArgument} where sources belong to different θ0, or ordinary models take part that are not θ0 (Mode::Auto)
std::string tangent_origin(const std::vector<std::shared_ptr<const formats::Checkpoint>>& sources,
                           const std::vector<std::string>& names, Mode mode);

/// Of one checkpoint: the fingerprint of its θ0; empty where it is an ordinary one.
std::string tangent_origin(const formats::Checkpoint& checkpoint);

}  // namespace taskvec::edit
