#include "taskvec/core/error.h"
#include "taskvec/formats/quantised/recipe.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <cstring>

namespace taskvec::formats {
namespace {

/// The codes of a matrix [rows, columns] in 32-bit words, several to a word along one of the dimensions.
struct Packed {
  const TensorEntry* entry;
  unsigned bits;
  bool along_rows;                 ///< of the matrix: word [r / per_word, c]; else word [r, c / per_word]
  std::array<unsigned, 16> place;  ///< of the element in its word, in units of `bits`

  unsigned per_word() const { return 32 / bits; }
};

/// All words of a packed matrix, to be read in any order.
class Words {
 public:
  Words(const Checkpoint& of, const Packed& packed)
      : packed_(packed),
        width_(static_cast<uint64_t>(packed.entry->info.shape[1])),
        bytes_(of, *packed.entry, 0, static_cast<uint64_t>(packed.entry->info.nbytes())) {}

  unsigned operator()(uint64_t row, uint64_t column) const {
    const unsigned per_word = packed_.per_word();
    const uint64_t along = packed_.along_rows ? row : column;
    const uint64_t index = packed_.along_rows ? row / per_word * width_ + column : row * width_ + column / per_word;
    uint32_t word = 0;
    std::memcpy(&word, bytes_.bytes().data() + index * sizeof word, sizeof word);
    return word >> (packed_.place[along % per_word] * packed_.bits) & ((1U << packed_.bits) - 1);
  }

 private:
  const Packed& packed_;
  uint64_t width_;
  TensorRange bytes_;
};

std::array<unsigned, 16> in_order() {
  std::array<unsigned, 16> place{};
  for (unsigned i = 0; i < place.size(); ++i) place[i] = i;
  return place;
}

/// What config.json says of the packing, with nothing where it is silent.
struct Declared {
  std::string method, version, checkpoint_format, packing_format, backend;
  int64_t bits = 0;  ///< 0: not said, or not of every layer

