#include "taskvec/formats/lora/lora.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/inside.h"
#include "taskvec/formats/lora/lora_product.h"

#include <algorithm>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfig = "adapter_config.json";
constexpr std::string_view kPrefix = "base_model.model.";

/// What the name of a tensor in an adapter says: "<module>.lora_A[.<adapter>].weight", "<module>.lora_embedding_A[.<adapter>]".
struct FactorName {
  std::string module;
  bool is_a = false, embedding = false;
};

std::optional<FactorName> parse_name(std::string_view name) {
  if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
  const size_t at = name.rfind(".lora_");
  if (at == std::string_view::npos || at == 0) return std::nullopt;
  const std::string_view module = name.substr(0, at);
  std::string_view rest = name.substr(at + std::string_view(".lora_").size());
  const bool embedding = rest.starts_with("embedding_");
  if (embedding) rest.remove_prefix(std::string_view("embedding_").size());
  if (!rest.starts_with("A") && !rest.starts_with("B")) return std::nullopt;
  const bool is_a = rest.front() == 'A';
  rest.remove_prefix(1);
  if (!embedding) {
    if (!rest.ends_with(".weight")) return std::nullopt;
    rest.remove_suffix(std::string_view(".weight").size());
  }
  if (!rest.empty() && (rest.front() != '.' || rest.size() == 1 || rest.find('.', 1) != std::string_view::npos))
    return std::nullopt;
  return FactorName{std::string(module), is_a, embedding};
}

/// Pairs the factors of an adapter and checks them.
class AdapterReader {
 public:
  AdapterReader(const fs::path& folder, const fs::path& file)
      : config_(read_lora_config(inside(folder, kConfig))), weights_(open(file)), path_(file.string()) {}

  std::shared_ptr<const Checkpoint> read(const fs::path& folder) {
    std::vector<const TensorEntry*> others;
    for (const auto& entry : weights_->manifest().tensors) add(entry, others);
    if (modules_.empty()) fail(ErrorCode::Format, "{} holds no LoRA factors", path_);
    for (const auto* entry : others) check_other(*entry);

    Manifest manifest;
    manifest.format = "LoRA adapter";
    manifest.delta = true;
    manifest.metadata = weights_->manifest().metadata;
    manifest.files = weights_->manifest().files;
    std::vector<LoraFactors> factors;
    for (auto& [name, found] : modules_) {
      manifest.tensors.push_back({name + ".weight", dense_info(found), 0, 0, /*as_is=*/false});
      factors.push_back(std::move(found));
    }
    return std::make_shared<LoraAdapter>(folder, std::move(manifest), weights_, std::move(factors), std::move(config_));
  }

 private:
  void add(const TensorEntry& entry, std::vector<const TensorEntry*>& others) {
    const auto name = parse_name(entry.name);
    if (!name) {
      others.push_back(&entry);
      return;
    }
    LoraFactors& factors = modules_[name->module];
    const TensorEntry*& place = name->is_a ? factors.a : factors.b;
    if (place != nullptr)
      fail(ErrorCode::Format, "{}: '{}' and '{}' are both factor {} of one module; expected one adapter", path_, place->name,
           entry.name, name->is_a ? "A" : "B");
    if (!is_float(entry.info.dtype))
      fail(ErrorCode::Format, "{}: tensor '{}' is {}; LoRA factors are floats", path_, entry.name,
           taskvec::name(entry.info.dtype));
    const bool first = factors.a == nullptr && factors.b == nullptr;
    if (!first && factors.embedding != name->embedding)
      fail(ErrorCode::Format, "{}: tensor '{}' and its partner are not both factors of an embedding", path_, entry.name);
    factors.module = name->module;
    factors.embedding = name->embedding;
    place = &entry;
  }

