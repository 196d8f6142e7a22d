#!/usr/bin/env python3
"""Quantised checkpoints, packed by PyTorch as their programs pack them, read by taskvec as the values that they stand for.

Exit code 77 where PyTorch or safetensors is not here.
"""

import json
import sys
import tempfile
from pathlib import Path

from common import taskvec

try:
    import torch
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)


def model(folder, tensors, config=None):
    folder.mkdir()
    save_file({name: t.clone().contiguous() for name, t in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    if config is not None:
        (folder / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": config, "torch_dtype": "float16"}))
    return folder


def fp8(weight, block, power_of_two=False):
    """Codes, scales and values; `block` elements of each dimension share a scale."""
    scale = torch.empty([-(-w // b) for w, b in zip(weight.shape, block)])
    full = torch.empty_like(weight)
    for i in range(scale.shape[0]):
        for j in range(scale.shape[1]):
            part = (slice(i * block[0], (i + 1) * block[0]), slice(j * block[1], (j + 1) * block[1]))
            scale[i, j] = weight[part].abs().max() / 448
            if power_of_two:
                scale[i, j] = 2.0 ** scale[i, j].log2().ceil()
            full[part] = scale[i, j]
    codes = (weight / full).to(torch.float8_e4m3fn)
    return codes, scale, codes.float() * full


def fp8_models(w):
    rows, columns = w.shape
    codes, scale, value = fp8(w, (128, 128))
    yield "deepseek", {"l.weight": codes, "l.weight_scale_inv": scale}, {"quant_method": "fp8", "weight_block_size": [128, 128]}, value
    codes, scale, value = fp8(w, (64, 128))
    yield "blocks-of-config", {"l.weight": codes, "l.weight_scale_inv": scale}, {"quant_method": "fp8", "weight_block_size": [64, 128]}, value
    codes, scale, value = fp8(w, (1, columns))
    yield "rows", {"l.weight": codes, "l.weight_scale": scale}, {"quant_method": "compressed-tensors"}, value
    yield "rows-in-one-dimension", {"l.weight": codes, "l.weight_scale": scale.reshape(-1)}, None, value
    codes, scale, value = fp8(w, (rows, columns))
    yield "scalar", {"l.weight": codes, "l.weight_scale": scale.reshape(()), "l.input_scale": torch.tensor(0.5)}, None, value
    yield "comfy", {"l.weight": codes, "l.scale_weight": scale.reshape(1), "scaled_fp8": torch.empty(0, dtype=torch.float8_e4m3fn)}, None, value
    codes, scale, value = fp8(w, (1, 32), power_of_two=True)
    yield "exponents", {"l.weight": codes, "l.weight_scale_inv": scale.to(torch.float8_e8m0fnu)}, None, value
    codes, scale, value = fp8(w, (1, 96))
    groups = {"group_0": {"weights": {"num_bits": 8, "type": "float", "strategy": "group", "group_size": 96}}}
    yield "groups-of-config", {"l.weight": codes, "l.weight_scale": scale}, {"quant_method": "compressed-tensors", "config_groups": groups}, value
    codes = w.div(w.abs().amax(1, keepdim=True) / 127).round().to(torch.int8)
    scale = (w.abs().amax(1, keepdim=True) / 127).bfloat16()
    yield "int8", {"l.weight": codes, "l.weight_scale": scale}, {"quant_method": "compressed-tensors"}, codes.float() * scale.float()


NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
       0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]


def bitsandbytes_models(w):
    table = torch.tensor(NF4)
    flat = w.reshape(-1, 64)
    absmax = flat.abs().amax(1)
    codes = (flat / absmax[:, None]).reshape(-1, 1).sub(table).abs().argmin(1).to(torch.uint8)
    packed = (codes[::2] << 4 | codes[1::2]).reshape(-1, 1)

    def tensors(state, **more):
        text = torch.frombuffer(bytearray(json.dumps({"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": list(w.shape), **state}).encode()), dtype=torch.uint8)
        return {"l.weight": packed, "l.weight.quant_map": table, "l.weight.quant_state.bitsandbytes__nf4": text, **more}

    config = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    yield "nf4", tensors({}, **{"l.weight.absmax": absmax}), config, (table[codes.long()].reshape(-1, 64) * absmax[:, None]).reshape(w.shape)
    nested_table, offset = torch.linspace(-1, 1, 256), absmax.mean()
    centred = (absmax - offset).split(256)
    nested_absmax = torch.stack([part.abs().max() for part in centred])
    nested = torch.cat([(part / most)[:, None].sub(nested_table).abs().argmin(1) for part, most in zip(centred, nested_absmax)]).to(torch.uint8)
    again = nested_table[nested.long()] * nested_absmax.repeat_interleave(256)[:nested.numel()] + offset
    yield "nf4-nested", tensors({"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": offset.item()}, **{
        "l.weight.absmax": nested, "l.weight.nested_absmax": nested_absmax, "l.weight.nested_quant_map": nested_table,
    }), config, (table[codes.long()].reshape(-1, 64) * again[:, None]).reshape(w.shape)
    scb = w.abs().amax(1)
    codes = (w / scb[:, None] * 127).round().to(torch.int8)
    yield "int8-scb", {"l.weight": codes, "l.SCB": scb, "l.weight_format": torch.tensor(0, dtype=torch.uint8)}, {"quant_method": "bitsandbytes", "load_in_8bit": True}, codes * scb.view(-1, 1) * 7.874015718698502e-3


def words(codes, bits, dim, order=None):
    """Unsigned codes in words of 32 bits along a dimension; place i of a word holds element order[i]."""
    per_word = 32 // bits
    codes = codes.movedim(dim, 0).reshape(-1, per_word, codes.shape[1 - dim]).long()
    packed = sum(codes[:, (order or range(per_word))[i]] << bits * i for i in range(per_word))
    return torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32).movedim(0, dim)


def packed_models(w):
    outputs, inputs = w.shape
    for bits, group, shuffled, version in ((4, 32, False, "gptq"), (8, 64, False, "gptq"), (4, 32, True, "gptq"), (4, 32, False, "gptq_v2"), (2, 32, False, "gptq")):
        groups = inputs // group
        g_idx = torch.arange(inputs) // group
        if shuffled:
            g_idx = g_idx[torch.randperm(inputs)]
        codes = torch.randint(0, 2**bits, (inputs, outputs))
        zeros = torch.randint(0, 2**bits, (groups, outputs))
        scales = torch.rand(groups, outputs).half()
        value = (scales.float()[g_idx] * (codes - zeros[g_idx])).T
        stored = zeros if version == "gptq_v2" else (zeros - 1) % 2**bits
        yield f"gptq-{bits}-{version}{'-act' if shuffled else ''}", {
            "l.qweight": words(codes, bits, 0), "l.qzeros": words(stored, bits, 1), "l.scales": scales, "l.g_idx": g_idx.int(),
        }, {"quant_method": "gptq", "bits": bits, "group_size": group, "checkpoint_format": version}, value
    for bits, order in ((4, [0, 2, 4, 6, 1, 3, 5, 7]), (8, [0, 2, 1, 3])):
        groups = inputs // 64
        codes, zeros = torch.randint(0, 2**bits, (inputs, outputs)), torch.randint(0, 2**bits, (groups, outputs))
        scales = torch.rand(groups, outputs).half()
        of = torch.arange(inputs) // 64
        yield f"awq-{bits}", {"l.qweight": words(codes, bits, 1, order), "l.qzeros": words(zeros, bits, 1, order), "l.scales": scales}, {
            "quant_method": "awq", "bits": bits, "version": "gemm"}, (scales.float()[of] * (codes - zeros[of])).T


def check_read(folder, name, tensors, config, value):
    """Every element of the value, and nothing else: as it is, in the mean with itself, and of the config."""
    other = {"norm.weight": torch.rand(5)}
    given = model(folder / name, {**tensors, **other}, config)
    out = folder / f"{name}-out"
    taskvec("convert", given, out)
    read = load_file(out / "model.safetensors")
    assert set(read) == {"l.weight", "norm.weight"}, (name, list(read))
    assert read["l.weight"].dtype == torch.float32 and read["l.weight"].shape == value.shape
    assert torch.equal(read["l.weight"], value.float()), (name, (read["l.weight"] - value).abs().max())
    assert torch.equal(read["norm.weight"], other["norm.weight"])
    if config is not None:
        written = json.loads((out / "config.json").read_text())
        assert "quantization_config" not in written and written["torch_dtype"] == "float32", written
    plain = model(folder / f"{name}-plain", {"l.weight": torch.rand(value.shape), **other})
    taskvec("edit", "0.5*a + 0.5*b", "-s", f"a={plain}", "-s", f"b={given}", "-o", folder / f"{name}-mean")
    mean = load_file(folder / f"{name}-mean" / "model.safetensors")["l.weight"]
    wanted = (0.5 * load_file(plain / "model.safetensors")["l.weight"].double() + 0.5 * value.double()).float()
    assert torch.equal(mean, wanted), name


def unread_models(w):
    u8 = torch.randint(0, 256, (64, 32), dtype=torch.uint8)
    i32 = torch.randint(0, 2**31 - 1, (64, 32), dtype=torch.int32)
    yield "mxfp4", {"e.gate_up_proj_blocks": u8, "e.gate_up_proj_scales": u8}, {"quant_method": "mxfp4"}, "MXFP4"
    yield "mxfp4-alone", {"e.gate_up_proj_blocks": u8, "e.gate_up_proj_scales": u8}, None, "MXFP4"
    yield "nvfp4", {"l.weight": u8, "l.weight_scale": w[:, :2].to(torch.float8_e4m3fn), "l.weight_scale_2": torch.tensor(1.0)}, None, "NVFP4"
    yield "compressed", {"l.weight_packed": i32, "l.weight_scale": w[:, :2], "l.weight_shape": torch.tensor([64, 256])}, None, "compressed-tensors"
    yield "mlx", {"l.weight": i32.to(torch.uint32), "l.scales": w[:, :2], "l.biases": w[:, :2]}, None, "MLX"
    yield "hqq", {"l.W_q": u8, "l.scale": w[:, :2]}, None, "HQQ"
    yield "zero-points", {"l.weight": u8.to(torch.int8), "l.weight_scale": w[:64, :1], "l.weight_zero_point": u8[:, :1].to(torch.int8)}, None, "zero points"
    yield "gptq-3", {"l.qweight": i32, "l.qzeros": i32[:2, :3], "l.scales": torch.rand(2, 32).half()}, {"quant_method": "gptq", "bits": 3}, "packed integers"
    packed = {"l.qweight": torch.randint(0, 2**31 - 1, (32, 64), dtype=torch.int32), "l.scales": torch.rand(8, 64).half()}
    gptq = {**packed, "l.qzeros": torch.randint(0, 2**31 - 1, (8, 8), dtype=torch.int32)}  # 4 bits, 256 inputs in 8 groups
    awq = {**gptq, "l.qweight": torch.randint(0, 2**31 - 1, (256, 8), dtype=torch.int32)}
    yield "gptq-other-bits", gptq, {"quant_method": "gptq", "bits": 8, "group_size": 32}, "packed integers"
    yield "gptq-marlin", gptq, {"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "packed integers"
    yield "gptq-as-awq", gptq, {"quant_method": "awq", "bits": 4, "version": "gemm"}, "packed integers"
    yield "awq-as-gptq", awq, {"quant_method": "gptq", "bits": 4}, "packed integers"
    yield "awq-gemv", awq, {"quant_method": "awq", "bits": 4, "version": "gemv"}, "packed integers"
    yield "auto-round-of-its-own", gptq, {"quant_method": "intel/auto-round", "bits": 4, "backend": "auto_round:exllamav2"}, "packed integers"
    yield "auto-round-of-no-name", gptq, {"quant_method": "auto-round", "bits": 4}, "packed integers"
    yield "gptq-of-another-method", gptq, {"quant_method": "fp8", "bits": 4}, "packed integers"
    yield "unknown", {"l.codes_of_some_kind": u8}, {"quant_method": "frobnicate"}, "frobnicate"
    yield "unknown-in-a-row", {"l.codes_of_some_kind": i32.reshape(-1).long()}, {"quant_method": "frobnicate"}, "frobnicate"
    yield "exllama", {"l.q_weight": i32, "l.q_scale": i32[:2], "l.q_scale_max": w[0, :2].half()}, None, "ExLlamaV2"
    yield "exl3", {"l.trellis": i32[None].to(torch.int16), "l.suh": w[0].half(), "l.svh": w[:, 0].half()}, None, "EXL3"
    yield "marlin", {"l.B": i32, "l.s": w[:, :2].half()}, None, "Marlin"
    yield "vptq", {"l.indices": i32[None], "l.centroids.weight": w[:2]}, {"quant_method": "vptq"}, "VPTQ"
    yield "quip", {"l.Qidxs": i32.long(), "l.SU": w[0].half(), "l.SV": w[:, 0].half()}, None, "QuIP"
    yield "torchao", {"l.weight:_data_qdata": u8.to(torch.int8), "l.weight:_data_scale": w[:64, :1]}, None, "torchao"
    yield "amax", {"l.weight": w.to(torch.float8_e4m3fn), "l.weight_amax": torch.tensor(1.0)}, None, "codes with scales"
    yield "mxfp4-modules", {"e.blocks": u8, "e.scales": u8}, None, "MXFP4"


def check_refused(folder, name, tensors, config, what):
    given = model(folder / f"unread-{name}", {**tensors, "norm.weight": torch.rand(5)}, config)
    out = folder / f"unread-{name}-out"
    for arguments in (("edit", "0.5*a + 0.5*b", "-s", f"a={given}", "-s", f"b={given}", "-o", out), ("edit", "2*a", "-s", f"a={given}", "-o", out),
                      ("convert", given, out, "--dtype", "bf16"), ("extract", given, given, "-o", out), ("diff", given, given)):
        done = taskvec(*arguments, status=None)
        assert done.returncode == 2 and what in done.stderr and not out.exists(), (name, arguments, done.stderr)
    taskvec("convert", given, out)  # a copy
    before, after = load_file(given / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys() and all(before[k].dtype == after[k].dtype and torch.equal(before[k].float(), after[k].float()) for k in before), name
    if config is not None:
        assert "quantization_config" in json.loads((out / "config.json").read_text()), name


def main():
    torch.manual_seed(0)
    w = torch.randn(320, 256) * torch.rand(320, 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in (*fp8_models(w), *bitsandbytes_models(w), *packed_models(w)):
            check_read(folder, *case)
        for case in unread_models(w):
            check_refused(folder, *case)


if __name__ == "__main__":
    main()
