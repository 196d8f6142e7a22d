#pragma once

#include <array>
#include <span>
#include <string_view>

namespace taskvec::formats {

/// How a tensor under one naming relates to the other's.
enum class Relation {
  Same,        ///< the same tensor under another name
  Transposed,  ///< a matrix, transposed
  Fused,       ///< q, k and v one below the other; `?` in the other name stands for the letter
  RotaryQ,     ///< rows of each head interleaved, as llama.cpp keeps them, with llama.attention.head_count heads
  RotaryK,     ///< the same with llama.attention.head_count_kv heads
};

/// In names `#` stands for a number and `*` for anything; each at most once, and the same in both names.
struct NameRule {
  std::string_view foreign, ours;  ///< ours: Hugging Face's
  Relation relation = Relation::Same;
};

struct NameTable {
  std::string_view name, what, prefix;  ///< prefix: before every foreign name
  std::span<const NameRule> rules;
};

// Source: OpenAI's CLIP, clip/model.py; transformers' convert_clip_original_pytorch_to_hf.py. open_clip's towers are called
// alike.
constexpr std::array kClipRules{
    NameRule{"positional_embedding", "text_model.embeddings.position_embedding.weight"},
    NameRule{"token_embedding.weight", "text_model.embeddings.token_embedding.weight"},
    NameRule{"ln_final.*", "text_model.final_layer_norm.*"},
    NameRule{"text_projection", "text_projection.weight", Relation::Transposed},
    NameRule{"visual.proj", "visual_projection.weight", Relation::Transposed},
    NameRule{"visual.class_embedding", "vision_model.embeddings.class_embedding"},
    NameRule{"visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"},
    NameRule{"visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"},
    NameRule{"visual.ln_pre.*", "vision_model.pre_layrnorm.*"},
    NameRule{"visual.ln_post.*", "vision_model.post_layernorm.*"},
    NameRule{"transformer.resblocks.#.attn.in_proj_*", "text_model.encoder.layers.#.self_attn.?_proj.*", Relation::Fused},
    NameRule{"transformer.resblocks.#.attn.out_proj.*", "text_model.encoder.layers.#.self_attn.out_proj.*"},
    NameRule{"transformer.resblocks.#.ln_1.*", "text_model.encoder.layers.#.layer_norm1.*"},
    NameRule{"transformer.resblocks.#.ln_2.*", "text_model.encoder.layers.#.layer_norm2.*"},
    NameRule{"transformer.resblocks.#.mlp.c_fc.*", "text_model.encoder.layers.#.mlp.fc1.*"},
    NameRule{"transformer.resblocks.#.mlp.c_proj.*", "text_model.encoder.layers.#.mlp.fc2.*"},
    NameRule{"visual.transformer.resblocks.#.attn.in_proj_*", "vision_model.encoder.layers.#.self_attn.?_proj.*",
             Relation::Fused},
    NameRule{"visual.transformer.resblocks.#.attn.out_proj.*", "vision_model.encoder.layers.#.self_attn.out_proj.*"},
    NameRule{"visual.transformer.resblocks.#.ln_1.*", "vision_model.encoder.layers.#.layer_norm1.*"},
    NameRule{"visual.transformer.resblocks.#.ln_2.*", "vision_model.encoder.layers.#.layer_norm2.*"},
    NameRule{"visual.transformer.resblocks.#.mlp.c_fc.*", "vision_model.encoder.layers.#.mlp.fc1.*"},
    NameRule{"visual.transformer.resblocks.#.mlp.c_proj.*", "vision_model.encoder.layers.#.mlp.fc2.*"},
    NameRule{"logit_scale", "logit_scale"},
};

// Source: llama.cpp, gguf-py/gguf/tensor_mapping.py, and LlamaModel.permute() in convert_hf_to_gguf.py.
constexpr std::array kGgufLlamaRules{
    NameRule{"token_embd.weight", "model.embed_tokens.weight"},
    NameRule{"output_norm.weight", "model.norm.weight"},
    NameRule{"output.weight", "lm_head.weight"},
    NameRule{"blk.#.attn_norm.weight", "model.layers.#.input_layernorm.weight"},
    NameRule{"blk.#.attn_q.*", "model.layers.#.self_attn.q_proj.*", Relation::RotaryQ},
    NameRule{"blk.#.attn_k.*", "model.layers.#.self_attn.k_proj.*", Relation::RotaryK},
    NameRule{"blk.#.attn_v.*", "model.layers.#.self_attn.v_proj.*"},
    NameRule{"blk.#.attn_output.*", "model.layers.#.self_attn.o_proj.*"},
    NameRule{"blk.#.ffn_norm.weight", "model.layers.#.post_attention_layernorm.weight"},
    NameRule{"blk.#.ffn_gate.*", "model.layers.#.mlp.gate_proj.*"},
    NameRule{"blk.#.ffn_up.*", "model.layers.#.mlp.up_proj.*"},
    NameRule{"blk.#.ffn_down.*", "model.layers.#.mlp.down_proj.*"},
};

// Source: transformers' loading of checkpoints converted from TensorFlow (BERT and its kin).
constexpr std::array kGammaBetaRules{NameRule{"*LayerNorm.gamma", "*LayerNorm.weight"},
                                     NameRule{"*LayerNorm.beta", "*LayerNorm.bias"}};

constexpr std::array kPrefixRules{NameRule{"*", "*"}};

constexpr std::array kNameTables{
    NameTable{"openai-clip", "OpenAI's CLIP and open_clip", "", kClipRules},
    NameTable{"image-encoder", "the task-vector papers' ImageEncoder pickles", "model.", kClipRules},
    NameTable{"gguf-llama", "Llama as llama.cpp keeps it", "", kGgufLlamaRules},
    NameTable{"gamma-beta", "BERT's LayerNorm as TensorFlow called it", "", kGammaBetaRules},
    NameTable{"module", "torch.nn.DataParallel", "module.", kPrefixRules},
    NameTable{"orig-mod", "torch.compile", "_orig_mod.", kPrefixRules},
};

}  // namespace taskvec::formats
