#include "taskvec/edit/sources/vocabulary.h"

#include "taskvec/core/error.h"
#include "taskvec/edit/sources/model_config.h"
#include "taskvec/formats/names.h"
#include "taskvec/kernels/convert.h"

#include <algorithm>

namespace taskvec::edit {
namespace {

using formats::Checkpoint;
using formats::TensorEntry;
using Source = std::shared_ptr<const Checkpoint>;

/// One tensor of another length; all others are the inner checkpoint's.
class Resized : public Checkpoint {
 public:
  Resized(Source inner, Source filler, const TensorEntry& own, formats::Manifest manifest,
          std::vector<std::shared_ptr<const MappedFile>> files)
      : Checkpoint(inner->path(), std::move(manifest), std::move(files)),
        inner_(std::move(inner)),
        filler_(std::move(filler)),
        own_(own) {}

  void check_unchanged() const override {
    inner_->check_unchanged();
    if (filler_) filler_->check_unchanged();
  }

 private:
  void make(const TensorEntry& entry, uint64_t offset, std::span<std::byte> out) const override {
    const TensorEntry& inside = inner_->entry(entry.name);
    const auto has =
        entry.name == own_.name ? static_cast<uint64_t>(own_.info.nbytes()) : static_cast<uint64_t>(entry.info.nbytes());
    const uint64_t own = std::min<uint64_t>(out.size(), has - std::min(has, offset));
    if (own > 0) {
      const formats::TensorRange range(*inner_, inside, offset, own);
      std::ranges::copy(range.bytes(), out.begin());
    }
    if (own == out.size()) return;
    const TensorEntry& other = filler_->entry(entry.name);
    const auto item = static_cast<uint64_t>(itemsize(entry.info.dtype)),
               other_item = static_cast<uint64_t>(itemsize(other.info.dtype));
    const formats::TensorRange range(*filler_, other, (offset + own) / item * other_item, (out.size() - own) / item * other_item);
    kernels::convert(other.info.dtype, range.bytes(), entry.info.dtype, out.subspan(own));
  }

  Source inner_, filler_;
  TensorEntry own_;
};

bool differ_in_rows_alone(const TensorEntry& a, const TensorEntry& b) {
  const auto &x = a.info.shape, &y = b.info.shape;
  return is_float(a.info.dtype) && is_float(b.info.dtype) && x.size() == y.size() && !x.empty() && x.size() <= 2 &&
         x[0] != y[0] && std::equal(x.begin() + 1, x.end(), y.begin() + 1);
}

}  // namespace

Vocabulary parse_vocabulary(std::string_view text) {
  for (const Vocabulary candidate : {Vocabulary::Common, Vocabulary::Base, Vocabulary::Pad})
    if (text == name(candidate)) return candidate;
  fail(ErrorCode::InvalidArgument,
       "--vocab {}: expected common (the rows that all sources have), base (the base's rows) or pad (the rows of the largest)",
       text);
}

std::string_view name(Vocabulary vocabulary) {
  switch (vocabulary) {
    case Vocabulary::Common: return "common";
    case Vocabulary::Base: return "base";
    case Vocabulary::Pad: return "pad";
    default: return "same";
  }
}

bool is_vocabulary(std::string_view tensor) {
  if (is_output_layer(tensor)) return true;
  for (const std::string_view known :
       {"embed_tokens.weight", "wte.weight", "word_embeddings.weight", "tok_embeddings.weight", "embed_in.weight",
        "token_embedding.weight", "token_embd.weight", "shared.weight", "embed_tokens_per_layer.weight", "lm_head.bias",
        "embed_out.bias", "predictions.bias", "predictions.decoder.bias", "final_logits_bias"})
    if (tensor == known || tensor.ends_with("." + std::string(known))) return true;
  return tensor == "output.weight";
}

Source with_rows(Source checkpoint, const std::string& tensor, int64_t rows, Source filler) {
  const TensorEntry own = checkpoint->entry(tensor);
  formats::Manifest manifest;
  const formats::Manifest& of = checkpoint->manifest();
  manifest.format = of.format;
  manifest.tensors = of.tensors;
  manifest.metadata = of.metadata;
  manifest.native_metadata = of.native_metadata;
  manifest.files = of.files;
  manifest.sidecars = of.sidecars;
  manifest.delta = of.delta;
  manifest.codes = of.codes;
  for (TensorEntry& entry : manifest.tensors) {
    entry.as_is = false;
    if (entry.name == tensor) entry.info.shape[0] = rows;
  }
  return std::make_shared<Resized>(std::move(checkpoint), std::move(filler), own, std::move(manifest),
                                   std::vector<std::shared_ptr<const MappedFile>>{});
}

std::vector<std::string> match_vocabulary(std::vector<Source>& sources, size_t base, Vocabulary vocabulary) {
  std::vector<std::string> notes;
  if (vocabulary == Vocabulary::Same) return notes;
  const Source reference = sources[base];
  for (const TensorEntry& entry : reference->manifest().tensors) {
    if (!is_vocabulary(entry.name)) continue;
    std::vector<size_t> with{base};
    bool fits = true;
    for (size_t s = 0; s < sources.size(); ++s) {
      const TensorEntry* other = sources[s]->manifest().find(entry.name);
      if (s == base || other == nullptr) continue;
      fits = fits && (other->info.shape == entry.info.shape || differ_in_rows_alone(entry, *other));
      with.push_back(s);
    }
    const auto rows_of = [&](size_t s) { return sources[s]->manifest().find(entry.name)->info.shape[0]; };
    if (!fits) continue;
    const auto [least, most] =
        std::minmax_element(with.begin(), with.end(), [&](size_t a, size_t b) { return rows_of(a) < rows_of(b); });
    if (rows_of(*least) == rows_of(*most)) continue;
    const int64_t longest = rows_of(*most);
    const size_t filler = vocabulary == Vocabulary::Base
                              ? base
                              : *std::find_if(with.begin(), with.end(), [&](size_t s) { return rows_of(s) == longest; });
    const int64_t rows = vocabulary == Vocabulary::Common ? rows_of(*least) : rows_of(filler);
    notes.push_back(fmt::format("'{}' has {} to {} rows in the sources; the result has {}", entry.name, rows_of(*least),
                                rows_of(*most), rows));
    const Source full = sources[filler];
    for (const size_t s : with)
      if (rows_of(s) != rows) sources[s] = with_rows(sources[s], entry.name, rows, full);
  }
  return notes;
}

}  // namespace taskvec::edit
