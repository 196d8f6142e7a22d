#include "taskvec/core/progress.h"
#include "taskvec/edit/expression/number_text.h"
#include "taskvec/edit/plan.h"

#include <fmt/format.h>

#include <map>

namespace taskvec::edit {
namespace {

constexpr size_t kWidth = 80, kIndent = 9;

/// "label    words ...", broken at spaces where it must be and anywhere where there are none.
std::string line(std::string_view label, std::string_view words) {
  std::string out = fmt::format("{:{}}", label, kIndent);
  constexpr size_t kRoom = kWidth - kIndent;
  while (words.size() > kRoom) {
    const size_t space = words.rfind(' ', kRoom);
    const bool breakable = space != std::string_view::npos && space > kRoom / 2;
    out += fmt::format("{}\n{:{}}", words.substr(0, breakable ? space : kRoom), "", kIndent);
    words.remove_prefix(breakable ? space + 1 : kRoom);
  }
  return fmt::format("{}{}\n", out, words);
}

/// "0.6*base + 0.4*ft", "copy of base", "zeros"
std::string recipe(const Plan& plan, const TensorPlan& tensor) {
  if (tensor.is_copy) return "copy of " + plan.source_names[tensor.terms[0].source];
  std::string text;
  for (const auto& term : tensor.terms) {
    const bool minus = term.coefficient < 0 && !text.empty();
    if (!text.empty()) text += minus ? " - " : " + ";
    text += number_text(minus ? -term.coefficient : term.coefficient) + "*" +
            (term.source < plan.sources.size() ? plan.source_names[term.source]
                                               : to_string(plan.calls[term.source - plan.sources.size()]));
  }
  return text.empty() ? "zeros" : text;
}

}  // namespace

std::string describe(const Plan& plan) {
  std::string text = line("edit", plan.expression);
  for (const auto& [name, value] : plan.options.coefficients) text += line("", fmt::format("${} = {}", name, number_text(value)));
  for (size_t s = 0; s < plan.sources.size(); ++s) {
    const auto& manifest = plan.sources[s]->manifest();
    text += line("source", fmt::format("{} = {}{}", plan.source_names[s], plan.sources[s]->path().string(),
                                       s == plan.base ? "  (base)" : ""));
    text += line("", fmt::format("{}, {} tensors, {}", manifest.format, manifest.tensors.size(),
                                 format_bytes(static_cast<double>(manifest.nbytes()))));
  }
  // Tensors that are made the same way are one line.
  struct Kind {
    int64_t count = 0, bytes = 0;
    std::string example;
  };
  std::map<std::string, Kind> kinds;
  for (const auto& tensor : plan.tensors) {
    auto& kind = kinds[fmt::format("{}, {}", recipe(plan, tensor), name(tensor.info.dtype))];
    if (kind.count++ == 0) kind.example = tensor.name;
    kind.bytes += tensor.info.nbytes();
  }
  for (const auto& [what, kind] : kinds) {
    text += line("tensors", fmt::format("{} ({}): {}", kind.count, format_bytes(static_cast<double>(kind.bytes)), what));
    text += line("", "e.g. " + kind.example);
  }
  text += line("reads", fmt::format("{}, writes {}", format_bytes(static_cast<double>(plan.bytes_read())),
                                    format_bytes(static_cast<double>(plan.bytes_written()))));
  for (const auto& warning : plan.warnings) text += line("warning", warning);
  return text;
}

}  // namespace taskvec::edit
