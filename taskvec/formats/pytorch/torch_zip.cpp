#include "taskvec/core/error.h"
#include "taskvec/formats/pytorch/pytorch.h"
#include "taskvec/formats/pytorch/torch_file.h"

#include <algorithm>

namespace taskvec::formats {
namespace {

constexpr uint64_t kMaxPickleBytes = uint64_t{1} << 26;  // of a deflated one: a small file can hold a large one

/// Everything lies in one folder, named after the file that was written first.
std::string_view archive_folder(std::span<const ZipEntry> entries) {
  if (entries.empty()) return {};
  const std::string_view first = entries.front().name;
  return first.substr(0, first.find('/') + 1);
}

const ZipEntry* find(std::span<const ZipEntry> entries, const std::string& name) {
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const auto& entry) { return entry.name == name; });
  return found == entries.end() ? nullptr : &*found;
}

/// An entry's bytes; `made` keeps them where they were deflated.
std::span<const std::byte> bytes_of(const MappedFile& file, const ZipEntry& entry, std::vector<std::byte>& made) {
  if (!entry.deflated) return file.bytes().subspan(entry.offset, entry.size);
  if (entry.size > kMaxPickleBytes)
    fail(ErrorCode::Format, "{}: '{}' inflates to {} bytes; at most {} are allowed", file.path().string(), entry.name, entry.size,
         kMaxPickleBytes);
  made = inflate(file, entry);
  return made;
}

void check_byte_order(const MappedFile& file, const ZipEntry* entry) {
  if (entry == nullptr) return;  // before PyTorch 2.1 it was always little
  std::vector<std::byte> made;
  const auto bytes = bytes_of(file, *entry, made);
  const std::string_view order(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (order == "big")
    fail(ErrorCode::Unsupported, "{}: its numbers are big-endian; torch.load() and torch.save() it on a little-endian machine",
         file.path().string());
  if (order != "little") fail(ErrorCode::Format, "{}: '{}' says neither 'little' nor 'big'", file.path().string(), entry->name);
}

}  // namespace

bool is_pytorch(std::span<const ZipEntry> entries) {
  const auto folder = archive_folder(entries);
  return !folder.empty() && find(entries, std::string(folder) + "data.pkl") != nullptr;
}

TorchFile read_torch_zip(const MappedFile& file, std::span<const ZipEntry> entries) {
  const std::string folder(archive_folder(entries)), data = folder + "data/";
  const ZipEntry* const object = find(entries, folder + "data.pkl");
  if (object == nullptr) fail(ErrorCode::Format, "{}: no '{}data.pkl' in the archive", file.path().string(), folder);
  check_byte_order(file, find(entries, folder + "byteorder"));

  TorchFile result;
  result.format = find(entries, folder + "constants.pkl") != nullptr ? "TorchScript" : "PyTorch zip";
  const std::string where = file.path().string();
  std::vector<std::byte> made;
  result.object = read_torch_object(read_pickle(bytes_of(file, *object, made), where), where);
  for (const auto& entry : entries) {
    if (!entry.name.starts_with(data)) continue;
    TorchStorage storage{entry.offset, entry.size, {}};
    if (entry.deflated) storage.deflated = entry;
    result.storages.emplace(entry.name.substr(data.size()), std::move(storage));
  }
  return result;
}

}  // namespace taskvec::formats
