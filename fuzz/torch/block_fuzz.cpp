// A block of the cache of passes in the tangent space.
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"
#include "taskvec/eval/sweep_cache.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  static const fuzz::Folder folder;
  const std::string key = "0123456789abcdef0123456789abcdef";
  eval::SweepCache cache(folder.path(), uint64_t{1} << 20);
  folder.write((key + ".safetensors").c_str(), {reinterpret_cast<const char*>(data), size});
  const auto block = cache.find(key, {2, 3});  // what is wrong counts as absent: not even an Error leaves
  if (block && (block->sizes() != at::IntArrayRef({2, 3}) || block->scalar_type() != at::kFloat)) std::abort();
  const at::Tensor own = at::ones({2, 3});
  if (!cache.store(key, own) || !cache.find(key, {2, 3}).value_or(at::zeros({2, 3})).equal(own)) std::abort();
  return 0;
}
