#!/usr/bin/env python3
"""Makes seeds for the fuzz programs: small valid files of every format, and hostile variations of each.

usage: make_corpus.py FOLDER    writes FOLDER/<format>/*

Needs nothing but Python. A new format is one function in FORMATS, which yields (name, bytes) of valid files.
"""

import argparse
import io
import json
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

from array_seeds import FORMATS as ARRAY_FORMATS
from task_vector_seeds import FORMATS as TASK_VECTOR_FORMATS
from text_seeds import FORMATS as TEXT_FORMATS

HOSTILE_SIZES = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
HEADER_BYTES = 256  # of a file's start and end, where its sizes are
STEP = 7            # every so many bytes one variation of a kind


def safetensors():
    def file(header, data):
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data

    yield "two", file({"__metadata__": {"a": "b"}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                       "b": {"dtype": "BF16", "shape": [], "data_offsets": [8, 10]}}, bytes(10))
    yield "none", file({}, b"")


def archive(files, method=zipfile.ZIP_STORED, wide=False):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as zip:
        for name, data in files.items():
            with zip.open(zipfile.ZipInfo(name), "w", force_zip64=wide) as file:
                file.write(data)
    return out.getvalue()


def zips():
    files = {"a/one": b"stored", "two": b"", "folder/": b"", "zeros": bytes(1000)}
    yield "stored", archive(files)
    yield "wide", archive(files, wide=True)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zip:
        for name, data in files.items():
            zip.writestr(name, data)
    yield "deflated", out.getvalue()


class Thing:
    def __init__(self, *args, **kwargs):
        self.args = args

    def __getnewargs_ex__(self):
        return (1,), {"k": 2}


def pickles():
    value = {"i": [1, -1, 300, 70000, 2**40, 2**80, True, None], "f": 1.5, "s": ["é", "x" * 300], "b": [b"x", b"y" * 300, bytearray(b"z")],
             "t": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], "set": {1, 2}, "frozen": frozenset("ab"), "o": OrderedDict(a=1), "thing": Thing(1)}
    value["self"] = value
    for protocol in range(6):
        yield f"protocol{protocol}", pickle.dumps(value if protocol >= 2 else {**value, "thing": 1, "self": 1}, protocol)
    yield "reduce", b"cos\nsystem\n(U\4exittR."
    yield "inst", b"(U\4exitios\nsystem\n."
    yield "object", b"(cos\nsystem\nU\4exito."
    yield "persistent", b"Px\n0cos\nsystem\nQ."
    yield "stack", b"K\1(K\x022\x31\x30(0}(K\1K\2d]K\1aVx\\u00e9\nS'x'\nI1\nL1L\nF1.5\nt."


def torch_module():
    """Names that Python's pickler can find, so that it writes what torch.save would."""
    utils, torch = types.ModuleType("torch._utils"), types.ModuleType("torch")
    for module, names in ((utils, ["_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter"]),
                          (torch, ["FloatStorage", "HalfStorage", "Module"])):
        for name in names:
            kind = type(name, (), {"__module__": module.__name__}) if name[0] != "_" else types.FunctionType((lambda *a: None).__code__, {}, name)
            kind.__module__, kind.__qualname__ = module.__name__, name
            setattr(module, name, kind)
        sys.modules[module.__name__] = module
    torch._utils = utils
    return torch


TORCH = torch_module()


class Storage:
    def __init__(self, key, kind, elements):
        self.id = ("storage", kind, key, "cpu", elements)


class Tensor:
    def __init__(self, storage, offset, size, strides):
        self.view = (storage, offset, size, strides, False, OrderedDict())

    def __reduce__(self):
        return TORCH._utils._rebuild_tensor_v2, self.view


class Parameter(Tensor):
    def __reduce__(self):
        return TORCH._utils._rebuild_parameter, (Tensor(*self.view[:4]), True, OrderedDict())


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.id if isinstance(value, Storage) else None


def torch_pickle(value, protocol):
    out = io.BytesIO()
    Pickler(out, protocol).dump(value)
    return out.getvalue()


def pytorch():
    float_storage, half = Storage("0", TORCH.FloatStorage, 6), Storage("1", TORCH.HalfStorage, 2)
    state = OrderedDict(w=Tensor(float_storage, 0, (2, 3), (3, 1)), t=Tensor(float_storage, 0, (3, 2), (1, 3)),
                        p=Parameter(half, 1, (1,), (1,)), e=Tensor(half, 0, (0, 2), (2, 1)))
    module = TORCH.Module()
    module.__dict__ |= {"_parameters": {"w": state["w"]}, "_buffers": {"b": state["p"]}, "_modules": {}, "training": True}
    objects = {"state": state, "training": {"epoch": 1, "state_dict": state, "optimizer": {"lr": 0.1}}, "module": module}
    data = {"0": bytes(24), "1": bytes(4)}
    for name, value in objects.items():
        for protocol in (2, 4):
            files = {"x/data.pkl": torch_pickle(value, protocol), "x/byteorder": b"little", **{f"x/data/{k}": v for k, v in data.items()}}
            yield f"{name}{protocol}-zip", archive(files)
            dump = lambda value: torch_pickle(value, protocol)
            yield f"{name}{protocol}-legacy", (
                dump(0x1950A86A20F9469CFC6C) + dump(1001) + dump({"protocol_version": 1001, "little_endian": True}) + dump(value)
                + dump(["0", "1"]) + struct.pack("<q", 6) + data["0"] + struct.pack("<q", 2) + data["1"])


FORMATS = {"safetensors": safetensors, "zip": zips, "pickle": pickles, "pytorch": pytorch}
FORMATS |= ARRAY_FORMATS | TASK_VECTOR_FORMATS | TEXT_FORMATS


def hostile(data):
    """(name, bytes) of variations: cut off, a byte flipped, a size put where sizes are."""
    ends = sorted({*range(min(HEADER_BYTES, len(data))), *range(max(0, len(data) - HEADER_BYTES), len(data))})
    for at in ends[::STEP]:
        yield f"cut{at}", data[:at]
        yield f"flip{at}", data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1:]
    for i, at in enumerate(ends[::STEP]):
        size = HOSTILE_SIZES[i % len(HOSTILE_SIZES)]
        for width in (4, 8):
            packed = struct.pack("<Q", size)[:width]
            yield f"size{at}-{width}", data[:at] + packed + data[at + width:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for format, files in FORMATS.items():
        (folder / format).mkdir(parents=True, exist_ok=True)
        for name, data in files():
            (folder / format / name).write_bytes(data)
            for kind, changed in hostile(data):
                (folder / format / f"{name}-{kind}").write_bytes(changed)


if __name__ == "__main__":
    main()
