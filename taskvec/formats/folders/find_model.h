#pragma once

#include <filesystem>
#include <string>

namespace taskvec::formats {

/// Where a model lies that somebody named: a path; a built-in model ("pocket-clip"); or a Hugging Face id ("org/name", also with
/// "@revision": a branch, tag or commit) in the local cache, as huggingface_hub keeps it: $HF_HUB_CACHE, else $HF_HOME/hub, else
/// ~/.cache/huggingface/hub. A path comes first; of a cache's own folder (models--org--name) it is the newest snapshot. Nothing
/// is ever downloaded.
/// @throws Error{NotFound} saying what was tried; for an id, the command that fetches it
std::filesystem::path find_model(const std::string& name);

}  // namespace taskvec::formats
