#!/usr/bin/env python3
"""Files of gguf, numpy, safetensors and llama2.c: what those programs write, taskvec reads equal bit for bit, and the other way
round; quantised blocks are dequantised to the bits of the gguf package; a converted llama2.c model tells the reference story.

Exit code 77 where one of those packages is not here.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from common import taskvec

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDEN = Path(os.environ.get("TASKVEC_GOLDEN", ROOT.parent / "shared/golden"))
STORIES = GOLDEN.parent / "data/text/tinystories260k"

try:
    import gguf
    import numpy as np
    import torch
    from gguf import GGMLQuantizationType as Q
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

rng = np.random.default_rng(0)


def same(a, b, what):
    assert a.keys() == b.keys(), f"{what}: {a.keys() ^ b.keys()}"
    for name in a:
        x, y = np.asarray(a[name]), np.asarray(b[name])
        assert x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes(), f"{what}: {name} differs"
    print(f"{what}: {len(a)} tensors are the same")


def numpy_arrays():
    arrays = {"f2": rng.normal(size=(3, 5)).astype("f2"), "f4": rng.normal(size=(7, 2, 3)).astype("f4"), "f8": rng.normal(size=4),
              "scalar": np.float32(2.5).reshape(()), "empty": np.zeros((0, 3), "f4"), "bool": np.array([True, False]),
              "complex": (rng.normal(size=(2, 2)) + 1j).astype("c8"), "a/b.c": np.arange(6, dtype="i4").reshape(2, 3)}
    for code in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"):
        arrays[code] = rng.integers(0, 100, size=(4, 3)).astype(code)
    return arrays


def check_numpy(scratch):
    arrays = numpy_arrays()
    for version in ((1, 0), (2, 0), (3, 0)):
        for name, array in (("c", arrays["f4"]), ("fortran", np.asfortranarray(arrays["f4"])), ("scalar", arrays["scalar"])):
            with open(scratch / f"{name}.npy", "wb") as file:
                np.lib.format.write_array(file, array, version)
            taskvec("convert", scratch / f"{name}.npy", scratch / "out.safetensors", "--force")
            with safe_open(scratch / "out.safetensors", "numpy") as read:
                same({name: array}, {name: read.get_tensor(name)}, f"npy {version} {name}")
            taskvec("convert", scratch / f"{name}.npy", scratch / f"out-{name}-{version[0]}.npy")
            same({name: array}, {name: np.load(scratch / f"out-{name}-{version[0]}.npy")}, f"npy written from {name}")
    objects = scratch / "objects.npy"
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    taskvec("inspect", objects, status=2)


def check_npz_reading(scratch):
    arrays = numpy_arrays()
    arrays["fortran"] = np.asfortranarray(arrays["f4"])
    arrays["large"] = rng.normal(size=(1000, 1000))  # several tiles
    for name, save in (("stored", np.savez), ("deflated", np.savez_compressed)):
        save(scratch / f"{name}.npz", **arrays)
        taskvec("verify", scratch / f"{name}.npz")
        taskvec("convert", scratch / f"{name}.npz", scratch / f"{name}-copy.npz")
        with np.load(scratch / f"{name}-copy.npz") as read:
            same(arrays, dict(read), f"npz read, {name}")


def check_npz_writing(scratch):
    arrays = {name: array for name, array in numpy_arrays().items() if name != "complex"}
    save_file({name: torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape)) for name, array in arrays.items()},
              scratch / "in.safetensors")
    taskvec("convert", scratch / "in.safetensors", scratch / "out.npz")
    with np.load(scratch / "out.npz") as read:
        same(arrays, dict(read), "npz written")
    import zipfile
    with zipfile.ZipFile(scratch / "out.npz") as archive:
        assert archive.testzip() is None
        assert json.loads(archive.comment)["taskvec.expression"] == "in"
    taskvec("convert", scratch / "in.safetensors", scratch / "bf16.npz", "--dtype", "BF16", status=2)


PLAIN = {"f32": (np.float32, None), "f16": (np.float16, None), "f64": (np.float64, None), "i8": (np.int8, None), "i16": (np.int16, None),
         "i32": (np.int32, None), "i64": (np.int64, None)}


def write_gguf(path, blocks):
    """Plain tensors and, for each quantised type, blocks of random bytes with sensible scales."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_float32("llama.rope.freq_base", 10000.0)
    writer.add_bool("flag", True)
    writer.add_string("text", "naïve")
    writer.add_token_list(["<s>", "a" * 100, "b", "c", "d", "e"])
    writer.add_array("numbers", [1, 2, 3])
    plain = {name: (rng.normal(size=(3, 5)) * 50).astype(dtype) for name, (dtype, _) in PLAIN.items()}
    plain["one"] = np.array([1.5], np.float32)
    plain["four"] = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    for name, array in plain.items():
        writer.add_tensor(name, array)
    expected = dict(plain)
    for kind in (Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0, Q.Q2_K, Q.Q3_K, Q.Q4_K, Q.Q5_K, Q.Q6_K):
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        raw = rng.integers(0, 256, size=(blocks, 2 * size), dtype=np.uint8)  # rows of two blocks
        halves = {Q.Q4_0: [0], Q.Q4_1: [0, 2], Q.Q5_0: [0], Q.Q5_1: [0, 2], Q.Q8_0: [0], Q.Q2_K: [80, 82], Q.Q3_K: [108],
                  Q.Q4_K: [0, 2], Q.Q5_K: [0, 2], Q.Q6_K: [208]}[kind]
        for block in (0, size):
            for at in halves:
                scale = rng.normal(size=(blocks, 1)).astype(np.float16)
                scale[:3, 0] = [0, 6e-8, 65504]  # zero, the smallest denormal, the largest
                raw[:, block + at:block + at + 2] = scale.view(np.uint8)
        writer.add_tensor(kind.name, raw, raw_dtype=kind)
        expected[kind.name] = gguf.dequantize(raw, kind)
        assert expected[kind.name].shape == (blocks, 2 * elements)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return plain, expected


