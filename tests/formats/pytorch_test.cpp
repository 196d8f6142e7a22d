#include "taskvec/formats/pytorch/pytorch.h"

#include "taskvec/core/error.h"
#include "taskvec/formats/pytorch/strided.h"
#include "tests/formats/builders/torch_builder.h"
#include "tests/message_of.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;
using namespace torch_builder;
using testing::ElementsAre;
using testing::HasSubstr;

class PytorchTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "pytorch_test.XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::shared_ptr<const Checkpoint> open_bytes(const std::string& bytes) const {
    std::ofstream(folder_ / "x.pt", std::ios::binary) << bytes;
    return open(folder_ / "x.pt");
  }

  std::string error_of(const std::string& bytes) const {
    return message_of([&] { open_bytes(bytes); });
  }

  fs::path folder_;
};

std::vector<float> floats(std::span<const std::byte> bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::ranges::copy(bytes, std::as_writable_bytes(std::span(values)).begin());
  return values;
}

std::vector<float> values(const Checkpoint& checkpoint, std::string_view name) {
  const auto tensor = checkpoint.tensor(name);
  return floats(tensor.view.bytes);
}

std::vector<std::string> names(const Checkpoint& checkpoint) {
  std::vector<std::string> out;
  for (const auto& tensor : checkpoint.manifest().tensors) out.push_back(tensor.name);
  return out;
}

const std::string kWhole = tensor({{2, 3}, {3, 1}});

std::string views() {
  return dict({{"whole", kWhole},
               {"row", tensor({{3}, {1}, 3})},
               {"transposed", tensor({{3, 2}, {1, 3}})},
               {"element", tensor({{}, {}, 5})},
               {"expanded", tensor({{2, 2}, {0, 1}})},
               {"empty", tensor({{0, 4}, {4, 1}})}});
}

TEST_F(PytorchTest, StoredTensorsAreMappedOthersMade) {
  const auto stored = open_bytes(archive(views()).bytes());
  EXPECT_EQ(stored->manifest().format, "PyTorch zip");
  EXPECT_THAT(names(*stored), ElementsAre("whole", "row", "transposed", "element", "expanded", "empty"));
  for (const char* name : {"whole", "row", "element", "empty"}) EXPECT_NE(stored->tensor(name).file, nullptr) << name;
  for (const char* name : {"transposed", "expanded"}) EXPECT_EQ(stored->tensor(name).file, nullptr) << name;
  const auto shown = stored->tensor("row").view.bytes;
  EXPECT_EQ(shown.data(), stored->tensor("whole").view.bytes.data() + 12) << "one storage, not two copies";
}

TEST_F(PytorchTest, EveryFormHoldsTheSameValues) {
  for (const auto& bytes : {archive(views()).bytes(), archive(views(), true).bytes(), legacy(views())}) {
    const auto read = open_bytes(bytes);
    EXPECT_THAT(values(*read, "whole"), ElementsAre(0, 1, 2, 3, 4, 5));
    EXPECT_THAT(values(*read, "row"), ElementsAre(3, 4, 5));
    EXPECT_THAT(values(*read, "transposed"), ElementsAre(0, 3, 1, 4, 2, 5));
    EXPECT_THAT(values(*read, "element"), ElementsAre(5));
    EXPECT_THAT(values(*read, "expanded"), ElementsAre(0, 1, 0, 1));
    EXPECT_TRUE(values(*read, "empty").empty());
    EXPECT_EQ(read->entry("empty").info, (TensorInfo{Dtype::F32, {0, 4}}));
  }
}

