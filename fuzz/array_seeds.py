"""Small valid GGUF, numpy and llama2.c files, as (name, bytes): seeds that make_corpus.py varies. Nothing but Python is needed."""

import io
import struct
import zipfile

BLOCKS = {2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110), 12: (256, 144),
          13: (256, 176), 14: (256, 210)}  # type -> elements, bytes


def gguf():
    def text(value):
        return struct.pack("<Q", len(value)) + value

    def entry(key, kind, value):
        return text(key) + struct.pack("<I", kind) + value

    def file(entries, tensors, version=3):
        out, data = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries), b""
        for name, dims, kind, size in tensors:
            out += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, len(data))
            data += bytes(size + -size % 32)
        return out + bytes(-len(out) % 32) + data

    entries = [entry(b"general.architecture", 8, text(b"llama")), entry(b"u", 4, struct.pack("<I", 7)), entry(b"b", 7, b"\1"),
               entry(b"f", 6, struct.pack("<f", 0.5)), entry(b"general.alignment", 4, struct.pack("<I", 32)),
               entry(b"words", 9, struct.pack("<IQ", 8, 2) + text(b"a") + text(b"bc")),
               entry(b"numbers", 9, struct.pack("<IQ", 10, 2) + struct.pack("<QQ", 1, 2))]
    yield "plain", file(entries, [(b"w", (3, 2), 0, 24), (b"h", (5,), 1, 10), (b"s", (), 30, 2), (b"i", (1, 1, 1, 2), 27, 16)])
    yield "quantised", file(entries[:1], [(b"q%d" % kind, (n, 2), kind, 2 * size) for kind, (n, size) in BLOCKS.items()])
    yield "version2", file([], [(b"w", (1,), 0, 4)], 2)


def npy(descr, shape, data, order=False, version=1):
    header = repr({"descr": descr, "fortran_order": order, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(header)) + header + data


def numpy():
    arrays = {"a": npy("<f4", (2, 3), bytes(24)), "b": npy("<i8", (), bytes(8), version=2), "c": npy("|b1", (0, 2), b"", version=3),
              "d": npy("<f2", (2, 3, 2), bytes(24), order=True)}
    yield from arrays.items()
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            archive.comment = b'{"key":"value"}'
            for name, data in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    member.write(data)
        yield f"npz{method}", out.getvalue()


def llama2c():
    dim, hidden, layers, heads, kv_heads, words, positions = 8, 3, 2, 2, 1, 5, 6
    kv = dim // heads * kv_heads
    elements = words * dim + layers * (2 * dim + 2 * dim * dim + 2 * kv * dim + 3 * hidden * dim) + dim + positions * dim // heads
    for name, sign in (("shared", 1), ("own", -1)):
        header = struct.pack("<7i", dim, hidden, layers, heads, kv_heads, sign * words, positions)
        yield name, header + bytes(4 * (elements + (0 if sign > 0 else words * dim)))


FORMATS = {"gguf": gguf, "numpy": numpy, "llama2c": llama2c}
