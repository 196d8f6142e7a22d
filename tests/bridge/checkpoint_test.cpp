// Tensors over the bytes of checkpoints, and checkpoints from tensors.
#include "taskvec/bridge/params.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "tests/message_of.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <cstring>

namespace taskvec::bridge {
namespace {

namespace fs = std::filesystem;

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "taskvec-bridge-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_;
};

const std::vector<at::ScalarType> kTypes{at::kDouble,      at::kFloat, at::kHalf,   at::kBFloat16, at::kFloat8_e4m3fn,
                                         at::kFloat8_e5m2, at::kLong,  at::kInt,    at::kShort,    at::kChar,
                                         at::kByte,        at::kBool,  at::kUInt16, at::kUInt32,   at::kUInt64};

TEST(Dtype, RoundTrip) {
  for (const at::ScalarType type : kTypes) EXPECT_EQ(to_scalar_type(to_dtype(type)), type);
  EXPECT_EQ(message_of(ErrorCode::Unsupported, [] { to_dtype(at::kComplexDouble); }),
            "libtorch's type ComplexDouble cannot be stored in a checkpoint");
}

TEST_F(CheckpointTest, EveryDtypeComesBack) {
  Params params;
  for (const at::ScalarType type : kTypes) {
    params.add(c10::toString(type), at::arange(-3, 4).remainder(at::isFloatingType(type) ? 100 : 2).to(type));
  }
  params.add("scalar", at::full({}, 2.5));
  params.add("empty", at::empty({0, 4}));
  params.add("matrix", at::arange(6).view({2, 3}).t());  // not contiguous
  save(params, folder_ / "all.safetensors", {{"note", "x"}});

  const auto checkpoint = formats::open(folder_ / "all.safetensors");
  EXPECT_EQ(checkpoint->manifest().metadata, (std::map<std::string, std::string>{{"format", "pt"}, {"note", "x"}}));
  const Params back = load(*checkpoint);
  ASSERT_EQ(back.size(), params.size());
  auto expected = params.begin();
  for (const auto& [name, tensor] : back) {
    EXPECT_EQ(name, expected->first);
    EXPECT_EQ(tensor.scalar_type(), expected->second.scalar_type());
    EXPECT_EQ(tensor.sizes(), expected->second.sizes());
    EXPECT_EQ(std::memcmp(tensor.const_data_ptr(), expected->second.contiguous().const_data_ptr(), tensor.nbytes()), 0) << name;
    ++expected;
  }
}

TEST_F(CheckpointTest, TensorsAreTheMappingItselfAndOutliveTheCheckpoint) {
  Params params;
  params.add("a", at::full({1000}, 3.0));
  save(params, folder_ / "a.safetensors", {});
  at::Tensor tensor;
  {
    const auto checkpoint = formats::open(folder_ / "a.safetensors");
    const formats::MappedTensor mapped = checkpoint->tensor("a");
    tensor = to_tensor(mapped);
    EXPECT_EQ(tensor.const_data_ptr(), mapped.view.bytes.data());
  }
  fs::remove(folder_ / "a.safetensors");
  EXPECT_EQ(tensor.sum().item<double>(), 3000.0);
}

TEST_F(CheckpointTest, MisalignedBytesAreCopied) {
  const std::vector<float> values{1, 2, 3};
  std::string bytes(1 + sizeof(float) * values.size(), '\0');
  std::memcpy(bytes.data() + 1, values.data(), sizeof(float) * values.size());
  write_file_atomically(folder_ / "raw", bytes);
  const auto file = MappedFile::open(folder_ / "raw");
  const at::Tensor tensor = to_tensor({{{Dtype::F32, {3}}, file->bytes().subspan(1)}, file});
  EXPECT_NE(tensor.const_data_ptr(), file->bytes().data() + 1);
  EXPECT_TRUE(tensor.equal(at::tensor({1.0F, 2.0F, 3.0F})));
}

TEST_F(CheckpointTest, SaveLikeKeepsOrderTensorsAndSidecars) {
  Params base;
  base.add("z", at::ones({2}));
  base.add("a", at::zeros({3}));
  fs::create_directory(folder_ / "base");
  save(base, folder_ / "base" / "model.safetensors", {{"made_by", "somebody"}});
  write_file_atomically(folder_ / "base" / "config.json", "{}");
  const auto like = formats::open(folder_ / "base");

  Params changed;
  changed.add("new", at::full({1}, 5.0));
  changed.add("a", at::full({3}, 4.0, at::kHalf));
  save(changed, folder_ / "out", {}, like.get());
  const auto out = formats::open(folder_ / "out");
  std::vector<std::string> names;
  for (const auto& tensor : out->manifest().tensors) names.push_back(tensor.name);
  EXPECT_EQ(names, (std::vector<std::string>{"z", "a", "new"}));
  const Params back = load(*out);
  EXPECT_TRUE(back.at("z").equal(base.at("z")));
  EXPECT_EQ(back.at("a").scalar_type(), at::kHalf);
  EXPECT_EQ(read_file(folder_ / "out" / "config.json"), "{}");
  EXPECT_EQ(out->manifest().metadata.count("made_by"), 0U);  // it is another model now
}

TEST(View, OnlyOfPlainTensors) {
  const at::Tensor tensor = at::arange(6, at::kInt).view({2, 3});
  EXPECT_EQ(view(tensor).info.shape, (Shape{2, 3}));
  EXPECT_EQ(view(tensor).info.dtype, Dtype::I32);
  EXPECT_EQ(view(tensor).bytes.size(), 24U);
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument, [&] { view(tensor.t()); }),
            "only contiguous CPU tensors have bytes to look at; call .cpu().contiguous() first");
}

}  // namespace
}  // namespace taskvec::bridge
