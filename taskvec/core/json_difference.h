#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace taskvec {

/// What two records of what was asked differ in, by the path of each value: "steps 20 instead of 10, model.tokenizer \"ab12\"
/// instead of \"cd34\""; "" where they are equal. What one of them lacks is called its default.
/// @param most  differences that are told, then their number
std::string json_difference(const nlohmann::json& before, const nlohmann::json& now, size_t most = 5);

}  // namespace taskvec
