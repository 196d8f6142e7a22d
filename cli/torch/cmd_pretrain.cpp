#include "cli/common.h"
#include "cli/torch/model_argument.h"
#include "taskvec/train/pretrain.h"

#include <algorithm>
#include <memory>
#include <optional>

namespace taskvec::cli {
namespace {

struct Arguments {
  std::string task = "glyphs", output;
  train::PretrainOptions options;
  std::optional<int64_t> warmup;
  bool json = false;
};

}  // namespace

void add_pretrain_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "pretrain",
      "Train the pocket CLIP from scratch\n\n"
      "  taskvec pretrain -o runs/pocket-clip\n\n"
      "28 x 28 pixels, patch 7, image encoder 4 x 128, text encoder 2 x 64, and a tokenizer of its own learned from\n"
      "the class names. Images are rendered glyphs under random affine and elastic maps; each is told from all the\n"
      "class names at once. A killed run goes on when the same command is given again.\n");
  auto arguments = std::make_shared<Arguments>();
  train::PretrainOptions& options = arguments->options;
  command->add_option("-t,--task", arguments->task, "what to learn")->capture_default_str();
  command->add_option("-o,--output", arguments->output, "the folder to write")->required();
  command->add_option("--steps", options.steps, "optimiser steps")->capture_default_str();
  command->add_option("--batch", options.batch, "images a step")->capture_default_str();
  command->add_option("--lr", options.learning_rate, "learning rate at its highest (AdamW)")->capture_default_str();
  command->add_option(
      "--warmup", arguments->warmup,
      fmt::format("steps until the learning rate is there; a cosine to 0 follows ({}, or a fifth of the steps)", options.warmup));
  command->add_option("--weight-decay", options.weight_decay, "decoupled decay of every parameter")->capture_default_str();
  command->add_option("--merges", options.merges, "merges of the tokenizer")->capture_default_str();
  command->add_option("--train-images", options.train_images, "at most so many images; 0: all")->capture_default_str();
  command->add_option("--augment", options.augment, "strength of the random maps; 0: none")->capture_default_str();
  add_seed_option(*command, options.seed, "of the weights, the order of the images and their maps");
  add_device_option(*command, options.device);
  command->add_flag("--force", options.force, "train anew over an earlier run in OUTPUT");
  command->add_flag("--json", arguments->json, "what was written as JSON");
  command->callback([=] {
    arguments->options.warmup = arguments->warmup.value_or(std::min(arguments->options.warmup, arguments->options.steps / 5));
    train::pretrain(train::pocket_config(), data::load_task(arguments->task), arguments->output, arguments->options);
    if (arguments->json) print_result("pretrain", {{"output", arguments->output}, {"steps", arguments->options.steps}});
  });
}

}  // namespace taskvec::cli
