#include "taskvec/train/run_folder.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <charconv>

namespace taskvec::train {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::array kArtefacts{"model.safetensors", "resume.safetensors", "metrics.jsonl", "checkpoints", "origin", "run.json"};

/// "learning_rate 0.001 instead of 0.0003", or "" when both ask the same.
std::string difference(const json& before, const json& now) {
  for (const auto& [key, value] : now.items()) {
    const json old = before.value(key, json());
    if (old != value) return fmt::format("{} {} instead of {}", key, old.dump(), value.dump());
  }
  return "";
}

/// Files of runs stay where they are; everything else beside a model's weights belongs to the model.
bool belongs_to_model(const fs::path& sidecar) {
  const std::string name = sidecar.filename().string();
  return name != "run.json" && !name.ends_with(".jsonl") && !name.ends_with(".safetensors") && !name.ends_with(".index.json");
}

int lock_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(ErrorCode::Io, "{}: the output folder cannot be made: {}", folder.string(), error.message());
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail(ErrorCode::Io, "{}: the output folder cannot be opened", folder.string());
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  ::close(fd);
  fail(ErrorCode::InvalidArgument, "{}: another process is training into this folder; wait for it or choose another folder",
       folder.string());
}

}  // namespace

RunFolder::RunFolder(fs::path folder, json asked, json about, bool force)
    : folder_(std::move(folder)), asked_(std::move(asked)), about_(std::move(about)), lock_(lock_folder(folder_)) {
  try {
    const json record = report::read_run(folder_);
    if (!record.is_null()) check_earlier_run(record, force);
    if (record.is_null()) {
      for (const auto& entry : fs::directory_iterator(folder_)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with(".")) continue;  // temporaries of a killed run
        fail(ErrorCode::InvalidArgument,
             "{}: the folder holds '{}' but no run.json, so no training run made it; choose another folder", folder_.string(),
             name);
      }
    }
    if (!result_) write_record("running", nullptr);
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

RunFolder::~RunFolder() { ::close(lock_); }

void RunFolder::check_earlier_run(const json& record, bool force) {
  const json before = record.is_object() ? record.value("asked", json()) : json();
  const json command = before.is_object() ? before.value("command", json()) : json();
  if (command != asked_.at("command")) {
    fail(ErrorCode::InvalidArgument, "{}: the folder holds the run of another command ({}, not {}); choose another folder",
         folder_.string(), command.dump(), asked_.at("command").dump());
  }
  if (force) {
    std::error_code error;
    for (const char* name : kArtefacts) fs::remove_all(folder_ / name, error);
    return;
  }
  const bool finished = record.value("state", "") == "finished";
  if (const std::string what = difference(before, asked_); !what.empty()) {
    fail(ErrorCode::InvalidArgument,
         "{}: the folder holds {} run with {}; choose another folder, ask for the same, or start anew with --force",
         folder_.string(), finished ? "a finished" : "an unfinished", what);
  }
  if (finished && fs::exists(folder_ / "model.safetensors")) result_ = record.value("result", json::object());
}

void RunFolder::write_record(const char* state, json result) const {
  json record = {{"state", state}, {"asked", asked_}, {"about", about_}};
  if (!result.is_null()) record["result"] = std::move(result);
  report::write_run(folder_, std::move(record));
}

std::optional<RunFolder::Snapshot> RunFolder::resume() {
  std::optional<Snapshot> snapshot;
  const fs::path file = folder_ / "resume.safetensors";
  if (fs::exists(file)) {
    const auto checkpoint = formats::open(file);
    const auto& metadata = checkpoint->manifest().metadata;
    const auto found = metadata.find("step");
    snapshot.emplace();
    const char* end = found == metadata.end() ? nullptr : found->second.data() + found->second.size();
    if (end == nullptr || std::from_chars(found->second.data(), end, snapshot->step).ptr != end || snapshot->step < 0) {
      fail(ErrorCode::Format, "{}: its metadata has no valid 'step'; delete the file to train from the start", file.string());
    }
    snapshot->state = bridge::load(*checkpoint);
  }
  // A killed run got further than its last snapshot: those steps will be run, and told, again.
  const int64_t done = snapshot ? snapshot->step : 0;
  std::string kept;
  for (const json& line : metrics()) {
    if (line.value("step", int64_t{0}) <= done) kept += line.dump() + "\n";
  }
  metrics_.reset();
  write_file_atomically(folder_ / "metrics.jsonl", kept);
  return snapshot;
}

void RunFolder::snapshot(int64_t step, const bridge::Params& state) const {
  bridge::save(state, folder_ / "resume.safetensors", {{"step", std::to_string(step)}});
}

void RunFolder::record(const json& line) {
  if (!metrics_) metrics_.emplace(folder_ / "metrics.jsonl");
  metrics_->append(line);
}

std::vector<json> RunFolder::metrics() const { return report::read_json_lines(folder_ / "metrics.jsonl"); }

void RunFolder::save_checkpoint(int64_t step, const bridge::Params& params, std::map<std::string, std::string> metadata,
                                const formats::Checkpoint& like) const {
  std::error_code error;
  fs::create_directories(folder_ / "checkpoints", error);
  if (error) fail(ErrorCode::Io, "{}: cannot be made: {}", (folder_ / "checkpoints").string(), error.message());
  bridge::save(params, folder_ / "checkpoints" / fmt::format("step-{:06}", step), std::move(metadata), &like);
}

void RunFolder::finish(const bridge::Params& params, std::map<std::string, std::string> metadata, const formats::Checkpoint* like,
                       json result) {
  if (like != nullptr) {
    for (const fs::path& sidecar : like->manifest().sidecars) {
      if (belongs_to_model(sidecar)) write_file_atomically(folder_ / sidecar.filename(), read_file(sidecar));
    }
  }
  bridge::save(params, folder_ / "model.safetensors", std::move(metadata), like);
  write_record("finished", result);
  fs::remove(folder_ / "resume.safetensors");
  result_ = std::move(result);
}

}  // namespace taskvec::train
