#include "taskvec/bridge/params.h"

#include "taskvec/core/error.h"
#include "tests/message_of.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace taskvec::bridge {
namespace {

Params two() {
  Params params;
  params.add("vision.weight", at::ones({2}));
  params.add("text.weight", at::zeros({3}));
  return params;
}

TEST(Params, KeepsItsOrder) {
  Params params = two();
  params.set("another", at::ones({}));
  params.set("text.weight", at::full({3}, 7.0));
  std::vector<std::string> names;
  for (const auto& entry : params) names.push_back(entry.first);
  EXPECT_EQ(names, (std::vector<std::string>{"vision.weight", "text.weight", "another"}));
  EXPECT_EQ(params.at("text.weight")[0].item<double>(), 7.0);
  EXPECT_EQ(params.size(), 3U);
}

TEST(Params, CopiesShareTensors) {
  const Params params = two();
  const Params copy = params;
  EXPECT_EQ(params.at("vision.weight").data_ptr(), copy.at("vision.weight").data_ptr());
}

TEST(Params, MapAndFilter) {
  const Params doubled = two().map([](const std::string&, const at::Tensor& t) { return t * 2; });
  EXPECT_EQ(doubled.at("vision.weight").sum().item<double>(), 4.0);
  const Params text = two().filter([](const std::string& name) { return name.starts_with("text"); });
  EXPECT_EQ(text.size(), 1U);
  EXPECT_TRUE(text.contains("text.weight"));
  EXPECT_EQ(text.find("vision.weight"), nullptr);
}

TEST(Params, Errors) {
  Params params = two();
  EXPECT_EQ(message_of(ErrorCode::NotFound, [&] { params.at("text.wieght"); }),
            "no parameter 'text.wieght' among 2; did you mean 'text.weight'?");
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument, [&] { params.add("text.weight", at::ones({1})); }),
            "parameter 'text.weight' is there already; use set() to replace it");
}

RC_GTEST_PROP(Params, FindsWhatWasSetLast, (const std::vector<std::pair<std::string, int>>& entries)) {
  Params params;
  std::map<std::string, int> expected;
  for (const auto& [name, value] : entries) {
    params.set(name, at::full({}, value, at::kInt));
    expected[name] = value;
  }
  RC_ASSERT(params.size() == expected.size());
  for (const auto& [name, value] : expected) RC_ASSERT(params.at(name).item<int>() == value);
}

}  // namespace
}  // namespace taskvec::bridge
