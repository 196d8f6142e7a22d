#include "taskvec/core/error.h"
#include "taskvec/edit/executors/execute.h"
#include "taskvec/edit/provenance.h"
#include "taskvec/edit/sources/match_names.h"
#include "tests/formats/adapter.h"

#include <gtest/gtest.h>

namespace taskvec::edit {
namespace {

namespace fs = std::filesystem;
using namespace testing_adapters;

TEST(NamesEdit, ASourceUnderOtherNamesIsMappedAndReproduced) {
  std::string pattern = (fs::temp_directory_path() / "names_edit_test.XXXXXX").string();
  const fs::path folder = ::mkdtemp(pattern.data());
  write_tensors(folder / "base.safetensors", {{"visual_projection.weight", {4, 8}}}, 1);
  write_tensors(folder / "ft.safetensors", {{"model.visual.proj", {8, 4}}}, 2);
  Bindings bindings{{"base", formats::open(folder / "base.safetensors")}, {"ft", formats::open(folder / "ft.safetensors")}};
  const Expr expr = parse("base + 0.5*(ft - base)");
  EXPECT_THROW(match_names(expr, bindings, "", "module"), Error);
  EXPECT_EQ(match_names(expr, bindings, "", "auto"), (std::map<std::string, std::string>{{"ft", "image-encoder"}}));
  run(plan(expr, bindings), folder / "out.safetensors");
  const auto out = formats::open(folder / "out.safetensors");
  const auto base = values(*bindings.at("base"), "visual_projection.weight"),
             ft = values(*bindings.at("ft"), "visual_projection.weight");
  const auto actual = values(*out, "visual_projection.weight");
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_EQ(actual[i], static_cast<float>(0.5 * base[i] + 0.5 * ft[i]));
  EXPECT_TRUE(reproduce(*out, {}).empty());
  fs::remove_all(folder);
}

}  // namespace
}  // namespace taskvec::edit
