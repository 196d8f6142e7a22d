// What only a machine with an NVIDIA card can show (tools/gpu-check). Elsewhere every one of these is skipped, which says why.
#include "taskvec/bridge/device.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/paths.h"
#include "taskvec/eval/mode.h"
#include "taskvec/eval/objective.h"
#include "taskvec/tangent/ntk.h"
#include "taskvec/train/finetune.h"
#include "taskvec/train/pretrain.h"
#include "taskvec/train/step.h"
#include "tests/data/tiny_task.h"
#include "tests/models/tiny_clip.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace taskvec::eval {
namespace {

/// The pocket CLIP, and fine-tunes of it that were made on the CPU.
class Cuda : public testing::Test {
 protected:
  void SetUp() override {
    try {
      bridge::configure_torch();
      device_ = bridge::parse_device("cuda");
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
    task_ = testing_data::write_tiny_task(folder_.path(), "bars");
    finetune("ft", options());
    train::FinetuneOptions linear = options();
    linear.mode = train::Mode::Linear;
    finetune("linear", linear);
  }

  static train::FinetuneOptions options() {
    return {.steps = 12, .batch = 8, .warmup = 2, .learning_rate = 1e-3, .resume_every = 4, .quiet = true, .on_step = {}};
  }
  static train::FinetuneOptions options_there() {
    train::FinetuneOptions options = Cuda::options();
    options.device = "cuda";
    return options;
  }
  double finetune(const std::string& output, const train::FinetuneOptions& how) const {
    return train::finetune(pocket_, task_, folder_.path() / output, how).final_loss;
  }
  bridge::Params weights(const std::string& output) const { return bridge::load(*formats::open(folder_.path() / output)); }
  std::string fingerprint(const std::string& output) const { return formats::open(folder_.path() / output)->fingerprint(); }
  EditedClip model(const std::string& expression, at::Device device) const {
    return {edit::parse(expression),
            {{"base", formats::open(pocket_)},
             {"ft", formats::open(folder_.path() / "ft")},
             {"linear", formats::open(folder_.path() / "linear")}},
            {},
            device};
  }
  Evaluator evaluator(const EditedClip& model, bridge::Precision precision = bridge::Precision::Float32) const {
    return {model.network(), model.folder(), {.batch = 8, .precision = precision, .progress = false}};
  }
  static double apart(const at::Tensor& a, const at::Tensor& b) {
    return ((a.cpu() - b.cpu()).norm() / a.cpu().norm()).item<double>();
  }

  testing_models::TemporaryFolder folder_;
  data::Task task_;
  const std::filesystem::path pocket_ = assets_dir() / "pocket-clip";
  at::Device device_ = at::kCPU;
};

TEST_F(Cuda, PixelsAreTheCpusBits) {
  const data::Loader loader(data::open_dataset(task_, data::Split::Test), data::Preprocess::open(pocket_, 28));
  const std::vector<int64_t> some{3, 0, 7};
  EXPECT_TRUE(loader.images(some, device_).cpu().equal(loader.images(some)));
}

TEST_F(Cuda, EditsAreTheCpusBits) {
  for (const char* text : {"base + $a*(ft - base)", "interpolate(base, ft, $a)", "$a*base + 0.1*ft + 0*linear"}) {
    EditedClip here = model(text, at::kCPU), there = model(text, device_);
    for (const double a : {0.3, 0.0, 1.0, -7.1})
      for (const auto& [name, tensor] : here.apply(std::array{a}))
        EXPECT_TRUE(tensor.equal(there.apply(std::array{a}).at(name).cpu())) << text << ", " << a << ": " << name;
  }
}

TEST_F(Cuda, AnswersAreTheCpus) {
  for (const char* text : {"base + 0*ft", "ft + 0*base"}) {
    EditedClip here = model(text, at::kCPU), there = model(text, device_);
    Evaluator on_cpu = evaluator(here), on_card = evaluator(there);
    EXPECT_EQ(on_cpu.evaluate(here.apply(), task_).predictions, on_card.evaluate(there.apply(), task_).predictions);
    EXPECT_LT(
        apart(on_cpu.features(here.apply(), task_, data::Split::Test), on_card.features(there.apply(), task_, data::Split::Test)),
        1e-4);
  }
}

TEST_F(Cuda, InTheTangentSpaceAnswersAreTheCpus) {
  EditedClip here = model("base + $a*(linear - base)", at::kCPU), there = model("base + $a*(linear - base)", device_);
  Evaluator on_cpu = evaluator(here), on_card = evaluator(there);
  on_cpu.linearise(linear_origin(here, Mode::Linear)->params);
  on_card.linearise(linear_origin(there, Mode::Linear)->params);
  const std::vector<search::Axis> axes{search::parse_axis("a=0:2:0.5")};
  const auto a = make_objective(here, on_cpu, {task_}, data::Split::Train, axes),
             b = make_objective(there, on_card, {task_}, data::Split::Train, axes);
  for (const double value : axes[0].values) EXPECT_EQ(a(std::array{value}).at("bars"), b(std::array{value}).at("bars")) << value;
  EXPECT_EQ(on_cpu.evaluate(here.apply(std::array{1.0}), task_).predictions,
            on_card.evaluate(there.apply(std::array{1.0}), task_).predictions);
}

TEST_F(Cuda, PrecisionsAreClose) {
  EditedClip tuned = model("ft + 0*base", device_);
  Evaluator full = evaluator(tuned);
  const at::Tensor features = full.features(tuned.apply(), task_, data::Split::Test);
  for (const auto precision : {bridge::Precision::Tf32, bridge::Precision::Bf16}) {
    Evaluator other = evaluator(tuned, precision);
    const double distance = apart(features, other.features(tuned.apply(), task_, data::Split::Test));
    EXPECT_GT(distance, 0) << bridge::name(precision);
    EXPECT_LT(distance, 0.05) << bridge::name(precision);
    EXPECT_GE(other.evaluate(tuned.apply(), task_).accuracy.correct, 18) << bridge::name(precision);
  }
  // ... and taken back.
  EXPECT_TRUE(full.features(tuned.apply(), task_, data::Split::Test).equal(features));
}

TEST_F(Cuda, RunsRepeatAndStoppedOnesGoOnBitForBit) {
  for (const auto mode : {train::Mode::Standard, train::Mode::Linear})
    for (const auto precision : {bridge::Precision::Float32, bridge::Precision::Tf32, bridge::Precision::Bf16}) {
      train::FinetuneOptions how = options_there();
      how.mode = mode;
      how.precision = precision;
      const std::string output = fmt::format("{}-{}", train::name(mode), bridge::name(precision));
      finetune(output, how);
      finetune(output + "-again", how);
      how.on_step = [](int64_t step, double) {
        if (step == 6) throw std::runtime_error("stop");
      };
      EXPECT_THROW(finetune(output + "-stopped", how), std::runtime_error);
      how.on_step = {};
      finetune(output + "-stopped", how);
      how.checkpoint_activations = true;
      finetune(output + "-checkpointed", how);
      for (const char* other : {"-again", "-stopped", "-checkpointed"})
        EXPECT_EQ(fingerprint(output), fingerprint(output + other)) << output << other;
    }
}

TEST_F(Cuda, TrainingIsTheCpus) {
  for (const auto mode : {train::Mode::Standard, train::Mode::Linear}) {
    train::FinetuneOptions how = options();
    how.mode = mode;
    how.steps = 3;
    const std::string output(train::name(mode));
    const double here = finetune(output + "-here", how);
    how.device = "cuda";
    EXPECT_NEAR(finetune(output + "-there", how), here, 1e-3);
    how.micro_batch = 3;
    EXPECT_NEAR(finetune(output + "-parts", how), here, 1e-3);
    how.micro_batch = 0;
    how.lora = 2;
    EXPECT_GT(finetune(output + "-lora", how), 0);
  }
}

TEST_F(Cuda, PretrainingRunsAndRepeats) {
  train::PretrainOptions options{.steps = 3, .batch = 8, .warmup = 1, .merges = 2};
  options.device = "cuda";
  for (const char* output : {"a", "b"}) train::pretrain(train::pocket_config(), task_, folder_.path() / output, options);
  EXPECT_EQ(fingerprint("a"), fingerprint("b"));
}

TEST_F(Cuda, TheTangentKernelIsTheCpus) {
  const models::ClipModel base = models::open_clip(pocket_);
  const data::Loader loader(data::open_dataset(task_, data::Split::Test), data::Preprocess::open(pocket_, 28));
  const std::vector<int64_t> some{0, 1, 2, 3, 4, 5};
  const auto gram = [&](at::Device device) {
    const auto network = tangent::image_encoder(
        base.network, base.params.map([&](const std::string&, const at::Tensor& t) { return t.to(device); }));
    return tangent::ntk_gram(network, loader.images(some, device), {.outputs = {0, 7}});
  };
  EXPECT_LT(apart(gram(at::kCPU), gram(device_)), 1e-4);
}

TEST_F(Cuda, LessMemoryIsUsedWhereThatWasAsked) {
  auto* allocator = at::getDeviceAllocator(at::kCUDA);
  models::ClipConfig config = train::pocket_config();
  config.vision.num_hidden_layers = 12;
  models::Clip network(config);
  const bridge::Params params =
      network.initialise(0).filter(models::Clip::is_image_encoder).map([&](const auto&, const at::Tensor& t) {
        return t.to(device_).requires_grad_();
      });
  const at::Tensor pixels = at::rand({512, 3, 28, 28}).to(device_), labels = at::zeros({512}, at::kLong).to(device_),
                   head = at::rand({128, 4}).to(device_);
  const auto peak = [&](bool checkpointed) {
    network.checkpoint_activations(checkpointed);
    allocator->resetPeakStats(device_.index());
    train::image_encoder_gradients(network, params, params, pixels, labels, head, 0);
    return allocator->getDeviceStats(device_.index()).allocated_bytes[0].peak;
  };
  EXPECT_LT(peak(true), peak(false) / 2);
}

TEST_F(Cuda, MemoryThatRunsOutIsNoStack) {
  try {
    at::empty({int64_t{1} << 50}, at::TensorOptions(device_).dtype(at::kByte));
    FAIL() << "a petabyte";
  } catch (const c10::Error& error) {
    EXPECT_NE(dynamic_cast<const c10::OutOfMemoryError*>(&error), nullptr) << error.what();
  }
}

}  // namespace
}  // namespace taskvec::eval
