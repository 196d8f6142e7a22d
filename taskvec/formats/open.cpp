#include "taskvec/core/error.h"
#include "taskvec/core/files/failed_download.h"
#include "taskvec/core/files/inside.h"
#include "taskvec/formats/folders/sidecars.h"
#include "taskvec/formats/gguf/gguf.h"
#include "taskvec/formats/llama2c.h"
#include "taskvec/formats/lora/lora.h"
#include "taskvec/formats/numpy/numpy.h"
#include "taskvec/formats/pytorch/pytorch.h"
#include "taskvec/formats/quantised/quantised.h"
#include "taskvec/formats/safetensors/safetensors.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;

bool starts_with(std::span<const std::byte> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

/// What a file that is no safetensors file looks like, "" when it looks like nothing known.
std::string_view recognise(std::span<const std::byte> bytes) {
  if (bytes.size() > 262 && starts_with(bytes.subspan(257), "ustar"))
    return "a tar archive (a PyTorch checkpoint before 0.1.10?)";
  return "";
}

/// Before every other format: the length at the start may be any bytes, also another format's magic.
bool is_safetensors(std::span<const std::byte> bytes) {
  uint64_t length = 0;
  if (bytes.size() <= sizeof length || bytes[8] != std::byte{'{'}) return false;
  std::memcpy(&length, bytes.data(), sizeof length);
  return length <= kMaxHeaderBytes;
}

/// A safetensors file begins with its header's length, which is no text where the header can be read.
bool is_text(std::span<const std::byte> bytes) {
  constexpr size_t kLooked = 64;
  return !bytes.empty() && std::ranges::all_of(bytes.first(std::min(bytes.size(), kLooked)), [](std::byte byte) {
    const auto c = std::to_integer<unsigned char>(byte);
    return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c < 0x7f);
  });
}

std::shared_ptr<const MappedFile> open_file(const fs::path& path) {
  auto file = MappedFile::open(path);
  check_download(file->path(), file->bytes());
  return file;
}

std::shared_ptr<const Checkpoint> open_folder(const fs::path& folder) {
  const auto has = [&](const char* name) { return is_there(folder / name); };
  constexpr const char *kLone = "model.safetensors", *kIndex = "model.safetensors.index.json";
  constexpr const char *kBin = "pytorch_model.bin", *kBinIndex = "pytorch_model.bin.index.json";
  if (has(kLone)) return open_safetensors(folder, open_file(inside(folder, kLone)), sidecars(folder));
  if (has(kIndex)) return open_sharded(folder, inside(folder, kIndex), sidecars(folder));
  if (is_lora(folder)) return open_lora(folder);
  if (has(kBin)) return open_pytorch(folder, open_file(inside(folder, kBin)), sidecars(folder));
  if (has(kBinIndex)) return open_pytorch_sharded(folder, inside(folder, kBinIndex), sidecars(folder));
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(folder)) found.push_back(entry.path().filename().string());
  std::sort(found.begin(), found.end());
  if (const auto shard =
          std::ranges::find_if(found, [](const std::string& name) { return name.find("-of-") != std::string::npos; });
      shard != found.end())
    fail(ErrorCode::NotFound,
         "{} holds shards ('{}', ...), but no index of them (model.safetensors.index.json), so that nothing "
         "says whether all are there; fetch the index, too",
         folder.string(), *shard);
  if (found.size() > 8) found.resize(8);
  fail(ErrorCode::NotFound, "{} has neither model.safetensors nor model.safetensors.index.json; it holds: {}", folder.string(),
       found.empty() ? "nothing" : fmt::format("{}", fmt::join(found, ", ")));
}

std::shared_ptr<const Checkpoint> open_zip(const fs::path& path, std::shared_ptr<const MappedFile> file) {
  const auto entries = read_zip_directory(*file);
  if (is_pytorch(entries)) return open_pytorch(path, std::move(file), {});
  if (is_npz(entries)) return open_npz(path, std::move(file));
  fail(ErrorCode::Unsupported,
       "{} is a zip archive, but neither of PyTorch (no data.pkl) nor of numpy (.npy files); it holds {} files{}", path.string(),
       entries.size(), entries.empty() ? "" : fmt::format(", the first is '{}'", entries.front().name));
}

std::shared_ptr<const Checkpoint> open_as_stored(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return open_folder(path);
  auto file = open_file(path);
  const auto bytes = file->bytes();
  if (is_safetensors(bytes)) return open_safetensors(path, std::move(file), {});
  if (is_gguf(bytes)) return open_gguf(path, std::move(file));
  if (is_npy(bytes)) return open_npy(path, std::move(file));
  if (is_zip(bytes)) return open_zip(path, std::move(file));
  if (is_pickle(bytes)) return open_pytorch(path, std::move(file), {});
  if (is_llama2c(bytes)) return open_llama2c(path, std::move(file));
  if (const auto what = recognise(bytes); !what.empty())
    fail(ErrorCode::Unsupported, "{} is {}, which taskvec does not read; docs/formats.md lists what it reads", path.string(),
         what);
  if (!bytes.empty() && bytes[0] == std::byte{'{'})
    return open_sharded(path, path, sidecars(path.parent_path().empty() ? "." : path.parent_path()));
  if (is_text(bytes)) fail(ErrorCode::Unsupported, "{} is a text file, not a checkpoint", path.string());
  return open_safetensors(path, std::move(file), {});
}

}  // namespace

std::shared_ptr<const Checkpoint> open(const fs::path& path) { return dequantised(open_as_stored(path)); }

}  // namespace taskvec::formats
