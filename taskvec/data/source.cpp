#include "taskvec/data/source.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/paths.h"
#include "taskvec/core/fingerprint.h"

#include <algorithm>
#include <array>

namespace taskvec::data {
namespace {

class Subset final : public Dataset {
 public:
  Subset(std::shared_ptr<const Dataset> all, std::vector<int64_t> indices, std::string_view why)
      : all_(std::move(all)), indices_(std::move(indices)), why_(why) {}
  int64_t size() const override { return static_cast<int64_t>(indices_.size()); }
  int64_t label(int64_t index) const override { return all_->label(indices_[static_cast<size_t>(index)]); }
  Image image(int64_t index) const override { return all_->image(indices_[static_cast<size_t>(index)]); }
  std::string fingerprint() const override {
    return Fingerprint().update(all_->fingerprint()).update(why_).update(std::as_bytes(std::span(indices_))).hex();
  }

 private:
  std::shared_ptr<const Dataset> all_;
  std::vector<int64_t> indices_;
  std::string why_;
};

}  // namespace

std::span<const SourceKind> source_kinds() {
  static const std::array kinds{kIdx, kImageFolder, kWebDataset, kGlyphs};
  return kinds;
}

const SourceKind& source_kind(const std::string& name) {
  std::vector<std::string> names;
  for (const SourceKind& kind : source_kinds()) {
    if (kind.name == name) return kind;
    names.emplace_back(kind.name);
  }
  fail(ErrorCode::Format, "unknown source '{}'{}; expected one of {}", name, did_you_mean(name, names), fmt::join(names, ", "));
}

void bad_task(const Task& task, const YAML::Node& where, const std::string& why) {
  const int line = where && where.Mark().line >= 0 ? where.Mark().line + 1 : 0;
  if (line > 0) fail(ErrorCode::Format, "{}:{}: {}", task.file.string(), line, why);
  fail(ErrorCode::Format, "{}: {}", task.file.string(), why);
}

std::string required_text(const Task& task, const YAML::Node& settings, const char* key) {
  const YAML::Node value = settings[key];
  if (!value || !value.IsScalar() || value.Scalar().empty()) {
    bad_task(task, settings, fmt::format("the source '{}' needs '{}: text'", task.source, key));
  }
  return value.Scalar();
}

std::vector<std::string> required_list(const Task& task, const YAML::Node& settings, const char* key) {
  const YAML::Node value = settings[key];
  if (value && value.IsScalar() && !value.Scalar().empty()) return {value.Scalar()};
  if (!value || !value.IsSequence() || value.size() == 0) bad_task(task, settings, fmt::format("'{}' is no list of texts", key));
  std::vector<std::string> result;
  for (const YAML::Node& entry : value) {
    if (!entry.IsScalar()) bad_task(task, value, fmt::format("'{}' is no list of texts", key));
    result.push_back(entry.Scalar());
  }
  return result;
}

void check_keys(const Task& task, const YAML::Node& map, const std::vector<std::string>& allowed) {
  if (!map.IsMap()) bad_task(task, map, fmt::format("expected keys: {}", fmt::join(allowed, ", ")));
  for (const auto& entry : map) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    if (std::find(allowed.begin(), allowed.end(), key) == allowed.end()) {
      bad_task(task, entry.first,
               fmt::format("unknown key '{}'{}; allowed: {}", key, did_you_mean(key, allowed), fmt::join(allowed, ", ")));
    }
  }
}

std::filesystem::path resolve(const Task& task, const std::string& path) {
  const std::filesystem::path given(path), beside = task.file.parent_path() / given;
  if (given.is_absolute() || std::filesystem::exists(beside)) return given.is_absolute() ? given : beside;
  return data_dir() / given;
}

std::string how_to_get(const YAML::Node& settings) {
  const YAML::Node get = settings["get"];
  return get && get.IsScalar() ? get.Scalar() : "put the files there, or set TASKVEC_DATA to the folder that holds them";
}

uint64_t regular_file_size(const std::filesystem::path& file) {
  std::error_code error;
  const auto status = std::filesystem::status(file, error);
  if (!std::filesystem::exists(status)) fail(ErrorCode::NotFound, "{}: no such file", file.string());
  if (!std::filesystem::is_regular_file(status)) fail(ErrorCode::Io, "{} is not a regular file", file.string());
  const auto size = std::filesystem::file_size(file, error);
  if (error) fail(ErrorCode::Io, "{}: {}", file.string(), error.message());
  return size;
}

std::shared_ptr<const Dataset> subset(std::shared_ptr<const Dataset> all, std::vector<int64_t> indices, std::string_view why) {
  return std::make_shared<Subset>(std::move(all), std::move(indices), why);
}

std::shared_ptr<const Dataset> take_split(std::shared_ptr<const Dataset> file, Split split) {
  if (split == Split::Test) return file;
  const int64_t n = file->size();
  TrainVal parts = random_split(n, validation_size(n));
  return subset(std::move(file), split == Split::Val ? std::move(parts.val) : std::move(parts.train), name(split));
}

}  // namespace taskvec::data
