#include "taskvec/core/error.h"
#include "taskvec/formats/quantised/recipe.h"

#include <algorithm>
#include <array>

namespace taskvec::formats {
namespace {

constexpr int64_t kPublishedBlock = 128;  // DeepSeek's, and of all that do as it does

bool is_scale(const TensorEntry& entry) { return is_float(entry.info.dtype) || entry.info.dtype == Dtype::F8_E8M0; }

/// [rows, columns] of a block that one scale serves, where config.json says so: DeepSeek's weight_block_size, compressed-tensors'
/// groups (of which all have to say the same). Empty where it does not.
Shape block_in(const nlohmann::json& config) {
  const auto pair_in = [](const nlohmann::json& json, const char* key) -> Shape {
    const auto found = json.is_object() ? json.find(key) : json.end();
    if (!json.is_object() || found == json.end() || !found->is_array() || found->size() != 2) return {};
    if (!(*found)[0].is_number_integer() || !(*found)[1].is_number_integer()) return {};
    return {(*found)[0].get<int64_t>(), (*found)[1].get<int64_t>()};
  };
  Shape given = pair_in(config, "weight_block_size");
  const auto groups = config.is_object() ? config.find("config_groups") : config.end();
  if (!config.is_object() || groups == config.end() || !groups->is_object()) return given;
  for (const auto& [name, group] : groups->items()) {
    const auto weights = group.is_object() ? group.find("weights") : group.end();
    if (!group.is_object() || weights == group.end() || !weights->is_object()) continue;
    Shape own = pair_in(*weights, "block_structure");
    const auto size = weights->find("group_size");
    if (own.empty() && size != weights->end() && size->is_number_integer() && size->get<int64_t>() > 0)
      own = {1, size->get<int64_t>()};
    if (own.empty()) continue;
    if (!given.empty() && given != own) return {};
    given = own;
  }
  return given;
}

/// Of the dimensions of a weight that scales of `scale_shape` belong to: how many elements one scale serves.
std::optional<Shape> blocks(const Shape& weight, const Shape& scale_shape, const nlohmann::json& config) {
  Shape scale = scale_shape;
  if (numel(scale) == 1) scale.assign(weight.size(), 1);
  if (scale.size() < weight.size() && std::equal(scale.begin(), scale.end(), weight.begin())) scale.resize(weight.size(), 1);
  if (scale.size() != weight.size()) return std::nullopt;
  const Shape given = block_in(config);
  Shape out;
  for (size_t d = 0; d < weight.size(); ++d) {
    const auto fits = [&](int64_t block) { return block > 0 && weight[d] / block + (weight[d] % block != 0) == scale[d]; };
    const size_t from_last = weight.size() - d;
    if (scale[d] == 1) {
      out.push_back(std::max<int64_t>(weight[d], 1));
    } else if (scale[d] == weight[d]) {
      out.push_back(1);
    } else if (given.size() >= from_last) {
      if (!fits(given[given.size() - from_last])) return std::nullopt;  // what config.json says is not guessed against
      out.push_back(given[given.size() - from_last]);
    } else if (fits(kPublishedBlock)) {
      out.push_back(kPublishedBlock);
    } else if (scale[d] > 0 && weight[d] % scale[d] == 0) {
      out.push_back(weight[d] / scale[d]);
    } else {
      return std::nullopt;
    }
  }
  return out;
}

/// The scale of a tensor by the names that programs give it, best known first.
const TensorEntry* find_scale(const Codes& codes, const TensorEntry& entry) {
  for (const std::string_view suffix : {"_scale_inv", "_scale"})
    if (const TensorEntry* found = codes.find(entry.name + std::string(suffix)); found != nullptr && is_scale(*found))
      return found;
  const std::string stem = without(entry.name, ".weight").value_or(entry.name);
  for (const std::string_view suffix : {".scale_weight", ".qscale_weight", ".weight_scale_inv", ".weight_scale", "_weight_scale",
                                        "_weight_scale_inv", ".scale", "_scale"}) {
    const TensorEntry* found = codes.find(stem + std::string(suffix));
    if (found == nullptr || !is_scale(*found)) continue;
    // A norm beside a weight that was only cast also has a "scale".
    if (suffix == ".scale" && numel(found->info.shape) != 1 && found->info.shape.size() != entry.info.shape.size()) continue;
    return found;
  }
  return nullptr;
}

}  // namespace

// value = code * scale, whatever the scale is called: compressed-tensors and ModelOpt say weight_scale, DeepSeek
// weight_scale_inv, ComfyUI scale_weight, Mistral qscale_weight.
std::optional<Recipe> scaled(const Codes& codes, const TensorEntry& entry) {
  const Dtype dtype = entry.info.dtype;
  const bool small = dtype == Dtype::F8_E4M3 || dtype == Dtype::F8_E5M2;
  if ((!small && dtype != Dtype::I8) || entry.info.shape.empty()) return std::nullopt;
  const TensorEntry* scale = find_scale(codes, entry);
  if (scale == nullptr) return std::nullopt;
  const std::string stem = without(entry.name, ".weight").value_or(entry.name);
  for (const char* other : {"_zero_point", "_scale_2", "_global_scale"})  // no rule as simple as this one
    if (codes.find(entry.name + other) != nullptr || codes.find(stem + other) != nullptr) return std::nullopt;
  const auto block = blocks(entry.info.shape, scale->info.shape, codes.config);
  if (!block)
    fail(ErrorCode::Format, "{}: tensor '{}' of shape {} does not fit its scales '{}' of shape {}", codes.path(), entry.name,
         to_string(entry.info.shape), scale->name, to_string(scale->info.shape));
  Recipe recipe{.name = entry.name,
                .shape = entry.info.shape,
                .rule = fmt::format("{} with scales", small ? "FP8" : "int8"),
                .parts = {&entry, scale}};
  for (const char* unused : {"_scale_inv", "_scale"})  // both are written by some; one scales
    if (const TensorEntry* also = codes.find(entry.name + unused); also != nullptr && also != scale)
      fail(ErrorCode::Format, "{}: tensor '{}' has two scales, '{}' and '{}'", codes.path(), entry.name, scale->name, also->name);
  Shape scale_shape;
  for (size_t d = 0; d < block->size(); ++d) scale_shape.push_back((entry.info.shape[d] + (*block)[d] - 1) / (*block)[d]);
  recipe.make = [codes_entry = &entry, scale, block = *block, scale_shape](const Checkpoint& of, uint64_t first,
                                                                           std::span<float> out) {
    read_floats(of, *codes_entry, first, out);
    const Shape& shape = codes_entry->info.shape;
    const auto width = static_cast<uint64_t>(shape.back());
    for (uint64_t done = 0; done < out.size();) {
      const uint64_t element = first + done, column = element % width;
      uint64_t row = element / width, index = 0, stride = 1;
      // Row-major over the scales: the last dimension first.
      index = column / static_cast<uint64_t>(block.back());
      stride = static_cast<uint64_t>(scale_shape.back());
      for (size_t d = shape.size() - 1; d-- > 0;) {
        index += row % static_cast<uint64_t>(shape[d]) / static_cast<uint64_t>(block[d]) * stride;
        row /= static_cast<uint64_t>(shape[d]);
        stride *= static_cast<uint64_t>(scale_shape[d]);
      }
      const auto in_block = static_cast<uint64_t>(block.back()) - column % static_cast<uint64_t>(block.back());
      const uint64_t run = std::min({in_block, width - column, out.size() - done});
      float factor = 0;
      read_floats(of, *scale, index, {&factor, 1});
      for (uint64_t i = 0; i < run; ++i) out[done + i] *= factor;
      done += run;
    }
  };
  return recipe;
}

}  // namespace taskvec::formats