def read_gguf(path):
    reader = gguf.GGUFReader(path)
    return reader, {t.name: np.asarray(t.data).reshape(tuple(reversed(t.shape.tolist()))) for t in reader.tensors}


def check_gguf(scratch):
    # 600 rows of two super-blocks are more than one tile of a megabyte.
    plain, expected = write_gguf(scratch / "in.gguf", 600)
    taskvec("convert", scratch / "in.gguf", scratch / "gguf.safetensors")
    with safe_open(scratch / "gguf.safetensors", "numpy") as read:
        same(expected, {name: read.get_tensor(name) for name in read.keys()}, "gguf read")
        assert read.metadata()["llama.block_count"] == "2" and read.metadata()["text"] == "naïve"
    taskvec("verify", scratch / "in.gguf")
    taskvec("convert", scratch / "in.gguf", scratch / "out.gguf")
    reader, tensors = read_gguf(scratch / "out.gguf")
    same(expected, tensors, "gguf written from gguf")
    fields = reader.fields
    assert fields["llama.block_count"].contents() == 2 and fields["llama.block_count"].types == [gguf.GGUFValueType.UINT32]
    assert fields["flag"].contents() is True and fields["numbers"].contents() == [1, 2, 3]
    assert fields["tokenizer.ggml.tokens"].contents()[1] == "a" * 100
    assert fields["taskvec.expression"].contents() == "in"

    save_file({name: torch.from_numpy(array) for name, array in plain.items()}, scratch / "plain.safetensors")
    taskvec("convert", scratch / "plain.safetensors", scratch / "plain.gguf")
    same(plain, read_gguf(scratch / "plain.gguf")[1], "gguf written")
    halves = {"w": torch.randn(4, 32).to(torch.bfloat16)}
    save_file(halves, scratch / "bf16.safetensors")
    taskvec("convert", scratch / "bf16.safetensors", scratch / "bf16.gguf")
    reader = gguf.GGUFReader(scratch / "bf16.gguf")
    assert reader.tensors[0].tensor_type == Q.BF16
    assert bytes(reader.tensors[0].data) == halves["w"].view(torch.uint8).numpy().tobytes()


def check_safetensors(scratch):
    floats = torch.randn(8, 16)
    tensors = {"complex": torch.randn(3, 2, dtype=torch.complex64)}
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu,
                  torch.float64, torch.float16, torch.bfloat16, torch.uint16, torch.uint32, torch.uint64, torch.bool):
        try:
            tensors[str(dtype)] = floats.abs().to(dtype)
            save_file({"x": tensors[str(dtype)]}, scratch / "try.safetensors")
        except (KeyError, RuntimeError) as error:
            print(f"{dtype}: not in this torch or safetensors: {error}")
            tensors.pop(str(dtype), None)
    save_file(tensors, scratch / "all.safetensors")
    taskvec("convert", scratch / "all.safetensors", scratch / "copy.safetensors")
    read = load_file(scratch / "copy.safetensors")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name].view(torch.uint8), tensor.view(torch.uint8)), name
    print(f"safetensors: {len(tensors)} dtypes are copied")


def check_llama2c(scratch):
    model = STORIES / "stories260K.bin"
    if not model.exists():
        print(f"llama2.c: skipped, no {model}")
        return
    from transformers import LlamaConfig, LlamaForCausalLM
    taskvec("convert", model, scratch / "stories")
    weights = load_file(scratch / "stories/model.safetensors")
    with safe_open(scratch / "stories/model.safetensors", "pt") as read:
        numbers = read.metadata()
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size",
             "max_position_embeddings")
    config = LlamaConfig(**{key: int(numbers[key]) for key in sizes}, rms_norm_eps=1e-5, tie_word_embeddings=True,
                         bos_token_id=1, eos_token_id=2)
    llama = LlamaForCausalLM(config).eval()
    missing, unexpected = llama.load_state_dict(weights, strict=False)
    assert missing == ["lm_head.weight"] and not unexpected, (missing, unexpected)
    llama.tie_weights()
    tokens = read_tokens(STORIES / "tok512.bin")
    with torch.no_grad():
        ids = llama.generate(torch.tensor([[1]]), attention_mask=torch.ones(1, 1), max_new_tokens=200, do_sample=False)[0].tolist()
    story = b"".join(tokens[i] for i in ids[1:]).decode().strip()
    reference = (STORIES / "greedy_reference.txt").read_text().strip()
    assert reference.startswith(story) and len(story) > 300, story
    print(f"llama2.c: {len(story)} characters of the story are the same")


def read_tokens(path):
    raw, at, tokens = path.read_bytes(), 4, []
    while at < len(raw):
        size = int.from_bytes(raw[at + 4:at + 8], "little")
        piece = raw[at + 8:at + 8 + size]
        if piece.startswith(b"<0x"):
            piece = bytes([int(piece[3:5], 16)])
        tokens.append(piece)
        at += 8 + size
    return tokens


with tempfile.TemporaryDirectory() as folder:
    scratch = Path(folder)
    check_numpy(scratch)
    check_npz_reading(scratch)
    check_npz_writing(scratch)
    check_gguf(scratch)
    check_safetensors(scratch)
    check_llama2c(scratch)
