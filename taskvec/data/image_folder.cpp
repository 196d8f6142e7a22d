#include "taskvec/core/console.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/files/inside.h"
#include "taskvec/core/files/mapped_file.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/data/source.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <set>

namespace taskvec::data {
namespace {

namespace fs = std::filesystem;

/// Hidden entries, and what archives of other systems leave behind.
bool is_hidden(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.front() == '.' || name == "__MACOSX";
}

bool is_image(const fs::path& path) {
  const std::string extension = path.extension().string();
  return !extension.empty() && is_image_extension(std::string_view(extension).substr(1));
}

struct Sample {
  fs::path path;
  int64_t label;
};

/// FOLDER/<class>/<image>: files in the order of their names.
class FolderDataset final : public Dataset {
 public:
  explicit FolderDataset(std::vector<Sample> samples) : samples_(std::move(samples)) {}
  int64_t size() const override { return static_cast<int64_t>(samples_.size()); }
  int64_t label(int64_t index) const override { return samples_[static_cast<size_t>(index)].label; }
  Image image(int64_t index) const override {
    const fs::path& path = samples_[static_cast<size_t>(index)].path;
    return decode_image(MappedFile::open(path)->bytes(), path.string());
  }
  std::string fingerprint() const override {
    Fingerprint key;
    for (const Sample& sample : samples_) key.update(MappedFile::open(sample.path)->bytes()).update(std::to_string(sample.label));
    return key.hex();
  }

 private:
  std::vector<Sample> samples_;
};

std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> result;
  for (const auto& entry : fs::directory_iterator(folder))
    if (!is_hidden(entry.path())) result.push_back(entry.path());
  std::sort(result.begin(), result.end());
  return result;
}

std::vector<std::string> sub_folders(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::path& path : entries(folder))
    if (fs::is_directory(path)) names.push_back(path.filename().string());
  return names;
}

/// What two names have in common that are one class's: "Sea_Lion" and "sea lion".
std::string spelling(std::string_view name) {
  std::string text(name);
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return c == '_' || c == '-' ? ' ' : static_cast<char>(std::tolower(c)); });
  return text;
}

/// "houses = fish", ...: what belongs together in the order of both lists.
std::string pairing(const std::vector<std::string>& folders, const std::vector<std::string>& classes) {
  constexpr size_t kShown = 8;
  const size_t count = std::min(folders.size(), classes.size());
  std::vector<std::string> pairs;
  for (size_t i = 0; i < std::min(kShown, count); ++i) pairs.push_back(fmt::format("{} = {}", folders[i], classes[i]));
  return fmt::format("{}{}", fmt::join(pairs, ", "), count > kShown ? ", ..." : "");
}

/// A folder for each class, by name; in the order of their names where the classes have none of the folders' names (WordNet ids,
/// say) and are as many, which is said. @throws Error{Format} printing that pairing where only some names are the same
std::vector<std::string> join_by_name(const Task& task, const YAML::Node& settings, const std::vector<std::string>& folders) {
  std::map<std::string, std::string> by_spelling;
  for (const std::string& folder : folders) by_spelling.emplace(spelling(folder), folder);
  std::vector<std::string> joined;
  std::string without;
  for (const std::string& label : task.classes) {
    const auto close = by_spelling.find(spelling(label));
    if (std::find(folders.begin(), folders.end(), label) != folders.end()) {
      joined.push_back(label);
    } else if (close != by_spelling.end()) {
      joined.push_back(close->second);
    } else if (without.empty()) {
      without = label;
    }
  }
  const bool different = std::set<std::string>(joined.begin(), joined.end()).size() == joined.size();
  if (without.empty() && different && joined.size() == folders.size()) return joined;
  if (joined.empty() && folders.size() == task.classes.size()) {
    warn("task '{}': no folder has the name of a class; they are taken in order: {}. 'folders: [...]' says which is which",
         task.name, pairing(folders, task.classes));
    return folders;
  }
  bad_task(
      task, settings,
      fmt::format("{} class folders and {} classes do not go by the same names ({}). In the order of their names they would be: "
                  "{}. Say which is which with 'folders: [...]', in the order of the classes",
                  folders.size(), task.classes.size(),
                  without.empty() ? "some folders are no class" : fmt::format("no folder is called '{}'", without),
                  pairing(folders, task.classes)));
}

/// Sub-folder names in label order: `folders:` of the task file, else those of the train folder whose names the classes have.
std::vector<std::string> class_folders(const Task& task, const YAML::Node& settings) {
  if (settings["folders"]) return required_list(task, settings, "folders");
  return join_by_name(task, settings, sub_folders(resolve(task, required_text(task, settings, "train"))));
}

void check(Task& task, const YAML::Node& settings) {
  check_keys(task, settings, {"train", "test", "folders", "get"});
  const fs::path train = resolve(task, required_text(task, settings, "train"));
  required_text(task, settings, "test");
  if (task.classes.empty()) {
    if (settings["folders"]) {
      task.classes = required_list(task, settings, "folders");
    } else if (fs::is_directory(train)) {
      task.classes = sub_folders(train);
    } else {
      bad_task(task, settings,
               fmt::format("without 'classes' they are the folders of {}, which is missing; {}", train.string(),
                           how_to_get(settings)));
    }
  }
  if (settings["folders"] && class_folders(task, settings).size() != task.classes.size()) {
    bad_task(task, settings["folders"],
             fmt::format("{} folders for {} classes", class_folders(task, settings).size(), task.classes.size()));
  }
}

std::string missing(const Task& task, const YAML::Node& settings) {
  for (const char* split : {"train", "test"}) {
    const fs::path folder = resolve(task, required_text(task, settings, split));
    if (!fs::is_directory(folder)) return fmt::format("the folder {} is missing; {}", folder.string(), how_to_get(settings));
  }
  return "";
}

std::shared_ptr<const Dataset> open(const Task& task, const YAML::Node& settings, Split split) {
  const fs::path folder = resolve(task, required_text(task, settings, split == Split::Test ? "test" : "train"));
  const auto names = class_folders(task, settings);
  std::vector<Sample> samples;
  int64_t unused = 0;
  fs::path first_unused;
  for (size_t label = 0; label < names.size(); ++label) {
    if (!fs::is_directory(folder / names[label])) {
      fail(ErrorCode::NotFound, "task '{}': the class '{}' has no images: there is no folder {}", task.name, task.classes[label],
           (folder / names[label]).string());
    }
    inside(folder, names[label]);  // a data set may come from anybody: links in it stay in it
    for (const fs::path& path : entries(folder / names[label])) {
      inside(folder, (fs::path(names[label]) / path.filename()).string());
      if (is_image(path) && fs::is_regular_file(path)) {
        samples.push_back({path, static_cast<int64_t>(label)});
      } else if (unused++ == 0) {
        first_unused = path;
      }
    }
  }
  for (const std::string& other : sub_folders(folder)) {
    if (std::find(names.begin(), names.end(), other) == names.end() && unused++ == 0) first_unused = folder / other;
  }
  if (unused > 0)
    note("{}: {} files and folders are no images ({}) of a class and were not used, e.g. {}", folder.string(), unused,
         fmt::join(kImageExtensions, ", "), first_unused.string());
  if (samples.empty())
    fail(ErrorCode::Format, "{}: no images ({}) in its class folders", folder.string(), fmt::join(kImageExtensions, ", "));
  return take_split(std::make_shared<FolderDataset>(std::move(samples)), split);
}

}  // namespace

const SourceKind kImageFolder{"folder", check, missing, open, true};

}  // namespace taskvec::data
