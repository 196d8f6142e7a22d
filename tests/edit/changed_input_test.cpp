// An input that was changed while it was being read, which its size and its modification time tell, makes no output.
#include "taskvec/edit/extract/apply.h"
#include "taskvec/edit/extract/extract.h"
#include "tests/formats/adapter.h"
#include "tests/formats/checkpoint_folder.h"

#include <gmock/gmock.h>

namespace taskvec::edit {
namespace {

using formats::DeltaKind;
using testing::HasSubstr;
using Change = std::function<void(const fs::path&)>;

struct Changed {
  const char* name;
  Change change;
};
void PrintTo(const Changed& changed, std::ostream* out) { *out << changed.name; }

class ChangedInput : public FolderTest, public testing::WithParamInterface<Changed> {
 protected:
  std::shared_ptr<const formats::Checkpoint> one(const std::string& name, double value) const {
    return folder_.write(name, {made("q.weight", Dtype::F32, {1, 2}, {value, value})});
  }
  void expect_noticed(const fs::path& file, const std::function<void(const fs::path&)>& write) const {
    GetParam().change(file);
    EXPECT_THAT(message_of([&] { write(folder_ / "out.safetensors"); }),
                HasSubstr(file.string() + " was changed while it was being read; run again when nothing writes to it"));
    EXPECT_FALSE(fs::exists(folder_ / "out.safetensors"));
  }
};

TEST_P(ChangedInput, OfAnEdit) {
  const auto base = one("base.safetensors", 1), other = one("other.safetensors", 2);
  const auto sum = plan(parse("base + 0.5*other"), {{"base", base}, {"other", other}});
  expect_noticed(other->path(), [&](const fs::path& out) { run(sum, out); });
}

TEST_P(ChangedInput, OfAnExtraction) {
  const auto base = one("base.safetensors", 1);
  int number = 0;
  for (const auto& options : {ExtractOptions{.kind = DeltaKind::Dense}, ExtractOptions{.kind = DeltaKind::Sparse, .density = 0.5},
                              ExtractOptions{.kind = DeltaKind::Sign}, ExtractOptions{.kind = DeltaKind::Lossless}}) {
    const auto finetuned = one(fmt::format("ft{}.safetensors", number++), 2);
    expect_noticed(finetuned->path(), [&](const fs::path& out) { extract(base, finetuned, options, out); });
  }
  const auto finetuned = one("ft.safetensors", 2);
  expect_noticed(base->path(), [&](const fs::path& out) { extract(base, finetuned, {}, out); });
}

TEST_P(ChangedInput, OfARestoration) {
  const auto base = one("base.safetensors", 1), finetuned = one("ft.safetensors", 2);
  extract(base, finetuned, {.kind = DeltaKind::Lossless}, folder_ / "tv.safetensors");
  const auto exact = formats::open(folder_ / "tv.safetensors");
  expect_noticed(exact->path(), [&](const fs::path& out) { apply(base, exact, 1, false, out); });
}

TEST_P(ChangedInput, OfAnAdapter) {
  const auto base = one("base.safetensors", 1);
  const auto adapter = formats::open(testing_adapters::write_adapter(
      folder_ / "adapter", {{"base_model.model.q.lora_A.weight", {4, 2}}, {"base_model.model.q.lora_B.weight", {1, 4}}}));
  const auto sum = plan(parse("base + adapter"), {{"base", base}, {"adapter", adapter}});
  expect_noticed(adapter->path() / "adapter_model.safetensors", [&](const fs::path& out) { run(sum, out); });
}

INSTANTIATE_TEST_SUITE_P(By, ChangedInput,
                         testing::Values(Changed{"growing",
                                                 [](const fs::path& file) { std::ofstream(file, std::ios::app) << "x"; }},
                                         Changed{"a_later_time",
                                                 [](const fs::path& file) {
                                                   fs::last_write_time(file, fs::last_write_time(file) + std::chrono::seconds(1));
                                                 }},
                                         Changed{"a_removal", [](const fs::path& file) { fs::remove(file); }}),
                         [](const auto& changed) { return std::string(changed.param.name); });

}  // namespace
}  // namespace taskvec::edit
