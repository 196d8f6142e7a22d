#pragma once

#include "taskvec/formats/checkpoint.h"

#include <string>
#include <vector>

namespace taskvec::edit {

/// A source under the names of the base.
struct Aligned {
  std::shared_ptr<const formats::Checkpoint> checkpoint;
  std::vector<std::string> notes;  ///< what was done, in words, for people; empty where nothing was
};

/// Undoes what programs do to all names of a checkpoint, where it is unambiguous: wrappers in any place and order (`module.`,
/// `_orig_mod.`, FSDP's and others), and a prefix that all names of one side have while no name is shared (Lightning's attribute,
/// `model.` of a model with a head). Only where more names and shapes agree with `like` afterwards.
/// @param label  how messages call the checkpoint
Aligned align_names(std::shared_ptr<const formats::Checkpoint> checkpoint, const formats::Checkpoint& like,
                    const std::string& label);

/// Whether a tensor holds nothing that was learned, by its name: position ids, rotary frequencies, causal masks. Integers hold
/// nothing that arithmetic applies to either.
bool is_constant_buffer(const formats::TensorEntry& entry);

/// In words, why two checkpoints share no names: the prefix that one of them has, or examples of both.
std::string names_differ(const formats::Checkpoint& a, const formats::Checkpoint& b);

}  // namespace taskvec::edit
