#include "taskvec/data/preprocess.h"

#include "taskvec/core/bounded_json.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/files/failed_download.h"
#include "taskvec/core/files/inside.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace taskvec::data {
namespace {

using nlohmann::json;
constexpr int64_t kMaxSide = 1 << 14;
constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;
constexpr int64_t kMaxEnlargement = 16;  // of an image beyond what is cropped from it: memory is in proportion

struct Reader {
  const json& config;
  const std::filesystem::path& file;

  [[noreturn]] void bad(const std::string& why) const { fail(ErrorCode::Format, "{}: {}", file.string(), why); }
  bool flag(const char* key) const { return !config.contains(key) || !config[key].is_boolean() || config[key].get<bool>(); }
  int64_t side(const json& value, const char* key) const {
    if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > kMaxSide) {
      bad(fmt::format("'{}' is no number of pixels from 1 to {}", key, kMaxSide));
    }
    return value.get<int64_t>();
  }
  void channels(const char* key, std::array<double, 3>& target, bool divisor) const {
    const auto found = config.find(key);
    if (found == config.end()) return;
    if (!found->is_array() || found->size() != 3) bad(fmt::format("'{}' is no list of three numbers", key));
    for (size_t c = 0; c < 3; ++c) {
      const bool good = (*found)[c].is_number() && std::isfinite((*found)[c].get<double>());
      if (!good || (divisor && (*found)[c].get<double>() <= 0)) bad(fmt::format("'{}' is no list of three numbers", key));
      target[c] = (*found)[c].get<double>();
    }
  }
};

}  // namespace

Preprocess Preprocess::open(const std::filesystem::path& model_folder, int64_t image_size) {
  Preprocess result;
  result.shortest_edge = result.crop_height = result.crop_width = image_size;
  if (!is_there(model_folder / "preprocessor_config.json")) return result;
  const auto file = inside(model_folder, "preprocessor_config.json");
  const std::string text = read_file(file, kMaxConfigBytes);
  check_download(file, text);
  json config = parse_bounded_json(text);
  if (config.is_object() && config.contains("image_processor") && config["image_processor"].is_object()) {
    config = json(config["image_processor"]);
  }
  const Reader read{config, file};
  if (!config.is_object()) read.bad("not a JSON object");
  if (config.value("resample", json(3)) != 3) {
    fail(ErrorCode::Unsupported, "{}: resample {}; only 3, bicubic, is supported", file.string(), config["resample"].dump());
  }
  if (const auto size = config.find("size"); size != config.end()) {
    if (size->is_object() && !size->contains("shortest_edge")) {
      fail(ErrorCode::Unsupported, "{}: 'size' without shortest_edge: {}", file.string(), size->dump());
    }
    result.shortest_edge = read.side(size->is_object() ? (*size)["shortest_edge"] : *size, "size");
  }
  if (const auto crop = config.find("crop_size"); crop != config.end()) {
    const bool pair = crop->is_object();
    result.crop_height = read.side(pair ? crop->value("height", json()) : *crop, "crop_size");
    result.crop_width = read.side(pair ? crop->value("width", json()) : *crop, "crop_size");
  }
  if (!read.flag("do_resize")) result.shortest_edge = 0;
  if (!read.flag("do_center_crop")) result.crop_height = result.crop_width = 0;
  // The network takes images of one size, and refuses any other after all of them were made.
  const int64_t height = result.crop_height > 0 ? result.crop_height : result.shortest_edge,
                width = result.crop_width > 0 ? result.crop_width : result.shortest_edge;
  if ((height > 0 && height != image_size) || (width > 0 && width != image_size))
    read.bad(fmt::format("images of {} x {} pixels do not fit the model, whose image_size is {}", width, height, image_size));
  if (result.shortest_edge > kMaxEnlargement * image_size)
    read.bad(fmt::format("'size' {} is more than {} times the model's image_size {}", result.shortest_edge, kMaxEnlargement,
                         image_size));
  read.channels("image_mean", result.mean, false);
  read.channels("image_std", result.std, true);
  double factor = 1.0 / 255;
  if (config.contains("rescale_factor") && config["rescale_factor"].is_number()) factor = config["rescale_factor"].get<double>();
  if (config.contains("rescale_factor") && (!config["rescale_factor"].is_number() || !(factor > 0) || !std::isfinite(factor)))
    read.bad("'rescale_factor' is no positive number");
  if (!read.flag("do_rescale")) factor = 1;
  if (!read.flag("do_normalize")) result.mean = {0, 0, 0}, result.std = {1, 1, 1};
  // (x * factor - mean) / std, in the terms of x / 255
  for (size_t c = 0; c < 3; ++c) {
    result.mean[c] /= factor * 255;
    result.std[c] /= factor * 255;
  }
  return result;
}

Image Preprocess::to_pixels(const Image& image) const {
  Image result = image;
  if (shortest_edge > 0) {
    const int64_t shorter = std::min(image.height, image.width), longer = std::max(image.height, image.width);
    const auto long_edge = static_cast<int64_t>(static_cast<double>(shortest_edge * longer) / static_cast<double>(shorter));
    if (long_edge > (int64_t{1} << 20))
      fail(ErrorCode::Format, "an image of {} x {} pixels is too narrow to resize", image.width, image.height);
    const bool wide = image.width > image.height;
    result = resize_bicubic(image, wide ? shortest_edge : long_edge, wide ? long_edge : shortest_edge);
  }
  if (crop_height > 0 && (result.height != crop_height || result.width != crop_width))
    result = center_crop(result, crop_height, crop_width);
  return result;
}

at::Tensor Preprocess::normalise(const at::Tensor& pixels) const {
  const auto column = [&](const std::array<double, 3>& v) {
    return at::tensor(at::ArrayRef<double>(v.data(), 3), at::kFloat).view({1, 3, 1, 1}).to(pixels.device());
  };
  // By a tensor on the device: by a number, CUDA multiplies with the rounded reciprocal, and pixels would differ from the CPU's.
  const at::Tensor most = at::full({}, 255, pixels.options().dtype(at::kFloat));
  return pixels.to(at::kFloat).div_(most).sub(column(mean)).div_(column(std));
}

std::string Preprocess::key() const {
  return fmt::format("bicubic {} crop {}x{} mean {} std {}", shortest_edge, crop_height, crop_width, fmt::join(mean, ","),
                     fmt::join(std, ","));
}

}  // namespace taskvec::data
