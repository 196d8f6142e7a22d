#include "taskvec/formats/quantised/quantised.h"

#include "taskvec/core/bounded_json.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/files/inside.h"
#include "taskvec/formats/quantised/recipe.h"
#include "taskvec/kernels/convert.h"

#include <fmt/ranges.h>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include <set>
#include <unordered_map>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;
constexpr uint64_t kChunk = uint64_t{1} << 16;  // elements

/// A checkpoint's weights as the values that its codes stand for.
class Dequantised : public Checkpoint {
 public:
  Dequantised(std::shared_ptr<const Checkpoint> inner, Manifest manifest, std::unordered_map<std::string, Recipe> recipes)
      : Checkpoint(inner->path(), std::move(manifest), inner->files()), inner_(std::move(inner)), recipes_(std::move(recipes)) {}

  void check_unchanged() const override { inner_->check_unchanged(); }
  std::vector<std::string> damage() const override { return inner_->damage(); }

 private:
  void make(const TensorEntry& entry, uint64_t offset, std::span<std::byte> out) const override {
    const auto found = recipes_.find(entry.name);
    if (found == recipes_.end()) {
      const TensorRange range(*inner_, inner_->entry(entry.name), offset, out.size());
      std::ranges::copy(range.bytes(), out.begin());
      return;
    }
    std::vector<float> chunk(std::min<uint64_t>(kChunk, out.size() / sizeof(float)));
    // GPTQ's codes lie across: it takes a whole range at once.
    if (found->second.parts[0]->info.dtype == Dtype::I32) chunk.resize(out.size() / sizeof(float));
    for (uint64_t done = 0; done < out.size();) {
      const uint64_t size = std::min<uint64_t>(chunk.size() * sizeof(float), out.size() - done);
      found->second.make(*inner_, (offset + done) / sizeof(float), std::span(chunk).first(size / sizeof(float)));
      std::memcpy(out.data() + done, chunk.data(), size);
      done += size;
    }
  }

  std::shared_ptr<const Checkpoint> inner_;
  std::unordered_map<std::string, Recipe> recipes_;
};

/// config.json's quantization_config (null without one): of the folder, or beside a lone file.
nlohmann::json quantization_config(const Checkpoint& checkpoint) {
  std::error_code error;
  const fs::path folder = fs::is_directory(checkpoint.path(), error) ? checkpoint.path() : checkpoint.path().parent_path();
  for (const char* key : {"quantization_config", "compression_config", "quantization"}) try {
      const fs::path file = inside(folder, "config.json");
      if (!fs::is_regular_file(file, error)) return nullptr;
      const auto json = parse_bounded_json(read_file(file, kMaxConfigBytes));
      if (const auto found = json.find(key); json.is_object() && found != json.end() && found->is_object()) return *found;
    } catch (const Error&) {
      return nullptr;  // whoever needs the file says what is wrong with it
    }
  return nullptr;
}

bool may_be_codes(const TensorEntry& entry) {
  switch (entry.info.dtype) {
    case Dtype::I8:
    case Dtype::U8:
    case Dtype::I16:
    case Dtype::U16:
    case Dtype::I32:
    case Dtype::U32:
    case Dtype::F8_E4M3:
    case Dtype::F8_E5M2:
    case Dtype::F8_E4M3FNUZ:
    case Dtype::F8_E5M2FNUZ: return !entry.info.shape.empty() && entry.info.numel() > 1;
    default: return false;
  }
}

/// Integers that networks hold besides codes.
bool is_buffer(std::string_view name) {
  for (const std::string_view suffix :
       {"position_ids", "token_type_ids", "num_batches_tracked", "relative_position_index", "relative_coords_table", "attn_mask",
        "masked_bias", "attn.bias", "attention.bias", "g_idx"})
    if (name.ends_with(suffix)) return true;
  return false;
}

bool is_integer(const TensorEntry& entry) {
  switch (entry.info.dtype) {
    case Dtype::I64:
    case Dtype::U64: return entry.info.numel() > 1;
    default: return may_be_codes(entry);
  }
}

/// A quant_method in config.json whose rules are none of the ones here.
bool is_unknown_method(const nlohmann::json& config) {
  static constexpr std::array kRead{"fp8",  "fbgemm_fp8", "finegrained_fp8", "compressed-tensors", "bitsandbytes",
                                    "gptq", "awq",        "modelopt",        "auto-round",         "intel/auto-round"};
  const auto method = config.is_object() ? config.find("quant_method") : config.end();
  return config.is_object() && method != config.end() && method->is_string() &&
         std::ranges::find(kRead, method->get_ref<const std::string&>()) == kRead.end();
}

