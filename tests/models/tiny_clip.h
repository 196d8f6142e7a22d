#pragma once

#include "taskvec/core/files/atomic_file.h"
#include "taskvec/models/clip.h"

#include <unistd.h>
#include <nlohmann/json.hpp>

#include <filesystem>

/// A CLIP that is small enough to be made anew in every test.
namespace taskvec::testing_models {

inline models::ClipConfig tiny_config() {
  models::ClipConfig config;
  config.vision = {.hidden_size = 16, .intermediate_size = 32, .num_hidden_layers = 2, .num_attention_heads = 2};
  config.text = {.hidden_size = 12, .intermediate_size = 24, .num_hidden_layers = 2, .num_attention_heads = 3};
  config.image_size = 8;
  config.patch_size = 4;
  config.vocab_size = 600;
  config.max_position_embeddings = 16;
  config.bos_token_id = 598;
  config.eos_token_id = config.pad_token_id = 599;
  config.projection_dim = 10;
  return config;
}

/// Writes config.json and model.safetensors.
inline void write_model(const std::filesystem::path& folder, const models::ClipConfig& config, const bridge::Params& params) {
  std::filesystem::create_directories(folder);
  write_file_atomically(folder / "config.json", config.to_json().dump(2));
  bridge::save(params, folder / "model.safetensors", {});
}

/// A folder of its own for one test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "taskvec-test-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace taskvec::testing_models
