#pragma once

#include "taskvec/formats/checkpoint.h"

#include <string>
#include <string_view>
#include <vector>

namespace taskvec::formats {

/// The name maps: "openai-clip", ... (to Hugging Face's names) and "openai-clip:back", ... (from them).
std::vector<std::string> name_maps();

/// A checkpoint under other names. Tensors that a map only renames or splits stay views of the mapped files; transposed, fused
/// and permuted ones are made. Names that the map does not know stay as they are.
class MappedNames : public Checkpoint {
 public:
  /// Consecutive bytes of the tensors that one is made of, and how.
  struct Origin {
    enum class Order { Rows, Transposed, Rotary, RotaryBack };
    struct Part {
      const TensorEntry* entry;
      uint64_t offset, size;
    };
    std::vector<Part> parts;
    Order order = Order::Rows;
    int64_t heads = 1;  ///< of Rotary and RotaryBack
  };

  MappedNames(std::shared_ptr<const Checkpoint> inner, std::string map, Manifest manifest,
              std::vector<std::shared_ptr<const MappedFile>> files, std::vector<Origin> origins);

  const std::string& map() const& { return map_; }  ///< as in name_maps()
  void check_unchanged() const override;

 private:
  void make(const TensorEntry& entry, uint64_t offset, std::span<std::byte> out) const override;

  std::shared_ptr<const Checkpoint> inner_;
  std::string map_;
  std::vector<Origin> origins_;
};

/// @param map  one of name_maps()
/// @throws Error{InvalidArgument | NotFound} for an unknown map (the nearest is named) and for one that knows none of the names;
/// Error{Format} naming the tensor where shapes do not fit the map; Error{Unsupported} where a permutation needs a number of
/// heads that neither the file nor a config.json beside it tells.
std::shared_ptr<const Checkpoint> map_names(std::shared_ptr<const Checkpoint> checkpoint, std::string_view map);

/// The checkpoint under the names of another: of all maps, or of `map` and its way back, that after which most names and shapes
/// agree with `like`; the checkpoint itself when none makes more agree.
/// @param map  "auto", or a name with or without ":back"
std::shared_ptr<const Checkpoint> match_names(std::shared_ptr<const Checkpoint> checkpoint, const Checkpoint& like,
                                              std::string_view map);

/// The checkpoint under Hugging Face's names by the map that changes most of them; the checkpoint itself when none does.
std::shared_ptr<const Checkpoint> guess_names(std::shared_ptr<const Checkpoint> checkpoint);

/// The map of `checkpoint`, "" when it has its own names.
std::string map_of(const Checkpoint& checkpoint);

}  // namespace taskvec::formats
