#pragma once

#include "taskvec/models/clip.h"

#include <functional>

namespace taskvec::eval {

/// How the task vectors of several models lie to each other: tau_i = model_i - base.
struct TaskVectorGeometry {
  std::vector<std::string> names;
  std::vector<double> norms;                 ///< |tau_i|
  std::vector<std::vector<double>> dots;     ///< <tau_i, tau_j>
  std::vector<std::vector<double>> cosines;  ///< NaN where one of the two is zero
};

/// Sums in float64, a slice of a tensor at a time: memory does not grow with the models.
/// @param models   name -> parameters, in the order of the result
/// @param include  which tensors take part; the image encoder's by default
/// @throws Error{NotFound | InvalidArgument} naming model and tensor when one lacks a tensor of the base or has it in another
/// shape
TaskVectorGeometry task_vector_geometry(const bridge::Params& base,
                                        const std::vector<std::pair<std::string, bridge::Params>>& models,
                                        const std::function<bool(std::string_view)>& include = models::Clip::is_image_encoder);

/// The image encoder's parameters in groups, in the network's order: "layer 0", ..., "around the layers", "projection".
std::vector<std::pair<std::string, std::vector<std::string>>> layer_groups(const models::Clip& network);

}  // namespace taskvec::eval