TEST_F(PytorchTest, AnyRangeOfAStridedTensorIsTheSameAsThatPartOfTheWhole) {
  std::vector<float> storage(5 * 7 * 3);
  for (size_t i = 0; i < storage.size(); ++i) storage[i] = static_cast<float>(i);
  const TensorInfo info{Dtype::F32, {3, 5, 4}};
  const std::vector<int64_t> strides{1, 21, 6};
  std::vector<float> expected;
  for (size_t i = 0; i < 3; ++i)
    for (size_t j = 0; j < 5; ++j)
      for (size_t k = 0; k < 4; ++k) expected.push_back(storage[1 + i + 21 * j + 6 * k - 1]);
  for (size_t first = 0; first < expected.size(); ++first) {
    for (size_t n = 1; first + n <= expected.size(); ++n) {
      std::vector<std::byte> out(n * sizeof(float));
      gather(std::as_bytes(std::span(storage)), info, strides, 0, static_cast<int64_t>(first), out);
      ASSERT_EQ(floats(out), std::vector<float>(&expected[first], &expected[first] + n)) << first << " " << n;
    }
  }
}

TEST_F(PytorchTest, TheModelIsTakenFromATrainingCheckpoint) {
  const std::string object = dict(
      {{"epoch", number(3)}, {"model", dict({{"state_dict", dict({{"w", kWhole}})}, {"ema", kWhole}})}, {"optimizer", kWhole}});
  const auto read = open_bytes(archive(object).bytes());
  EXPECT_THAT(names(*read), ElementsAre("w"));
  EXPECT_EQ(read->manifest().metadata.at("pytorch.path"), "model.state_dict");
  EXPECT_EQ(read->manifest().metadata.at("pytorch.left_out"), "epoch, optimizer, ema");
}

TEST_F(PytorchTest, AModuleIsReadFromItsState) {
  const std::string inner =
      "cpapers\nEncoder\n)\x81" +
      dict({{"_parameters", dict({{"weight", kWhole}, {"bias", "N"}})}, {"_buffers", "}"}, {"_modules", "}"}}) + "b";
  const std::string outer = "cpapers\nModel\n)\x81q\1" +
                            dict({{"_parameters", "}"},
                                  {"_buffers", dict({{"table", kWhole}})},
                                  {"_modules", dict({{"model", inner}})},
                                  {"parent", "h\1"}}) +
                            "b";
  const auto read = open_bytes(archive(outer).bytes());
  EXPECT_THAT(names(*read), ElementsAre("table", "model.weight"));
  EXPECT_THAT(read->manifest().metadata.at("pytorch.globals"), HasSubstr("papers.Model, "));
}

TEST_F(PytorchTest, CodeBesideTheTensorsIsListedAndNotRun) {
  const fs::path marker = folder_ / "marker";
  const std::string trap = "cos\nsystem\n" + text("touch " + marker.string()) + "\x85R";
  const auto read = open_bytes(archive(dict({{"w", kWhole}, {"trap", trap}})).bytes());
  EXPECT_THAT(names(*read), ElementsAre("w"));
  EXPECT_THAT(read->manifest().metadata.at("pytorch.globals"), HasSubstr("os.system"));
  EXPECT_EQ(read->manifest().metadata.at("pytorch.not_tensors"), "1");
  EXPECT_FALSE(fs::exists(marker));
}

TEST_F(PytorchTest, ADamagedStorageIsSeenWhenItIsInflated) {
  ZipBuilder zip;
  zip.store("archive/data.pkl", "\x80\2" + dict({{"w", kWhole}}) + ".");
  zip.deflate("archive/data/0", six_floats()).crc ^= 1;
  const auto read = open_bytes(zip.bytes());
  EXPECT_THROW(read->tensor("w"), Error);
}

std::string nested(size_t depth) { return text("a") + std::string(depth, ']') + kWhole + std::string(depth, 'a'); }

/// {"a": [x, x]} where x is [y, y] and so on: 2^levels paths through a few bytes.
std::string shared(int levels) {
  std::string out = kWhole;
  for (int i = 0; i < levels; ++i) out += "\x32\x86";
  return "}" + text("a") + out + "s";
}

struct BadTorch {
  std::string object;
  const char* message;
};

class BadTorchTest : public PytorchTest, public testing::WithParamInterface<BadTorch> {};

