#include "taskvec/formats/folders/sidecars.h"

#include "taskvec/core/files/inside.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

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

std::vector<std::string> left_behind(const fs::path& model) {
  std::error_code error;
  const bool is_folder = fs::is_directory(model, error);
  std::vector<std::string> notes, folders;
  if (!is_folder || !fs::exists(model / "config.json", error))
    notes.push_back(
        fmt::format("{} has no config.json to take along: the output is weights alone, which other programs cannot "
                    "load as a model",
                    model.string()));
  if (!is_folder) return notes;
  for (const auto& entry : fs::directory_iterator(model, error)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_directory(error) && name.front() != '.' && name != "checkpoints" && name != "origin")
      folders.push_back(name + "/");
  }
  std::sort(folders.begin(), folders.end());
  if (!folders.empty())
    notes.push_back(fmt::format("folders of {} stay behind: {}; copy them where the model needs them", model.string(),
                                fmt::join(folders, ", ")));
  if (fs::exists(model / "README.md", error))
    notes.push_back(fmt::format("README.md is taken along from {}: it describes that model, not the output", model.string()));
  return notes;
}

}  // namespace taskvec::formats
