#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/files/mapped_file.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/data/source.h"

#include <algorithm>

namespace taskvec::data {
namespace {

namespace fs = std::filesystem;

bool is_image(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg";
}

struct Sample {
  fs::path path;
  int64_t label;
};

/// FOLDER/<class>/<image>, as torchvision's ImageFolder: classes and files in the order of their names.
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
  for (const auto& entry : fs::directory_iterator(folder)) result.push_back(entry.path());
  std::sort(result.begin(), result.end());
  return result;
}

/// Sub-folder names in label order: `folders:` of the task file, else those of the train folder in the order of their names.
std::vector<std::string> class_folders(const Task& task, const YAML::Node& settings) {
  if (settings["folders"]) return required_list(task, settings, "folders");
  std::vector<std::string> names;
  for (const fs::path& path : entries(resolve(task, required_text(task, settings, "train")))) {
    if (fs::is_directory(path)) names.push_back(path.filename().string());
  }
  return names;
}

void check(Task& task, const YAML::Node& settings) {
  check_keys(task, settings, {"train", "test", "folders", "get"});
  required_text(task, settings, "train");
  required_text(task, settings, "test");
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
  if (names.size() != task.classes.size()) {
    fail(ErrorCode::Format, "{}: {} class folders, but the task '{}' has {} classes; name them with 'folders:'", folder.string(),
         names.size(), task.name, task.classes.size());
  }
  std::vector<Sample> samples;
  for (size_t label = 0; label < names.size(); ++label) {
    if (!fs::is_directory(folder / names[label])) {
      fail(ErrorCode::NotFound, "task '{}': the class '{}' has no images: there is no folder {}", task.name, task.classes[label],
           (folder / names[label]).string());
    }
    for (const fs::path& path : entries(folder / names[label])) {
      if (is_image(path) && fs::is_regular_file(path)) samples.push_back({path, static_cast<int64_t>(label)});
    }
  }
  if (samples.empty()) fail(ErrorCode::Format, "{}: no PNG or JPEG files in its class folders", folder.string());
  return take_split(std::make_shared<FolderDataset>(std::move(samples)), split);
}

}  // namespace

const SourceKind kImageFolder{"folder", check, missing, open, true};

}  // namespace taskvec::data