  /// PEFT saves an embedding's base layer beside its factors; anything else changes more than s*B*A does.
  void check_other(const TensorEntry& entry) const {
    std::string_view name = entry.name;
    if (name.find(".lora_magnitude_vector") != std::string_view::npos)
      fail(ErrorCode::Unsupported, "{}: tensor '{}' belongs to DoRA, whose change depends on the base; merge it with PEFT first",
           path_, name);
    if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
    constexpr std::string_view kBaseLayer = ".base_layer.weight";
    if (name.ends_with(kBaseLayer) && modules_.contains(std::string(name.substr(0, name.size() - kBaseLayer.size())))) return;
    fail(
        ErrorCode::Unsupported,
        "{}: tensor '{}' is no LoRA factor: it replaces a tensor of the base (modules_to_save or a resized embedding?), which is "
        "no change that could be scaled, added or taken away; merge the adapter with PEFT and use 'merged - base' instead",
        path_, entry.name);
  }

  TensorInfo dense_info(LoraFactors& factors) const {
    if (factors.a == nullptr || factors.b == nullptr) {
      const auto* lone = factors.a == nullptr ? factors.b : factors.a;
      fail(ErrorCode::Format, "{}: tensor '{}' has no partner: factor {} of module '{}' is missing", path_, lone->name,
           factors.a == nullptr ? "A" : "B", factors.module);
    }
    const Shape &a = factors.a->info.shape, &b = factors.b->info.shape;
    factors.rank = config_.rank_of(factors.module);
    factors.scale = config_.scale_of(factors.module);
    const bool shapes_agree = a.size() >= 2 && a.size() == b.size() && a[0] == b[1] &&
                              std::all_of(b.begin() + 2, b.end(), [](int64_t size) { return size == 1; }) &&
                              (a.size() == 2 || !factors.embedding);
    if (!shapes_agree)
      fail(ErrorCode::Format, "{}: '{}' {} and '{}' {} are no factors of one matrix; expected [rank, in] and [out, rank]", path_,
           factors.a->name, to_string(a), factors.b->name, to_string(b));
    if (a[0] != factors.rank)
      fail(ErrorCode::Format, "{}: '{}' has rank {}, but adapter_config.json says {} for module '{}'", path_, factors.a->name,
           a[0], factors.rank, factors.module);
    factors.transposed = factors.embedding || (config_.fan_in_fan_out && a.size() == 2);
    TensorInfo info{Dtype::F32, a};
    info.shape[0] = b[0];
    if (factors.transposed) std::swap(info.shape[0], info.shape[1]);
    try {
      info.nbytes();
    } catch (const Error& error) {
      fail(ErrorCode::Format, "{}: module '{}' would have shape {}: {}", path_, factors.module, to_string(info.shape),
           error.what());
    }
    return info;
  }

  LoraConfig config_;
  std::shared_ptr<const Checkpoint> weights_;
  std::string path_;
  std::map<std::string, LoraFactors> modules_;
};

}  // namespace

LoraAdapter::LoraAdapter(fs::path path, Manifest manifest, std::shared_ptr<const Checkpoint> weights,
                         std::vector<LoraFactors> factors, LoraConfig config)
    : Checkpoint(std::move(path), std::move(manifest), {}),
      weights_(std::move(weights)),
      factors_(std::move(factors)),
      config_(std::move(config)) {}

void LoraAdapter::check_unchanged() const { weights_->check_unchanged(); }

void LoraAdapter::make(const TensorEntry& entry, uint64_t offset, std::span<std::byte> out) const {
  lora_product(*weights_, factors_[manifest().index.at(entry.name)], entry.info.shape,
               static_cast<int64_t>(offset / sizeof(float)), out);
}

bool is_lora(const fs::path& folder) { return is_there(folder / kConfig); }

std::shared_ptr<const Checkpoint> open_lora(const fs::path& folder) {
  for (const char* name : {"adapter_model.safetensors", "adapter_model.bin"})
    if (is_there(folder / name)) return AdapterReader(folder, inside(folder, name)).read(folder);
  fail(ErrorCode::NotFound, "{} has an adapter_config.json, but neither adapter_model.safetensors nor adapter_model.bin",
       folder.string());
}

}  // namespace taskvec::formats
