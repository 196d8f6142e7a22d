#!/usr/bin/env python3
"""A CLIP of transformers' making under OpenAI's names, as OpenAI's own code would hold it: taskvec's map gives transformers' back.

Exit code 77 where transformers is not here.
"""

import sys
import tempfile
from pathlib import Path

from common import taskvec

try:
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
    from transformers import CLIPConfig, CLIPModel, LlamaConfig, LlamaForCausalLM
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)  # tiny models; threads that wait cost more than they do


def openai_state(model):
    """The inverse of transformers' convert_clip_original_pytorch_to_hf.py: module by module, with torch's own operations."""
    state = {"logit_scale": model.logit_scale, "text_projection": model.text_projection.weight.T, "visual.proj": model.visual_projection.weight.T}
    text, vision = model.text_model, model.vision_model
    state["positional_embedding"] = text.embeddings.position_embedding.weight
    state["token_embedding.weight"] = text.embeddings.token_embedding.weight
    state["visual.class_embedding"] = vision.embeddings.class_embedding
    state["visual.positional_embedding"] = vision.embeddings.position_embedding.weight
    state["visual.conv1.weight"] = vision.embeddings.patch_embedding.weight

    def put(name, module):
        state.update({f"{name}.weight": module.weight, f"{name}.bias": module.bias})

    put("ln_final", text.final_layer_norm)
    put("visual.ln_pre", vision.pre_layrnorm)
    put("visual.ln_post", vision.post_layernorm)
    for tower, layers in (("transformer", text.encoder.layers), ("visual.transformer", vision.encoder.layers)):
        for i, layer in enumerate(layers):
            block, attention = f"{tower}.resblocks.{i}", layer.self_attn
            projections = [attention.q_proj, attention.k_proj, attention.v_proj]
            state[f"{block}.attn.in_proj_weight"] = torch.cat([p.weight for p in projections])
            state[f"{block}.attn.in_proj_bias"] = torch.cat([p.bias for p in projections])
            put(f"{block}.attn.out_proj", attention.out_proj)
            put(f"{block}.ln_1", layer.layer_norm1)
            put(f"{block}.ln_2", layer.layer_norm2)
            put(f"{block}.mlp.c_fc", layer.mlp.fc1)
            put(f"{block}.mlp.c_proj", layer.mlp.fc2)
    return {name: value.detach().contiguous().clone() for name, value in state.items()}


def gguf_state(model, heads, kv_heads):
    """llama.cpp's names, with LlamaModel.permute() of its convert_hf_to_gguf.py."""
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
             "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down"}

    def permute(w, n):
        return w.reshape(n, 2, w.shape[0] // n // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)

    state = {"token_embd.weight": model.model.embed_tokens.weight, "output_norm.weight": model.model.norm.weight, "output.weight": model.lm_head.weight}
    for i, layer in enumerate(model.model.layers):
        for ours, theirs in names.items():
            w = layer.get_submodule(ours).weight
            state[f"blk.{i}.{theirs}.weight"] = permute(w, heads) if theirs == "attn_q" else permute(w, kv_heads) if theirs == "attn_k" else w
    return {name: value.detach().contiguous().clone() for name, value in state.items()}


def check(what, model, foreign, metadata, expected_map, scratch):
    model.save_pretrained(scratch / "hf")
    save_file(foreign, scratch / "foreign.safetensors", metadata=metadata)
    expected = load_file(scratch / "hf/model.safetensors")
    # The base has coefficient 0: what is written is the foreign checkpoint alone, under the base's names.
    said = taskvec("edit", "hf + 1*(foreign - hf)", "-s", f"hf={scratch / 'hf'}", "-s", f"foreign={scratch / 'foreign.safetensors'}",
                   "--map", "auto", "-o", scratch / "out.safetensors", "--force").stderr
    assert f"name map {expected_map}\n" in said, said
    got = load_file(scratch / "out.safetensors")
    assert got.keys() == expected.keys(), got.keys() ^ expected.keys()
    wrong = [name for name in expected if not torch.equal(got[name], expected[name])]
    assert not wrong, wrong
    print(f"{what}: {len(expected)} of {len(expected)} tensors are transformers', by {expected_map}")


with tempfile.TemporaryDirectory() as folder:
    torch.manual_seed(0)
    size = dict(num_hidden_layers=12, num_attention_heads=2)
    clip = CLIPModel(CLIPConfig(text_config=dict(size, hidden_size=32, intermediate_size=48, vocab_size=40, max_position_embeddings=8),
                                vision_config=dict(size, hidden_size=48, intermediate_size=64, image_size=32, patch_size=8), projection_dim=24))
    with torch.no_grad():
        for parameter in clip.parameters():
            parameter.normal_()
    state = openai_state(clip)
    check("OpenAI's CLIP", clip, state, None, "openai-clip", Path(folder))
    check("ImageEncoder", clip, {"model." + name: value for name, value in state.items()}, None, "image-encoder", Path(folder))
    clip_names = {"module." + name: value for name, value in load_file(Path(folder) / "hf/model.safetensors").items()}
    check("DataParallel", clip, clip_names, None, "module", Path(folder))
    llama = LlamaForCausalLM(LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
                                         num_key_value_heads=2, vocab_size=64))
    check("llama.cpp's Llama", llama, gguf_state(llama, 4, 2),
          {"general.architecture": "llama", "llama.attention.head_count": "4", "llama.attention.head_count_kv": "2"}, "gguf-llama", Path(folder))
