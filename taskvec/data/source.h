#pragma once

#include "taskvec/data/dataset.h"

#include <yaml-cpp/yaml.h>

namespace taskvec::data {

/// A kind of place that samples come from: the word under `source:` in a task file. To add one, write these functions in a file
/// of its own and name them in source.cpp.
struct SourceKind {
  std::string_view name;
  /// Checks the settings, and fills in classes where the source knows them. @throws Error
  void (*check)(Task& task, const YAML::Node& settings);
  /// What is missing on this machine, or "".
  std::string (*missing)(const Task& task, const YAML::Node& settings);
  std::shared_ptr<const Dataset> (*open)(const Task& task, const YAML::Node& settings, Split split);
  /// A test split without a class is a mistake; not where chance decides (a rare script whose font families all train).
  bool test_has_every_class = true;
};

std::span<const SourceKind> source_kinds();
/// @throws Error{Format} when the task has none of these names
const SourceKind& source_kind(const std::string& name);

// idx.cpp, image_folder.cpp, webdataset.cpp, glyphs.cpp
extern const SourceKind kIdx, kImageFolder, kWebDataset, kGlyphs;

/// A string from the settings. @throws Error{Format} naming task file, line and key
std::string required_text(const Task& task, const YAML::Node& settings, const char* key);
std::vector<std::string> required_list(const Task& task, const YAML::Node& settings, const char* key);
/// @throws Error{Format} for a key that is not allowed, with the nearest
void check_keys(const Task& task, const YAML::Node& map, const std::vector<std::string>& allowed);
[[noreturn]] void bad_task(const Task& task, const YAML::Node& where, const std::string& why);

/// A path of a task file: as it is when absolute, else beside the task file, else under data_dir().
std::filesystem::path resolve(const Task& task, const std::string& path);
/// How to get the data, from the settings' `get:`; or a general advice.
std::string how_to_get(const YAML::Node& settings);

/// Bytes of a file of samples. @throws Error{NotFound | Io} where it is none: pipes and devices would never end
uint64_t regular_file_size(const std::filesystem::path& file);

/// Part of a data set: sample i is sample indices[i].
std::shared_ptr<const Dataset> subset(std::shared_ptr<const Dataset> all, std::vector<int64_t> indices, std::string_view why);
/// For sources with files for train and test: val is 10 % of train.
std::shared_ptr<const Dataset> take_split(std::shared_ptr<const Dataset> file, Split split);

}  // namespace taskvec::data
