// Images per second of CLIP's ViT-B/32 and ViT-L/14 on a device, through what the commands run: the evaluator and fine-tuning.
// Weights are random, images too. bench/device/vit.py does the same in Python; tools/gpu-check prints both.
//
// usage: bench_device DEVICE SECONDS [ROW]...   a line of JSON per row and precision; a row: MODEL eval|standard|linear
#include "taskvec/bridge/device.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/files/paths.h"
#include "taskvec/core/random.h"
#include "taskvec/eval/evaluate.h"
#include "taskvec/train/finetune.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace taskvec {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int64_t kEvalBatch = 256, kBatch = 128, kClasses = 10;
constexpr uint32_t kImages = 2048;
constexpr int64_t kWarmUp = 3;  // steps, in which kernels are loaded and memory is found

struct TimeIsUp {};

models::ClipConfig config_of(const std::string& model) {
  models::ClipConfig config;
  config.text = {.hidden_size = 64, .intermediate_size = 128, .num_hidden_layers = 1, .num_attention_heads = 1};  // for heads
  if (model == "ViT-B/32") {
    config.vision = {.hidden_size = 768, .intermediate_size = 3072, .num_hidden_layers = 12, .num_attention_heads = 12};
  } else if (model == "ViT-L/14") {
    config.vision = {.hidden_size = 1024, .intermediate_size = 4096, .num_hidden_layers = 24, .num_attention_heads = 16};
    config.patch_size = 14;
    config.projection_dim = 768;
  } else if (model == "tiny") {  // for a machine without a card
    config.vision = {.hidden_size = 64, .intermediate_size = 128, .num_hidden_layers = 2, .num_attention_heads = 2};
  } else {
    fail(ErrorCode::InvalidArgument, "no model '{}': ViT-B/32, ViT-L/14 or tiny", model);
  }
  return config;
}

/// A folder with a model of random weights and a task of random images, removed at the end.
class Scratch {
 public:
  Scratch() {
    std::string name = (fs::temp_directory_path() / "taskvec-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail(ErrorCode::Io, "no temporary folder");
    path_ = name;
    const Philox random(0, "images");
    const auto word = [](uint32_t v) {
      return std::string{static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8), static_cast<char>(v)};
    };
    std::string images = word(0x803) + word(kImages) + word(28) + word(28), labels = word(0x801) + word(kImages);
    for (uint64_t i = 0; i < uint64_t{kImages} * 28 * 28; ++i) images += static_cast<char>(random.below(i, 256));
    for (uint32_t i = 0; i < kImages; ++i) labels += static_cast<char>(i % kClasses);
    write_file_atomically(path_ / "images", images);
    write_file_atomically(path_ / "labels", labels);
    std::string text = "source:\n  idx:\n    folder: .\n    train: [images, labels]\n    test: [images, labels]\nclasses: [";
    for (int64_t c = 0; c < kClasses; ++c) text += fmt::format("{}class {}", c ? ", " : "", c);
    write_file_atomically(path_ / "noise.yaml", text + "]\ntemplates: [\"{}\"]\n");
    task = data::load_task((path_ / "noise.yaml").string());
  }
  ~Scratch() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  /// The model's folder, made when it is first asked for.
  fs::path model(const std::string& name) {
    std::string flat = name;
    std::ranges::replace(flat, '/', '-');
    const fs::path folder = path_ / flat;
    if (fs::exists(folder)) return folder;
    fs::create_directory(folder);
    const models::ClipConfig config = config_of(name);
    write_file_atomically(folder / "config.json", config.to_json().dump());
    for (const char* file : {"vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"})
      if (fs::exists(assets_dir() / "pocket-clip" / file)) taskvec::copy_file(assets_dir() / "pocket-clip" / file, folder / file);
    bridge::save(models::Clip(config).initialise(0), folder / "model.safetensors", {});
    return folder;
  }
  fs::path output() const { return path_ / "run"; }

  data::Task task;

 private:
  fs::path path_;
};

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double evaluation(Scratch& scratch, const std::string& name, at::Device device, bridge::Precision precision, double seconds) {
  const models::ClipModel model = models::open_clip(scratch.model(name));
  const bridge::Params params = model.params.map([&](const auto&, const at::Tensor& t) { return t.to(device); });
  eval::EvalOptions options{.batch = kEvalBatch, .precision = precision, .progress = false};
  eval::Evaluator evaluator(model.network, model.path, options);
  evaluator.evaluate(params, scratch.task);
  double images = 0, took = 0;
  while (took < seconds) {
    const auto result = evaluator.evaluate(params, scratch.task);
    images += static_cast<double>(result.accuracy.n);
    took += result.seconds;
  }
  return images / took;
}

double finetuning(Scratch& scratch, const std::string& name, train::Mode mode, const std::string& device,
                  bridge::Precision precision, double seconds) {
  train::FinetuneOptions options;
  options.mode = mode;
  options.steps = options.resume_every = 1'000'000;
  options.batch = kBatch;
  options.quiet = true;
  options.device = device;
  options.precision = precision;
  Clock::time_point start;
  int64_t steps = 0;
  double took = 0;
  options.on_step = [&](int64_t step, double) {  // has waited for the device: the loss is known
    if (step <= kWarmUp) {
      start = Clock::now();
      return;
    }
    steps = step - kWarmUp;
    took = seconds_since(start);
    if (took >= seconds && steps >= 2) throw TimeIsUp{};
  };
  fs::remove_all(scratch.output());
  try {
    train::finetune(scratch.model(name), scratch.task, scratch.output(), options);
  } catch (const TimeIsUp&) {
  }
  return static_cast<double>(steps * kBatch) / took;
}

int run(int argc, char** argv) {
  if (argc < 3) fail(ErrorCode::InvalidArgument, "usage: bench_device DEVICE SECONDS [MODEL eval|standard|linear]...");
  bridge::configure_torch();
  const at::Device device = bridge::parse_device(argv[1]);
  const double seconds = std::strtod(argv[2], nullptr);
  Scratch scratch;
  for (int i = 3; i + 1 < argc; i += 2) {
    const std::string model = argv[i], what = argv[i + 1];
    for (const auto precision : {bridge::Precision::Float32, bridge::Precision::Tf32, bridge::Precision::Bf16}) {
      if (precision == bridge::Precision::Tf32 && device.is_cpu()) continue;
      auto* allocator = device.is_cpu() ? nullptr : at::getDeviceAllocator(device.type());
      if (allocator != nullptr) allocator->emptyCache();
      if (allocator != nullptr && allocator->initialized()) allocator->resetPeakStats(device.index());
      nlohmann::ordered_json line{{"model", model}, {"what", what}, {"precision", bridge::name(precision)}};
      try {
        line["images_per_second"] =
            what == "eval" ? evaluation(scratch, model, device, precision, seconds)
                           : finetuning(scratch, model, what == "linear" ? train::Mode::Linear : train::Mode::Standard, argv[1],
                                        precision, seconds);
        if (allocator != nullptr) line["peak_bytes"] = allocator->getDeviceStats(device.index()).allocated_bytes[0].peak;
      } catch (const c10::Error& error) {
        line["error"] = error.what_without_backtrace();
      }
      std::printf("%s\n", line.dump().c_str());
      std::fflush(stdout);
    }
  }
  return 0;
}

}  // namespace
}  // namespace taskvec

int main(int argc, char** argv) {
  try {
    return taskvec::run(argc, argv);
  } catch (const taskvec::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
