#include "taskvec/edit/executors/lora_sum.h"

#include "taskvec/core/checked.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/progress.h"
#include "taskvec/edit/executors/output.h"
#include "taskvec/edit/provenance.h"
#include "taskvec/formats/folders/replaceable.h"
#include "taskvec/formats/lora/lora.h"
#include "taskvec/kernels/convert.h"
#include "taskvec/kernels/statistics.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace taskvec::edit {
namespace {

namespace fs = std::filesystem;
using formats::LoraAdapter;
using formats::LoraFactors;
using formats::TensorEntry;

/// One addend of a module: coefficient * scale * B * A of one adapter.
struct Part {
  const LoraAdapter* adapter;
  const LoraFactors* factors;
  double coefficient;
};

struct Module {
  std::vector<Part> parts;
  int64_t rank = 0;

  const LoraFactors& like() const { return *parts.front().factors; }
};

std::vector<const LoraAdapter*> adapters_of(const Plan& plan) {
  std::vector<const LoraAdapter*> adapters;
  for (size_t s = 0; s < plan.sources.size(); ++s) {
    adapters.push_back(dynamic_cast<const LoraAdapter*>(plan.sources[s].get()));
    if (adapters.back() == nullptr)
      fail(ErrorCode::InvalidArgument,
           "source '{}' ({}) is {}, not a LoRA adapter: only a sum of adapters is an adapter; leave out --as-lora to write a "
           "model",
           plan.source_names[s], plan.sources[s]->path().string(), plan.sources[s]->manifest().format);
  }
  return adapters;
}

/// Shapes apart from the rank, which is dimension 0 of A and 1 of B.
std::pair<Shape, Shape> frame(const LoraFactors& factors) {
  Shape a = factors.a->info.shape, b = factors.b->info.shape;
  a.erase(a.begin());
  b.erase(b.begin() + 1);
  return {a, b};
}

void check_fit(const Part& a, const Part& b) {
  const auto refuse = [&](const std::string& what) {
    fail(ErrorCode::InvalidArgument, "module '{}' {} in {} and in {}, so their sum is no adapter; leave out --as-lora",
         a.factors->module, what, a.adapter->path().string(), b.adapter->path().string());
  };
  if (a.factors->embedding != b.factors->embedding) refuse("is not an embedding both");
  if (a.factors->transposed != b.factors->transposed) refuse("does not have the same fan_in_fan_out");
  if (frame(*a.factors) != frame(*b.factors)) refuse("has factors of different shapes");
}

std::vector<Module> modules_of(const Plan& plan) {
  if (!plan.calls.empty())
    fail(ErrorCode::InvalidArgument, "{} is no sum of adapters, so its result is no adapter; leave out --as-lora",
         to_string(plan.calls.front()));
  const auto adapters = adapters_of(plan);
  std::vector<Module> modules;
  for (const auto& tensor : plan.tensors) {
    Module module;
    for (const auto& term : tensor.terms) {
      const LoraAdapter& adapter = *adapters[term.source];
      const Part part{&adapter, &adapter.factors()[adapter.manifest().index.at(tensor.name)], term.coefficient};
      if (!module.parts.empty()) check_fit(module.parts.front(), part);
      module.parts.push_back(part);
      module.rank = checked_add(module.rank, part.factors->rank, "the rank of a sum");
    }
    if (!module.parts.empty()) modules.push_back(std::move(module));
  }
  if (modules.empty())
    fail(ErrorCode::InvalidArgument, "'{}' is zero for every module: there is nothing to write", plan.expression);
  return modules;
}

/// A's rows one below the other; they are contiguous.
void stack_a(const Module& module, Dtype dtype, std::span<std::byte> out) {
  size_t at = 0;
  for (const auto& part : module.parts) {
    const auto factor = part.adapter->weights().tensor(part.factors->a->name);
    const auto size = static_cast<size_t>(factor.view.info.numel() * itemsize(dtype));
    if (factor.view.info.dtype == dtype) {
      std::ranges::copy(factor.view.bytes, out.begin() + static_cast<std::ptrdiff_t>(at));
    } else {
      kernels::convert(factor.view.info.dtype, factor.view.bytes, dtype, out.subspan(at, size));
    }
    at += size;
  }
}

/// B's columns one beside the other, each adapter's times its coefficient and scale.
void stack_b(const Module& module, Dtype dtype, std::span<std::byte> out) {
  const auto rows = static_cast<size_t>(module.like().b->info.shape[0]);
  const auto width = out.size() / std::max<size_t>(rows, 1);
  size_t at = 0;
  for (const auto& part : module.parts) {
    const auto factor = part.adapter->weights().tensor(part.factors->b->name);
    const auto columns = static_cast<size_t>(part.factors->rank);
    const size_t bytes = columns * static_cast<size_t>(itemsize(factor.view.info.dtype));
    std::vector<double> line(columns);
    for (size_t row = 0; row < rows; ++row) {
      kernels::convert(factor.view.info.dtype, factor.view.bytes.subspan(row * bytes, bytes), Dtype::F64,
                       std::as_writable_bytes(std::span(line)));
      for (auto& value : line) value *= part.coefficient * part.factors->scale;
      kernels::convert(Dtype::F64, std::as_bytes(std::span(line)), dtype,
                       out.subspan(row * width + at, columns * static_cast<size_t>(itemsize(dtype))));
    }
    at += columns * static_cast<size_t>(itemsize(dtype));
  }
}

formats::OutputLayout layout_of(const Plan& plan, const std::vector<Module>& modules, Dtype dtype) {
  formats::OutputLayout layout;
  for (const auto& module : modules) {
    const LoraFactors& like = module.like();
    TensorInfo a{dtype, like.a->info.shape}, b{dtype, like.b->info.shape};
    a.shape[0] = b.shape[1] = module.rank;
    const char* form = like.embedding ? "base_model.model.{}.lora_embedding_{}" : "base_model.model.{}.lora_{}.weight";
    layout.tensors.push_back({fmt::format(fmt::runtime(form), like.module, "A"), a, 0});
    layout.tensors.push_back({fmt::format(fmt::runtime(form), like.module, "B"), b, 0});
  }
  std::vector<std::string> fingerprints;
  // Those of the factors: the dense forms can be a thousand times as large.
  for (const auto* adapter : adapters_of(plan)) fingerprints.push_back(adapter->weights().fingerprint());
  layout.metadata = provenance(plan, fingerprints);
  layout.metadata[kAsLoraKey] = "true";
  return layout;
}

/// The regular expression that matches one module alone.
std::string exact_pattern(std::string_view module) {
  std::string pattern = "^";
  for (const char c : module) {
    if (std::string_view(".\\[](){}*+?^$|").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

std::string config_of(const std::vector<Module>& modules, const LoraAdapter& first) {
  auto config = formats::read_adapter_json(first.config_path());
  const int64_t rank = modules.front().rank;
  auto targets = nlohmann::ordered_json::array(), patterns = nlohmann::ordered_json::object();
  for (const auto& module : modules) {
    targets.push_back(module.like().module);
    if (module.rank != rank) patterns[exact_pattern(module.like().module)] = module.rank;
  }
  config["r"] = rank;
  config["lora_alpha"] = rank;  // a scale of 1
  config["use_rslora"] = false;
  config["rank_pattern"] = patterns;
  config["alpha_pattern"] = patterns;
  config["target_modules"] = targets;
  config["init_lora_weights"] = true;
  config["inference_mode"] = true;
  // They narrow down target_modules, which now says it all, or say how the first adapter was trained.
  for (const char* key :
       {"exclude_modules", "layers_to_transform", "layers_pattern", "eva_config", "corda_config", "lora_ga_config"})
    if (config.contains(key)) config[key] = nullptr;
  return config.dump(2) + "\n";
}

}  // namespace

Summary write_as_lora(const Plan& plan, const fs::path& output) {
  check_not_a_source(plan, output);
  if (output.extension() == ".safetensors")
    fail(ErrorCode::InvalidArgument, "{}: an adapter is a folder with adapter_config.json; give the name of a folder",
         output.string());
  const auto modules = modules_of(plan);
  const Dtype dtype = plan.options.dtype.value_or(Dtype::F32);
  const auto layout = layout_of(plan, modules, dtype);
  Summary summary;
  for (const auto& tensor : layout.tensors) summary.bytes_written += tensor.info.nbytes();
  Progress progress("edit", summary.bytes_written, "bytes");
  AtomicFolder folder(output);
  formats::CheckpointWriter writer(folder.path() / "adapter_model.safetensors", layout);
  for (size_t i = 0; i < layout.tensors.size(); ++i) {
    const Module& module = modules[i / 2];
    const auto bytes = writer.tensor(i);
    i % 2 == 0 ? stack_a(module, dtype, bytes) : stack_b(module, dtype, bytes);
    summary.non_finite += kernels::count_non_finite(dtype, bytes.data(), layout.tensors[i].info.numel());
    for (const auto& part : module.parts) summary.bytes_read += (i % 2 == 0 ? part.factors->a : part.factors->b)->info.nbytes();
    progress.add(static_cast<int64_t>(bytes.size()));
  }
  for (const auto& source : plan.sources) source->check_unchanged();
  writer.commit();
  write_file_atomically(folder.path() / "adapter_config.json",
                        config_of(modules, dynamic_cast<const LoraAdapter&>(*plan.sources.front())));
  formats::check_replaceable(output, /*force=*/true);
  folder.commit();
  summary.tensors = static_cast<int64_t>(layout.tensors.size());
  summary.seconds = progress.seconds();
  return summary;
}

}  // namespace taskvec::edit
