#include "taskvec/search/trial_log.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <limits>

namespace taskvec::search {
namespace {

using nlohmann::json;

json to_json(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

double to_double(const json& value) { return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>(); }

}  // namespace

TrialLog::TrialLog(const std::filesystem::path& path, const std::string& key, const std::vector<Axis>& axes) : path_(path) {
  for (const Axis& axis : axes) names_.push_back(axis.name);
  const bool fresh = !std::filesystem::exists(path) || std::filesystem::file_size(path) == 0;
  if (!fresh) read(key);
  out_.open(path, std::ios::app | std::ios::binary);
  if (!out_) fail(ErrorCode::Io, "{}: cannot be opened for writing; is its folder there and writable?", path.string());
  if (fresh || std::filesystem::file_size(path) == 0) write({{"format", 1}, {"key", key}});
}

void TrialLog::read(const std::string& key) {
  const std::string text = read_file(path_);
  const size_t complete = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  for (size_t begin = 0, number = 1; begin < complete; ++number) {
    const size_t end = text.find('\n', begin);
    try {
      const json line =
          json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin), text.begin() + static_cast<std::ptrdiff_t>(end));
      if (number == 1) {
        const auto found = line.at("key").get<std::string>();
        if (found != key) {
          fail(ErrorCode::InvalidArgument,
               "{}: holds the trials of another search (key '{}', this one has '{}'): the expression, the sources, the tasks or "
               "the "
               "limit differ; give another -o folder, or delete the file to start anew",
               path_.string(), found, key);
        }
      } else {
        remember(line);
      }
    } catch (const json::exception& error) {
      fail(ErrorCode::Format, "{}: line {} is not a trial of a search: {}; delete the line, or the file to start anew",
           path_.string(), number, error.what());
    }
    begin = end + 1;
  }
  if (complete < text.size()) std::filesystem::resize_file(path_, complete);
}

void TrialLog::remember(const json& line) {
  Trial trial;
  const json& coefficients = line.at("coefficients");
  if (coefficients.size() != names_.size()) return;  // of a search over other axes
  for (const std::string& name : names_) {
    if (!coefficients.contains(name)) return;
    trial.coefficients.push_back(coefficients.at(name).get<double>());
  }
  for (const auto& [name, value] : line.at("metrics").items()) trial.metrics[name] = to_double(value);
  trial.seconds = line.at("seconds").get<double>();
  trials_[trial.coefficients] = std::move(trial);
}

const Trial* TrialLog::find(const std::vector<double>& coefficients) const {
  const auto found = trials_.find(coefficients);
  return found == trials_.end() ? nullptr : &found->second;
}

void TrialLog::append(const Trial& trial) {
  json coefficients = json::object(), metrics = json::object();
  for (size_t i = 0; i < names_.size(); ++i) coefficients[names_[i]] = trial.coefficients[i];
  for (const auto& [name, value] : trial.metrics) metrics[name] = to_json(value);
  write({{"coefficients", coefficients}, {"metrics", metrics}, {"seconds", trial.seconds}});
}

void TrialLog::write(const json& line) {
  out_ << line.dump() << '\n' << std::flush;
  if (!out_) fail(ErrorCode::Io, "{}: cannot be written; is the disk full?", path_.string());
}

}  // namespace taskvec::search
