// A task vector's file in parts, so that every change meets the parser of one: what follows of taskvec.delta.tensors, .metadata
// and .sidecars, each up to a NUL; lines "name dtype dimensions..." up to a NUL; the bytes of those tensors. The first byte is
// the kind.
#include "fuzz/fields.h"
#include "fuzz/fuzz.h"
#include "taskvec/formats/delta/delta.h"
#include "taskvec/formats/delta/lossless.h"
#include "taskvec/formats/fingerprint.h"

#include <charconv>
#include <set>

namespace {

using namespace taskvec;

/// The tensors that fit into `size` bytes, one behind the other, as safetensors' parser leaves them.
std::vector<formats::TensorEntry> entries(std::string_view lines, uint64_t size) {
  std::vector<formats::TensorEntry> result;
  std::set<std::string> names;
  uint64_t offset = 0;
  fuzz::Fields list(reinterpret_cast<const uint8_t*>(lines.data()), lines.size());
  while (!list.rest().empty()) {
    const std::string_view line = list.next('\n');
    fuzz::Fields words(reinterpret_cast<const uint8_t*>(line.data()), line.size());
    formats::TensorEntry entry;
    entry.name = words.next(' ');
    const auto dtype = parse_dtype(words.next(' '));
    if (!dtype || !names.insert(entry.name).second) continue;
    entry.info.dtype = *dtype;
    while (!words.rest().empty()) {
      const std::string_view word = words.next(' ');
      uint16_t dimension = 0;
      std::from_chars(word.data(), word.data() + word.size(), dimension);
      if (entry.info.shape.size() < 4) entry.info.shape.push_back(dimension);
    }
    entry.offset = offset;
    const auto nbytes = static_cast<uint64_t>(entry.info.nbytes());
    if (nbytes > size - offset) continue;
    offset += nbytes;
    result.push_back(std::move(entry));
  }
  return result;
}

/// Everything over a base of zeros.
void restore(const formats::Checkpoint& delta) {
  const auto lossless = formats::read_lossless(delta);
  for (const auto& tensor : lossless.tensors) {
    for (size_t chunk = 0; chunk < tensor.chunks.size(); ++chunk) {
      const int64_t left = tensor.described.info.nbytes() - static_cast<int64_t>(chunk) * formats::kHashChunk;
      const std::vector<std::byte> base(static_cast<size_t>(std::min(left, formats::kHashChunk)));
      std::vector<std::byte> out(base.size());
      formats::restore_chunk(delta, tensor, chunk, base, out);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  fuzz::Fields fields(data + 1, size - 1);
  formats::Manifest manifest;
  manifest.metadata = formats::delta_metadata({static_cast<formats::DeltaKind>(data[0] % 4), {"a", "b"}, {"c", "d"}, "{}"});
  for (const char* key : {"tensors", "metadata", "sidecars"})
    manifest.metadata[fmt::format("taskvec.delta.{}", key)] = fields.next();
  const std::string_view lines = fields.next(), bytes = fields.rest();
  manifest.tensors = entries(lines, bytes.size());
  const fuzz::MemoryFile memory(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  manifest.files = {memory.path()};
  return fuzz::expect_only_errors([&] {
    const auto delta = formats::open_delta(memory.path(), std::move(manifest), MappedFile::open(memory.path()));
    fuzz::read_tensors(*delta);
    delta->damage();
    if (formats::delta_info(*delta)->kind == formats::DeltaKind::Lossless) restore(*delta);
  });
}
