#include "taskvec/train/run_folder.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/core/json_difference.h"
#include "taskvec/formats/folders/replaceable.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <unistd.h>

#include <charconv>
#include <limits>

namespace taskvec::train {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char *kNext = "next",  // the folder in which a run starts anew beside a finished one
    *kOrigin = "origin", *kCheckpoints = "checkpoints", *kModel = "model.safetensors", *kMetrics = "metrics.jsonl";
constexpr const char* kFiles = "files";  // of run.json: what a finished run wrote

constexpr const char* kDigest = "taskvec.digest";

/// Of a snapshot's tensors and step, in order: what a flipped bit changes.
std::string digest_of(int64_t step, const bridge::Params& state) {
  Fingerprint print;
  print.update(std::to_string(step));
  std::map<std::string, at::Tensor> in_order;  // of a file's tensors, whatever order it has
  for (const auto& [name, tensor] : state) in_order.emplace(name, tensor.detach().cpu().contiguous());
  for (const auto& [name, tensor] : in_order) print.update(name).update(bridge::view(tensor).bytes);
  return print.hex();
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

/// What a run was asked; empty where its record does not say.
json asked_of(const json& record) { return record.value("asked", json::object()); }

/// A folder itself: what a link leads to is nobody's to touch.
bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(fs::symlink_status(path, error));
}

bool is_step(const fs::path& path) { return path.filename().string().starts_with("step-"); }

/// A model of ours: a folder that taskvec may replace.
bool is_own_model(const fs::path& folder) { return is_folder(folder) && formats::foreign_entries(folder).empty(); }

/// What tells a file of a finished run from another of its name; "" where there is none.
std::string print_of(const fs::path& file) {
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(file, error))) return "";
  if (file.filename() == kModel) return formats::open(file)->fingerprint();
  return fingerprint(read_file(file));
}

/// The files of a finished run's model, as its record has them: name -> print_of(). Older versions wrote none.
std::map<std::string, std::string> files_of(const json& record) {
  std::map<std::string, std::string> files;
  if (const auto found = record.find(kFiles); found != record.end() && found->is_object())
    for (const auto& [name, print] : found->items())
      if (print.is_string() && fs::path(name).filename() == name) files[name] = print.get<std::string>();
  return files;
}

/// What lies where a new run puts something and was not put there by an earlier one.
std::vector<std::string> in_the_way(const fs::path& folder, const json& record) {
  std::vector<std::string> found;
  std::error_code error;
  const auto is_there = [&](const fs::path& path) { return fs::symlink_status(path, error).type() != fs::file_type::not_found; };
  if (is_there(folder / kNext)) {
    const json started = is_folder(folder / kNext) ? report::read_run(folder / kNext) : json();
    if (started.is_null() || asked_of(started).value("command", json()) != asked_of(record).value("command", json())) {
      found.emplace_back(kNext);
    } else {
      for (const std::string& name : in_the_way(folder / kNext, started)) found.push_back((fs::path(kNext) / name).string());
    }
  }
  if (is_there(folder / kOrigin) && !is_own_model(folder / kOrigin)) found.emplace_back(kOrigin);
  if (is_there(folder / kCheckpoints)) {
    if (!is_folder(folder / kCheckpoints)) {
      found.emplace_back(kCheckpoints);
    } else {
      for (const auto& entry : fs::directory_iterator(folder / kCheckpoints)) {
        const std::string name = entry.path().filename().string();
        if (!name.starts_with(".") && (!is_step(entry.path()) || !is_own_model(entry.path())))
          found.push_back((fs::path(kCheckpoints) / name).string());
      }
    }
  }
  auto files = files_of(record);
  if (!files.contains(kModel)) {
    try {
      formats::check_replaceable(folder / kModel, /*force=*/true);
    } catch (const Error&) {
      found.emplace_back(kModel);
    }
  }
  for (const auto& [name, print] : files)
    if (is_there(folder / name) && print_of(folder / name) != print) found.push_back(name);
  return found;
}

void check_nothing_in_the_way(const fs::path& folder, const json& record) {
  const auto found = in_the_way(folder, record);
  if (found.empty()) return;
  fail(ErrorCode::InvalidArgument,
       "{}: a new run would replace what no earlier one left like that: {}; move it away, or choose another folder",
       folder.string(), fmt::join(found, ", "));
}

/// Removes a model's folder with the files that taskvec wrote into it, and with nothing else.
void remove_model(const fs::path& folder) {
  std::error_code error;
  if (!is_own_model(folder)) return;
  for (const auto& entry : fs::directory_iterator(folder, error)) fs::remove(entry.path(), error);
  fs::remove(folder, error);
}

void remove_checkpoints(const fs::path& folder) {
  std::error_code error;
  if (!is_folder(folder)) return;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (is_step(entry.path())) remove_model(entry.path());
  fs::remove(folder, error);
}

