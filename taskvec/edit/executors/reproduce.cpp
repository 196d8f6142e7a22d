#include "taskvec/core/error.h"
#include "taskvec/edit/executors/sweep.h"
#include "taskvec/edit/provenance.h"
#include "taskvec/formats/names.h"

#include <algorithm>
#include <set>

namespace taskvec::edit {
namespace {

namespace fs = std::filesystem;

std::shared_ptr<const formats::Checkpoint> open_recorded(const formats::Checkpoint& checkpoint, const Recorded::Source& source) {
  std::error_code error;
  if (fs::exists(source.path, error)) return formats::open(source.path);
  const fs::path beside = checkpoint.path().parent_path() / source.path;
  if (fs::exists(beside, error)) return formats::open(beside);
  fail(ErrorCode::NotFound, "source '{}' is not at {} any more; say where it is with -s {}=PATH", source.name, source.path,
       source.name);
}

/// Tensors whose names, shapes, dtypes or order are not those of the replay.
std::set<std::string> differing_headers(const Plan& replay, const formats::Checkpoint& checkpoint) {
  const auto& written = checkpoint.manifest();
  std::set<std::string> differing, replayed;
  for (const auto& tensor : replay.tensors) {
    replayed.insert(tensor.name);
    const auto* entry = written.find(tensor.name);
    if (entry == nullptr || entry->info != tensor.info) differing.insert(tensor.name);
  }
  for (const auto& entry : written.tensors)
    if (!replayed.contains(entry.name)) differing.insert(entry.name);
  return differing;
}

}  // namespace

std::vector<std::string> reproduce(const formats::Checkpoint& checkpoint, const Bindings& overrides) {
  // Its factors are no output of the executors.
  if (checkpoint.manifest().metadata.contains(kAsLoraKey))
    fail(ErrorCode::Unsupported, "{} was made with --as-lora; run that edit again and compare the files",
         checkpoint.path().string());
  const Recorded recorded = read_provenance(checkpoint);
  Bindings bindings;
  std::vector<std::string> names;
  for (const auto& source : recorded.sources) {
    const auto moved = overrides.find(source.name);
    auto found = moved == overrides.end() ? open_recorded(checkpoint, source) : moved->second;
    if (!source.map.empty()) found = formats::map_names(std::move(found), source.map);
    bindings.insert_or_assign(source.name, std::move(found));
    names.push_back(source.name);
  }
  for (const auto& [name, moved] : overrides)
    if (std::find(names.begin(), names.end(), name) == names.end())
      fail(ErrorCode::InvalidArgument, "{} was made without a source '{}'{}", checkpoint.path().string(), name,
           did_you_mean(name, names));

  const Plan replay = plan(parse(recorded.expression), bindings, recorded.options);
  std::set<std::string> differing = differing_headers(replay, checkpoint);
  const std::set<std::string> incomparable = differing;
  const Merges merges(replay);
  const SweepResult swept = sweep(replay, merges, [&](size_t index, uint64_t offset, std::span<const std::byte> bytes) {
    const std::string& name = replay.tensors[index].name;
    if (incomparable.contains(name)) return;
    const formats::TensorRange written(checkpoint, checkpoint.entry(name), offset, bytes.size());
    if (!std::ranges::equal(written.bytes(), bytes)) differing.insert(name);
    written.release();
  });
  for (size_t s = 0; s < replay.sources.size(); ++s) {
    const auto source = std::find_if(recorded.sources.begin(), recorded.sources.end(),
                                     [&](const auto& r) { return r.name == replay.source_names[s]; });
    if (source->fingerprint != swept.fingerprints[s])
      fail(ErrorCode::InvalidArgument, "source '{}' ({}) is not the one that was used: expected fingerprint {}, got {}",
           source->name, replay.sources[s]->path().string(), source->fingerprint, swept.fingerprints[s]);
  }
  return {differing.begin(), differing.end()};
}

}  // namespace taskvec::edit
