#include "taskvec/tangent/ntk.h"

#include "taskvec/core/error.h"
#include "tests/models/tiny_clip.h"

#include <gtest/gtest.h>

namespace taskvec::tangent {
namespace {

struct Encoder {
  models::Clip network{testing_models::tiny_config()};
  Linearized encoder = image_encoder(
      network, network.initialise(3).map([](const std::string&, const at::Tensor& t) { return t.to(at::kDouble); }));
  at::Tensor pixels = at::linspace(-2, 2, 5 * 3 * 8 * 8, at::kDouble).sin().view({5, 3, 8, 8});
};

double largest(const at::Tensor& t) { return t.abs().max().item<double>(); }

TEST(Ntk, IsTheProductOfTheJacobianWithItself) {
  const Encoder s;
  // J, row by row from jvp: K = Σ_p J[., p] J[., p]ᵀ over single parameters, here those of one small tensor.
  const char* name = "vision_model.post_layernorm.bias";
  const at::Tensor& bias = s.encoder.origin().at(name);
  at::Tensor expected = at::zeros({5, 5}, at::kDouble);
  for (int64_t p = 0; p < bias.numel(); ++p) {
    bridge::Params unit;
    unit.add(name, at::zeros_like(bias).index_fill_(0, at::tensor({p}, at::kLong), 1));
    const at::Tensor column = s.encoder.jvp({&unit, 1}, s.pixels).tangents.at(0);
    expected += column.matmul(column.t());
  }
  const at::Tensor got = ntk_gram(s.encoder, s.pixels, {.include = [&](const std::string& n) { return n == name; }});
  EXPECT_LT(largest(got - expected), 1e-12 * largest(expected));
}

TEST(Ntk, TilesGiveWhatOnePassGives) {
  const Encoder s;
  const at::Tensor whole = ntk_gram(s.encoder, s.pixels, {.outputs = {0, 7}});
  int64_t elements = 0;
  for (const auto& entry : s.encoder.origin()) elements += entry.second.numel();
  const at::Tensor tiled = ntk_gram(s.encoder, s.pixels, {.outputs = {0, 7}, .memory = 4 * elements * 8});
  EXPECT_LT(largest(whole - tiled), 1e-12 * largest(whole));
  EXPECT_TRUE(tiled.equal(tiled.t()));
  EXPECT_GT(std::get<0>(at::linalg_eigh(tiled)).min().item<double>(), -1e-10 * largest(tiled));  // positive semi-definite
}

TEST(Ntk, BadRequestsAreRefused) {
  const Encoder s;
  EXPECT_THROW(ntk_gram(s.encoder, s.pixels, {.outputs = {10}}), Error);
  EXPECT_THROW(ntk_gram(s.encoder, s.pixels, {.memory = 1000}), Error);
  EXPECT_THROW(ntk_gram(s.encoder, s.pixels, {.include = [](const std::string&) { return false; }}), Error);
}

}  // namespace
}  // namespace taskvec::tangent
