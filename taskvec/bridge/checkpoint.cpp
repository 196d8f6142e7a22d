#include "taskvec/bridge/params.h"
#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/formats/quantised/quantised.h"

#include <cstring>

namespace taskvec::bridge {

Params load(const formats::Checkpoint& checkpoint) {
  formats::check_plain(checkpoint, checkpoint.path().string());
  Params params;
  for (const formats::TensorEntry& entry : checkpoint.manifest().tensors) {
    params.add(entry.name, to_tensor(checkpoint.tensor(entry.name)));
  }
  return params;
}

void save(const Params& params, const std::filesystem::path& path, std::map<std::string, std::string> metadata,
          const formats::Checkpoint* like) {
  formats::OutputLayout layout;
  std::vector<at::Tensor> tensors;
  const bool lone_file = path.extension() == ".safetensors";
  const auto append = [&](const std::string& name, const at::Tensor& tensor, int shard) {
    tensors.push_back(tensor.detach().cpu().contiguous());
    layout.tensors.push_back({name, view(tensors.back()).info, lone_file ? 0 : shard});
  };

  if (like != nullptr) {
    for (const formats::TensorEntry& entry : like->manifest().tensors) {
      const at::Tensor* given = params.find(entry.name);
      append(entry.name, given != nullptr ? *given : to_tensor(like->tensor(entry.name)), entry.file);
    }
    layout.sidecars = like->manifest().sidecars;
  }
  for (const auto& [name, tensor] : params) {
    if (like == nullptr || like->manifest().find(name) == nullptr) append(name, tensor, 0);
  }
  layout.metadata = std::move(metadata);
  layout.metadata.emplace("format", "pt");  // transformers refuses files without it

  formats::CheckpointWriter writer(path, std::move(layout));
  parallel_for(static_cast<int64_t>(tensors.size()), [&](int64_t i) {
    const auto index = static_cast<size_t>(i);
    const TensorView from = view(tensors[index]);
    const std::span<std::byte> to = writer.tensor(index);
    if (to.size() != from.bytes.size())
      fail(ErrorCode::Io, "{}: the writer's room for tensor {} has {} bytes instead of {}", path.string(), index, to.size(),
           from.bytes.size());
    if (!from.bytes.empty()) std::memcpy(to.data(), from.bytes.data(), from.bytes.size());
    writer.finished(index, 0, from.bytes.size());
  });
  writer.commit();
}

}  // namespace taskvec::bridge
