#pragma once

#include <filesystem>

namespace taskvec {

/// Built-in tasks, fonts list and the pocket CLIP: $TASKVEC_ASSETS, else `assets` beside the source tree of the running program
/// (../../assets from build/release/), else ../share/taskvec. @throws Error{NotFound} naming the places that were tried.
std::filesystem::path assets_dir();

/// Data sets that the set-up installs: $TASKVEC_DATA, else `.data` beside assets_dir(). Need not exist.
std::filesystem::path data_dir();

/// Things that can be made again: $TASKVEC_CACHE, else $XDG_CACHE_HOME/taskvec, else ~/.cache/taskvec; empty where none of
/// these is set. Need not exist.
std::filesystem::path cache_dir();

}  // namespace taskvec
