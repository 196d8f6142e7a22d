"""Small valid adapters and task vectors in the forms that lora_fuzz, delta_fuzz and planes_fuzz take, as (name, bytes)."""

import json
import struct


def safetensors(tensors):
    """tensors: (name, dtype, shape, bytes)"""
    header, data = {}, b""
    for name, dtype, shape, content in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def lora():
    def adapter(tensors, **options):
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", **options}
        return json.dumps(config).encode() + b"\0" + safetensors([("base_model.model." + n, d, s, bytes(size)) for n, d, s, size in tensors])

    pair = [("q.lora_A.weight", "F32", [2, 3], 24), ("q.lora_B.weight", "F32", [4, 2], 32)]
    yield "linear", adapter(pair)
    yield "options", adapter(pair, use_rslora=True, fan_in_fan_out=True, rank_pattern={"^x.*|y[0-9]+$": 3}, alpha_pattern={"q": 1.5})
    yield "convolution", adapter([("c.lora_A.default.weight", "BF16", [2, 3, 1, 2], 24), ("c.lora_B.default.weight", "BF16", [4, 2, 1, 1], 16)])
    yield "embedding", adapter([("e.lora_embedding_A", "F16", [2, 3], 12), ("e.lora_embedding_B", "F16", [4, 2], 16),
                                ("e.base_layer.weight", "F16", [3, 4], 24)])


def frame(data):
    """A zstd frame of one block as it is."""
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(data)]) + struct.pack("<I", len(data) << 3 | 1)[:3] + data


def delta():
    def file(kind, tensors, parts, sidecars=()):
        texts = [json.dumps(tensors), json.dumps({"format": "pt"}), json.dumps(sidecars), "\n".join(line for line, _ in parts)]
        return bytes([kind]) + "".join(text + "\0" for text in texts).encode() + b"".join(data for _, data in parts)

    w = {"name": "w", "dtype": "F32", "shape": [2, 3]}
    yield "dense", file(0, [], [("w F32 2 3", bytes(24))])
    yield "sparse", file(1, [w], [("w.indices U32 2", struct.pack("<II", 1, 4)), ("w.values F32 2", bytes(8))])
    yield "sign", file(2, [w], [("w.bits U8 1", b"\5"), ("w.scale F32", struct.pack("<f", 0.5))])
    packed = frame(bytes(24))
    parts = [("w.chunks U64 1 2", struct.pack("<QQ", len(packed), 0)), (f"w.planes U8 {len(packed)}", packed)]
    yield "lossless", file(3, [w, {**w, "name": "same", "shard": 1}], parts, [{"name": "b.json", "fingerprint": "1", "stored": False}])
    yield "stored", file(3, [w], parts + [("a.json.sidecar U8 2", b"{}")], [{"name": "a.json", "fingerprint": "0", "stored": True}])
    yield "as_in_the_base", file(3, [w], [("w.chunks U64 1 2", bytes(16)), ("w.planes U8 0", b"")])


def planes():
    for log2 in range(4):
        yield f"items{1 << log2}", bytes([log2, 8]) + frame(bytes(range(8 << log2)))
    # One block of a byte repeated, and a frame that says nothing about its size.
    yield "repeated", bytes([2, 2]) + b"\x28\xb5\x2f\xfd\x20\x08" + struct.pack("<I", 8 << 3 | 1 << 1 | 1)[:3] + b"\7"
    yield "no_size", bytes([0, 4]) + b"\x28\xb5\x2f\xfd\x00\x00" + struct.pack("<I", 4 << 3 | 1)[:3] + b"abcd"


FORMATS = {"lora": lora, "delta": delta, "planes": planes}