/// Removes what runs write, by name; whatever else lies there stays.
void remove_run(const fs::path& folder) {
  std::error_code error;
  if (!is_folder(folder)) return;
  for (const char* name : {"resume.safetensors", kMetrics, "run.json"})
    if (fs::is_regular_file(fs::symlink_status(folder / name, error))) fs::remove(folder / name, error);
  try {
    formats::check_replaceable(folder / kModel, /*force=*/true);
    fs::remove(folder / kModel, error);
  } catch (const Error&) {  // somebody else's
  }
  remove_checkpoints(folder / kCheckpoints);
  remove_model(folder / kOrigin);
}

/// Puts a whole run in the place of the one above it, whose files it replaces one by one; run.json comes last, so that after a
/// kill the next start does the rest. What else lies in `next` stays there.
void promote(const fs::path& next, const fs::path& folder) {
  std::error_code error;
  const auto move = [&](const fs::path& from, const fs::path& to) {
    fs::rename(from, to, error);
    if (error) fail(ErrorCode::Io, "cannot put {} in the place of {}: {}", from.string(), to.string(), error.message());
  };
  if (is_folder(next / kOrigin)) {
    remove_model(folder / kOrigin);
    move(next / kOrigin, folder / kOrigin);
  }
  if (is_folder(next / kCheckpoints)) {
    remove_checkpoints(folder / kCheckpoints);
    move(next / kCheckpoints, folder / kCheckpoints);
  }
  std::vector<std::string> names{kModel, kMetrics};
  for (const auto& [name, print] : files_of(report::read_run(next))) names.push_back(name);
  const auto known = files_of(report::read_run(folder));
  for (const std::string& name : names) {
    if (!fs::is_regular_file(fs::symlink_status(next / name, error))) continue;
    const bool is_theirs = !known.empty() && !known.contains(name) && name != kMetrics && fs::exists(folder / name);
    if (!is_theirs) move(next / name, folder / name);
  }
  move(next / "run.json", folder / "run.json");
  fs::remove(next, error);
}

bool is_finished(const json& record) { return record.value("state", "") == "finished"; }

/// A result is believed only where it can be one.
void check_result(const json& record, const fs::path& folder) {
  const json result = record.value("result", json());
  const auto steps = result.find("steps"), loss = result.find("final_loss");
  if (!result.is_object() || loss == result.end() || !(loss->is_number() || loss->is_null()) ||
      (steps != result.end() && (!steps->is_number_integer() || *steps < 0)))
    fail(ErrorCode::Format, "{}: its result is none of a training run; delete the file to start anew",
         (folder / "run.json").string());
}

}  // namespace

