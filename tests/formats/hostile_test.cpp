// Files that somebody made to do harm, one per trick, each with a piece of the error that names the rule it breaks. What single
// parsers refuse is in their own tests; here are tricks with whole files and folders, and those that want time or memory.
#include "tests/formats/file_test.h"
#include "tests/formats/memory_limit.h"
#include "tests/formats/samples.h"

#include <sys/stat.h>

#include <functional>

namespace taskvec::formats {
namespace {

using namespace std::string_literals;
using samples::safetensors;
using testing::HasSubstr;

constexpr uint64_t kMemory = uint64_t{1} << 30;
constexpr const char* kIndex = "model.safetensors.index.json";

/// A place to put files.
struct Folder {
  fs::path path;

  fs::path file(const std::string& name, const std::string& bytes) const {
    std::ofstream(path / name, std::ios::binary) << bytes;
    return path / name;
  }
  fs::path link(const std::string& name, const fs::path& target) const {
    fs::create_symlink(target, path / name);
    return path / name;
  }
  Folder folder(const std::string& name) const {
    fs::create_directories(path / name);
    return {path / name};
  }
};

struct Trick {
  const char* name;
  std::function<fs::path(const Folder&)> make;  ///< what to open
  const char* message;
};
void PrintTo(const Trick& trick, std::ostream* out) { *out << trick.name; }

class HostileFile : public FileTest, public testing::WithParamInterface<Trick> {};

TEST_P(HostileFile, IsRefusedWithTheRule) {
  const fs::path path = GetParam().make(Folder{folder_});
  const MemoryLimit limit(kMemory);
  EXPECT_THAT(open_error(path), HasSubstr(GetParam().message));
}

constexpr auto name_of = [](const auto& trick) { return std::string(trick.param.name); };

std::string u8_tensor(const std::string& name) {
  return safetensors(R"({")" + name + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x");
}

std::string with_offsets(const std::string& begin, const std::string& end) {
  return safetensors(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[)" + begin + "," + end + "]}}", "x");
}

