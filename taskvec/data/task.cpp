#include "taskvec/data/task.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/files/paths.h"
#include "taskvec/data/source.h"

#include <algorithm>
#include <set>

namespace taskvec::data {
namespace {

namespace fs = std::filesystem;

fs::path find_task_file(const std::string& name_or_path) {
  if (name_or_path.ends_with(".yaml") || name_or_path.ends_with(".yml")) {
    if (!fs::is_regular_file(name_or_path)) fail(ErrorCode::NotFound, "{}: no such task file", name_or_path);
    return name_or_path;
  }
  const auto names = builtin_tasks();
  if (!std::binary_search(names.begin(), names.end(), name_or_path)) {
    fail(ErrorCode::NotFound, "unknown task '{}'{}; built in: {}; or give the path of a task file (.yaml)", name_or_path,
         did_you_mean(name_or_path, names), fmt::join(names, ", "));
  }
  return assets_dir() / "tasks" / (name_or_path + ".yaml");
}

void check_templates(const Task& task, const YAML::Node& where) {
  for (const std::string& text : task.templates) {
    const size_t hole = text.find("{}");
    if (hole == std::string::npos || text.find("{}", hole + 1) != std::string::npos) {
      bad_task(task, where, fmt::format("the template '{}' needs {{}} once, where the class name goes", text));
    }
  }
}

void check_classes(const Task& task, const YAML::Node& where) {
  std::set<std::string> seen;
  for (const std::string& text : task.classes) {
    if (text.empty()) bad_task(task, where, "a class without a name");
    if (!seen.insert(text).second) bad_task(task, where, fmt::format("the class '{}' is there twice", text));
  }
  if (task.classes.size() < 2) bad_task(task, where, fmt::format("{} classes, expected 2 or more", task.classes.size()));
}

constexpr uint64_t kMaxTaskBytes = uint64_t{1} << 20;
constexpr int kMaxDepth = 64;  // of brackets: yaml-cpp takes memory for each that is open

/// Whether brackets are nested deeper than any task file's. Those in texts are counted, too: they come in pairs.
bool too_deep(std::string_view text) {
  int depth = 0;
  for (const char c : text) {
    depth += c == '[' || c == '{' ? 1 : c == ']' || c == '}' ? -1 : 0;
    if (depth > kMaxDepth) return true;
  }
  return false;
}

YAML::Node parse(const fs::path& file) {
  const std::string text = read_file(file, kMaxTaskBytes);
  if (too_deep(text)) fail(ErrorCode::Format, "{}: brackets are nested more than {} levels deep", file.string(), kMaxDepth);
  if (text.find('&') != std::string::npos && text.find('*') != std::string::npos) {
    fail(ErrorCode::Format, "{}: YAML anchors are not allowed in task files", file.string());
  }
  return YAML::Load(text);
}

Task read_task(const fs::path& file) {
  Task task;
  task.file = file;
  task.name = file.stem().string();
  const YAML::Node root = parse(file);
  if (!root.IsMap()) bad_task(task, root, "a task file is a map of keys");
  check_keys(task, root, {"description", "source", "classes", "templates", "metric"});
  if (root["description"]) task.description = root["description"].as<std::string>();

  const YAML::Node source = root["source"];
  if (!source || !source.IsMap() || source.size() != 1) {
    bad_task(task, source ? source : root,
             "'source' is a map with one key, the kind of source (idx, folder, webdataset, glyphs)");
  }
  task.source = source.begin()->first.as<std::string>();
  const YAML::Node settings = source.begin()->second;
  task.settings = std::make_shared<const YAML::Node>(settings);
  if (root["classes"]) task.classes = required_list(task, root, "classes");
  task.templates = root["templates"] ? required_list(task, root, "templates") : std::vector<std::string>{"{}"};
  if (root["metric"]) task.metric = root["metric"].as<std::string>();
  if (task.metric != "accuracy")
    bad_task(task, root["metric"], fmt::format("unknown metric '{}'; expected accuracy", task.metric));
  check_templates(task, root["templates"]);
  source_kind(task.source).check(task, settings);
  check_classes(task, root["classes"]);
  return task;
}

}  // namespace

std::string_view name(Split split) { return split == Split::Train ? "train" : split == Split::Val ? "val" : "test"; }

Task load_task(const std::string& name_or_path) {
  const fs::path file = find_task_file(name_or_path);
  try {
    return read_task(file);
  } catch (const YAML::Exception& error) {
    fail(ErrorCode::Format, "{}:{}: {}", file.string(), error.mark.line + 1, error.msg);
  } catch (const Error& error) {
    const std::string text = error.what();
    if (text.find(file.string()) != std::string::npos) throw;
    throw Error(error.code(), file.string() + ": " + text);
  }
}

std::vector<std::string> builtin_tasks() {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(assets_dir() / "tasks", none)) {
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string task_key(const Task& task) {
  std::string key = task.file.string() + '\0' + task.name + '\0' + task.source + '\0' + YAML::Dump(*task.settings);
  for (const auto* list : {&task.classes, &task.templates}) {
    for (const std::string& text : *list) key += '\0' + text;
    key += '\1';
  }
  return key;
}

std::string missing(const Task& task) { return source_kind(task.source).missing(task, *task.settings); }

std::shared_ptr<const Dataset> open_dataset(const Task& task, Split split, int64_t limit) {
  const YAML::Node& settings = *task.settings;
  const SourceKind& kind = source_kind(task.source);
  if (const std::string lack = kind.missing(task, settings); !lack.empty()) {
    fail(ErrorCode::NotFound, "task '{}': {}", task.name, lack);
  }
  std::shared_ptr<const Dataset> data = kind.open(task, settings, split);
  if (data->size() == 0) fail(ErrorCode::Format, "task '{}': the {} split is empty", task.name, name(split));
  if (split == Split::Train || (split == Split::Test && kind.test_has_every_class)) {  // a small val split may lack a class
    std::vector<bool> seen(task.classes.size());
    for (int64_t i = 0; i < data->size(); ++i) seen[static_cast<size_t>(data->label(i))] = true;
    for (size_t c = 0; c < seen.size(); ++c) {
      if (!seen[c])
        fail(ErrorCode::Format, "task '{}': the class '{}' has no images in the {} split", task.name, task.classes[c],
             name(split));
    }
  }
  if (limit <= 0 || limit >= data->size()) return data;
  std::vector<int64_t> order = epoch_order(data->size(), 0, 0);
  order.resize(static_cast<size_t>(limit));
  std::sort(order.begin(), order.end());
  return subset(std::move(data), std::move(order), "limit");
}

}  // namespace taskvec::data