RunFolder::RunFolder(fs::path folder, json asked, json about, bool force)
    : folder_(std::move(folder)), asked_(std::move(asked)), about_(std::move(about)), lock_(lock_folder(folder_)) {
  try {
    work_ = folder_;
    const json record = report::read_run(folder_);
    if (record.is_null()) {
      for (const auto& entry : fs::directory_iterator(folder_)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with(".")) continue;  // temporaries of a killed run
        fail(ErrorCode::InvalidArgument,
             "{}: the folder holds '{}' but no run.json, so no training run made it; choose another folder", folder_.string(),
             name);
      }
    } else {
      check_earlier_run(record, force);
    }
    if (!result_) write_record("running", nullptr);
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

RunFolder::~RunFolder() { ::close(lock_); }

void RunFolder::check_earlier_run(const json& record, bool force) {
  const json before = asked_of(record);
  const auto command = before.find("command");
  if (command == before.end() || *command != asked_.at("command")) {
    fail(ErrorCode::InvalidArgument, "{}: the folder holds the run of another command ({}, not {}); choose another folder",
         folder_.string(), command == before.end() ? "unknown" : command->dump(), asked_.at("command").dump());
  }
  const fs::path next = folder_ / kNext;
  const json started = is_folder(next) ? report::read_run(next) : json();
  const bool goes_on = !started.is_null() && json_difference(asked_of(started), asked_).empty();
  const bool promoted = goes_on && is_finished(started);  // killed while it was put in its place
  if (force || promoted) check_nothing_in_the_way(folder_, record);
  if (promoted) {
    promote(next, folder_);
    return check_earlier_run(report::read_run(folder_), force);
  }
  if (goes_on && !force) {
    work_ = next;
    return;
  }
  const bool whole = is_finished(record) && fs::exists(folder_ / kModel);
  if (force) {
    remove_run(next);
    // A finished run stays until the new one is.
    if (whole) {
      work_ = next;
      fs::create_directories(work_);
    } else {
      remove_run(folder_);
    }
    return;
  }
  if (const std::string what = json_difference(before, asked_); !what.empty()) {
    fail(ErrorCode::InvalidArgument,
         "{}: the folder holds {} run with {}; choose another folder, ask for the same, or start anew with --force",
         folder_.string(), is_finished(record) ? "a finished" : "an unfinished", what);
  }
  if (!whole) return;
  check_result(record, folder_);
  const auto files = files_of(record);
  if (const auto model = files.find(kModel); model != files.end() && model->second != print_of(folder_ / kModel))
    fail(ErrorCode::InvalidArgument,
         "{}: its run is finished, but {} is not the model that it wrote; move that file away to train anew", folder_.string(),
         kModel);
  result_ = record["result"];
}

void RunFolder::write_record(const char* state, json result) const {
  json record = {{"state", state}, {"asked", asked_}, {"about", about_}};
  if (!result.is_null()) {
    record["result"] = std::move(result);
    for (const auto& entry : fs::directory_iterator(work_)) {
      const std::string name = entry.path().filename().string();
      if (entry.is_regular_file() && (name == kModel || belongs_to_model(name)) && !name.starts_with("."))
        record[kFiles][name] = print_of(entry.path());
    }
  }
  report::write_run(work_, std::move(record));
}

std::optional<RunFolder::Snapshot> RunFolder::resume() {
  std::optional<Snapshot> snapshot;
  const fs::path file = work_ / "resume.safetensors";
  if (fs::exists(file)) {
    const auto checkpoint = formats::open(file);
    const auto& metadata = checkpoint->manifest().metadata;
    const auto found = metadata.find("step");
    snapshot.emplace();
    const std::string_view step = found == metadata.end() ? std::string_view() : found->second;
    const auto [end, error] = std::from_chars(step.data(), step.data() + step.size(), snapshot->step);
    if (error != std::errc{} || end != step.data() + step.size() || snapshot->step < 1 ||
        snapshot->step > asked_.value("steps", std::numeric_limits<int64_t>::max()))
      fail(ErrorCode::Format, "{}: its metadata has no valid 'step'; delete the file to train from the start", file.string());
    snapshot->state = bridge::load(*checkpoint);
    const auto digest = metadata.find(kDigest);  // older versions wrote none
    if (digest != metadata.end() && digest->second != digest_of(snapshot->step, snapshot->state))
      fail(ErrorCode::Format,
           "{}: it is damaged: its bytes are not those that were written; delete the file to train from the start",
           file.string());
  }
  // A killed run got further than its last snapshot: those steps will be run, and told, again.
  const int64_t done = snapshot ? snapshot->step : 0;
  std::string kept;
  for (const json& line : metrics()) {
    if (line["step"] <= done) kept += line.dump() + "\n";
  }
  metrics_.reset();
  write_file_atomically(work_ / kMetrics, kept);
  return snapshot;
}

void RunFolder::check_snapshot(const Snapshot& snapshot, const bridge::Params& like) const {
  const auto bad = [&](const std::string& why) {
    fail(ErrorCode::Format, "{}: it is no snapshot of this run: {}; delete the file to train from the start",
         (work_ / "resume.safetensors").string(), why);
  };
  for (const auto& [name, tensor] : like) {
    const at::Tensor* found = snapshot.state.find(name);
    if (found == nullptr) bad(fmt::format("it lacks tensor '{}'", name));
    if (found->sizes() != tensor.sizes() || found->scalar_type() != tensor.scalar_type())
      bad(fmt::format("tensor '{}' is {} {}, expected {} {}", name, c10::toString(found->scalar_type()),
                      taskvec::to_string(found->sizes().vec()), c10::toString(tensor.scalar_type()),
                      taskvec::to_string(tensor.sizes().vec())));
    if (!found->isfinite().all().item<bool>()) bad(fmt::format("tensor '{}' is not finite", name));
  }
}

void RunFolder::snapshot(int64_t step, const bridge::Params& state) const {
  bridge::save(state, work_ / "resume.safetensors", {{"step", std::to_string(step)}, {kDigest, digest_of(step, state)}});
}

void RunFolder::record(const json& line) {
  if (!metrics_) metrics_.emplace(work_ / kMetrics);
  metrics_->append(line);
}

std::vector<json> RunFolder::metrics() const {
  auto lines = report::read_json_lines(work_ / kMetrics);
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto step = lines[i].find("step"), loss = lines[i].find("loss");
    if (step == lines[i].end() || !step->is_number_integer() || *step < 1 || loss == lines[i].end() ||
        !(loss->is_number() || loss->is_null()))
      fail(ErrorCode::Format, "{}: line {} is no step of a run; delete the file to start anew with --force",
           (work_ / kMetrics).string(), i + 1);
  }
  return lines;
}

void RunFolder::save_checkpoint(int64_t step, const bridge::Params& params, std::map<std::string, std::string> metadata,
                                const formats::Checkpoint& like) const {
  std::error_code error;
  fs::create_directories(work_ / "checkpoints", error);
  if (error) fail(ErrorCode::Io, "{}: cannot be made: {}", (work_ / "checkpoints").string(), error.message());
  bridge::save(params, work_ / "checkpoints" / fmt::format("step-{:06}", step), std::move(metadata), &like);
}

void RunFolder::finish(const bridge::Params& params, std::map<std::string, std::string> metadata, const formats::Checkpoint* like,
                       json result) {
  if (like != nullptr) {
    for (const fs::path& sidecar : like->manifest().sidecars) {
      if (belongs_to_model(sidecar)) write_file_atomically(work_ / sidecar.filename(), read_file(sidecar));
    }
  }
  bridge::save(params, work_ / kModel, std::move(metadata), like);
  write_record("finished", result);
  fs::remove(work_ / "resume.safetensors");
  if (work_ != folder_) promote(work_, folder_);
  result_ = std::move(result);
}

}  // namespace taskvec::train
