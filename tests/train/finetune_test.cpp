#include "taskvec/train/finetune.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/paths.h"
#include "taskvec/tangent/linearized.h"
#include "tests/data/tiny_task.h"
#include "tests/message_of.h"
#include "tests/models/tiny_clip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace taskvec::train {
namespace {

using testing::HasSubstr;

class Finetune : public testing::Test {
 protected:
  static FinetuneOptions options() {
    FinetuneOptions options;
    options.steps = 4;
    options.batch = 4;
    options.warmup = 1;
    options.quiet = true;
    return options;
  }
  std::string error_of(const FinetuneOptions& options, const std::string& output = "out") const {
    return message_of([&] { finetune(pocket_, task_, folder_.path() / output, options); });
  }
  std::string fingerprint(const std::string& output) const { return formats::open(folder_.path() / output)->fingerprint(); }

  testing_models::TemporaryFolder folder_;
  const data::Task task_ = testing_data::write_tiny_task(folder_.path(), "bars");
  const std::filesystem::path pocket_ = assets_dir() / "pocket-clip";
};

TEST_F(Finetune, TheSeedDecidesTheBytes) {
  FinetuneOptions other = options();
  other.seed = 1;
  finetune(pocket_, task_, folder_.path() / "a", options());
  finetune(pocket_, task_, folder_.path() / "b", options());
  finetune(pocket_, task_, folder_.path() / "c", other);
  EXPECT_EQ(fingerprint("a"), fingerprint("b"));
  EXPECT_NE(fingerprint("a"), fingerprint("c"));
}

TEST_F(Finetune, AStoppedRunGoesOnToTheSameModel) {
  FinetuneOptions stopping = options();
  stopping.resume_every = 1;
  stopping.save_steps = 2;
  finetune(pocket_, task_, folder_.path() / "whole", stopping);
  stopping.on_step = [](int64_t step, double) {
    if (step == 3) throw std::runtime_error("stop");
  };
  EXPECT_THROW(finetune(pocket_, task_, folder_.path() / "stopped", stopping), std::runtime_error);
  stopping.on_step = {};
  EXPECT_EQ(finetune(pocket_, task_, folder_.path() / "stopped", stopping).steps, 4);
  EXPECT_EQ(fingerprint("stopped"), fingerprint("whole"));
  EXPECT_EQ(fingerprint("stopped/checkpoints/step-000002"), fingerprint("whole/checkpoints/step-000002"));
  EXPECT_EQ(fingerprint("stopped/checkpoints/step-000004"), fingerprint("stopped"));
  EXPECT_TRUE(finetune(pocket_, task_, folder_.path() / "stopped", stopping).already_done);
}

TEST_F(Finetune, InLinearModeAStoppedRunGoesOnToTheSameModel) {
  FinetuneOptions linear = options();
  linear.mode = Mode::Linear;
  linear.resume_every = 1;
  finetune(pocket_, task_, folder_.path() / "whole", linear);
  linear.on_step = [](int64_t step, double) {
    if (step == 2) throw std::runtime_error("stop");
  };
  EXPECT_THROW(finetune(pocket_, task_, folder_.path() / "stopped", linear), std::runtime_error);
  linear.on_step = {};
  finetune(pocket_, task_, folder_.path() / "stopped", linear);
  EXPECT_EQ(fingerprint("stopped"), fingerprint("whole"));
  const auto metadata = formats::open(folder_.path() / "whole")->manifest().metadata;
  EXPECT_EQ(metadata.at("taskvec.mode"), "linear");
  EXPECT_EQ(metadata.at("taskvec.finetuned_from"), formats::open(pocket_)->fingerprint());
  finetune(pocket_, task_, folder_.path() / "standard", options());
  EXPECT_NE(fingerprint("standard"), fingerprint("whole"));
}

TEST_F(Finetune, OnlyWhatThePatternNamesMoves) {
  for (const Mode mode : {Mode::Standard, Mode::Linear}) {
    FinetuneOptions some = options();
    some.mode = mode;
    some.only = "*.self_attn.*.weight";
    const std::string output(name(mode));
    finetune(pocket_, task_, folder_.path() / output, some);
    const auto before = bridge::load(*formats::open(pocket_)), after = bridge::load(*formats::open(folder_.path() / output));
    for (const auto& [name, tensor] : before) {
      const bool named =
          name.starts_with("vision_model.") && name.find(".self_attn.") != std::string::npos && name.ends_with("weight");
      EXPECT_EQ(tensor.equal(after.at(name)), !named) << name;
    }
  }
  FinetuneOptions none = options();
  none.only = "*.attention.*";
  EXPECT_THAT(error_of(none), HasSubstr("--only '*.attention.*' leaves no parameter of the image encoder"));
}

TEST_F(Finetune, AdaptersMoveTheMatricesOfTheBlocksByTheirRank) {
  for (const Mode mode : {Mode::Standard, Mode::Linear}) {
    FinetuneOptions adapted = options();
    adapted.mode = mode;
    adapted.lora = 2;
    adapted.learning_rate = 1e-2;
    adapted.resume_every = 1;
    const std::string output = "lora-" + std::string(name(mode));
    finetune(pocket_, task_, folder_.path() / output, adapted);
    const auto before = bridge::load(*formats::open(pocket_)), after = bridge::load(*formats::open(folder_.path() / output));
    for (const auto& [name, tensor] : before) {
      const bool adapts = tensor.dim() == 2 && name.starts_with("vision_model.encoder.layers.");
      EXPECT_EQ(tensor.equal(after.at(name)), !adapts) << name;
      if (!adapts) continue;
      const at::Tensor singular = at::linalg_svdvals(after.at(name).to(at::kDouble) - tensor.to(at::kDouble));
      EXPECT_GT(singular[0].item<double>(), 1e-4) << name;
      EXPECT_LT(singular[2].item<double>(), 1e-5 * singular[0].item<double>() + 1e-6) << name;
    }

    adapted.on_step = [](int64_t step, double) {
      if (step == 2) throw std::runtime_error("stop");
    };
    EXPECT_THROW(finetune(pocket_, task_, folder_.path() / (output + "-stopped"), adapted), std::runtime_error);
    adapted.on_step = {};
    finetune(pocket_, task_, folder_.path() / (output + "-stopped"), adapted);
    EXPECT_EQ(fingerprint(output + "-stopped"), fingerprint(output));
  }
  FinetuneOptions wide = options();
  wide.lora = 100'000;
  EXPECT_THAT(error_of(wide), AllOf(HasSubstr("--lora 100000"), HasSubstr("its rank is no larger")));
  FinetuneOptions none = options();
  none.lora = 2;
  none.only = "visual_projection.weight";
  EXPECT_THAT(error_of(none, "none"), HasSubstr("leaves no matrix of a block"));
}

TEST_F(Finetune, ThePenaltyKeepsTheVectorFromMovingOtherTasks) {
  const data::Task other = testing_data::write_tiny_task(folder_.path(), "other");
  const models::ClipModel base = models::open_clip(pocket_);
  const auto network = tangent::image_encoder(base.network, base.params);
  const data::Loader loader(data::open_dataset(other, data::Split::Train),
                            data::Preprocess::open(pocket_, base.network.config().image_size));
  std::vector<double> moved;
  for (const double weight : {0.0, 1.0, 100.0}) {
    FinetuneOptions penalised = options();
    penalised.mode = Mode::Linear;
    penalised.learning_rate = 1e-3;
    if (weight > 0) penalised.penalty_tasks = {other};
    if (weight > 0) penalised.penalty = weight;
    const auto output = folder_.path() / fmt::format("penalty-{}", weight);
    finetune(pocket_, task_, output, penalised);
    const bridge::Params tau = tangent::task_vector(base.params, bridge::load(*formats::open(output)));
    moved.push_back(network.jvp({&tau, 1}, loader.images(std::vector<int64_t>{0, 1, 2, 3})).tangents[0].norm().item<double>());
  }
  EXPECT_LT(moved[1], moved[0]);
  EXPECT_LT(moved[2], 0.7 * moved[0]);
  FinetuneOptions standard = options();
  standard.penalty_tasks = {other};
  EXPECT_THAT(error_of(standard, "standard"), HasSubstr("--mode linear"));
}

TEST_F(Finetune, ARandomStartIsKeptAndTheSameForEveryTask) {
  FinetuneOptions random = options();
  random.from_random = 7;
  finetune(pocket_, task_, folder_.path() / "a", random);
  random.seed = 1;
  finetune(pocket_, task_, folder_.path() / "b", random);
  EXPECT_EQ(fingerprint("a/origin"), fingerprint("b/origin"));
  EXPECT_NE(fingerprint("a"), fingerprint("b"));
  EXPECT_EQ(formats::open(folder_.path() / "a")->manifest().metadata.at("taskvec.finetuned_from"), fingerprint("a/origin"));
  const auto pocket = bridge::load(*formats::open(pocket_)), origin = bridge::load(*formats::open(folder_.path() / "a/origin"));
  for (const auto& [name, tensor] : pocket) {
    const bool drawn = models::Clip::is_image_encoder(name) && name.ends_with("weight") && name.find("norm") == std::string::npos;
    if (drawn || !models::Clip::is_image_encoder(name)) {
      EXPECT_EQ(tensor.equal(origin.at(name)), !drawn) << name;
    }
  }
  random.from_random = 8;
  EXPECT_THAT(error_of(random, "b"), HasSubstr("from_random 7 instead of 8"));
}

TEST_F(Finetune, ALossThatIsNoNumberStopsTheRun) {
  FinetuneOptions wild = options();
  wild.learning_rate = 1e30;
  EXPECT_THAT(error_of(wild), AllOf(HasSubstr("the loss is"), HasSubstr("learning rate 1e+30 is probably too high")));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "out" / "model.safetensors"));
}