/// What else quantised models hold: scales of activations and of the cache, markers. No weights.
bool is_beside(const TensorEntry& entry) {
  if (entry.info.numel() > 2) return false;
  for (const std::string_view suffix : {".input_scale", "_input_scale", ".output_scale", ".k_scale", ".v_scale", ".q_scale",
                                        ".scale_input", ".qscale_act", "scaled_fp8", ".activation_scale"})
    if (entry.name.ends_with(suffix)) return true;
  return entry.name == "scaled_fp8";
}

struct Kind {
  std::string_view codes, partner, what;
};

/// Codes that are known by the names of what scales them, and not read.
constexpr std::array<Kind, 26> kUnread{{{"_blocks", "_scales", "MXFP4 blocks"},
                                        {".blocks", ".scales", "MXFP4 blocks"},
                                        {"q_weight", "q_scale", "ExLlamaV2's integers"},
                                        {"trellis", "suh", "EXL3's trellis"},
                                        {".B", ".s", "Marlin's integers"},
                                        {"indices", "centroids.weight", "VPTQ's indices"},
                                        {"Qidxs", "SU", "QuIP's indices"},
                                        {"dense_weights", "row_offsets", "SpQR's integers"},
                                        {"qdata", "scale", "torchao's tensors"},
                                        {"qdata", "_scale", "torchao's tensors"},
                                        {"int_data", "scale", "torchao's tensors"},
                                        {"weight", "weight_global_scale", "codes with scales"},
                                        {"weight", "weight_amax", "codes with scales"},
                                        {"weight", "_extra_state", "Transformer Engine's FP8"},
                                        {"_packed", "_scale", "packed integers of compressed-tensors"},
                                        {"weight", "weight_scale_2", "NVFP4"},
                                        {"weight", "weight_zero_point", "integers with zero points"},
                                        {"weight", "biases", "MLX's integers"},
                                        {"qweight", "scales", "packed integers"},
                                        {"qweight", "weight_scales", "EETQ's integers"},
                                        {"W_q", "scale", "HQQ's integers"},
                                        {"codes", "codebooks", "AQLM's codebooks"},
                                        {"_data", "_scale", "quanto's integers"},
                                        {"weight", "weight.absmax", "bitsandbytes without its state"},
                                        {"weight", "weight_scale", "codes with scales"},
                                        {"weight", "scales", "codes with scales"}}};

/// In words, what kind of codes a tensor is that no recipe reads; "" where nothing shows that it is any.
std::string unread(const Codes& codes, const TensorEntry& entry) {
  for (const Kind& kind : kUnread) {
    const auto stem = without(entry.name, kind.codes);
    if (!stem) continue;
    const std::string partner = *stem + std::string(kind.partner);
    if (codes.find(partner) != nullptr) return fmt::format("{}: '{}' with '{}'", kind.what, entry.name, partner);
  }
  for (const char* suffix : {"_scale", "_scales", "_scale_inv", ".scale", ".scales", ".absmax", ".SCB", "_zero_point", "_shape"})
    if (codes.find(entry.name + suffix) != nullptr)
      return fmt::format("codes with scales: '{}' with '{}{}'", entry.name, entry.name, suffix);
  // Where config.json says that the model is quantised, matrices of small integers are its codes.
  const bool matrix = may_be_codes(entry) && entry.info.shape.size() >= 2 && entry.info.shape[0] > 1;
  if (codes.config.is_object() && (matrix || (is_unknown_method(codes.config) && !is_buffer(entry.name)))) {
    const auto method = codes.config.find("quant_method");
    const bool named = method != codes.config.end() && method->is_string();
    return fmt::format("codes of the quantization_config in config.json ({}), e.g. {} '{}'",
                       named ? method->get<std::string>() : "without a quant_method", taskvec::name(entry.info.dtype),
                       entry.name);
  }
  return "";
}

}  // namespace

std::optional<std::string> without(std::string_view name, std::string_view suffix) {
  return name.ends_with(suffix) ? std::optional(std::string(name.substr(0, name.size() - suffix.size()))) : std::nullopt;
}

