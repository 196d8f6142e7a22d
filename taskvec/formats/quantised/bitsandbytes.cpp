#include "taskvec/core/bounded_json.h"
#include "taskvec/core/error.h"
#include "taskvec/formats/quantised/recipe.h"

#include <algorithm>
#include <array>

namespace taskvec::formats {
namespace {

constexpr float kOne127th = 1.0F / 127.0F;
constexpr int64_t kMaxStateBytes = 1 << 16, kMaxBlock = 1 << 20;

/// Of QuantState.as_dict(packed=True).
struct State {
  std::string type;
  Shape shape;
  int64_t block = 0, nested_block = 0;
  float nested_offset = 0;
};

State read_state(const Codes& codes, const TensorEntry& entry) {
  const MappedTensor text = codes.of.tensor(entry.name);
  const auto json = parse_bounded_json({reinterpret_cast<const char*>(text.view.bytes.data()), text.view.bytes.size()});
  State state;
  const auto refuse = [&](std::string_view what) {
    fail(ErrorCode::Format, "{}: tensor '{}' is no quantisation state of bitsandbytes: {}", codes.path(), entry.name, what);
  };
  if (!json.is_object()) refuse("it is no JSON object");
  const auto integer = [&](const char* key, int64_t missing) {
    const auto found = json.find(key);
    if (found == json.end() || found->is_null()) return missing;
    if (!found->is_number_integer()) refuse(fmt::format("'{}' is no integer", key));
    return found->get<int64_t>();
  };
  const auto type = json.find("quant_type"), shape = json.find("shape"), offset = json.find("nested_offset");
  if (type == json.end() || !type->is_string()) refuse("no quant_type");
  state.type = type->get<std::string>();
  state.block = integer("blocksize", 0);
  state.nested_block = integer("nested_blocksize", 0);
  if (state.block < 1 || state.block > kMaxBlock || state.nested_block < 0 || state.nested_block > kMaxBlock) refuse("blocksize");
  if (shape == json.end() || !shape->is_array() || shape->empty() || shape->size() > 8) refuse("no shape");
  for (const auto& size : *shape) {
    if (!size.is_number_integer() || size.get<int64_t>() < 0) refuse("shape");
    state.shape.push_back(size.get<int64_t>());
  }
  if (offset != json.end() && offset->is_number()) state.nested_offset = offset->get<float>();
  return state;
}

}  // namespace

// Source: bitsandbytes/functional.py, QuantState and dequantize_4bit: element 2i is the high half of byte i; a table of sixteen
// values, times the largest magnitude of the block. With nested states these are codes themselves: table[code] * absmax + offset.
std::optional<Recipe> bitsandbytes_4bit(const Codes& codes, const TensorEntry& entry) {
  const TensorEntry* state_entry = nullptr;
  for (const char* type : {"nf4", "fp4"})
    if (const auto* found = codes.find(fmt::format("{}.quant_state.bitsandbytes__{}", entry.name, type))) state_entry = found;
  if (state_entry == nullptr) return std::nullopt;
  const auto part = [&](const char* suffix, bool needed) {
    const TensorEntry* found = codes.find(entry.name + suffix);
    if (found == nullptr && needed)
      fail(ErrorCode::Format, "{}: tensor '{}' has a '{}', but no '{}{}'", codes.path(), entry.name, state_entry->name,
           entry.name, suffix);
    return found;
  };
  const TensorEntry *absmax = part(".absmax", true), *table = part(".quant_map", true),
                    *nested_absmax = part(".nested_absmax", false);
  const TensorEntry* nested_table = part(".nested_quant_map", nested_absmax != nullptr);
  if (entry.info.dtype != Dtype::U8 || state_entry->info.dtype != Dtype::U8 || state_entry->info.nbytes() > kMaxStateBytes ||
      table->info != TensorInfo{Dtype::F32, {16}} ||
      (nested_absmax == nullptr ? absmax->info.dtype != Dtype::F32
                                : absmax->info.dtype != Dtype::U8 || nested_absmax->info.dtype != Dtype::F32 ||
                                      nested_table->info != TensorInfo{Dtype::F32, {256}}))
    fail(ErrorCode::Format, "{}: the tensors '{}.*' are not as bitsandbytes writes them (U8 codes, F32 tables and scales)",
         codes.path(), entry.name);
  Recipe recipe{.name = entry.name,
                .shape = {},
                .rule = fmt::format("bitsandbytes {}", state_entry->name.ends_with("nf4") ? "NF4" : "FP4"),
                .parts = {&entry, state_entry, absmax, table}};
  for (const TensorEntry* nested : {nested_absmax, nested_table})
    if (nested != nullptr) recipe.parts.push_back(nested);
  const State state = read_state(codes, *state_entry);
  const bool nested = nested_absmax != nullptr;
  recipe.shape = state.shape;
  const int64_t elements = numel(state.shape), blocks = (elements + state.block - 1) / state.block;
  if (entry.info.nbytes() != (elements + 1) / 2 || absmax->info.numel() != blocks ||
      (nested &&
       (state.nested_block == 0 || nested_absmax->info.numel() != (blocks + state.nested_block - 1) / state.nested_block)))
    fail(ErrorCode::Format, "{}: tensor '{}' has {} bytes and {} scales; shape {} in blocks of {} needs {} and {}", codes.path(),
         entry.name, entry.info.nbytes(), absmax->info.numel(), to_string(state.shape), state.block, (elements + 1) / 2, blocks);
  recipe.make = [&entry, absmax, table, nested_absmax, nested_table, state](const Checkpoint& of, uint64_t first,
                                                                            std::span<float> out) {
    const auto block = static_cast<uint64_t>(state.block);
    std::array<float, 16> values{};
    read_floats(of, *table, 0, values);
    const uint64_t first_block = first / block, count = (first + out.size() - 1) / block - first_block + 1;
    std::vector<float> scales(count);
    if (nested_absmax == nullptr) {
      read_floats(of, *absmax, first_block, scales);
    } else {
      const TensorRange magnitudes(of, *absmax, first_block, count);
      std::array<float, 256> nested_values{};
      read_floats(of, *nested_table, 0, nested_values);
      const auto nested_block = static_cast<uint64_t>(state.nested_block);
      std::vector<float> outer((first_block + count - 1) / nested_block - first_block / nested_block + 1);
      read_floats(of, *nested_absmax, first_block / nested_block, outer);
      for (uint64_t b = 0; b < count; ++b)
        scales[b] = nested_values[static_cast<size_t>(magnitudes.bytes()[b])] *
                        outer[(first_block + b) / nested_block - first_block / nested_block] +
                    state.nested_offset;
    }
    const TensorRange packed(of, entry, first / 2, (first + out.size() + 1) / 2 - first / 2);
    for (uint64_t i = 0; i < out.size(); ++i) {
      const uint64_t element = first + i;
      const auto two = static_cast<unsigned>(packed.bytes()[element / 2 - first / 2]);
      out[i] = values[element % 2 == 0 ? two >> 4 : two & 15] * scales[element / block - first_block];
    }
  };
  return recipe;
}

// Source: bitsandbytes/functional.py, int8_vectorwise_dequant: value = code * SCB[row] * (1 / 127), in float32.
std::optional<Recipe> bitsandbytes_int8(const Codes& codes, const TensorEntry& entry) {
  const auto stem = without(entry.name, ".weight");
  if (entry.info.dtype != Dtype::I8 || entry.info.shape.size() != 2 || !stem) return std::nullopt;
  const TensorEntry* scales = codes.find(*stem + ".SCB");
  if (scales == nullptr) scales = codes.find(entry.name + ".SCB");
  if (scales == nullptr) return std::nullopt;
  if (!is_float(scales->info.dtype) || scales->info.numel() != entry.info.shape[0])
    fail(ErrorCode::Format, "{}: tensor '{}' of shape {} does not fit its scales '{}' of shape {}", codes.path(), entry.name,
         to_string(entry.info.shape), scales->name, to_string(scales->info.shape));
  Recipe recipe{.name = entry.name, .shape = entry.info.shape, .rule = "bitsandbytes int8", .parts = {&entry, scales}};
  if (const TensorEntry* format = codes.find(*stem + ".weight_format")) {
    recipe.parts.push_back(format);
    const MappedTensor layout = codes.of.tensor(format->name);  // 0: row-major; the others are layouts of old GPUs
    if (std::ranges::any_of(layout.view.bytes, [](std::byte byte) { return byte != std::byte{0}; })) return std::nullopt;
  }
  recipe.make = [&entry, scales](const Checkpoint& of, uint64_t first, std::span<float> out) {
    read_floats(of, entry, first, out);
    const auto width = static_cast<uint64_t>(entry.info.shape[1]);
    for (uint64_t done = 0; done < out.size();) {
      const uint64_t row = (first + done) / width, run = std::min(width - (first + done) % width, out.size() - done);
      float scale = 0;
      read_floats(of, *scales, row, {&scale, 1});
      for (uint64_t i = 0; i < run; ++i) out[done + i] = out[done + i] * scale * kOne127th;
      done += run;
    }
  };
  return recipe;
}

}  // namespace taskvec::formats
