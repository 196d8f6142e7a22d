#include "taskvec/report/result_folder.h"

#include "taskvec/core/bounded_json.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/version.h"
#include "taskvec/report/signature.h"

#include <array>

namespace taskvec::report {
namespace {

namespace fs = std::filesystem;
constexpr uint64_t kMaxBytes = uint64_t{1} << 30;

bool written_by(const fs::path& file, const std::string& command) {
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(file, error))) return false;
  const auto json = parse_bounded_json(read_file(file, kMaxBytes));
  if (!json.is_object() || !json.contains("taskvec")) return false;
  const auto found = json.find("command");
  return found != json.end() && *found == command;
}

}  // namespace

void ResultFolder::claim(bool force) const {
  std::error_code error;
  const auto status = fs::symlink_status(path, error);
  if (!fs::exists(status)) {
    fs::create_directories(path, error);
    if (error) fail(ErrorCode::Io, "cannot make the folder {}: {}", path.string(), error.message());
    return;
  }
  if (!fs::is_directory(path, error)) fail(ErrorCode::InvalidArgument, "{} is a file; -o names a folder", path.string());
  for (const char* name : {"config.json", "model.safetensors", "model.safetensors.index.json", "adapter_config.json", "run.json"})
    if (fs::exists(path / name, error))
      fail(ErrorCode::InvalidArgument, "{} is a model's folder, as it holds {}; choose another -o", path.string(), name);
  const bool there = fs::exists(fs::symlink_status(path / json, error));
  if (there && !written_by(path / json, command))
    fail(ErrorCode::InvalidArgument, "{} was not written by taskvec {}; choose another -o", (path / json).string(), command);
  if (there && !force)
    fail(ErrorCode::InvalidArgument, "{} holds earlier results ({}); --force replaces them", path.string(), json);
  for (const std::string& name : files)
    if (fs::exists(fs::symlink_status(path / name, error)) && !is_signed(path / name))
      fail(ErrorCode::InvalidArgument, "{} was not drawn by taskvec; choose another -o", (path / name).string());
}

nlohmann::ordered_json ResultFolder::write(nlohmann::ordered_json results) const {
  results["taskvec"] = version();
  results["command"] = command;
  write_file_atomically(path / json, results.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  return results;
}

}  // namespace taskvec::report
