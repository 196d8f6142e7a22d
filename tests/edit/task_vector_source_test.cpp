#include "taskvec/core/error.h"
#include "taskvec/edit/executors/execute.h"
#include "tests/message_of.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

namespace taskvec::edit {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

using Values = std::vector<std::pair<std::string, std::vector<float>>>;

/// Sources that say of themselves that they are task vectors.
class TaskVectorSource : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "task_vector_source_test.XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::shared_ptr<const formats::Checkpoint> make(const std::string& name, const Values& tensors, bool delta) const {
    const fs::path path = folder_ / (name + ".safetensors");
    formats::OutputLayout layout;
    for (const auto& [tensor, values] : tensors)
      layout.tensors.push_back({tensor, {Dtype::F32, {static_cast<int64_t>(values.size())}}, 0});
    formats::CheckpointWriter writer(path, layout);
    for (size_t i = 0; i < tensors.size(); ++i)
      std::memcpy(writer.tensor(i).data(), tensors[i].second.data(), 4 * tensors[i].second.size());
    writer.commit();
    formats::Manifest manifest = formats::open(path)->manifest();
    manifest.delta = delta;
    return std::make_shared<formats::Checkpoint>(path, std::move(manifest), std::vector{MappedFile::open(path)});
  }

  std::vector<float> edited(const std::string& text, const std::string& tensor, const PlanOptions& options = {}) const {
    run(plan(parse(text), bindings_, options), folder_ / "out.safetensors");
    const auto out = formats::open(folder_ / "out.safetensors");
    const auto bytes = out->tensor(tensor).view.bytes;
    std::vector<float> values(bytes.size() / 4);
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

  std::string error_of(const std::string& text, const PlanOptions& options = {}) const {
    return message_of([&] { plan(parse(text), bindings_, options); });
  }

  fs::path folder_;
  Bindings bindings_;
};

TEST_F(TaskVectorSource, TensorsThatItLacksAreZero) {
  bindings_ = {{"base", make("base", {{"x", {1, 2}}, {"y", {3}}}, false)},
               {"a", make("a", {{"x", {10, 20}}}, true)},
               {"b", make("b", {{"y", {100}}}, true)}};
  EXPECT_THAT(edited("base - 0.5*a + b", "x"), ElementsAre(-4, -8));
  EXPECT_THAT(edited("base - 0.5*a + b", "y"), ElementsAre(103));
  EXPECT_TRUE(plan(parse("base - 0.5*a"), bindings_).tensors.at(1).is_copy);
}

TEST_F(TaskVectorSource, TheBaseIsTheFirstModel) {
  bindings_ = {{"base", make("base", {{"y", {3}}, {"x", {1}}}, false)}, {"a", make("a", {{"x", {10}}}, true)}};
  const Plan made = plan(parse("2*a + base"), bindings_);
  EXPECT_EQ(made.source_names.at(made.base), "base");
  EXPECT_EQ(made.tensors.at(0).name, "y");
  EXPECT_TRUE(made.warnings.empty());
  EXPECT_THAT(error_of("2*a + base", {.base = "a"}), HasSubstr("is a task vector, not a model; --base base would do"));
}

TEST_F(TaskVectorSource, SumsOfTaskVectorsHoldTheTensorsOfAll) {
  bindings_ = {{"a", make("a", {{"x", {10}}}, true)}, {"b", make("b", {{"x", {2}}, {"y", {100}}}, true)}};
  EXPECT_THAT(edited("(a + b)/2", "x"), ElementsAre(6));
  EXPECT_THAT(edited("(a + b)/2", "y"), ElementsAre(50));
  EXPECT_TRUE(plan(parse("a + b"), bindings_).warnings.empty());
}

TEST_F(TaskVectorSource, AModelWithoutTheTensorIsAnErrorThatNamesTheNearest) {
  bindings_ = {{"base", make("base", {{"layer.weight", {1}}}, false)}, {"a", make("a", {{"layr.weight", {1}}}, true)}};
  const std::string path = (folder_ / "a.safetensors").string();
  for (const bool allow_missing : {false, true})
    EXPECT_THAT(error_of("base + a", {.allow_missing = allow_missing}),
                testing::AllOf(HasSubstr("task vector a (" + path + ") changes tensor 'layr.weight', which no model"),
                               HasSubstr("did you mean 'layer.weight'?")));
}

TEST_F(TaskVectorSource, AModelThatLacksATensorStillIsAnError) {
  bindings_ = {{"base", make("base", {{"x", {1}}, {"y", {3}}}, false)},
               {"ft", make("ft", {{"x", {1}}}, false)},
               {"a", make("a", {{"y", {1}}}, true)}};
  EXPECT_THAT(error_of("base + (ft - base) + a"), HasSubstr("tensor 'y' is in base"));
}

}  // namespace
}  // namespace taskvec::edit
