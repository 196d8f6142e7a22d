#include "taskvec/report/run_record.h"

#include "taskvec/core/bounded_json.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/version.h"

#include <fmt/chrono.h>

#include <chrono>

namespace taskvec::report {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxRecordBytes = uint64_t{16} << 20;

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
  const json record = parse_bounded_json(read_file(run_file(folder), kMaxRecordBytes));
  const auto bad = [&](const char* why) {
    fail(ErrorCode::Format, "{}: not a record of a run: {}; delete it to start anew", run_file(folder).string(), why);
  };
  if (!record.is_object()) bad("it is no JSON object");
  if (const auto state = record.find("state"); state != record.end() && *state != "running" && *state != "finished")
    bad("'state' is neither running nor finished");
  if (const auto asked = record.find("asked"); asked != record.end() && !asked->is_object()) bad("'asked' is no JSON object");
  return record;
}

JsonLines::JsonLines(const std::filesystem::path& path)
    : file_(path, [](std::string_view, std::string_view half) { return half.starts_with('{'); }) {}

void JsonLines::append(const json& value) { file_.append(value.dump(-1, ' ', false, json::error_handler_t::replace)); }

std::vector<json> read_json_lines(const std::filesystem::path& path) {
  std::vector<json> lines;
  if (!std::filesystem::exists(path)) return lines;
  const std::string text = read_file(path);
  for (size_t begin = 0, end = 0; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    lines.push_back(parse_bounded_json(std::string_view(text).substr(begin, end - begin)));
    if (!lines.back().is_object()) fail(ErrorCode::Format, "{}: line {} is no JSON object", path.string(), lines.size());
  }
  return lines;
}

}  // namespace taskvec::report
