#include "taskvec/report/run_record.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/version.h"

#include <fmt/chrono.h>

#include <chrono>

namespace taskvec::report {
namespace {

using nlohmann::json;

std::filesystem::path run_file(const std::filesystem::path& folder) { return folder / "run.json"; }

}  // namespace

void write_run(const std::filesystem::path& folder, json record) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail(ErrorCode::Io, "{}: the folder cannot be made: {}", folder.string(), error.message());
  record["taskvec"] = version();
  record["written"] =
      fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())));
  // Names of files and classes may be in any encoding; a record must not fail over them.
  write_file_atomically(run_file(folder), record.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

json read_run(const std::filesystem::path& folder) {
  if (!std::filesystem::exists(run_file(folder))) return nullptr;
  try {
    return json::parse(read_file(run_file(folder)));
  } catch (const json::exception& error) {
    fail(ErrorCode::Format, "{}: not a record of a run: {}; delete it to start anew", run_file(folder).string(), error.what());
  }
}

JsonLines::JsonLines(std::filesystem::path path) : path_(std::move(path)) {
  if (std::filesystem::exists(path_)) {
    const std::string text = read_file(path_);
    const size_t complete = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
    if (complete < text.size()) std::filesystem::resize_file(path_, complete);
  }
  out_.open(path_, std::ios::app | std::ios::binary);
  if (!out_) fail(ErrorCode::Io, "{}: cannot be opened for writing; is its folder there and writable?", path_.string());
}

void JsonLines::append(const json& value) {
  out_ << value.dump(-1, ' ', false, json::error_handler_t::replace) << '\n' << std::flush;
  if (!out_) fail(ErrorCode::Io, "{}: cannot be written; is the disk full?", path_.string());
}

std::vector<json> read_json_lines(const std::filesystem::path& path) {
  std::vector<json> lines;
  if (!std::filesystem::exists(path)) return lines;
  const std::string text = read_file(path);
  for (size_t begin = 0, end = 0; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    try {
      lines.push_back(json::parse(std::string_view(text).substr(begin, end - begin)));
    } catch (const json::exception& error) {
      fail(ErrorCode::Format, "{}: line {} is not JSON: {}", path.string(), lines.size() + 1, error.what());
    }
  }
  return lines;
}

}  // namespace taskvec::report
