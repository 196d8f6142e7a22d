#pragma once

#include "taskvec/bridge/params.h"
#include "taskvec/report/run_record.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace taskvec::train {

/// The output folder of a training run, which survives a kill at any moment:
///   run.json            what was asked and, at the end, what came of it
///   metrics.jsonl       a line per step
///   resume.safetensors  where a killed run goes on; gone when the run is finished
///   model.safetensors   appears complete, at the end, beside config and tokenizer files
///   checkpoints/        models on the path
///   origin/             the model that training started from, where it was made for the run
///   next/               all of this of a run that starts anew (force), until it is finished and takes the older one's place
/// One process at a time: the folder is locked while this object lives.
class RunFolder {
 public:
  /// @param asked  everything that the result depends on, flat; asked["command"] names the kind of run
  /// @param about  what is worth knowing besides (paths, versions)
  /// @param force  start anew over a run of the same command, whatever it was asked
  /// @throws Error{InvalidArgument} when the folder holds other things, is in use, or its run was asked something else (naming
  /// what)
  RunFolder(std::filesystem::path folder, nlohmann::json asked, nlohmann::json about, bool force);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& path() const { return folder_; }
  /// Where its files are while it is under way: path(), or path()/next.
  const std::filesystem::path& work() const { return work_; }
  /// The run of an earlier process that was asked the same, if that is finished: its result.
  const std::optional<nlohmann::json>& result() const { return result_; }

  /// Steps done and state as snapshot() got them, or nothing to start from; metrics of later steps are forgotten.
  struct Snapshot {
    int64_t step = 0;
    bridge::Params state;
  };
  std::optional<Snapshot> resume();
  /// @throws Error{Format} naming the file where a snapshot has not the names, shapes and dtypes of `like`
  void check_snapshot(const Snapshot& snapshot, const bridge::Params& like) const;
  void snapshot(int64_t step, const bridge::Params& state) const;

  /// Appends a line to metrics.jsonl; line["step"] counts from 1.
  void record(const nlohmann::json& line);
  std::vector<nlohmann::json> metrics() const;

  /// Writes OUT/checkpoints/step-N as a complete model folder with the sidecars of `like`.
  void save_checkpoint(int64_t step, const bridge::Params& params, std::map<std::string, std::string> metadata,
                       const formats::Checkpoint& like) const;
  /// Writes the model with the sidecars of `like` (may be null), then marks the run as finished.
  void finish(const bridge::Params& params, std::map<std::string, std::string> metadata, const formats::Checkpoint* like,
              nlohmann::json result);

 private:
  void check_earlier_run(const nlohmann::json& record, bool force);
  void write_record(const char* state, nlohmann::json result) const;

  std::filesystem::path folder_, work_;  // where the run is, and where it is while an older one still stands there
  nlohmann::json asked_, about_;
  std::optional<nlohmann::json> result_;
  std::optional<report::JsonLines> metrics_;
  int lock_ = -1;
};

}  // namespace taskvec::train
