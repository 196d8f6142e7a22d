#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace YAML {
class Node;
}

namespace taskvec::data {

enum class Split { Train, Val, Test };
std::string_view name(Split split);  ///< "train", "val", "test"

/// A task is one YAML file: where the samples are, what the classes are called, prompt templates, splits, metric.
struct Task {
  std::string name;  ///< file name without extension
  std::string description;
  std::filesystem::path file;          ///< the YAML file
  std::vector<std::string> classes;    ///< label -> class name (glyph tasks: filled from Unicode names)
  std::vector<std::string> templates;  ///< each holds `{}` once
  std::string metric = "accuracy";
  std::string source;  ///< "idx", "folder", "webdataset", "glyphs"
  /// The source's own settings, checked; nodes know their lines in the file.
  std::shared_ptr<const YAML::Node> settings;
};

/// Reads and checks a task file. `name_or_path`: a built-in name (assets/tasks/NAME.yaml), a path ending in .yaml/.yml.
/// @throws Error naming file and line: unknown key (nearest suggested), template without `{}`, duplicate or empty classes, ...
Task load_task(const std::string& name_or_path);

/// Names of the built-in tasks, sorted.
std::vector<std::string> builtin_tasks();

/// Everything that a task says, as text that is another where any of it is.
std::string task_key(const Task& task);

/// "" when the samples of the task are here; else what is missing and how to get it.
std::string missing(const Task& task);

}  // namespace taskvec::data
