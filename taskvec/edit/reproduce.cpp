#include "taskvec/core/error.h"
#include "taskvec/edit/provenance.h"
#include "taskvec/edit/tile.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <cstring>

namespace taskvec::edit {
namespace {

/// A metadata value as JSON of the expected kind.
nlohmann::json recorded(const formats::Checkpoint& checkpoint, const char* key, bool (nlohmann::json::*kind)() const noexcept) {
  const auto& metadata = checkpoint.manifest().metadata;
  const auto found = metadata.find(key);
  const auto json = nlohmann::json::parse(found == metadata.end() ? "" : found->second, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !(json.*kind)())
    fail(ErrorCode::Format, "{} does not say how it was made: no usable '{}' in its metadata", checkpoint.path().string(), key);
  return json;
}

std::string text(const formats::Checkpoint& checkpoint, const nlohmann::json& source, const char* key) {
  if (!source.is_object() || !source.contains(key) || !source[key].is_string())
    fail(ErrorCode::Format, "{}: a recorded source has no '{}'", checkpoint.path().string(), key);
  return source[key].get<std::string>();
}

Bindings open_recorded(const formats::Checkpoint& checkpoint, const Bindings& overrides) {
  Bindings bindings;
  for (const auto& source : recorded(checkpoint, "taskvec.sources", &nlohmann::json::is_array)) {
    const std::string name = text(checkpoint, source, "name"), path = text(checkpoint, source, "path");
    const auto moved = overrides.find(name);
    std::error_code error;
    if (moved == overrides.end() && !std::filesystem::exists(path, error))
      fail(ErrorCode::NotFound, "source '{}' is not at {} any more; say where it is with -s {}=PATH", name, path, name);
    const auto opened = moved == overrides.end() ? formats::open(path) : moved->second;
    const std::string expected = text(checkpoint, source, "fingerprint"), actual = opened->fingerprint();
    if (actual != expected)
      fail(ErrorCode::InvalidArgument, "source '{}' ({}) is not the one that was used: expected fingerprint {}, got {}", name,
           opened->path().string(), expected, actual);
    bindings.emplace(name, opened);
  }
  return bindings;
}

}  // namespace

std::vector<std::string> reproduce(const formats::Checkpoint& checkpoint, const Bindings& overrides) {
  const auto& metadata = checkpoint.manifest().metadata;
  PlanOptions options;
  const auto coefficients = recorded(checkpoint, "taskvec.coefficients", &nlohmann::json::is_object);
  for (const auto& [name, value] : coefficients.items()) {
    if (!value.is_number()) fail(ErrorCode::Format, "{}: coefficient '{}' is not a number", checkpoint.path().string(), name);
    options.coefficients[name] = value.get<double>();
  }
  const Bindings bindings = open_recorded(checkpoint, overrides);
  if (const auto base = metadata.find("taskvec.base"); base != metadata.end()) options.base = base->second;
  options.allow_missing = options.allow_differing_integers = true;  // what was allowed then is allowed now
  const auto expression = metadata.find("taskvec.expression");
  if (expression == metadata.end()) fail(ErrorCode::Format, "{} does not say how it was made", checkpoint.path().string());
  Plan replay = plan(parse(expression->second), bindings, options);

  std::vector<std::string> differing;
  for (auto& tensor : replay.tensors) {
    const auto* written = checkpoint.manifest().find(tensor.name);
    if (written == nullptr || written->info.shape != tensor.info.shape) {
      differing.push_back(tensor.name);
      tensor.info.shape = {0};
    } else if (tensor.info.dtype != written->info.dtype) {
      tensor.info.dtype = written->info.dtype;  // the output dtype was chosen
      tensor.is_copy = false;
    }
  }
  std::vector<std::atomic<bool>> differs(replay.tensors.size());
  for_each_tile(replay, [&](size_t index, int64_t begin, int64_t n) {
    const auto& tensor = replay.tensors[index];
    const auto item = static_cast<size_t>(itemsize(tensor.info.dtype));
    std::vector<std::byte> expected(static_cast<size_t>(n) * item);
    compute_tile(replay, tensor, begin, n, expected.data());
    const auto actual = checkpoint.tensor(tensor.name);
    if (std::memcmp(actual.view.bytes.data() + static_cast<size_t>(begin) * item, expected.data(), expected.size()) != 0)
      differs[index] = true;
  });
  for (size_t i = 0; i < differs.size(); ++i)
    if (differs[i]) differing.push_back(replay.tensors[i].name);
  for (const auto& entry : checkpoint.manifest().tensors) {
    const auto same_name = [&](const auto& tensor) { return tensor.name == entry.name; };
    if (std::none_of(replay.tensors.begin(), replay.tensors.end(), same_name)) differing.push_back(entry.name);
  }
  return differing;
}

}  // namespace taskvec::edit
