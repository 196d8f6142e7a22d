#include "cli/torch/model_argument.h"

#include "cli/common.h"
#include "taskvec/bridge/device.h"
#include "taskvec/core/console.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/paths.h"
#include "taskvec/formats/folders/find_model.h"

namespace taskvec::cli {

eval::EditedClip open_model(const std::string& text, const std::vector<std::string>& sources,
                            const std::vector<std::string>& coefficients, const std::string& device, const SourceOptions& bring) {
  bridge::configure_torch();
  const at::Device where = bridge::parse_device(device);
  if (sources.empty()) {
    if (!coefficients.empty()) fail(ErrorCode::InvalidArgument, "--set goes with an expression over sources: -s name=path");
    std::error_code error;
    if (text.find_first_of("+*$(") != std::string::npos && !std::filesystem::exists(text, error))
      fail(ErrorCode::InvalidArgument,
           "-m '{}': there is no such model; an expression goes with its sources: -s base=PATH -s ft=PATH", text);
    return {edit::parse("model"), {{"model", formats::open(formats::find_model(text))}}, {}, where};
  }
  const auto expression = edit::parse(text);
  edit::PlanOptions options = bring.plan;
  options.coefficients = parse_coefficients(coefficients);
  return {expression, open_sources(sources, expression, bring), options, where};
}

std::vector<data::Task> load_tasks(const std::vector<std::string>& names) {
  std::vector<data::Task> tasks;
  for (const std::string& name : names) {
    data::Task task = data::load_task(name);
    for (const data::Task& other : tasks) {
      if (other.name == task.name) fail(ErrorCode::InvalidArgument, "the task '{}' is given twice", task.name);
    }
    tasks.push_back(std::move(task));
  }
  return tasks;
}

void add_split_option(CLI::App& command, std::string& split) {
  command.add_option("--split", split, "train, val or test")->capture_default_str();
}

void add_pass_options(CLI::App& command, eval::EvalOptions& options) {
  command.add_option("--limit", options.limit, "at most so many images a task; 0: all")->capture_default_str();
  command.add_option("--batch", options.batch, "images at a time")->capture_default_str();
  add_precision_option(command, options.precision);
}

void add_device_option(CLI::App& command, std::string& device) {
  command.add_option("--device", device, "cpu, cuda or cuda:N")->capture_default_str();
}

void add_precision_option(CLI::App& command, bridge::Precision& precision) {
  command
      .add_option_function<std::string>(
          "--precision", [&precision](const std::string& text) { precision = bridge::parse_precision(text); },
          "of the image encoder: float32, bf16, or on a GPU tf32")
      ->default_str(std::string(bridge::name(precision)));
}

void add_mode_options(CLI::App& command, std::string& mode, std::string& origin) {
  command
      .add_option("--mode", mode,
                  "standard: the network; linear, or posthoc: its linearisation at the base (docs/tangent.md); auto: as the "
                  "sources were trained")
      ->check(CLI::IsMember({"auto", "standard", "linear", "posthoc"}))
      ->capture_default_str();
  command.add_option("--origin", origin,
                     "the model that is linearised (default: the one that the sources were trained from, or the base)");
}

void add_cache_option(CLI::App& command, uint64_t& budget) {
  command.add_option("--cache", budget, "disk space for what passes in the tangent space compute, e.g. 500M; 0: keep nothing")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->default_str("2G");
}

void keep_sweeps(eval::Evaluator& evaluator, uint64_t budget) {
  if (budget > 0 && !cache_dir().empty()) evaluator.keep_sweeps({cache_dir() / "sweeps", budget});
}

nlohmann::ordered_json Meaning::about(std::string_view split) const {
  nlohmann::ordered_json json{{"mode", mode}};
  if (!origin.empty()) json["origin"] = origin;
  json["precision"] = bridge::name(precision);
  json["split"] = split;
  return json;
}

std::string Meaning::text() const {
  return (origin.empty() ? "as an ordinary network" : fmt::format("as a network linearised at {}", origin)) +
         (precision == bridge::Precision::Float32 ? "" : fmt::format(", in {}", bridge::name(precision)));
}

Meaning choose_mode(eval::Evaluator& evaluator, const eval::EditedClip& model, const std::string& mode,
                    const std::string& origin) {
  for (const auto& line : model.layout().notes) note("{}", line);
  for (const auto& line : model.layout().warnings) warn("{}", line);
  auto found =
      eval::linear_origin(model, eval::parse_mode(mode), origin.empty() ? std::filesystem::path() : formats::find_model(origin));
  const bridge::Precision precision = evaluator.options().precision;
  if (!found) return {"standard", "", precision};
  evaluator.linearise(std::move(found->params));
  Meaning meaning{"linear", found->path, precision};
  if (mode == "auto") note("evaluated {}, as its sources were trained; --mode standard is the other way", meaning.text());
  return meaning;
}

data::Split parse_split(const std::string& text) {
  for (const data::Split split : {data::Split::Train, data::Split::Val, data::Split::Test}) {
    if (text == data::name(split)) return split;
  }
  fail(ErrorCode::InvalidArgument, "--split {}: expected train, val or test", text);
}

}  // namespace taskvec::cli
