#include "taskvec/formats/sidecars.h"

#include "taskvec/formats/inside.h"

#include <algorithm>
#include <array>

namespace taskvec::formats {

namespace fs = std::filesystem;

bool is_weights(const fs::path& file) {
  static constexpr std::array kExtensions{".safetensors", ".bin",     ".pt",   ".pth", ".ckpt", ".gguf",
                                          ".h5",          ".msgpack", ".onnx", ".npz", ".pkl"};
  const std::string name = file.filename().string();
  return std::find(kExtensions.begin(), kExtensions.end(), file.extension()) != kExtensions.end() ||
         name.ends_with(".index.json");
}

std::vector<fs::path> sidecars(const fs::path& folder) {
  constexpr uintmax_t kMaxBytes = uintmax_t{256} << 20;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    std::error_code error;  // links may lead nowhere, or in circles
    // What taskvec writes about a run belongs to that run.
    if (!entry.is_regular_file(error) || name.front() == '.' || name == "run.json" || entry.path().extension() == ".jsonl")
      continue;
    if (!is_weights(entry.path()) && entry.file_size(error) <= kMaxBytes) files.push_back(inside(folder, name));
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace taskvec::formats
