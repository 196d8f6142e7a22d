#include "taskvec/eval/tangent_pass.h"

#include "taskvec/core/fingerprint.h"

#include <algorithm>

namespace taskvec::eval {
namespace {

constexpr int64_t kBlockBatches = 8;  // batches whose outputs are one block of the cache

bool is_zero(const bridge::Params& params) {
  return std::all_of(params.begin(), params.end(), [](const auto& entry) { return !entry.second.any().template item<bool>(); });
}

}  // namespace

TangentPass::TangentPass(tangent::Linearized linearized, int64_t width)
    : linearized_(std::move(linearized)), width_(width), origin_fingerprint_(fingerprint_of(linearized_.origin())) {}

bridge::Params TangentPass::displacement(const bridge::Params& point) const {
  return linearized_.origin().map(
      [&](const std::string& name, const at::Tensor& tensor) { return point.at(name) - tensor.to(point.at(name).device()); });
}

std::function<at::Tensor(const at::Tensor&)> TangentPass::at(const bridge::Params& point) {
  return [this, tau = displacement(point)](const at::Tensor& pixels) {
    forwarded_ += 2 * pixels.size(0);
    return linearized_(tau, pixels).to(at::kFloat);
  };
}

/// Of f(x; θ0) (number 0) and J τ (the numbers of τ in `moves`) those that are wanted, in one pass.
std::vector<at::Tensor> TangentPass::forward(std::span<const bridge::Params> moves, std::span<const size_t> wanted,
                                             const at::Tensor& pixels) {
  std::vector<bridge::Params> directions;
  for (const size_t k : wanted)
    if (k > 0) directions.push_back(moves[k]);
  const models::Dual value = linearized_.jvp(directions, pixels);
  forwarded_ += pixels.size(0) * static_cast<int64_t>(1 + directions.size());
  std::vector<at::Tensor> outputs = value.tangents;
  if (!wanted.empty() && wanted[0] == 0) outputs.insert(outputs.begin(), value.primal);
  return outputs;
}

tangent::AffineOutputs TangentPass::outputs(const bridge::Params& point, std::span<const bridge::Params> directions,
                                            Samples& samples, const data::Task& task, data::Split split, SweepCache* cache,
                                            const std::string& identity) {
  // f(x; θ0) comes first, then J τ of what moves: no pass is made for the point where it is θ0.
  std::vector<bridge::Params> moves{bridge::Params()};
  const bridge::Params displacement = this->displacement(point);
  const bool displaced = !is_zero(displacement);
  if (displaced) moves.push_back(displacement);
  moves.insert(moves.end(), directions.begin(), directions.end());

  const at::Device device = point.begin()->second.device();
  const int64_t n = samples.loader(task, split).size(), batch = samples.options().batch;
  if (cache != nullptr && static_cast<uint64_t>(n * width_) * sizeof(float) * moves.size() > cache->budget()) cache = nullptr;
  std::vector<std::string> keys(moves.size());
  if (cache != nullptr)
    for (size_t k = 0; k < moves.size(); ++k) keys[k] = identity + (k == 0 ? "" : fingerprint_of(moves[k]));

  std::vector<at::Tensor> whole(moves.size());
  for (auto& outputs : whole) outputs = at::empty({n, width_}, at::TensorOptions(device).dtype(at::kFloat));
  const auto progress = samples.progress(task, split);
  for (int64_t begin = 0; begin < n; begin += kBlockBatches * batch) {
    const int64_t end = std::min(begin + kBlockBatches * batch, n);
    const auto block_key = [&](size_t k) { return taskvec::fingerprint(fmt::format("{}\n{}\n{}", keys[k], begin, end)); };
    std::vector<size_t> missing;
    for (size_t k = 0; k < moves.size(); ++k) {
      const auto found = cache == nullptr ? std::nullopt : cache->find(block_key(k), {end - begin, width_});
      found ? void(whole[k].slice(0, begin, end).copy_(*found)) : missing.push_back(k);
    }
    for (int64_t first = begin; first < end && !missing.empty(); first += batch) {
      const int64_t last = std::min(first + batch, end);
      const auto parts = forward(moves, missing, samples.pixels(task, split, device, first, last));
      for (size_t i = 0; i < missing.size(); ++i) whole[missing[i]].slice(0, first, last).copy_(parts[i]);
    }
    for (const size_t k : missing)
      if (cache != nullptr) cache->store(block_key(k), whole[k].slice(0, begin, end));
    if (progress) progress->add(end - begin);
    if (samples.options().on_images) samples.options().on_images(end - begin);
  }

  models::Dual value(whole[0]);
  size_t next = 1;
  if (displaced) value.primal = value.primal + whole[next++];
  for (; next < moves.size(); ++next) value.tangents.push_back(whole[next]);
  return tangent::AffineOutputs(value);
}

std::string fingerprint_of(const bridge::Params& params) {
  Fingerprint print;
  for (const auto& [name, tensor] : params) {
    const at::Tensor here = tensor.cpu().contiguous();
    print.update(name).update(bridge::view(here).bytes);
  }
  return print.hex();
}

}  // namespace taskvec::eval