INSTANTIATE_TEST_SUITE_P(
    Safetensors, HostileFile,
    testing::Values(
        Trick{"header_of_2_to_31", [](const Folder& f) { return f.file("x", raw(uint64_t{1} << 31) + "{}"); },
              "a header of 2147483648 bytes; at most 100000000"},
        Trick{"header_of_2_to_32", [](const Folder& f) { return f.file("x", raw(uint64_t{1} << 32) + "{}"); },
              "a header of 4294967296 bytes"},
        Trick{"header_of_2_to_64", [](const Folder& f) { return f.file("x", raw(~uint64_t{0}) + "{}"); },
              "a header of 18446744073709551615 bytes"},
        Trick{"header_of_the_largest_size", [](const Folder& f) { return f.file("x", raw(uint64_t{100'000'000}) + "{}"); },
              "it is truncated"},
        Trick{"offset_of_2_to_63", [](const Folder& f) { return f.file("x", with_offsets("0", "9223372036854775808")); },
              "data_offsets must be whole numbers from 0 to 2^63 - 1"},
        Trick{"offset_beyond_2_to_64", [](const Folder& f) { return f.file("x", with_offsets("0", "18446744073709551616")); },
              "the header is not valid JSON"},
        Trick{"range_backwards", [](const Folder& f) { return f.file("x", with_offsets("1", "0")); }, "lies at bytes 1 to 0"},
        Trick{"nul_in_a_name", [](const Folder& f) { return f.file("x", u8_tensor("a\\u0000b")); },
              "the name of a tensor holds a NUL: 'a'"},
        Trick{"name_in_no_utf8", [](const Folder& f) { return f.file("x", u8_tensor("a\xC0\xAF")); },
              "the header is not valid JSON"},
        Trick{"half_a_surrogate", [](const Folder& f) { return f.file("x", u8_tensor("\\ud800")); },
              "the header is not valid JSON"},
        Trick{"a_million_levels",
              [](const Folder& f) {
                return f.file("x", safetensors(R"({"a":)" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}", ""));
              },
              "the header is not valid JSON"},
        Trick{"a_million_dimensions",
              [](const Folder& f) {
                std::string ones = "1";
                for (int i = 1; i < 1'000'000; ++i) ones += ",1";
                return f.file("x", safetensors(R"({"a":{"dtype":"U8","shape":[)" + ones + R"(],"data_offsets":[0,1]}})", "x"));
              },
              "has 1000000 dimensions; at most 64"}),
    name_of);

std::string index_of(const std::string& shard) { return R"({"weight_map":{"a":")" + shard + R"("}})"; }

Trick shard(const char* name, std::string path, const char* message) {
  return {name, [path = std::move(path)](const Folder& f) { return f.file(kIndex, index_of(path)).parent_path(); }, message};
}

constexpr const char* kOutside = "is not the name of a file in the same folder";

INSTANTIATE_TEST_SUITE_P(
    Shards, HostileFile,
    testing::Values(
        shard("up", "../x.safetensors", kOutside), shard("absolute", "/etc/passwd", kOutside), shard("deeper", "a/b", kOutside),
        shard("itself", ".", kOutside), shard("parent", "..", kOutside), shard("nothing", "", kOutside),
        shard("nul", "a\\u0000b", kOutside), shard("up_in_disguise", "a/../../b", kOutside),
        shard("the_index", kIndex, "model.safetensors.index.json: a header of 8388068008349082235 bytes"),
        Trick{"index_of_a_million_levels",
              [](const Folder& f) { return f.file(kIndex, R"({"weight_map":)" + std::string(1'000'000, '{')).parent_path(); },
              "is not valid JSON"},
        Trick{"a_tensor_twice",
              [](const Folder& f) { return f.file(kIndex, R"({"weight_map":{"a":"1","a":"2"}})").parent_path(); },
              "tensor 'a' is there twice"},
        Trick{"a_folder_as_shard",
              [](const Folder& f) {
                f.folder("s");
                return f.file(kIndex, index_of("s")).parent_path();
              },
              "is not a regular file"},
        Trick{"a_fifo_as_shard",
              [](const Folder& f) {
                ::mkfifo((f.path / "s").c_str(), 0600);
                return f.file(kIndex, index_of("s")).parent_path();
              },
              "is not a regular file"}),
    name_of);

/// A folder in which a link leads to a file outside.
Trick linked(
    const char* name, const char* link, std::function<void(const Folder&)> others = [](const Folder&) {}) {
  return {name,
          [link, others = std::move(others)](const Folder& f) {
            f.file("secret", u8_tensor("a"));
            const Folder model = f.folder("model");
            others(model);
            return model.link(link, "../secret").parent_path();
          },
          "/secret, out of its folder; copy the file into the folder"};
}

INSTANTIATE_TEST_SUITE_P(
    Links, HostileFile,
    testing::Values(
        linked("weights", "model.safetensors"), linked("pickle", "pytorch_model.bin"), linked("index", kIndex),
        linked("torch_index", "pytorch_model.bin.index.json"),
        linked("adapter_config", "adapter_config.json", [](const Folder& f) { f.file("adapter_model.safetensors", "{}"); }),
        linked("shard", "s", [](const Folder& f) { f.file(kIndex, index_of("s")); }),
        linked("torch_shard", "s", [](const Folder& f) { f.file("pytorch_model.bin.index.json", index_of("s")); }),
        linked("adapter", "adapter_model.safetensors",
               [](const Folder& f) { f.file("adapter_config.json", R"({"peft_type":"LORA"})"); }),
        linked("sidecar", "config.json", [](const Folder& f) { f.file("model.safetensors", u8_tensor("a")); }),
        Trick{"in_circles", [](const Folder& f) { return f.link("model.safetensors", "model.safetensors").parent_path(); },
              "is a symbolic link that leads nowhere: Too many levels of symbolic links"},
        Trick{"to_nothing", [](const Folder& f) { return f.link("model.safetensors", "nothing").parent_path(); },
              "is a symbolic link that leads nowhere: No such file"},
        Trick{"to_a_device", [](const Folder& f) { return f.link("model.safetensors", "/dev/zero").parent_path(); },
              "is a symbolic link to /dev/zero, out of its folder"},
        Trick{"a_device_itself", [](const Folder&) { return fs::path("/dev/zero"); }, "/dev/zero is not a regular file"}),
    name_of);

std::string zip_of(const std::string& name, const std::string& data, bool deflate = false) {
  ZipBuilder zip;
  deflate ? zip.deflate(name, data) : zip.store(name, data);
  return zip.bytes();
}

/// An archive whose object is small in the file and large in memory.
Trick pickle_bomb(const char* name, std::function<std::string()> object, const char* message) {
  return {name, [object = std::move(object)](const Folder& f) { return f.file("x", zip_of("m/data.pkl", object(), true)); },
          message};
}

INSTANTIATE_TEST_SUITE_P(
    Archives, HostileFile,
    testing::Values(
        Trick{"up", [](const Folder& f) { return f.file("x", zip_of("../../etc/cron.d/x", "")); }, "reaches out of its folder"},
        Trick{"up_from_an_npz", [](const Folder& f) { return f.file("x", zip_of("../w.npy", "")); }, "reaches out of its folder"},
        Trick{"array_of_objects",
              [](const Folder& f) {
                return f.file("x",
                              zip_of("w.npy", npy_builder::npy(npy_builder::literal("|O", "False", "()"), "cos\nsystem\n)R.")));
              },
              "Python objects in a pickle"},
        pickle_bomb(
            "pickle_of_a_gigabyte", [] { return std::string(size_t{1} << 30, '('); },
            "inflates to 1073741824 bytes; at most 67108864 are allowed"),
        pickle_bomb(
            "marks", [] { return std::string(size_t{1} << 26, '('); }, "more than 16777216 values on the stack"),
        pickle_bomb(
            "the_same_value_on_the_stack", [] { return "N" + std::string(30'000'000, '2'); },
            "more than 16777216 values on the stack"),
        pickle_bomb(
            "values", [] { return "N" + std::string(30'000'000, '\x85'); }, "more than 8388608 values"),
        pickle_bomb(
            "memo", [] { return "Nr\xFF\xFF\xFF\xFF."s; }, "place 4294967295 in the memo"),
        Trick{"a_storage_of_terabytes",
              [](const Folder& f) {
                ZipBuilder zip;
                zip.store("m/data.pkl", "N.");
                auto& file = zip.store("m/data/0", "");
                file.size = uint64_t{1} << 42;
                file.zip64 = true;
                return f.file("x", zip.bytes());
              },
              "'m/data/0' is stored, but has two sizes: 0 and 4398046511104"},
        Trick{"an_array_of_terabytes",
              [](const Folder& f) {
                ZipBuilder zip;
                auto& file = zip.deflate("w.npy", std::string(100, '\0'));
                file.size = uint64_t{1} << 42;
                file.zip64 = true;
                return f.file("x", zip.bytes());
              },
              "more than deflate can; a zip bomb?"}),
    name_of);

/// {long name: [t, t, t, ...]}: every mention is a tensor of its own, with a name of its own.
std::string repeated_tensor(size_t mentions) {
  using namespace torch_builder;
  std::string values;  // so that the pickle is large enough for so many visits
  for (int i = 0; i < 200'000; ++i) values += "K\1";
  std::string object =
      "}(" + text("x") + "(" + values + "t" + text(std::string(4000, 'n')) + "]" + tensor({{2}, {1}}) + "q\1\x30(";
  for (size_t i = 0; i < mentions; ++i) object += "h\1";
  return object + "eu";
}

Trick module(const char* name, std::function<std::string()> object, const char* message) {
  return {name, [object = std::move(object)](const Folder& f) { return f.file("x", torch_builder::archive(object()).bytes()); },
          message};
}

INSTANTIATE_TEST_SUITE_P(
    Objects, HostileFile,
    testing::Values(
        module(
            "a_million_levels",
            [] { return "}" + torch_builder::text("a") + std::string(1'000'000, ']') + std::string(999'999, 'a') + "s"; },
            "is nested too deep"),
        module(
            "a_million_names", [] { return repeated_tensor(1'000'000); },
            "the names of its tensors have more than 268435456 bytes"),
        module(
            "a_module_in_itself",
            [] {
              using namespace torch_builder;
              return "cm\nM\n)\x81q\1" + dict({{"_parameters", "}"}, {"_modules", dict({{"a", "h\1"}, {"b", "h\1"}})}}) + "b";
            },
            "is nested too deep, or shares parts too often")),
    name_of);

Trick adapter(const char* name, std::string config, std::vector<std::pair<std::string, Shape>> factors, const char* message) {
  return {name,
          [config = std::move(config), factors = std::move(factors)](const Folder& f) {
            std::vector<Made> tensors;
            for (const auto& [tensor, shape] : factors) {
              tensors.push_back({"base_model.model." + tensor, {Dtype::F8_E4M3, shape}, {}});
              tensors.back().bytes.resize(static_cast<size_t>(tensors.back().info.nbytes()));
            }
            f.file("adapter_config.json", config);
            f.file("adapter_model.safetensors", samples::written("x.safetensors", tensors));
            return f.path;
          },
          message};
}

constexpr int64_t kWide = int64_t{1} << 22;

INSTANTIATE_TEST_SUITE_P(
    Adapters, HostileFile,
    testing::Values(
        adapter("a_million_levels", R"({"peft_type":"LORA","x":)" + std::string(1'000'000, '['), {}, "more than 16 levels deep"),
        adapter("rank_of_2_to_63", R"({"peft_type":"LORA","r":9223372036854775808})", {}, "expected a whole number from 1"),
        adapter("rank_of_2_to_31", R"({"peft_type":"LORA","r":2147483648})", {}, "expected a whole number from 1"),
        adapter("pattern_that_backtracks", R"x({"peft_type":"LORA","r":1,"rank_pattern":{"(a+)+b":1}})x", {},
                "in a way that taskvec does not read"),
        adapter("product_of_terabytes", R"({"peft_type":"LORA","r":1})",
                {{"q.lora_A.weight", {1, kWide}}, {"q.lora_B.weight", {kWide, 1}}},
                "the tensors have more than 17592186044416 bytes together"),
        Trick{"config_as_a_folder",
              [](const Folder& f) {
                f.folder("adapter_config.json");
                return f.file("adapter_model.safetensors", u8_tensor("a")).parent_path();
              },
              "is not a regular file"}),
    name_of);

Trick delta(const char* name, DeltaKind kind, std::map<std::string, std::string> metadata, const char* message) {
  return {name,
          [kind, metadata = std::move(metadata)](const Folder& f) {
            const fs::path file = f.path / "tv.safetensors";
            std::ofstream(file, std::ios::binary) << [&] {
              auto all = delta_metadata({kind, {"base", "b1"}, {"ft", "f1"}, "{}"});
              all.insert(metadata.begin(), metadata.end());
              OutputLayout layout;
              layout.metadata = all;
              const fs::path made = f.path / "made.safetensors";
              CheckpointWriter(made, layout).commit();
              return file_bytes(made);
            }();
            return file;
          },
          message};
}

INSTANTIATE_TEST_SUITE_P(
    Deltas, HostileFile,
    testing::Values(delta("a_million_levels", DeltaKind::Sparse, {{"taskvec.delta.tensors", std::string(1'000'000, '[')}},
                          "have no list 'taskvec.delta.tensors'"),
                    delta("a_million_levels_closed", DeltaKind::Sign,
                          {{"taskvec.delta.tensors", std::string(1'000'000, '[') + std::string(1'000'000, ']')}},
                          "have no list 'taskvec.delta.tensors'"),
                    delta("a_million_tensors_of_nothing", DeltaKind::Sparse,
                          {{"taskvec.delta.tensors", "[" +
                                                         [] {
                                                           std::string list = "0";
                                                           for (int i = 1; i < 1'000'000; ++i) list += ",0";
                                                           return list;
                                                         }() +
                                                         "]"}},
                          "no 'name'")),
    name_of);

INSTANTIATE_TEST_SUITE_P(Gguf, HostileFile,
                         testing::Values(Trick{"key_of_2_to_31",
                                               [](const Folder& f) {
                                                 return f.file("x", "GGUF" + raw(uint32_t{3}) + raw(uint64_t{0}) +
                                                                        raw(uint64_t{1}) + raw(uint64_t{1} << 31) + "12345");
                                               },
                                               "a metadata key of 2147483648 bytes; at most 65535"},
                                         Trick{"array_of_2_to_63",
                                               [](const Folder& f) {
                                                 gguf_builder::Builder builder;
                                                 builder.metadata = {
                                                     gguf_builder::entry("k", 9, raw(uint32_t{8}) + raw(uint64_t{1} << 63))};
                                                 return f.file("x", builder.bytes());
                                               },
                                               "metadata 'k' has 9223372036854775808 elements, but the file ends"},
                                         Trick{"alignment_of_2_to_31",
                                               [](const Folder& f) {
                                                 gguf_builder::Builder builder;
                                                 builder.metadata = {
                                                     gguf_builder::entry("general.alignment", 4, raw(uint32_t{1} << 31))};
                                                 return f.file("x", builder.bytes());
                                               },
                                               "the data begin at byte 2147483648"},
                                         Trick{"two_million_tensors",
                                               [](const Folder& f) {
                                                 return f.file("x", "GGUF" + raw(uint32_t{3}) + raw(uint64_t{2'000'000}) +
                                                                        raw(uint64_t{0}) + std::string(48'000'000, '\0'));
                                               },
                                               "2000000 tensors do not fit"}),
                         name_of);

INSTANTIATE_TEST_SUITE_P(
    Numpy, HostileFile,
    testing::Values(
        Trick{"header_of_2_to_31", [](const Folder& f) { return f.file("x", "\x93NUMPY\2\0"s + raw(uint32_t{1} << 31) + "{"); },
              "an array header of 2147483648 bytes"},
        Trick{"a_million_brackets",
              [](const Folder& f) { return f.file("x", npy_builder::npy("{'shape': " + std::string(60'000, '('), "")); },
              "a dimension from 0 to 2^63 - 1 expected"}),
    name_of);

// Files that are large and sound are read, in memory in proportion to them.
class Million : public FileTest {};

TEST_F(Million, TensorsOfASafetensorsFile) {
  std::string json = "{";
  for (int i = 0; i < 1'000'000; ++i)
    json += fmt::format(R"({}"{}":{{"dtype":"U8","shape":[1],"data_offsets":[{},{}]}})", i == 0 ? "" : ",", i, i, i + 1);
  const fs::path path = Folder{folder_}.file("x", safetensors(json + "}", std::string(1'000'000, 'x')));
  const MemoryLimit limit(3 * kMemory);
  const auto read = open(path);
  EXPECT_EQ(read->manifest().tensors.size(), 1'000'000U);
  EXPECT_EQ(read->entry("999999").offset, fs::file_size(path) - 1);
}

TEST_F(Million, TensorsOfAGgufFile) {
  std::string bytes = "GGUF" + raw(uint32_t{3}) + raw(uint64_t{1'000'000}) + raw(uint64_t{0});
  for (int i = 0; i < 1'000'000; ++i)
    bytes += gguf_builder::text(std::to_string(i)) + raw(uint32_t{1}) + raw(uint64_t{0}) + raw(uint32_t{0}) + raw(uint64_t{0});
  const fs::path path = Folder{folder_}.file("x", bytes + std::string(32, '\0'));
  const MemoryLimit limit(kMemory);
  EXPECT_EQ(open(path)->manifest().tensors.size(), 1'000'000U);
}

TEST_F(Million, MembersOfAnNpz) {
  ZipBuilder zip;
  const std::string empty = npy_builder::npy(npy_builder::literal("|u1", "False", "(0,)"), "");
  for (int i = 0; i < 1'000'000; ++i) zip.store(fmt::format("{}.npy", i), empty);
  const fs::path path = Folder{folder_}.file("x", zip.bytes(true));
  const MemoryLimit limit(2 * kMemory);
  EXPECT_EQ(open(path)->manifest().tensors.size(), 1'000'000U);
}

TEST_F(Million, TensorsOfAPickleAreMoreThanAreRead) {
  using namespace torch_builder;
  std::string object = "}(";
  for (int i = 0; i < 1'000'000; ++i) object += text(std::to_string(i)) + tensor({{2}, {1}});
  const fs::path path = Folder{folder_}.file("x", archive(object + "u").bytes());
  const MemoryLimit limit(2 * kMemory);
  EXPECT_THAT(open_error(path), HasSubstr("more than 8388608 values; this is no sensible checkpoint"));
}

TEST_F(Million, NamesInAnIndex) {
  std::string index = R"({"weight_map":{)";
  for (int i = 0; i < 1'000'000; ++i) index += fmt::format(R"({}"{}":"s")", i == 0 ? "" : ",", i);
  const Folder folder{folder_};
  folder.file("s", u8_tensor("0"));
  folder.file(kIndex, index + "}}");
  const MemoryLimit limit(kMemory);
  EXPECT_THAT(open_error(folder_), HasSubstr("says that tensor '1' is in 's', but it is not"));
}

TEST_F(Million, ALinkIntoAHuggingFaceCacheIsFollowed) {
  const Folder folder{folder_};
  const Folder snapshot = folder.folder("models--x/snapshots/1"), blobs = folder.folder("models--x/blobs");
  blobs.file("0", u8_tensor("a"));
  blobs.file("1", "{}");
  snapshot.link("model.safetensors", "../../blobs/0");
  snapshot.link("config.json", "../../blobs/1");
  EXPECT_EQ(open(snapshot.path)->manifest().sidecars.size(), 1U);
}

}  // namespace
}  // namespace taskvec::formats