void read_floats(const Checkpoint& of, const TensorEntry& entry, uint64_t first, std::span<float> out) {
  const auto size = static_cast<uint64_t>(itemsize(entry.info.dtype));
  const TensorRange range(of, entry, first * size, out.size() * size);
  if (entry.info.dtype == Dtype::I8 || entry.info.dtype == Dtype::F8_E8M0) {
    const bool exponent = entry.info.dtype == Dtype::F8_E8M0;
    for (size_t i = 0; i < out.size(); ++i) {
      const auto byte = std::to_integer<int>(range.bytes()[i]);
      if (!exponent)
        out[i] = static_cast<float>(static_cast<int8_t>(byte));
      else
        out[i] = byte == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0F, byte - 127);
    }
    return;
  }
  kernels::convert(entry.info.dtype, range.bytes(), Dtype::F32, std::as_writable_bytes(out));
}

std::shared_ptr<const Checkpoint> dequantised(std::shared_ptr<const Checkpoint> checkpoint) {
  const Manifest& of = checkpoint->manifest();
  if (of.delta || std::ranges::none_of(of.tensors, is_integer)) return checkpoint;
  const Codes codes{*checkpoint, quantization_config(*checkpoint)};
  std::unordered_map<std::string, Recipe> recipes;  // by the name of the weight
  std::unordered_map<std::string_view, const Recipe*> made_of;
  std::set<std::string_view> dropped;
  std::set<std::string> rules;
  for (const auto& entry : of.tensors) {
    if (!may_be_codes(entry)) continue;
    for (const auto recognise : {bitsandbytes_4bit, bitsandbytes_int8, packed_words, scaled}) {
      auto recipe = recognise(codes, entry);
      if (!recipe) continue;
      if (recipe->name != entry.name && of.find(recipe->name) != nullptr)
        fail(ErrorCode::Format, "{}: tensor '{}' is there beside its codes '{}'", codes.path(), recipe->name, entry.name);
      for (const TensorEntry* part : recipe->parts) dropped.insert(part->name);
      rules.insert(recipe->rule);
      const auto [place, added] = recipes.emplace(recipe->name, std::move(*recipe));
      if (!added) fail(ErrorCode::Format, "{}: two tensors are codes of '{}'", codes.path(), place->first);
      made_of.emplace(entry.name, &place->second);
      break;
    }
  }
  Manifest manifest;
  std::vector<std::string> words(rules.begin(), rules.end());
  for (const auto& entry : of.tensors) {
    if (!dropped.contains(entry.name) && is_integer(entry) && manifest.codes.empty()) manifest.codes = unread(codes, entry);
    if (const auto recipe = made_of.find(entry.name); recipe != made_of.end()) {
      manifest.tensors.push_back({recipe->second->name, {Dtype::F32, recipe->second->shape}, entry.file, 0, false});
    } else if (!dropped.contains(entry.name) && (recipes.empty() || !is_beside(entry))) {
      manifest.tensors.push_back(entry);
    }
  }
  if (recipes.empty() && manifest.codes.empty()) return checkpoint;
  // Codes of which some are not read stay codes: a copy of them is the whole.
  if (!manifest.codes.empty()) {
    recipes.clear();
    manifest.tensors = of.tensors;
  }
  manifest.format = manifest.codes.empty() ? fmt::format("{}, {}", of.format, fmt::join(words, ", ")) : of.format;
  manifest.metadata = of.metadata;
  manifest.native_metadata = of.native_metadata;
  manifest.files = of.files;
  manifest.sidecars = of.sidecars;
  if (manifest.codes.empty())  // they would say that what is written of this is quantised
    std::erase_if(manifest.sidecars, [](const fs::path& file) {
      const auto name = file.filename();
      return name == "quantize_config.json" || name == "quant_config.json" || name == "hf_quant_config.json";
    });
  return std::make_shared<Dequantised>(std::move(checkpoint), std::move(manifest), std::move(recipes));
}

void check_plain(const Checkpoint& checkpoint, std::string_view label) {
  if (checkpoint.manifest().codes.empty()) return;
  fail(ErrorCode::Unsupported,
       "{} is quantised in a way that taskvec does not read ({}): it can be copied, but not computed with; take the model it was "
       "made from, or write its weights as plain floats first (docs/formats.md lists what is read)",
       label, checkpoint.manifest().codes);
}

}  // namespace taskvec::formats
