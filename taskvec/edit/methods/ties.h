#pragma once

#include "taskvec/edit/methods/method.h"

namespace taskvec::edit {

/// TIES (Yadav et al. 2023): of each task vector the largest elements are kept, for every element a sign is elected, and the
/// vectors that agree with it are averaged. Parameters: `density`, the share that is kept; `normalize`, the mean rather than the
/// sum; `semantics`:
///
/// paper (the authors' program): one threshold over the whole model, and all that is as large as the (n - int(density n))-th
/// smallest magnitude is kept; the sign is that of the sum, or where that is 0 the sign of most elements of the whole model.
///
/// mergekit (0.1.5): a threshold per tensor, max(1, int(density n)) elements, of equal ones the first; `weight` scales a vector
/// before the election; a sum of 0 elects +; the mean divides by the sum of the weights that took part; `rescale` brings the L1
/// norm back that trimming took.
///
/// Sums are made in float64.
extern const Method kTies;

}  // namespace taskvec::edit
