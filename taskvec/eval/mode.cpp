#include "taskvec/eval/mode.h"

#include "taskvec/core/bounded_json.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/edit/provenance.h"

#include <nlohmann/json.hpp>

namespace taskvec::eval {
namespace {

using CheckpointPointer = std::shared_ptr<const formats::Checkpoint>;

std::string metadata(const formats::Checkpoint& checkpoint, const char* key) {
  const auto& all = checkpoint.manifest().metadata;
  const auto found = all.find(key);
  return found == all.end() ? "" : found->second;
}

struct Wanted {
  CheckpointPointer source;  ///< that was trained in linear mode
  std::string fingerprint;   ///< of its θ0
};

std::optional<Wanted> wanted_origin(const edit::Plan& plan) {
  std::optional<Wanted> wanted;
  for (const CheckpointPointer& source : plan.sources) {
    if (metadata(*source, "taskvec.mode") != "linear") continue;
    const Wanted own{source, metadata(*source, "taskvec.finetuned_from")};
    if (wanted && wanted->fingerprint != own.fingerprint) {
      fail(ErrorCode::InvalidArgument,
           "{} and {} were trained in the tangent space of different models ({} and {}); they do not add up in one linearised "
           "network",
           wanted->source->path().string(), own.source->path().string(), wanted->fingerprint, own.fingerprint);
    }
    wanted = own;
  }
  return wanted;
}

/// Where the run that made a checkpoint says that it started; empty without such a record.
std::filesystem::path recorded_origin(const std::filesystem::path& checkpoint) {
  const auto folder = std::filesystem::is_directory(checkpoint) ? checkpoint : checkpoint.parent_path();
  if (!std::filesystem::exists(folder / "run.json")) return {};
  const auto run = parse_bounded_json(read_file(folder / "run.json"));
  if (!run.is_object() || !run.contains("about") || !run["about"].is_object()) return {};
  const auto model = run["about"].find("model");
  return model != run["about"].end() && model->is_string() ? model->get<std::string>() : "";
}

/// Where θ0 may lie: what a checkpoint was made of, as an edited or converted one says, and where the runs of all of them
/// started.
std::vector<std::filesystem::path> places_of_origin(const formats::Checkpoint& checkpoint) {
  std::vector<std::filesystem::path> made_of{checkpoint.path()}, places;
  if (checkpoint.manifest().metadata.contains(edit::kSourcesKey))
    for (const auto& source : edit::read_provenance(checkpoint).sources) made_of.emplace_back(source.path);
  for (const auto& path : made_of) {
    if (path != checkpoint.path()) places.push_back(path);
    if (const auto origin = recorded_origin(path); !origin.empty()) places.push_back(origin);
  }
  return places;
}

CheckpointPointer find_origin(const edit::Plan& plan, const Wanted& wanted, const std::filesystem::path& given) {
  if (!given.empty()) {
    CheckpointPointer checkpoint = formats::open(given);
    if (checkpoint->fingerprint() == wanted.fingerprint) return checkpoint;
    fail(ErrorCode::InvalidArgument, "{} was trained in the tangent space of a model with fingerprint {}; {} has {}",
         wanted.source->path().string(), wanted.fingerprint, given.string(), checkpoint->fingerprint());
  }
  for (const CheckpointPointer& source : plan.sources) {
    if (source->fingerprint() == wanted.fingerprint) return source;
  }
  std::string looked;
  for (const auto& place : places_of_origin(*wanted.source)) {
    looked += fmt::format("{}{}", looked.empty() ? "" : ", ", place.string());
    if (!std::filesystem::exists(place)) continue;
    CheckpointPointer checkpoint = formats::open(place);
    if (checkpoint->fingerprint() == wanted.fingerprint) return checkpoint;
  }
  fail(ErrorCode::NotFound,
       "{} was trained from a model with fingerprint {}, which is neither a source nor where its records say{}; give it with "
       "--origin",
       wanted.source->path().string(), wanted.fingerprint, looked.empty() ? "" : " (" + looked + ")");
}

}  // namespace

Mode parse_mode(std::string_view text) {
  if (text == "auto") return Mode::Auto;
  if (text == "standard") return Mode::Standard;
  if (text == "linear" || text == "posthoc") return Mode::Linear;
  fail(ErrorCode::InvalidArgument, "--mode {}: expected auto, standard, linear or posthoc", text);
}

std::optional<Origin> linear_origin(const EditedClip& model, Mode mode, const std::filesystem::path& given) {
  if (mode == Mode::Standard) return std::nullopt;
  const edit::Plan& plan = model.layout();
  if (mode == Mode::Auto) edit::tangent_origin(plan.sources, plan.source_names, edit::Mode::Auto);  // says where they do not fit
  const auto wanted = wanted_origin(plan);
  if (!wanted && mode == Mode::Auto && given.empty()) return std::nullopt;
  CheckpointPointer origin = plan.sources.at(plan.base);
  if (wanted) {
    origin = find_origin(plan, *wanted, given);
  } else if (!given.empty()) {
    origin = formats::open(given);
  } else if (const std::string from = metadata(*origin, "taskvec.finetuned_from"); plan.sources.size() == 1 && !from.empty()) {
    origin = find_origin(plan, {origin, from}, given);  // linearised at itself a model would be the network
  }
  bridge::Params params = bridge::load(*origin);
  model.network().params().check(params, origin->path().string());
  if (!model.device().is_cpu())
    params = params.map([&](const std::string&, const at::Tensor& tensor) { return tensor.to(model.device()); });
  return Origin{std::move(params), origin->path().string()};
}

}  // namespace taskvec::eval
