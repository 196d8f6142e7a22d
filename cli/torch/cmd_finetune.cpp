#include "cli/common.h"
#include "cli/torch/model_argument.h"
#include "taskvec/bridge/device.h"
#include "taskvec/core/console.h"
#include "taskvec/core/progress.h"
#include "taskvec/report/table.h"
#include "taskvec/train/finetune.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>

namespace taskvec::cli {
namespace {

/// The default learning rate of linear fine-tuning, in rates of the standard one: vectors in the tangent space are longer.
constexpr double kLinearRate = 3;

struct Arguments {
  std::string model, task, output, mode = "standard", penalty = "none";
  std::vector<std::string> penalty_tasks;
  std::optional<double> learning_rate;
  std::optional<int64_t> warmup;
  train::FinetuneOptions options;
  bool json = false;
};

/// What weights from the tangent space score there and as an ordinary network: two different things, which people should have
/// seen.
void print_both_modes(const Arguments& arguments, const data::Task& task) {
  constexpr int64_t kImages = 2000;
  eval::EditedClip model(edit::parse("model"), {{"model", formats::open(arguments.output)}}, {},
                         bridge::parse_device(arguments.options.device));
  const eval::EvalOptions options{
      .split = data::Split::Val, .limit = kImages, .precision = arguments.options.precision, .progress = false};
  eval::Evaluator ordinary(model.network(), model.folder(), options), linear(model.network(), model.folder(), options);
  linear.linearise(eval::linear_origin(model, eval::Mode::Auto)->params);
  const auto in = linear.evaluate(model.apply(), task).accuracy, out = ordinary.evaluate(model.apply(), task).accuracy;
  print("on val ({} images): {} as the linearised network, {} as an ordinary one; eval, search and edit know which is meant\n",
        in.n, report::percent(in.value()), report::percent(out.value()));
}

void run_finetune(Arguments& arguments) {
  if (arguments.mode == "linear") arguments.options.mode = train::Mode::Linear;
  if ((arguments.penalty == "none") != arguments.penalty_tasks.empty())
    fail(ErrorCode::InvalidArgument,
         "--penalty tau-jvp and --penalty-task TASK go together: whose images the vector shall leave alone");
  for (const auto& name : arguments.penalty_tasks) arguments.options.penalty_tasks.push_back(data::load_task(name));
  const double times = arguments.options.mode == train::Mode::Linear ? kLinearRate : 1;
  arguments.options.learning_rate = arguments.learning_rate.value_or(times * arguments.options.learning_rate);
  arguments.options.warmup = arguments.warmup.value_or(std::min(arguments.options.warmup, arguments.options.steps / 5));
  const data::Task task = data::load_task(arguments.task);
  const auto result = train::finetune(arguments.model, task, arguments.output, arguments.options);
  if (arguments.json) {
    print_result("finetune", nlohmann::ordered_json{{"output", arguments.output},
                                                    {"steps", result.steps},
                                                    {"final_loss", result.final_loss},
                                                    {"seconds", result.seconds},
                                                    {"already_done", result.already_done}});
  } else if (result.already_done) {
    print("{}: done already ({} steps, loss {:.4f}); --force trains it anew\n", arguments.output, result.steps,
          result.final_loss);
  } else {
    print("{}: {} steps in {}, loss {:.4f} over the last ones\n", arguments.output, result.steps, format_seconds(result.seconds),
          result.final_loss);
    constexpr int64_t kEnough = 100;  // images; of fewer there is hardly a validation split
    if (arguments.options.mode == train::Mode::Linear && data::open_dataset(task, data::Split::Train)->size() >= kEnough)
      print_both_modes(arguments, task);
  }
}

}  // namespace

void add_finetune_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "finetune",
      "Train the image encoder of a CLIP on a task\n\n"
      "  taskvec finetune -m assets/pocket-clip -t mnist -o runs/mnist\n\n"
      "The classifier on top is the model's own zero-shot head, made from the task's class names and templates and kept frozen,\n"
      "so that the result differs from the model in the image encoder alone. The output is a complete model folder; a run that "
      "was\n"
      "killed goes on where it was when the same command is given again.\n");
  auto arguments = std::make_shared<Arguments>();
  train::FinetuneOptions& options = arguments->options;
  by_name(command->add_option("-m,--model", arguments->model, "a CLIP folder: config.json, model.safetensors, tokenizer"))
      ->required();
  command->add_option("-t,--task", arguments->task, "a built-in task (see 'taskvec tasks') or a .yaml file")->required();
  command->add_option("-o,--output", arguments->output, "the folder to write")->required();
  command->add_option("--mode", arguments->mode, "standard, or linear: train the linearisation at MODEL (docs/tangent.md)")
      ->check(CLI::IsMember({"standard", "linear"}))
      ->capture_default_str();
  command
      ->add_option("--only", options.only,
                   "train the parameters of this pattern alone; attention stands for '*.self_attn.*', attention-weights for "
                   "'*.self_attn.*.weight'")
      ->transform([](const std::string& text) {
        return text == "attention" ? "*.self_attn.*" : text == "attention-weights" ? "*.self_attn.*.weight" : text;
      })
      ->capture_default_str();
  command
      ->add_option("--lora", options.lora,
                   "train adapters of this rank in place of the blocks' matrices, merged at the end; 0: none")
      ->capture_default_str();
  command->add_option(
      "--from-random", options.from_random,
      "start from an image encoder that is initialised with this seed, as a control; it is kept in OUTPUT/origin");
  command
      ->add_option(
          "--penalty", arguments->penalty,
          "tau-jvp: keep the vector from moving the outputs on images of other tasks, whose labels are not used (linear mode)")
      ->check(CLI::IsMember({"none", "tau-jvp"}))
      ->capture_default_str();
  command->add_option("--penalty-task", arguments->penalty_tasks, "those tasks; repeatable");
  command->add_option("--penalty-weight", options.penalty, "of the mean square of J tau")->capture_default_str();
  command->add_option("--steps", options.steps, "optimiser steps")->capture_default_str();
  command->add_option("--batch", options.batch, "images a step")->capture_default_str();
  command->add_option("--lr", arguments->learning_rate,
                      fmt::format("learning rate at its highest (AdamW); {:g}, in linear mode {:g}", options.learning_rate,
                                  kLinearRate * options.learning_rate));
  command->add_option(
      "--warmup", arguments->warmup,
      fmt::format("steps until the learning rate is there; a cosine to 0 follows ({}, or a fifth of the steps)", options.warmup));
  command->add_option("--weight-decay", options.weight_decay, "decoupled decay of every parameter")->capture_default_str();
  command->add_option("--clip", options.clip, "largest norm of the gradient; 0: any")->capture_default_str();
  command->add_option("--label-smoothing", options.label_smoothing, "share of the target spread over all classes")
      ->capture_default_str();
  add_seed_option(*command, options.seed, "of the order of the images");
  command->add_option("--save-steps", options.save_steps, "also keep OUTPUT/checkpoints/step-N every N steps; 0: none")
      ->capture_default_str();
  command->add_option("--resume-every", options.resume_every, "steps between the points that a killed run goes on from")
      ->capture_default_str();
  command
      ->add_option("--micro-batch", options.micro_batch,
                   "images at a time, whose gradients are added up to those of --batch, for less memory; 0: all")
      ->capture_default_str();
  command->add_flag("--checkpoint-activations", options.checkpoint_activations,
                    "compute activations again in the reverse pass: less memory, a third more time, the same bytes");
  add_device_option(*command, options.device);
  add_precision_option(*command, options.precision);
  command->add_flag("--force", options.force, "train anew over an earlier run in OUTPUT");
  command->add_flag("--json", arguments->json, "the summary as JSON");
  command->callback([=] { run_finetune(*arguments); });
}

}  // namespace taskvec::cli
