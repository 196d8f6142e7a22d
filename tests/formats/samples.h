#pragma once

#include "taskvec/core/fingerprint.h"
#include "taskvec/formats/delta/byte_planes.h"
#include "taskvec/formats/delta/delta.h"
#include "taskvec/formats/fingerprint.h"
#include "tests/formats/builders/gguf_builder.h"
#include "tests/formats/builders/llama2c_builder.h"
#include "tests/formats/builders/npy_builder.h"
#include "tests/formats/builders/torch_builder.h"
#include "tests/formats/builders/zip_builder.h"
#include "tests/formats/checkpoint_folder.h"

#include <map>
#include <string>
#include <vector>

namespace taskvec::formats {

/// A small valid checkpoint of one format, for tests to spoil: its files by name. Several make a folder.
struct Sample {
  std::string name;
  std::map<std::string, std::string> files;

  /// Lays the files out. @return what to open
  fs::path write(const fs::path& folder) const {
    for (const auto& [file, bytes] : files) std::ofstream(folder / file, std::ios::binary) << bytes;
    return files.size() == 1 ? folder / files.begin()->first : folder;
  }
};

namespace samples {

inline std::string safetensors(const std::string& json, const std::string& data) {
  return raw(uint64_t{json.size()}) + json + data;
}

/// What taskvec writes, as bytes.
inline std::string written(const std::string& name, const std::vector<Made>& tensors,
                           const std::map<std::string, std::string>& metadata = {}) {
  const CheckpointFolder folder;
  folder.write(name, tensors, metadata);
  return file_bytes(folder / name);
}

inline std::string delta(DeltaKind kind, const std::vector<Made>& parts, std::map<std::string, std::string> more = {}) {
  more.merge(delta_metadata({kind, {"base", "b1"}, {"ft", "f1"}, "{}"}));
  return written("tv.safetensors", parts, more);
}

inline std::vector<Sample> arrays() {
  using gguf_builder::entry;
  gguf_builder::Builder gguf;
  gguf.metadata = {entry("general.architecture", 8, gguf_builder::text("llama")), entry("u", 4, raw(uint32_t{7})),
                   entry("a", 9, raw(uint32_t{8}) + raw(uint64_t{2}) + gguf_builder::text("x") + gguf_builder::text("yz")),
                   entry("n", 9, raw(uint32_t{5}) + raw(uint64_t{2}) + raw(int32_t{1}) + raw(int32_t{2}))};
  gguf.tensors = {{"w", {2, 1}, 0, 0}, {"q", {32, 1}, 8, 32}, {"k", {256}, 12, 96}};
  gguf.data = std::string(96 + 144, '\1');

  const std::string floats = torch_builder::six_floats();
  const std::string c = npy_builder::npy(npy_builder::literal("<f4", "False", "(2, 3)"), floats),
                    fortran = npy_builder::npy(npy_builder::literal("<f4", "True", "(2, 3)"), floats, '\2');
  ZipBuilder stored, deflated;
  stored.store("c.npy", c);
  stored.store("a/fortran.npy", fortran);
  deflated.deflate("c.npy", c);
  deflated.deflate("fortran.npy", fortran);
  return {{"gguf", {{"x", gguf.bytes()}}},
          {"npy", {{"x", c}}},
          {"npy_fortran", {{"x", fortran}}},
          {"npz", {{"x", stored.bytes()}}},
          {"npz_deflated", {{"x", deflated.bytes(true)}}},
          {"llama2c", {{"x", llama2c_builder::tiny()}}}};
}

inline std::vector<Sample> torch() {
  using torch_builder::dict;
  const std::string whole = torch_builder::tensor({{2, 3}, {3, 1}}),
                    state = dict({{"w", whole}, {"t", torch_builder::tensor({{3, 2}, {1, 3}})}}),
                    module = "cpapers\nModel\n)\x81" +
                             dict({{"_parameters", dict({{"w", whole}})}, {"_buffers", "}"}, {"_modules", "}"}}) + "b";
  ZipBuilder script;
  script.store("m/data.pkl", "\x80\2" + module + ".");
  script.store("m/constants.pkl", "\x80\2).");
  script.deflate("m/data/0", torch_builder::six_floats());
  return {{"torch_zip", {{"x", torch_builder::archive(state).bytes(true)}}},
          {"torch_deflated", {{"x", torch_builder::archive(state, true).bytes()}}},
          {"torch_legacy", {{"x", torch_builder::legacy(state)}}},
          {"torchscript", {{"x", script.bytes()}}},
          {"torch_shards",
           {{"pytorch_model.bin.index.json", R"({"weight_map":{"w":"a.bin","t":"a.bin"}})"},
            {"a.bin", torch_builder::archive(state).bytes()}}}};
}

inline std::vector<Sample> deltas() {
  const std::string described = R"([{"name":"w","dtype":"F32","shape":[2,3]}])";
  const auto frame = compress_planes(1, {}, std::vector<std::byte>(4, std::byte{7}));
  return {{"delta_dense", {{"x", delta(DeltaKind::Dense, {made("w", Dtype::F32, {2}, {1, 2})})}}},
          {"delta_sparse",
           {{"x", delta(DeltaKind::Sparse,
                        {made_of_bits<uint32_t>("w.indices", Dtype::U32, {2}, {1, 4}), made("w.values", Dtype::F32, {2}, {1, 2})},
                        {{"taskvec.delta.tensors", described}})}}},
          {"delta_sign",
           {{"x", delta(DeltaKind::Sign,
                        {made_of_bits<uint8_t>("w.bits", Dtype::U8, {1}, {5}), made("w.scale", Dtype::F32, {}, {0.25})},
                        {{"taskvec.delta.tensors", described}})}}},
          {"delta_lossless",
           {{"x", delta(DeltaKind::Lossless,
                        {made_of_bits<uint64_t>("w.chunks", Dtype::U64, {1, 2}, {frame.size(), hash_chunk(frame)}),
                         {"w.planes", {Dtype::U8, {static_cast<int64_t>(frame.size())}}, frame},
                         made_of_bits<uint8_t>("config.json.sidecar", Dtype::U8, {2}, {'{', '}'})},
                        {{"taskvec.delta.tensors", R"([{"name":"w","dtype":"U8","shape":[4]}])"},
                         {"taskvec.delta.metadata", R"({"format":"pt"})"},
                         {"taskvec.delta.sidecars", fmt::format(R"([{{"name":"config.json","fingerprint":"{}","stored":true}}])",
                                                                fingerprint(std::as_bytes(std::span("{}", 2))))}})}}}};
}

}  // namespace samples

/// One of every format that is read.
inline std::vector<Sample> all_samples() {
  using samples::safetensors;
  const std::string
      first = R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
      second = R"({"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]},"s":{"dtype":"U8","shape":[],"data_offsets":[4,5]}})";
  const std::string factors =
      samples::written("x.safetensors", {made("base_model.model.q.lora_A.weight", Dtype::F32, {1, 2}, {1, 2}),
                                         made("base_model.model.q.lora_B.weight", Dtype::F32, {3, 1}, {1, 2, 3})});
  std::vector<Sample> all{
      {"safetensors", {{"x", safetensors(second, std::string(5, '\1'))}}},
      {"shards",
       {{"model.safetensors.index.json", R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors","s":"2.safetensors"}})"},
        {"1.safetensors", safetensors(first, std::string(8, '\1'))},
        {"2.safetensors", safetensors(second, std::string(5, '\1'))}}},
      {"lora",
       {{"adapter_config.json", R"({"peft_type":"LORA","r":1,"lora_alpha":2,"rank_pattern":{"x":3},"bias":"none"})"},
        {"adapter_model.safetensors", factors}}}};
  for (const auto& more : {samples::arrays(), samples::torch(), samples::deltas()})
    all.insert(all.end(), more.begin(), more.end());
  return all;
}

inline void PrintTo(const Sample& sample, std::ostream* out) { *out << sample.name; }

}  // namespace taskvec::formats
