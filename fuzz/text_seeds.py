"""Small valid texts and samples in the forms that the fuzz programs beside the formats' take, as (name, bytes)."""

import base64
import gzip
import io
import json
import struct
import tarfile
import zlib

from task_vector_seeds import safetensors

TOKENS = ["<|startoftext|>", "<|endoftext|>", *"abc", "a</w>", "b</w>", "c</w>", "ab</w>"]


def text(value):
    return json.dumps(value).encode()


def expression():
    for i, line in enumerate(("base + 0.4*(ft - base)", "interpolate(a, b, 1e-3) @ \"*.weight\"", "-$x*a/2 + sum(a, b)", "(a @ !\"x*\") - 2.5")):
        yield str(i), line.encode()


def provenance():
    source = text([{"name": "a", "path": "a.safetensors", "fingerprint": "0" * 32, "map": ""}])
    yield "edit", b"\0".join((b"a + $x*(b - a)", text({"x": 0.5}), source, text({"dtype": "BF16"}), b"a", b"linear", b"0" * 32))


def tokenizer():
    model = {"type": "BPE", "vocab": {token: i for i, token in enumerate(TOKENS)}, "merges": ["a b</w>"]}
    added = [{"id": i, "content": token, "lstrip": True, "rstrip": True, "normalized": i == 1} for i, token in enumerate(TOKENS[:2])]
    names = {"bos_token": TOKENS[0], "eos_token": {"content": TOKENS[1]}, "pad_token": TOKENS[1], "unk_token": TOKENS[1]}
    yield "clip", text({"model": model, "added_tokens": added}) + b"\0" + text(names) + b"\0ab <|endoftext|> c"


def config():
    yield "llama", text({"model_type": "llama", "torch_dtype": "float16", "vocab_size": 9, "quantization_config": {"bits": 4},
                         "text_config": {"dtype": "bfloat16", "vocab_size": 9, "tie_word_embeddings": True}})


def quantised():
    def model(tensors, **config):
        return text({"quantization_config": config}) + b"\0" + safetensors([(n, d, s, bytes(size)) for n, d, s, size in tensors])

    yield "fp8", model([("w", "F8_E4M3", [4, 4], 16), ("w_scale_inv", "F32", [2, 2], 16)], weight_block_size=[2, 2])
    yield "scb", model([("l.weight", "I8", [2, 3], 6), ("l.SCB", "F32", [2], 8), ("l.weight_format", "U8", [], 1)])
    yield "gptq", model([("l.qweight", "I32", [1, 8], 32), ("l.qzeros", "I32", [1, 1], 4), ("l.scales", "F16", [1, 8], 16),
                         ("l.g_idx", "I32", [8], 32)], quant_method="gptq", bits=4)
    yield "awq", model([("l.qweight", "I32", [8, 1], 32), ("l.qzeros", "I32", [1, 1], 4), ("l.scales", "F16", [1, 8], 16)], version="gemm")
    state = text({"quant_type": "nf4", "blocksize": 64, "shape": [2, 4], "nested_blocksize": 256, "nested_offset": 0.5})
    header = [("w", "U8", [4, 1], bytes(4)), ("w.absmax", "U8", [1], b"\1"), ("w.quant_map", "F32", [16], bytes(64)),
              ("w.nested_absmax", "F32", [1], bytes(4)), ("w.nested_quant_map", "F32", [256], bytes(1024)),
              ("w.quant_state.bitsandbytes__nf4", "U8", [len(state)], state)]
    yield "nf4", b"{}\0" + safetensors(header)


def trials():
    yield "one", b'{"format":2,"measured":{"k":1}}\n{"coefficients":{"a":0.0},"metrics":{"m":0.5,"n":null},"seconds":1.5}\n{"coeff'


def record():
    yield "run", text({"state": "finished", "asked": {"command": "finetune", "steps": 2}, "about": {}, "result": {"final_loss": 1.0}}) + \
        b'\0{"step":1,"loss":0.5}\n{"st'


def checkpoint(shape, dtype="F32", values=b"", tensor="w", **metadata):
    header = text({"__metadata__": metadata, tensor: {"dtype": dtype, "shape": shape, "data_offsets": [0, len(values)]}})
    return struct.pack("<Q", len(header)) + header + values


def snapshot():
    for name, file in (("whole", checkpoint([2], values=bytes(8), step="3")), ("late", checkpoint([2], values=bytes(8), step="11")),
                       ("other", checkpoint([1], "F64", bytes(8), step="1"))):
        yield name, struct.pack(">H", len(file)) + file + b'{"step":1,"loss":0.5}\n{"step":4,"loss":0.5}\n{"st'


def block():
    key = "0123456789abcdef" * 2
    yield "block", checkpoint([2, 3], values=bytes(24), tensor="outputs", **{"taskvec.sweep": key, "taskvec.digest": "0" * 32})
    yield "named", checkpoint([2, 3], values=bytes(24), tensor="outputs", **{"taskvec.sweep": key})


def idx(dimensions, values):
    return bytes([0, 0, 8, len(dimensions)]) + b"".join(struct.pack(">I", d) for d in dimensions) + values


def idx_files():
    images, labels = idx([2, 2, 2], bytes(8)), idx([2], bytes([0, 1]))
    for name, pack in (("plain", lambda data: data), ("gzip", lambda data: gzip.compress(data, mtime=0))):
        yield name, struct.pack(">H", len(pack(images))) + pack(images) + pack(labels)


def png(kind=2, channels=3):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + bytes(range(2 * channels)) for _ in range(2))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, kind, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def image():
    yield "png", png()
    yield "png-alpha", png(6, 4)
    yield "ppm", b"P6\n# x\n2 2\n255\n" + bytes(12)
    yield "pgm16", b"P5 2 2 65535\n" + bytes(8)
    yield "bmp", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 70, 0, 0, 54, 40, 2, 2, 1, 24, 0, 16, 0, 0, 0, 0) + bytes(16)
    yield "webp", base64.b64decode("UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA")
    yield "jpeg", base64.b64decode("/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////////////"
                                   "////////////wgALCAABAAEBAREA/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPxA=")


def tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as file:
        for name, data in (("a.png", png()), ("a.cls", b"0"), ("1.5.PNG", png()), ("1.5.cls", b"1"), ("a.json", b"{}")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
    yield "plain", out.getvalue()
    yield "gzip", gzip.compress(out.getvalue(), mtime=0)


def task():
    yield "idx", b"description: d\nsource:\n  idx:\n    folder: x\n    train: [a, b]\n    test: [c, d]\n    get: g\nclasses: [a, b]\ntemplates: ['{} x']\n"
    yield "folder", b"source: {folder: {train: t, test: u, folders: [x, y]}}\nclasses: [a, b]\nmetric: accuracy\n"
    yield "glyphs", b'source: {glyphs: {ranges: ["0041-005A", "00E9"], except: [AB]}}\n'
    yield "tar", b"source: {webdataset: {train: [a.tar], test: b.tar}}\nclasses: [a, b]\n"


FORMATS = {"expression": expression, "provenance": provenance, "tokenizer": tokenizer, "config": config, "quantised": quantised,
           "trials": trials, "record": record, "snapshot": snapshot, "block": block, "idx": idx_files, "image": image, "tar": tar, "task": task}