  explicit Declared(const nlohmann::json& config) {
    if (!config.is_object()) return;
    const auto text = [&](const char* key) {
      const auto found = config.find(key);
      if (found == config.end() || !found->is_string()) return std::string();
      std::string word = found->get<std::string>();
      std::ranges::transform(word, word.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      return word;
    };
    method = text("quant_method");
    version = text("version");
    checkpoint_format = text("checkpoint_format");
    packing_format = text("packing_format");
    backend = text("backend");
    const auto found = config.find("bits");
    // Layers may have bits of their own: GPTQModel's dynamic, AutoRound's extra_config.
    if (found != config.end() && found->is_number_integer() && !config.contains("dynamic") && !config.contains("extra_config"))
      bits = found->get<int64_t>();
  }

  /// Whether codes of these bits that lie as GPTQ's (else as AWQ's) are what config.json says that they are.
  bool allows(bool gptq, int64_t found_bits) const {
    if (bits != 0 && bits != found_bits) return false;
    const bool as_gptq = checkpoint_format.empty() || checkpoint_format == "gptq" || checkpoint_format == "gptq_v2";
    if (method == "gptq") return gptq && as_gptq;
    if (method == "awq") return !gptq && (version.empty() || version == "gemm" || version == "exllama" || version == "ipex");
    if (method == "auto-round" || method == "intel/auto-round") {
      // Without "gptq" in their names, zeros are stored as they are, or otherwise: versions differ.
      const std::string& format = packing_format.empty() ? backend : packing_format;
      return format.find(gptq ? "gptq" : "awq") != std::string::npos;
    }
    return method.empty() && as_gptq;
  }
};

bool is_matrix(const TensorEntry* entry, Dtype dtype) {
  return entry != nullptr && entry->info.dtype == dtype && entry->info.shape.size() == 2 && entry->info.numel() > 0;
}

}  // namespace

// Stored is the transpose, [in, out], of the weight [out, in]: weight[o, i] = scales[g, o] * (code[i, o] - zero[g, o]), g the
// group of row i. GPTQ (AutoGPTQ, GPTQModel: nn_modules/qlinear): codes are packed along `in`, zeros along `out`; a zero is
// stored less one, modulo 2^bits, unless checkpoint_format is gptq_v2; g_idx gives each row's group. AWQ (AutoAWQ:
// modules/linear/gemm.py): all packed along `out`, where a word holds its columns in the order 0 2 4 6 1 3 5 7.
std::optional<Recipe> packed_words(const Codes& codes, const TensorEntry& entry) {
  const auto stem = without(entry.name, ".qweight");
  if (!stem || !is_matrix(&entry, Dtype::I32)) return std::nullopt;
  const TensorEntry *scales = codes.find(*stem + ".scales"), *zeros = codes.find(*stem + ".qzeros"),
                    *g_idx = codes.find(*stem + ".g_idx");
  if (scales == nullptr || !is_float(scales->info.dtype) || scales->info.shape.size() != 2 || scales->info.numel() == 0 ||
      !is_matrix(zeros, Dtype::I32))
    return std::nullopt;
  const int64_t groups = scales->info.shape[0], outputs = scales->info.shape[1], bits = 32 * zeros->info.shape[1] / outputs;
  if (bits != 2 && bits != 4 && bits != 8) return std::nullopt;
  const Declared declared(codes.config);
  const bool gptq = entry.info.shape[1] == outputs;
  if ((!gptq && bits == 2) || !declared.allows(gptq, bits)) return std::nullopt;
  const int64_t per_word = 32 / bits, inputs = gptq ? entry.info.shape[0] * per_word : entry.info.shape[0];
  const bool fits = zeros->info.shape == Shape{groups, (outputs + per_word - 1) / per_word} &&
                    (gptq || entry.info.shape[1] * per_word == outputs) &&
                    (g_idx != nullptr ? g_idx->info == TensorInfo{Dtype::I32, {inputs}} : inputs % groups == 0);
  if (!fits)
    fail(ErrorCode::Format, "{}: '{}' {} does not fit '{}' {} and '{}' {}", codes.path(), entry.name, to_string(entry.info.shape),
         scales->name, to_string(scales->info.shape), zeros->name, to_string(zeros->info.shape));
  Packed code{&entry, static_cast<unsigned>(bits), gptq, in_order()}, zero{zeros, static_cast<unsigned>(bits), false, in_order()};
  if (!gptq) {
    const std::array<unsigned, 8> four{0, 4, 1, 5, 2, 6, 3, 7};  // column c lies in place[c]
    const std::array<unsigned, 4> eight{0, 2, 1, 3};
    if (bits == 4) std::ranges::copy(four, code.place.begin());
    if (bits == 8) std::ranges::copy(eight, code.place.begin());
    zero.place = code.place;
  }
  const unsigned added = gptq && declared.checkpoint_format != "gptq_v2" ? 1 : 0;
  Recipe recipe{.name = *stem + ".weight",
                .shape = {outputs, inputs},
                .rule = fmt::format("{} of {} bits", gptq ? "GPTQ" : "AWQ", bits),
                .parts = {&entry, scales, zeros}};
  if (g_idx != nullptr) recipe.parts.push_back(g_idx);
  recipe.make = [code, zero, scales, g_idx, added, path = codes.path()](const Checkpoint& of, uint64_t first,
                                                                        std::span<float> out) {
    const auto group_count = static_cast<uint64_t>(scales->info.shape[0]),
               output_count = static_cast<uint64_t>(scales->info.shape[1]);
    const uint64_t input_count = static_cast<uint64_t>(code.entry->info.shape[0]) * (code.along_rows ? code.per_word() : 1);
    const uint64_t begin = first / input_count, end = (first + out.size() - 1) / input_count + 1;  // rows of the weight
    // Scales and zeros of these rows only, all groups of a row together: they lie across the file.
    std::vector<float> scale(group_count * (end - begin)), zero_point(scale.size());
    const Words zero_words(of, zero), code_words(of, code);
    for (uint64_t g = 0; g < group_count; ++g) {
      std::vector<float> some(end - begin);
      read_floats(of, *scales, g * output_count + begin, some);
      for (uint64_t o = begin; o < end; ++o) {
        scale[(o - begin) * group_count + g] = some[o - begin];
        zero_point[(o - begin) * group_count + g] = static_cast<float>((zero_words(g, o) + added) & ((1U << zero.bits) - 1));
      }
    }
    std::vector<uint32_t> group(input_count);
    if (g_idx != nullptr) {
      const TensorRange indices(of, *g_idx, 0, input_count * sizeof(uint32_t));
      std::memcpy(group.data(), indices.bytes().data(), input_count * sizeof(uint32_t));
      if (std::ranges::any_of(group, [&](uint32_t g) { return g >= group_count; }))
        fail(ErrorCode::Format, "{}: '{}' names a group that there is not; there are {}", path, g_idx->name, group_count);
    } else {
      for (uint64_t i = 0; i < input_count; ++i) group[i] = static_cast<uint32_t>(i / (input_count / group_count));
    }
    // Sixteen rows at a time: that many words side by side are one cache line of the codes.
    constexpr uint64_t kRows = 16;
    for (uint64_t row = begin; row < end; row += kRows)
      for (uint64_t i = 0; i < input_count; ++i)
        for (uint64_t o = row; o < std::min(row + kRows, end); ++o) {
          const uint64_t element = o * input_count + i;
          if (element < first || element >= first + out.size()) continue;
          const uint64_t at = (o - begin) * group_count + group[i];
          out[element - first] = scale[at] * (static_cast<float>(code_words(i, o)) - zero_point[at]);
        }
  };
  return recipe;
}

}  // namespace taskvec::formats
