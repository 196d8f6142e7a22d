#include "taskvec/core/error.h"
#include "taskvec/formats/gguf/gguf.h"
#include "taskvec/formats/gguf/gguf_blocks.h"
#include "taskvec/formats/output_format.h"

#include <array>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kArchitecture = "general.architecture";
/// True of the file that the metadata come from, not of one with other types and alignment.
constexpr std::array<std::string_view, 3> kOfTheSource{"general.alignment", "general.file_type", "general.quantization_version"};

template <typename T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append_string(std::string& out, std::string_view text) {
  append(out, uint64_t{text.size()});
  out += text;
}

uint64_t aligned(uint64_t offset) { return (offset + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment; }

/// Metadata entries, encoded: as they came from a GGUF file where text would lose their type, else as strings.
std::vector<std::string> metadata_of(const fs::path& path, const OutputLayout& layout) {
  std::map<std::string, std::string> metadata = layout.metadata;
  metadata.emplace(kArchitecture, "unknown");
  for (const auto key : kOfTheSource) metadata.erase(std::string(key));
  std::vector<std::string> entries;
  for (const auto& [key, text] : metadata) {
    if (key.empty() || key.size() > kGgufMaxKeyBytes)
      fail(ErrorCode::InvalidArgument, "{}: a metadata key of {} bytes; GGUF allows 1 to {}", path.string(), key.size(),
           kGgufMaxKeyBytes);
    std::string entry;
    append_string(entry, key);
    if (const auto native = layout.native_metadata.find(key); native != layout.native_metadata.end()) {
      entry += native->second;
    } else {
      append(entry, static_cast<uint32_t>(GgufValue::STRING));
      append_string(entry, text);
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

const GgmlType& type_of(const fs::path& path, const OutputLayout::Tensor& tensor) {
  if (const GgmlType* type = find_ggml_type(tensor.info.dtype)) return *type;
  fail(ErrorCode::InvalidArgument, "{}: tensor '{}' is {}, which GGUF lacks; {}", path.string(), tensor.name,
       name(tensor.info.dtype), is_float(tensor.info.dtype) ? "use --dtype F32 or F16" : "write .safetensors instead");
}

void check(const fs::path& path, const OutputLayout::Tensor& tensor) {
  if (tensor.name.empty() || tensor.name.size() >= kGgufMaxTensorName)
    fail(ErrorCode::InvalidArgument, "{}: the name of tensor '{}' has {} bytes; GGUF allows 1 to {}; write .safetensors instead",
         path.string(), tensor.name, tensor.name.size(), kGgufMaxTensorName - 1);
  if (tensor.name.find('\0') != tensor.name.npos)
    fail(ErrorCode::InvalidArgument, "{}: a tensor's name holds a NUL, which GGUF forbids: '{}'", path.string(),
         tensor.name.c_str());
  if (tensor.info.shape.size() > kGgufMaxDimensions)
    fail(ErrorCode::InvalidArgument, "{}: tensor '{}' has shape {}; GGUF allows {} dimensions; write .safetensors instead",
         path.string(), tensor.name, to_string(tensor.info.shape), kGgufMaxDimensions);
}

class GgufOutput : public OutputFormat {
 public:
  FileLayout lay_out(const fs::path& path, std::span<const OutputLayout::Tensor> tensors,
                     const OutputLayout& layout) const override {
    const auto metadata = metadata_of(path, layout);
    std::string header = "GGUF";
    append(header, uint32_t{3});
    append(header, uint64_t{tensors.size()});
    append(header, uint64_t{metadata.size()});
    for (const auto& entry : metadata) header += entry;
    FileLayout file;
    uint64_t end = 0;  // from the start of the data
    for (const auto& tensor : tensors) {
      check(path, tensor);
      append_string(header, tensor.name);
      append(header, static_cast<uint32_t>(tensor.info.shape.size()));
      for (size_t d = tensor.info.shape.size(); d-- > 0;) append(header, tensor.info.shape[d]);
      append(header, type_of(path, tensor).id);
      append(header, end);
      file.offsets.push_back(end);
      end = aligned(end + static_cast<uint64_t>(tensor.info.nbytes()));
    }
    header.resize(aligned(header.size()), '\0');
    for (auto& offset : file.offsets) offset += header.size();
    file.size = header.size() + end;
    file.texts.push_back({0, std::move(header)});
    return file;
  }
};

}  // namespace

const OutputFormat& gguf_output() {
  static const GgufOutput format;
  return format;
}

}  // namespace taskvec::formats