TEST_F(Finetune, WeightsThatAreNoNumbersAreNamed) {
  auto params = bridge::load(*formats::open(pocket_)).map([](const std::string& name, const at::Tensor& tensor) {
    return name == "visual_projection.weight" ? at::full_like(tensor, NAN) : tensor;
  });
  const auto like = formats::open(pocket_);
  bridge::save(params, folder_.path() / "nan", {}, like.get());
  try {
    finetune(folder_.path() / "nan", task_, folder_.path() / "out", options());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Numeric);
    EXPECT_THAT(error.what(), HasSubstr("visual_projection.weight"));
  }
}

TEST_F(Finetune, CheckpointedActivationsChangeNoByte) {
  for (const Mode mode : {Mode::Standard, Mode::Linear}) {
    FinetuneOptions checkpointed = options();
    checkpointed.mode = mode;
    const std::string output(name(mode));
    finetune(pocket_, task_, folder_.path() / output, checkpointed);
    checkpointed.checkpoint_activations = true;
    finetune(pocket_, task_, folder_.path() / (output + "-checkpointed"), checkpointed);
    EXPECT_EQ(fingerprint(output), fingerprint(output + "-checkpointed"));
  }
}

TEST_F(Finetune, PartsOfABatchAddUpToIt) {
  const data::Task other = testing_data::write_tiny_task(folder_.path(), "other");
  for (const Mode mode : {Mode::Standard, Mode::Linear}) {
    FinetuneOptions parts = options();
    parts.mode = mode;
    parts.label_smoothing = 0.1;
    if (mode == Mode::Linear) parts.penalty_tasks = {other};
    const std::string whole = "whole-" + std::string(name(mode)), added = "parts-" + std::string(name(mode));
    finetune(pocket_, task_, folder_.path() / whole, parts);
    parts.micro_batch = 3;  // of 4: a part of another size is weighted by it
    finetune(pocket_, task_, folder_.path() / added, parts);
    const auto start = bridge::load(*formats::open(pocket_)), a = bridge::load(*formats::open(folder_.path() / whole)),
               b = bridge::load(*formats::open(folder_.path() / added));
    double moved = 0, apart = 0;
    for (const auto& [name, tensor] : a) {
      moved += (tensor - start.at(name)).square().sum().item<double>();
      apart += (tensor - b.at(name)).square().sum().item<double>();
    }
    EXPECT_GT(moved, 0);
    EXPECT_LT(apart, 1e-3 * moved);  // Adam divides by small numbers, which enlarges what rounding left
    parts.micro_batch = 2;
    EXPECT_THAT(error_of(parts, added), HasSubstr("micro_batch 3 instead of 2"));
  }
}

