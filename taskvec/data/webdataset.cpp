#include "taskvec/core/console.h"
#include "taskvec/core/error.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/data/source.h"

#include <archive.h>
#include <archive_entry.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>

namespace taskvec::data {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kMaxMember = int64_t{256} << 20, kMaxTotal = int64_t{8} << 30;
// Pictures do not shrink when packed: a small file that unpacks to much more wants memory, not training.
constexpr int64_t kFreeBytes = int64_t{256} << 20, kMaxRatio = 100;

struct Sample {
  std::string key;
  std::vector<std::byte> image;
  int64_t label = -1;
};

/// Tar files whose members of one name belong together: NAME.jpg (or another kImageExtensions, in any case) and NAME.cls, a
/// number in text. The images stay in memory as they are in the file.
class WebDataset final : public Dataset {
 public:
  explicit WebDataset(std::vector<Sample> samples) : samples_(std::move(samples)) {}
  int64_t size() const override { return static_cast<int64_t>(samples_.size()); }
  int64_t label(int64_t index) const override { return samples_[static_cast<size_t>(index)].label; }
  Image image(int64_t index) const override {
    const Sample& sample = samples_[static_cast<size_t>(index)];
    return decode_image(sample.image, sample.key);
  }
  std::string fingerprint() const override {
    Fingerprint key;
    for (const Sample& sample : samples_) key.update(sample.image).update(std::to_string(sample.label));
    return key.hex();
  }

 private:
  std::vector<Sample> samples_;
};

int64_t parse_label(std::span<const std::byte> bytes, const std::string& member, const fs::path& file, size_t classes) {
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  int64_t label = -1;
  const auto [end, error] = std::from_chars(text, text + bytes.size(), label);
  const std::string rest(end, text + bytes.size());
  if (error != std::errc() || rest.find_first_not_of(" \r\n") != std::string::npos || label < 0 ||
      static_cast<size_t>(label) >= classes) {
    fail(ErrorCode::Format, "{}: '{}' is no label from 0 to {}", file.string(), member, classes - 1);
  }
  return label;
}

/// A member's sample and what it is of it, in lower case; empty where it is nothing that is used. As the library webdataset does,
/// a name ends at its first dot; where what follows is no known kind, at its last.
struct Member {
  std::string key, kind;
};

Member member_of(const std::string& path) {
  const size_t slash = path.rfind('/'), begin = slash == std::string::npos ? 0 : slash + 1;
  if (path.compare(begin, 1, ".") == 0) return {};  // hidden: what other systems leave beside files
  for (const size_t dot : {path.find('.', begin), path.rfind('.')}) {
    if (dot == std::string::npos || dot < begin) continue;
    std::string kind = path.substr(dot + 1);
    std::ranges::transform(kind, kind.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (kind == "cls" || is_image_extension(kind)) return {path.substr(0, dot), kind};
  }
  return {};
}

void read_tar(const fs::path& file, size_t classes, std::vector<Sample>& samples, int64_t& total) {
  const auto most = std::min(kMaxTotal, std::max(kFreeBytes, kMaxRatio * static_cast<int64_t>(regular_file_size(file))));
  int64_t unused = 0, own = 0;
  std::string first_unused;
  const std::unique_ptr<archive, int (*)(archive*)> tar(archive_read_new(), archive_read_free);
  archive_read_support_format_tar(tar.get());
  archive_read_support_filter_gzip(tar.get());
  const auto why = [&] {
    const char* text = archive_error_string(tar.get());  // null for some errors
    return text == nullptr ? "libarchive does not say why" : text;
  };
  const auto check = [&](int status) {
    if (status < ARCHIVE_WARN) fail(ErrorCode::Format, "{}: not a readable tar file: {}", file.string(), why());
  };
  check(archive_read_open_filename(tar.get(), file.c_str(), 1 << 20));
  std::map<std::string, size_t> by_key;
  archive_entry* entry = nullptr;
  for (;;) {
    const int status = archive_read_next_header(tar.get(), &entry);
    if (status == ARCHIVE_EOF) break;
    check(status);
    if (archive_entry_filetype(entry) != AE_IFREG || !archive_entry_pathname(entry)) continue;
    const std::string member = archive_entry_pathname(entry);
    const auto [key, kind] = member_of(member);
    if (kind.empty()) {
      if (unused++ == 0) first_unused = member;
      continue;
    }
    const bool image = kind != "cls";
    const int64_t size = archive_entry_size(entry);
    total += size;
    own += size;
    if (size < 0 || size > kMaxMember || total > kMaxTotal || own > most) {
      fail(ErrorCode::Format, "{}: '{}' of {} bytes is refused: the file unpacks to more than {} bytes", file.string(), member,
           size, most);
    }
    std::vector<std::byte> bytes(static_cast<size_t>(size));
    if (archive_read_data(tar.get(), bytes.data(), bytes.size()) != size) {
      fail(ErrorCode::Format, "{}: '{}' ends too early", file.string(), member);
    }
    const auto [found, fresh] = by_key.try_emplace(key, samples.size());
    if (fresh) samples.push_back({file.string() + ":" + key, {}, -1});
    Sample& sample = samples[found->second];
    if (image) {
      sample.image = std::move(bytes);
    } else {
      sample.label = parse_label(bytes, member, file, classes);
    }
  }
  if (unused > 0)
    note("{}: {} members are neither images ({}) nor labels (cls) and were not used, e.g. '{}'", file.string(), unused,
         fmt::join(kImageExtensions, ", "), first_unused);
}

void check(Task& task, const YAML::Node& settings) {
  check_keys(task, settings, {"train", "test", "get"});
  required_list(task, settings, "train");
  required_list(task, settings, "test");
}

std::string missing(const Task& task, const YAML::Node& settings) {
  for (const char* split : {"train", "test"}) {
    for (const std::string& name : required_list(task, settings, split)) {
      const fs::path file = resolve(task, name);
      if (!fs::exists(file)) return fmt::format("{} is missing; {}", file.string(), how_to_get(settings));
    }
  }
  return "";
}

std::shared_ptr<const Dataset> open(const Task& task, const YAML::Node& settings, Split split) {
  std::vector<Sample> samples;
  int64_t total = 0;
  for (const std::string& name : required_list(task, settings, split == Split::Test ? "test" : "train")) {
    read_tar(resolve(task, name), task.classes.size(), samples, total);
  }
  for (const Sample& sample : samples) {
    if (sample.image.empty() || sample.label < 0) {
      fail(ErrorCode::Format, "{}: a sample needs an image ({}) and a label (cls); this one has no {}", sample.key,
           fmt::join(kImageExtensions, ", "), sample.image.empty() ? "image" : "label");
    }
  }
  return take_split(std::make_shared<WebDataset>(std::move(samples)), split);
}

}  // namespace

const SourceKind kWebDataset{"webdataset", check, missing, open, true};

}  // namespace taskvec::data
