#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace taskvec::report {

/// Figures and pictures of one command in a folder: a JSON file that says which command wrote it, and files beside it.
struct ResultFolder {
  std::filesystem::path path;
  std::string command;             ///< e.g. "disentangle"
  std::string json;                ///< the file's name, e.g. "disentanglement.json"
  std::vector<std::string> files;  ///< what else is written, by name

  /// Makes the folder. Earlier results of the same command may be replaced, which they must prove: the JSON file by what it says,
  /// pictures by their signature.
  /// @param force  replace them without asking
  /// @throws Error{InvalidArgument} saying what is in the way: earlier results, a model, files of that name from elsewhere;
  /// Error{Io}
  void claim(bool force) const;
  /// Writes the JSON file. @return what is in it. @throws Error{Io}
  nlohmann::ordered_json write(nlohmann::ordered_json results) const;
};

}  // namespace taskvec::report