TEST_F(Finetune, InBfloat16WeightsStayFloat32AndTheRecordSaysSo) {
  for (const Mode mode : {Mode::Standard, Mode::Linear}) {
    FinetuneOptions half = options();
    half.mode = mode;
    half.steps = 20;
    half.batch = 8;
    half.learning_rate = 1e-3;
    const std::string full = "full-" + std::string(name(mode)), output = "bf16-" + std::string(name(mode));
    const double in_full = finetune(pocket_, task_, folder_.path() / full, half).final_loss;
    half.precision = bridge::Precision::Bf16;
    const double in_half = finetune(pocket_, task_, folder_.path() / output, half).final_loss;
    EXPECT_NE(in_full, in_half);
    EXPECT_NEAR(in_full, in_half, 0.1);
    const auto record = nlohmann::json::parse(read_file(folder_.path() / output / "run.json"));
    EXPECT_EQ(record["asked"]["precision"], "bf16") << record.dump();
    EXPECT_EQ(formats::open(folder_.path() / output)->manifest().tensors.front().info.dtype,
              formats::open(pocket_)->manifest().tensors.front().info.dtype);
    half.precision = bridge::Precision::Float32;
    EXPECT_THAT(error_of(half, output), HasSubstr("precision \"bf16\" instead of its default"));
    half.precision = bridge::Precision::Tf32;
    EXPECT_THAT(error_of(half, output + "-tf32"), HasSubstr("by NVIDIA cards alone"));
  }
}

TEST_F(Finetune, OptionsOutOfRangeAreNamed) {
  const auto with = [](auto change) {
    FinetuneOptions changed = options();
    change(changed);
    return changed;
  };
  EXPECT_THAT(error_of(with([](auto& o) { o.steps = 0; })), HasSubstr("steps is 0, expected 1 to 100000000"));
  EXPECT_THAT(error_of(with([](auto& o) { o.batch = 0; })), HasSubstr("batch is 0"));
  EXPECT_THAT(error_of(with([](auto& o) { o.warmup = 5; })), HasSubstr("warmup is 5, expected 0 to the number of steps"));
  EXPECT_THAT(error_of(with([](auto& o) { o.learning_rate = -1; })), HasSubstr("learning rate is -1"));
  EXPECT_THAT(error_of(with([](auto& o) { o.device = "gpu"; })), HasSubstr("unknown device 'gpu'"));
  EXPECT_THAT(error_of(with([](auto& o) { o.micro_batch = 5; })), HasSubstr("micro batch is 5, expected 0 (all at once) to"));
}

TEST_F(Finetune, TheModelItselfIsNoOutput) {
  try {
    finetune(pocket_, task_, pocket_, options());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("would replace source 'the model'"));
  }
}

}  // namespace
}  // namespace taskvec::train
