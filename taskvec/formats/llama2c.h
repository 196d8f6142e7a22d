#pragma once

#include "taskvec/formats/checkpoint.h"

namespace taskvec::formats {

/// Whether these are the bytes of a legacy llama2.c model. Such files have no magic: the seven numbers at the start must give
/// exactly the size of the file.
bool is_llama2c(std::span<const std::byte> bytes);

/// A legacy llama2.c model ("version 0": run.c's default), as the tensors of Hugging Face's LlamaForCausalLM: names
/// `model.layers.N.self_attn.q_proj.weight` and so on, float32. The rows of the query and key projections are put into the order
/// of Hugging Face's rotary embedding (per head: the even rows, then the odd ones); all else is mapped. A shared classifier gives
/// no `lm_head.weight` (tie_word_embeddings). The numbers of the header are the metadata, under Hugging Face's names.
/// Source: karpathy/llama2.c, export.py (legacy_export) and run.c (memory_map_weights).
std::shared_ptr<const Checkpoint> open_llama2c(const std::filesystem::path& path, std::shared_ptr<const MappedFile> file);

}  // namespace taskvec::formats
