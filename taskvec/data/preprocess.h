#pragma once

#include "taskvec/data/image.h"

#include <ATen/ATen.h>

#include <array>
#include <filesystem>
#include <string>

namespace taskvec::data {

/// preprocessor_config.json of a Hugging Face CLIP, and what CLIPImageProcessor (Pillow back end) does with it: convert to RGB,
/// resize the shortest edge (bicubic, antialiased), centre crop, scale by 1/255, normalise.
struct Preprocess {
  int64_t shortest_edge = 224;                  ///< 0: no resize
  int64_t crop_height = 224, crop_width = 224;  ///< 0: no crop
  std::array<double, 3> mean{0.48145466, 0.4578275, 0.40821073};
  std::array<double, 3> std{0.26862954, 0.26130258, 0.27577711};

  /// Without a preprocessor_config.json: CLIP's constants at `image_size`.
  static Preprocess open(const std::filesystem::path& model_folder, int64_t image_size);

  /// Everything but the normalisation: 8-bit pixels of crop size, 1 channel when the input has 1.
  Image to_pixels(const Image& image) const;
  /// @param pixels  [batch, 1 or 3, height, width] uint8
  /// @return        [batch, 3, height, width] float32 on the device of the pixels, normalised per channel; the same bits on each
  at::Tensor normalise(const at::Tensor& pixels) const;
  std::string key() const;  ///< two preprocessors with the same key make the same inputs
};

}  // namespace taskvec::data
