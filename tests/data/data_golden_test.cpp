// Preprocessing against transformers' CLIPImageProcessor, splits against torch.utils.data.random_split.
#include "taskvec/bridge/params.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/files/mapped_file.h"
#include "taskvec/data/dataset.h"
#include "tests/golden.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>

namespace taskvec::data {
namespace {

namespace fs = std::filesystem;

/// Folders of $TASKVEC_GOLDEN/models in which the predicate holds.
template <typename Predicate>
std::vector<fs::path> golden_cases(Predicate predicate) {
  const fs::path root = golden::folder() / "models";
  std::vector<fs::path> cases;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(root, none)) {
    if (fs::exists(entry.path() / "meta.json") && predicate(entry.path())) cases.push_back(entry.path());
  }
  return cases;
}

TEST(GoldenPreprocess, EqualsTransformers) {
  const auto cases = golden_cases([](const fs::path& folder) {
    if (!fs::exists(folder / "expected.safetensors")) return false;
    const bridge::Params expected = bridge::load(*formats::open(folder / "expected.safetensors"));
    return expected.size() > 0 && expected.begin()->first.find('@') != std::string::npos;
  });
  if (cases.empty()) TASKVEC_NO_GOLDEN("golden preprocessing");
  for (const fs::path& folder : cases) {
    for (const auto& [name, expected] : bridge::load(*formats::open(folder / "expected.safetensors"))) {
      SCOPED_TRACE(folder.filename().string() + ": " + name);
      const size_t at = name.rfind('@');
      const fs::path file = folder / name.substr(0, at);
      Preprocess preprocess;
      preprocess.shortest_edge = preprocess.crop_height = preprocess.crop_width = std::stoll(name.substr(at + 1));
      const Image image = preprocess.to_pixels(decode_image(MappedFile::open(file)->bytes(), file.string()));
      const at::Tensor pixels = at::tensor(at::ArrayRef<uint8_t>(image.pixels), at::kByte)
                                    .view({1, image.height, image.width, image.channels})
                                    .permute({0, 3, 1, 2});
      const at::Tensor got = preprocess.normalise(pixels)[0];
      ASSERT_EQ(got.sizes(), expected.sizes());
      // In pixel units: the normalisation undone.
      const at::Tensor std = at::tensor(at::ArrayRef<double>(preprocess.std.data(), 3), at::kFloat).view({3, 1, 1});
      const at::Tensor error = ((got - expected).abs() * std * 255);
      const bool jpeg = file.extension() == ".jpg" || file.extension() == ".jpeg";
      const double slack = jpeg ? 1 : 0;  // decoders differ by one
      EXPECT_LE(error.max().item<double>(), 2.01 + slack);
      EXPECT_LE((error > 1.01 + slack).to(at::kDouble).mean().item<double>(), 0.001);
    }
  }
}

TEST(GoldenSplit, EqualsRandomSplit) {
  const auto cases = golden_cases([](const fs::path& folder) {
    const auto meta = nlohmann::json::parse(read_file(folder / "meta.json"));
    return meta.contains("cases") && meta["cases"].begin()->contains("first_train");
  });
  if (cases.empty()) TASKVEC_NO_GOLDEN("golden splits");
  for (const fs::path& folder : cases) {
    const auto meta = nlohmann::json::parse(read_file(folder / "meta.json"));
    for (const auto& [n, expected] : meta["cases"].items()) {
      SCOPED_TRACE(n);
      const TrainVal got = random_split(std::stoll(n), expected["parts"][1]);
      ASSERT_EQ(got.train.size(), expected["parts"][0].get<size_t>());
      ASSERT_EQ(got.val.size(), expected["parts"][1].get<size_t>());
      const auto compare = [](const std::vector<int64_t>& indices, const nlohmann::json& first, const nlohmann::json& last) {
        EXPECT_EQ(std::vector<int64_t>(indices.begin(), indices.begin() + static_cast<ptrdiff_t>(first.size())),
                  first.get<std::vector<int64_t>>());
        EXPECT_EQ(std::vector<int64_t>(indices.end() - static_cast<ptrdiff_t>(last.size()), indices.end()),
                  last.get<std::vector<int64_t>>());
      };
      compare(got.train, expected["first_train"], expected["last_train"]);
      compare(got.val, expected["first_val"], expected["last_val"]);
    }
  }
}

}  // namespace
}  // namespace taskvec::data
