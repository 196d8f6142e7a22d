#include "taskvec/formats/output_format.h"
#include "taskvec/formats/safetensors/safetensors.h"

namespace taskvec::formats {
namespace {

class SafetensorsOutput : public OutputFormat {
 public:
  FileLayout lay_out(const std::filesystem::path&, std::span<const OutputLayout::Tensor> tensors,
                     const OutputLayout& layout) const override {
    std::vector<TensorEntry> entries;
    for (const auto& tensor : tensors) entries.push_back({tensor.name, tensor.info, 0, 0});
    std::string header = make_safetensors_header(entries, layout.metadata);
    FileLayout file;
    file.size = header.size();
    for (const auto& entry : entries) {
      file.offsets.push_back(entry.offset);
      file.size += static_cast<uint64_t>(entry.info.nbytes());
    }
    file.texts.push_back({0, std::move(header)});
    return file;
  }
};

}  // namespace

const OutputFormat& safetensors_output() {
  static const SafetensorsOutput format;
  return format;
}

}  // namespace taskvec::formats
