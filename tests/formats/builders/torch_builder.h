#pragma once

#include "tests/formats/builders/zip_builder.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace taskvec::formats::torch_builder {

/// Pickle opcodes for what torch.save writes; a test may ask for what it never would.

inline std::string little(int64_t value, size_t bytes) { return std::string(reinterpret_cast<const char*>(&value), bytes); }
inline std::string text(const std::string& value) { return "X" + little(static_cast<int64_t>(value.size()), 4) + value; }
inline std::string number(int64_t value) { return "\x8a\x08" + little(value, 8); }

inline std::string tuple(const std::vector<int64_t>& values) {
  std::string out = "(";
  for (const int64_t value : values) out += number(value);
  return out + "t";
}

inline std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string out = "}(";
  for (const auto& [key, value] : items) out += text(key) + value;
  return out + "u";
}

struct Tensor {
  std::vector<int64_t> size, strides;
  int64_t offset = 0, elements = 6;
  std::string storage = "torch\nFloatStorage", key = "0", function = "torch._utils\n_rebuild_tensor_v2";
};

inline std::string tensor(const Tensor& t) {
  return "c" + t.function + "\n((" + text("storage") + "c" + t.storage + "\n" + text(t.key) + text("cpu") + number(t.elements) +
         "tQ" + number(t.offset) + tuple(t.size) + tuple(t.strides) + "\x89)tR";
}

/// Six float32: 0, 1, ... 5.
inline std::string six_floats() {
  std::string out;
  for (int i = 0; i < 6; ++i) {
    const auto value = static_cast<float>(i);
    out += std::string(reinterpret_cast<const char*>(&value), sizeof value);
  }
  return out;
}

/// The archive that holds this object and storage 0.
inline ZipBuilder archive(const std::string& object, bool deflate = false) {
  ZipBuilder zip;
  const auto add = [&](const std::string& name, const std::string& data) {
    deflate ? zip.deflate("archive/" + name, data) : zip.store("archive/" + name, data);
  };
  add("data.pkl", "\x80\2" + object + ".");
  add("byteorder", "little");
  add("data/0", six_floats());
  return zip;
}

/// The same as torch.save wrote it before 1.6.
inline std::string legacy(const std::string& object) {
  return "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\2M\xe9\3.\x80\2" + dict({{"little_endian", "\x88"}}) +
         ".\x80\2" + object + ".\x80\2](" + text("0") + "e." + little(6, 8) + six_floats();
}

}  // namespace taskvec::formats::torch_builder
