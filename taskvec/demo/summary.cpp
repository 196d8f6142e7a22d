#include "taskvec/core/progress.h"
#include "taskvec/demo/demo.h"
#include "taskvec/report/table.h"

#include <fmt/format.h>

namespace taskvec::demo {
namespace {

using Json = nlohmann::ordered_json;
using report::percent;

std::string number(const Json& value) { return percent(value.get<double>()); }

std::string learned(const Json& results, int width) {
  report::Table table({"task", "pre-trained", "fine-tuned"});
  for (const auto& [task, before] : results["zeroshot"].items()) {
    const Json& tuned = results["finetuned"];
    table.row({task, number(before), tuned.contains(task) ? number(tuned[task]) : "control"});
  }
  return table.text(width);
}

std::string change(const Json& before, const Json& after) { return number(before) + " -> " + number(after); }

std::string sums(const Json& additions, int width) {
  report::Table table({"one model for", "coefficient", "normalised"});
  for (const Json& a : additions) {
    std::string names;
    for (const std::string task : a["tasks"]) names += (names.empty() ? "" : " + ") + task;
    table.row({names, report::coefficient(a["coefficient"]), number(a["normalized"])});
  }
  return fmt::format("\nAdd to do several (100 %: as good as each fine-tuned model)\n\n{}", table.text(width));
}

}  // namespace

std::string summary(const Json& results, int width) {
  const Json& settings = results["settings"];
  const std::string control = settings["control"];
  std::string text = fmt::format("Accuracy on test splits\n\n{}", learned(results, width));

  report::Table edits({"edit", "coefficient", "task", control},
                      {report::Align::Left, report::Align::Right, report::Align::Right, report::Align::Right});
  for (const char* way : {"negation", "negation_linear"}) {
    const Json& n = results[way];
    edits.row({fmt::format("forget {}{}", n["task"].get<std::string>(), way == std::string("negation") ? "" : ", linear"),
               report::coefficient(n["coefficient"]), change(n["target_base"], n["target"]),
               change(n["control_base"], n["control"])});
  }
  for (const Json& p : results["patch"]) {
    edits.row({"patch " + p["task"].get<std::string>(), report::coefficient(p["coefficient"]),
               change(p["patched_base"], p["patched"]), change(p["supported_base"], p["supported"])});
  }
  text += fmt::format(
      "\nSubtract to forget (linear: in the tangent space), interpolate to patch\nkept of {} on val: {:.3g} and {:.3g} %\n\n{}",
      control, settings["keep"].get<double>() * 100, settings["patch_keep"].get<double>() * 100, edits.text(width));

  if (results.contains("addition")) text += sums(results["addition"], width);
  text += fmt::format("\nEvery coefficient was chosen on validation splits. {} in all.\n",
                      format_seconds(results["seconds"]["total"].get<double>()));
  return text;
}

}  // namespace taskvec::demo
