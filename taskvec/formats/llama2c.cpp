#include "taskvec/formats/llama2c.h"

#include "taskvec/core/checked.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;

/// The header, as run.c's Config.
struct Header {
  int64_t dim, hidden, layers, heads, kv_heads, vocabulary, sequence;
  bool shared_classifier;

  int64_t head() const { return dim / heads; }
  int64_t kv() const { return kv_heads * head(); }
};
constexpr size_t kHeaderBytes = 7 * sizeof(int32_t);

/// Tensors of one kind, one per layer (or one in all), as they follow each other in the file.
struct Group {
  std::string prefix, suffix;
  Shape shape;
  bool per_layer = true;
  bool rotary = false;  ///< rows are in the original order of rotary pairs
  bool skip = false;    ///< not a parameter

  std::string name(int64_t layer) const { return per_layer ? fmt::format("{}{}{}", prefix, layer, suffix) : prefix; }
};

std::vector<Group> groups_of(const Header& h) {
  const std::string layer = "model.layers.";
  std::vector<Group> groups{{"model.embed_tokens.weight", "", {h.vocabulary, h.dim}, false},
                            {layer, ".input_layernorm.weight", {h.dim}},
                            {layer, ".self_attn.q_proj.weight", {h.dim, h.dim}, true, true},
                            {layer, ".self_attn.k_proj.weight", {h.kv(), h.dim}, true, true},
                            {layer, ".self_attn.v_proj.weight", {h.kv(), h.dim}},
                            {layer, ".self_attn.o_proj.weight", {h.dim, h.dim}},
                            {layer, ".post_attention_layernorm.weight", {h.dim}},
                            {layer, ".mlp.gate_proj.weight", {h.hidden, h.dim}},
                            {layer, ".mlp.down_proj.weight", {h.dim, h.hidden}},
                            {layer, ".mlp.up_proj.weight", {h.hidden, h.dim}},
                            {"model.norm.weight", "", {h.dim}, false},
                            {"freq_cis_real", "", {h.sequence, h.head() / 2}, false, false, true},
                            {"freq_cis_imag", "", {h.sequence, h.head() / 2}, false, false, true}};
  if (!h.shared_classifier) groups.push_back({"lm_head.weight", "", {h.vocabulary, h.dim}, false});
  return groups;
}

/// The header, where its numbers make sense and give exactly this size.
std::optional<Header> read_header(std::span<const std::byte> bytes) {
  if (bytes.size() < kHeaderBytes) return std::nullopt;
  std::array<int32_t, 7> n;
  std::memcpy(n.data(), bytes.data(), kHeaderBytes);
  const Header h{n[0], n[1], n[2], n[3], n[4], std::abs(int64_t{n[5]}), n[6], n[5] > 0};
  // A layer takes bytes: more layers than bytes would only cost time.
  if (std::min({h.dim, h.hidden, h.layers, h.heads, h.kv_heads, h.vocabulary, h.sequence}) <= 0 || h.dim % h.heads != 0 ||
      h.heads % h.kv_heads != 0 || h.head() % 2 != 0 || static_cast<uint64_t>(h.layers) > bytes.size())
    return std::nullopt;
  try {
    int64_t elements = 0;
    for (const Group& group : groups_of(h))
      elements = checked_add(elements, checked_mul(numel(group.shape), group.per_layer ? h.layers : 1, "size"), "size");
    const int64_t size = checked_add(checked_mul(elements, sizeof(float), "size"), kHeaderBytes, "size");
    return static_cast<uint64_t>(size) == bytes.size() ? std::optional(h) : std::nullopt;
  } catch (const Error&) {
    return std::nullopt;
  }
}

class Llama2cCheckpoint : public Checkpoint {
 public:
  Llama2cCheckpoint(fs::path path, Manifest manifest, std::shared_ptr<const MappedFile> file, int64_t head)
      : Checkpoint(std::move(path), std::move(manifest), {std::move(file)}), head_(static_cast<uint64_t>(head)) {}

 private:
  /// Row 2i + j of a head (i < head / 2, j < 2) is row j * head / 2 + i for Hugging Face.
  void make(const TensorEntry& entry, uint64_t offset, std::span<std::byte> out) const override {
    const std::byte* rows = files()[0]->bytes().data() + entry.offset;
    const uint64_t row_bytes = static_cast<uint64_t>(entry.info.shape[1]) * sizeof(float);
    while (!out.empty()) {
      const uint64_t row = offset / row_bytes, within = row % head_, skip = offset % row_bytes;
      const uint64_t original = row - within + within % (head_ / 2) * 2 + within / (head_ / 2);
      const uint64_t n = std::min<uint64_t>(row_bytes - skip, out.size());
      std::memcpy(out.data(), rows + original * row_bytes + skip, n);
      out = out.subspan(n);
      offset += n;
    }
  }

  uint64_t head_;  // rows of a head
};

}  // namespace

bool is_llama2c(std::span<const std::byte> bytes) { return read_header(bytes).has_value(); }

std::shared_ptr<const Checkpoint> open_llama2c(const fs::path& path, std::shared_ptr<const MappedFile> file) {
  const auto header = read_header(file->bytes());
  if (!header) fail(ErrorCode::Format, "{}: its size is not what the header of a llama2.c model gives", path.string());
  const Header& h = *header;
  Manifest manifest;
  manifest.format = "llama2.c";
  manifest.files = {file->path()};
  manifest.metadata = {{"hidden_size", fmt::to_string(h.dim)},
                       {"intermediate_size", fmt::to_string(h.hidden)},
                       {"num_hidden_layers", fmt::to_string(h.layers)},
                       {"num_attention_heads", fmt::to_string(h.heads)},
                       {"num_key_value_heads", fmt::to_string(h.kv_heads)},
                       {"vocab_size", fmt::to_string(h.vocabulary)},
                       {"max_position_embeddings", fmt::to_string(h.sequence)},
                       {"tie_word_embeddings", h.shared_classifier ? "true" : "false"}};
  uint64_t offset = kHeaderBytes;
  for (const Group& group : groups_of(h)) {
    const TensorInfo info{Dtype::F32, group.shape};
    for (int64_t layer = 0; layer < (group.per_layer ? h.layers : 1); ++layer) {
      if (!group.skip) manifest.tensors.push_back({group.name(layer), info, 0, offset, !group.rotary});
      offset += static_cast<uint64_t>(info.nbytes());
    }
  }
  const int64_t head = h.head();
  return std::make_shared<Llama2cCheckpoint>(path, std::move(manifest), std::move(file), head);
}

}  // namespace taskvec::formats
