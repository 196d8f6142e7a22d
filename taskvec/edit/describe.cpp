#include "taskvec/core/progress.h"
#include "taskvec/edit/plan.h"

#include <fmt/format.h>

#include <map>

namespace taskvec::edit {

std::string describe(const Plan& plan) {
  std::string text = "edit     " + plan.expression + "\n";
  for (const auto& [name, value] : plan.options.coefficients) text += fmt::format("         ${} = {}\n", name, value);
  for (size_t s = 0; s < plan.sources.size(); ++s) {
    text += fmt::format("source   {}{} = {}\n", plan.source_names[s], s == plan.base ? " (base)" : "",
                        plan.sources[s]->path().string());
  }
  // Tensors that are made the same way are one line.
  std::map<std::string, std::pair<int64_t, int64_t>> kinds;
  for (const auto& tensor : plan.tensors) {
    std::string kind = tensor.is_copy ? "copy of " + plan.source_names[tensor.terms[0].source] : "";
    if (!tensor.is_copy) {
      for (const auto& term : tensor.terms)
        kind += fmt::format("{}{}*{}", kind.empty() ? "" : " + ", term.coefficient, plan.source_names[term.source]);
      if (kind.empty()) kind = "zeros";
    }
    auto& [count, bytes] = kinds[kind];
    ++count;
    bytes += tensor.info.nbytes();
  }
  for (const auto& [kind, counts] : kinds)
    text += fmt::format("tensors  {} ({}): {}\n", counts.first, format_bytes(static_cast<double>(counts.second)), kind);
  text += fmt::format("reads    {}, writes {}\n", format_bytes(static_cast<double>(plan.bytes_read())),
                      format_bytes(static_cast<double>(plan.bytes_written())));
  for (const auto& warning : plan.warnings) text += "warning  " + warning + "\n";
  return text;
}

}  // namespace taskvec::edit