TEST_P(BadTorchTest, IsRefusedWithTheRule) {
  EXPECT_THAT(error_of(archive(GetParam().object).bytes()), HasSubstr(GetParam().message));
  EXPECT_THAT(error_of(legacy(GetParam().object)), testing::AnyOf(HasSubstr(GetParam().message), HasSubstr("storage")));
}

std::string lone(const Tensor& t) { return dict({{"w", tensor(t)}}); }

constexpr int64_t kHuge = int64_t{1} << 62;

INSTANTIATE_TEST_SUITE_P(
    Rules, BadTorchTest,
    testing::Values(
        BadTorch{lone({{2, 3}, {3, 1}, 1}), "tensor 'w' ([2, 3] with offset 1) reaches to byte 28 of a storage of 24 bytes"},
        BadTorch{lone({{2, 3}, {4, 1}}), "reaches to byte 28 of a storage of 24 bytes"},
        BadTorch{lone({{2, 3}, {3, -1}}), "has a wrong strides: it must be a whole number"},
        BadTorch{lone({{-2}, {1}}), "has a wrong size"}, BadTorch{lone({{2}, {1}, -1}), "has a wrong offset"},
        BadTorch{lone({{2, 2}, {kHuge, kHuge}}), "overflows"}, BadTorch{lone({{kHuge, 4}, {0, 0}}), "overflows"},
        BadTorch{lone({{2}, {1}, int64_t{1} << 31}), "of a storage of 24 bytes"},
        BadTorch{lone({{2}, {1}, INT64_MAX}), "overflows"}, BadTorch{lone({{2}, {1}, 0, INT64_MAX}), "storage overflows"},
        BadTorch{lone({{7}, {1}, 0, 7}), "but storage '0' has 24; it may be truncated"},
        BadTorch{lone({{2}, {1, 1}}), "has 1 dimensions, but 2 strides"},
        BadTorch{lone({{2}, {1}, 0, 6, "torch\nFloatStorage", "9"}), "needs storage '9', which is not in the file"},
        BadTorch{lone({{2}, {1}, 0, 6, "os\nFloatStorage"}), "that torch.save would not describe so (type 'os.FloatStorage')"},
        BadTorch{lone({{2}, {1}, 0, 3, "torch\nComplexDoubleStorage"}), "taskvec does not know"},
        BadTorch{lone({{2}, {1}, 0, 6, "torch\nQInt8Storage"}), "is quantised (qint8); save tensor.dequantize()"},
        BadTorch{lone({{int64_t{1} << 40}, {0}}), "repeats a storage of 24 bytes until it has 4398046511104"},
        BadTorch{lone({{2}, {1}, 0, 6, "torch\nFloatStorage", "0", "torch._utils\n_rebuild_sparse_tensor"}), "is sparse"},
        BadTorch{lone({{2}, {1}, 0, 6, "torch\nFloatStorage", "0", "torch._utils\n_rebuild_nested_tensor"}), "is nested"},
        BadTorch{dict({{"w", "ctorch._utils\n_rebuild_tensor_v2\n(cos\nsystem\n" + text("exit") + "\x85R" + number(0) +
                                 tuple({1}) + tuple({1}) + "tR"}}),
                 "tensor 'w' gets its storage from 'os.system', which is not run"},
        BadTorch{dict({{"w", "ctorch._utils\n_rebuild_parameter\n(cos\nsystem\n" + text("exit") + "\x85R\x88NtR"}}),
                 "tensor 'w' would be made by 'os.system', which is not run"},
        BadTorch{dict({{"w", "ctorch._utils\n_rebuild_tensor_v2\nNR"}}), "is not described as torch.save does it"},
        BadTorch{"cos\nsystem\n" + text("exit") + "\x85R", "no tensors in it; loading it would have called: os.system"},
        BadTorch{"}", "no tensors in it; it holds plain values only"},
        BadTorch{dict({{"a.b", kWhole}, {"a", dict({{"b", kWhole}})}}), "tensor 'a.b' is there twice"},
        BadTorch{dict({{std::string("a\0b", 3), kWhole}}), "no UTF-8 text begins: 'a?b'"},
        BadTorch{dict({{"\xff", kWhole}}), "no UTF-8 text begins: '?'"},
        BadTorch{dict({{std::string(5000, 'a'), kWhole}}), "longer than 4096 bytes"},
        BadTorch{"}" + nested(100'000) + "s", "is nested too deep"}, BadTorch{shared(60), "shares parts too often"},
        BadTorch{"]q\1h\1a", "is nested too deep"}));

TEST_F(PytorchTest, OtherArchivesAndPicklesAreNamed) {
  ZipBuilder zip;
  zip.store("word/document.xml", "");
  EXPECT_THAT(error_of(zip.bytes()), HasSubstr("neither of PyTorch (no data.pkl) nor of numpy"));
  EXPECT_THAT(error_of("\x80\4N."), HasSubstr("is a Python pickle that torch.save did not write"));
  EXPECT_THAT(error_of(std::string(257, 'a') + "ustar.."), HasSubstr("is a tar archive"));
}

TEST_F(PytorchTest, BigEndianFilesAreRefusedWithTheFix) {
  ZipBuilder zip;
  zip.store("archive/data.pkl", "\x80\2" + dict({{"w", kWhole}}) + ".");
  zip.store("archive/byteorder", "big");
  EXPECT_THAT(error_of(zip.bytes()), HasSubstr("big-endian; torch.load() and torch.save() it on a little-endian machine"));
  std::string old = legacy(dict({{"w", kWhole}}));
  const size_t at = old.find("little_endian") + 13;
  ASSERT_EQ(old[at], '\x88');
  old[at] = '\x89';
  EXPECT_THAT(error_of(old), HasSubstr("big-endian"));
}

TEST_F(PytorchTest, AStorageLargerThanTheLegacyFileIsTruncation) {
  std::string old = legacy(dict({{"w", kWhole}}));
  const size_t at = old.size() - 24 - 8;
  for (const int64_t elements : {int64_t{7}, int64_t{1} << 31, int64_t{1} << 61, INT64_MAX, INT64_MIN, int64_t{-1}}) {
    std::memcpy(old.data() + at, &elements, 8);
    EXPECT_THAT(error_of(old), testing::AnyOf(HasSubstr("it is truncated"), HasSubstr("overflows"))) << elements;
  }
}

TEST_F(PytorchTest, AFolderWithPytorchModelBinIsACheckpointWithItsSidecars) {
  std::ofstream(folder_ / "pytorch_model.bin", std::ios::binary) << archive(dict({{"w", kWhole}})).bytes();
  std::ofstream(folder_ / "config.json") << "{}";
  const auto read = open(folder_);
  EXPECT_THAT(names(*read), ElementsAre("w"));
  EXPECT_THAT(read->manifest().sidecars, ElementsAre(folder_ / "config.json"));
}

TEST_F(PytorchTest, AnIndexThatDisagreesWithItsShardsIsRefused) {
  std::ofstream(folder_ / "a.bin", std::ios::binary) << archive(dict({{"w", kWhole}})).bytes();
  const auto with_map = [&](const std::string& map) {
    std::ofstream(folder_ / "pytorch_model.bin.index.json") << R"({"weight_map":)" << map << "}";
    try {
      return names(*open(folder_)).front();
    } catch (const Error& error) {
      return std::string(error.what());
    }
  };
  EXPECT_EQ(with_map(R"({"w":"a.bin"})"), "w");
  EXPECT_THAT(with_map(R"({"v":"a.bin"})"), HasSubstr("tensor 'w' is in 'a.bin', which the index does not say"));
  EXPECT_THAT(with_map(R"({"w":"a.bin","v":"a.bin"})"), HasSubstr("lists 2 tensors, but its files hold 1"));
  EXPECT_THAT(with_map(R"({"w":"../a.bin"})"), HasSubstr("is not the name of a file in the same folder"));
}

}  // namespace
}  // namespace taskvec::formats
