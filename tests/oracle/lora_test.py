#!/usr/bin/env python3
"""LoRA adapters that PEFT made: what taskvec makes of them is what PEFT merges, and PEFT loads what --as-lora writes.

Exit code 77 where transformers or PEFT is not here.
"""

import sys
import tempfile
import warnings
from pathlib import Path

from common import taskvec

try:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from safetensors.torch import load_file
    import transformers
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)
warnings.filterwarnings("ignore")
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)  # tiny models; threads that wait cost more than they do


def llama():
    return LlamaForCausalLM(LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=12, num_attention_heads=4,
                                        num_key_value_heads=2, vocab_size=64))


def gpt2():
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=32, n_head=2, vocab_size=40, n_positions=16))


ATTENTION = ["q_proj", "v_proj"]
CASES = {  # name: (model, two adapters)
    "plain and rslora": (llama, dict(r=4, lora_alpha=8, target_modules=ATTENTION),
                         dict(r=3, lora_alpha=5, use_rslora=True, target_modules=["down_proj", "q_proj"])),
    "rank and alpha patterns": (llama, dict(r=4, lora_alpha=8, target_modules=ATTENTION,
                                            rank_pattern={"layers.1.self_attn.q_proj": 6, r"layers\.[2-4]\..*": 2, "v_proj": 7},
                                            alpha_pattern={"^model.layers.1.self_attn.v_proj": 3, "q_proj": 1.5}),
                                dict(r=2, use_rslora=True, target_modules="all-linear", rank_pattern={"up_proj|o_proj": 5})),
    "embeddings and lm_head": (llama, dict(r=4, target_modules=["embed_tokens", "o_proj"]), dict(r=2, target_modules=["embed_tokens", "lm_head"])),
    "fan_in_fan_out": (gpt2, dict(r=4, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True),
                       dict(r=2, target_modules=["c_attn", "wte"], fan_in_fan_out=True)),
}


def make_adapter(base, options, folder, seed):
    """A PEFT adapter of the saved base with both factors random."""
    torch.manual_seed(seed)
    model = get_peft_model(type(base()).from_pretrained(folder.parent / "base"), LoraConfig(**options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)


def merged(base, folders, scratch):
    """What PEFT merges, in float64."""
    model = type(base()).from_pretrained(scratch / "base", dtype=torch.float64)
    # All loaded before any is merged: with an embedding's factors PEFT also loads the base's weight.
    model = PeftModel.from_pretrained(model, folders[0], adapter_name="0", autocast_adapter_dtype=False)
    for i, folder in enumerate(folders[1:], 1):
        model.load_adapter(folder, str(i), autocast_adapter_dtype=False)
    return model.double().merge_and_unload(adapter_names=[str(i) for i in range(len(folders))]).state_dict()


def largest_difference(got, expected):
    """Relative to the largest element of each tensor, in units of float32's last place."""
    assert got, "nothing to compare"
    return max(((value.double() - expected[name]).abs().max() / expected[name].abs().max().clamp_min(1e-30) * 2**23).item() for name, value in got.items())


def check(name, base, options_a, options_b, scratch):
    torch.manual_seed(0)
    base().save_pretrained(scratch / "base")
    a, b = scratch / "a", scratch / "b"
    make_adapter(base, options_a, a, 1)
    make_adapter(base, options_b, b, 2)
    sources = ["-s", f"base={scratch / 'base'}", "-s", f"a={a}", "-s", f"b={b}"]
    for expression, folders in (("base + a", [a]), ("base + b", [b]), ("base + a + b", [a, b])):
        taskvec("edit", expression, *sources, "-o", scratch / "out", "--force")
        worst = largest_difference(load_file(scratch / "out/model.safetensors"), merged(base, folders, scratch))
        print(f"{name}: {expression}: {worst:.2f} units in the last place from PEFT")
        assert worst <= 2, expression
    taskvec("edit", "base + 0.5*a - 2*b", *sources, "-o", scratch / "direct", "--force")
    taskvec("edit", "0.5*a - 2*b", *sources[2:], "-o", scratch / "sum", "--as-lora")
    worst = largest_difference(load_file(scratch / "direct/model.safetensors"), merged(base, [scratch / "sum"], scratch))
    print(f"{name}: --as-lora, loaded by PEFT: {worst:.2f} units in the last place from the sum")
    assert worst <= 8, "--as-lora"  # each of up to 9 columns of B was rounded


for case, arguments in CASES.items():
    with tempfile.TemporaryDirectory() as folder:
        check(case, *arguments, Path(folder))
