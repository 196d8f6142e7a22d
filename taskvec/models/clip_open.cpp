#include "taskvec/core/bounded_json.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/files/failed_download.h"
#include "taskvec/core/files/inside.h"
#include "taskvec/models/clip.h"

#include <nlohmann/json.hpp>

#include <cmath>

namespace taskvec::models {
namespace {

ClipConfig read_config(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) {
    fail(ErrorCode::NotFound, "{}: no such file; a model is a Hugging Face CLIP folder with config.json and model.safetensors",
         path.string());
  }
  const std::string text = read_file(path, uint64_t{16} << 20);
  check_download(path, text);
  const nlohmann::json json = parse_bounded_json(text);
  if (json.is_discarded())
    fail(ErrorCode::Format, "{}: not valid JSON, or nested more than {} levels deep", path.string(), kMaxJsonDepth);
  return ClipConfig::from_json(json, path);
}

void check_finite(const bridge::Params& params, const ParamSpec& spec, const std::filesystem::path& path) {
  for (const ParamInfo& param : spec.params) {
    const auto [low, high] = at::aminmax(params.at(param.name));  // NaN comes through both
    const double from = low.item<double>(), to = high.item<double>();
    if (std::isfinite(from) && std::isfinite(to)) continue;
    fail(ErrorCode::Numeric, "{}: tensor '{}' holds {}; the run that wrote it diverged, or the file is damaged", path.string(),
         param.name, std::isnan(from) || std::isnan(to) ? "NaN" : "infinite values");
  }
}

}  // namespace

ClipModel open_clip(const std::filesystem::path& folder) {
  Clip network(read_config(inside(folder, "config.json")));
  std::shared_ptr<const formats::Checkpoint> checkpoint = formats::open(folder);
  bridge::Params params = bridge::load(*checkpoint);
  network.params().check(params, checkpoint->path().string());
  check_finite(params, network.params(), checkpoint->path());
  return {folder, std::move(checkpoint), std::move(network), std::move(params)};
}

}  // namespace taskvec::models
