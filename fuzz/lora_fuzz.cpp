// The text of an adapter_config.json, a NUL, and the bytes of an adapter_model.safetensors.
#include "fuzz/fields.h"
#include "fuzz/fuzz.h"
#include "taskvec/formats/lora/lora.h"

#include <filesystem>
#include <fstream>

namespace {

namespace fs = std::filesystem;

/// A folder in memory, for as long as the program runs.
class Folder {
 public:
  Folder() {
    std::string pattern = "/dev/shm/lora_fuzz.XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() { fs::remove_all(path_); }

  const fs::path& path() const { return path_; }
  void write(const char* name, std::string_view bytes) const { std::ofstream(path_ / name, std::ios::binary) << bytes; }

 private:
  fs::path path_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  static const Folder folder;
  fuzz::Fields fields(data, size);
  folder.write("adapter_config.json", fields.next());
  folder.write("adapter_model.safetensors", fields.rest());
  return fuzz::expect_only_errors([&] { fuzz::read_tensors(*formats::open_lora(folder.path())); });
}
