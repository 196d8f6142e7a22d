#!/usr/bin/env python3
"""Images in all forms, which the model has to answer as it answers the pixels that Pillow and transformers make of them.

Exit code 77 where Pillow, NumPy or transformers is not here.
"""

import io
import json
import sys
import tempfile
from pathlib import Path

from common import taskvec

try:
    import numpy as np
    from PIL import Image
    from transformers.image_transforms import convert_to_rgb
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

COUNT = 24


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def answers(folder, model, name, files):
    """The classes that the model sees in these files."""
    root = folder / name
    for split in ("train", "test"):
        for label in "ab":
            (root / split / label).mkdir(parents=True)
        for i, (extension, data) in enumerate(files):
            (root / split / "ab"[i % 2] / f"{i:03}.{extension}").write_bytes(data)
    (root / "task.yaml").write_text("source: {folder: {train: train, test: test}}\n")
    out = root / "predictions.jsonl"
    taskvec("eval", "-m", model, "-t", root / "task.yaml", "--predictions", out)
    return [json.loads(line)["prediction"] for line in out.read_text().splitlines()]


def variants():
    rng = np.random.default_rng(0)
    rgb = [Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)) for _ in range(COUNT)]
    rgba = [Image.fromarray(np.dstack([np.array(i), rng.integers(0, 256, (40, 40), dtype=np.uint8)])) for i in rgb]
    gray = [i.convert("L") for i in rgb]
    jpeg = [encoded(i, "JPEG", quality=90) for i in rgb]
    from_jpeg = [Image.open(io.BytesIO(j)).convert("RGB") for j in jpeg]
    yield "webp", "webp", [encoded(i, "WEBP", lossless=True) for i in rgb], rgb
    yield "webp-alpha", "webp", [encoded(i, "WEBP", lossless=True, exact=True) for i in rgba], [composited(i) for i in rgba]
    yield "bmp", "bmp", [encoded(i, "BMP") for i in rgb], rgb
    yield "bmp-palette", "bmp", [encoded(i.quantize(16), "BMP") for i in rgb], [i.quantize(16).convert("RGB") for i in rgb]
    yield "ppm", "ppm", [encoded(i, "PPM") for i in rgb], rgb
    yield "pgm", "pgm", [encoded(i, "PPM") for i in gray], gray
    yield "png-alpha", "png", [encoded(i, "PNG") for i in rgba], [composited(i) for i in rgba]
    yield "png-gray-alpha", "png", [encoded(i.convert("LA"), "PNG") for i in rgba], [composited(i.convert("LA")) for i in rgba]
    palettes = [i.quantize(16) for i in rgb]
    yield "png-palette", "png", [encoded(i, "PNG", transparency=3) for i in palettes], [i.convert("RGB") for i in palettes]
    yield "png-no-end", "png", [encoded(i, "PNG")[:-12] for i in rgb], rgb
    yield "jpeg-no-end", "JPEG", [j[:-2] for j in jpeg], from_jpeg
    yield "jpeg-more", "jpg", [j[:-2] + b"\x12\x34\x56" + j[-2:] for j in jpeg], from_jpeg
    before = [j.find(b"\xff\xdb") for j in jpeg]
    yield "jpeg-before", "jpg", [j[:at] + b"\0\0\0" + j[at:] for j, at in zip(jpeg, before)], from_jpeg


def composited(image):
    return Image.fromarray(convert_to_rgb(image, return_numpy=True))


def main():
    model = "pocket-clip"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seen = set()
        for kind, extension, files, pixels in variants():
            got = answers(folder, model, kind, [(extension, data) for data in files])
            want = answers(folder, model, f"{kind}-png", [("png", encoded(image, "PNG")) for image in pixels])
            assert len(got) == COUNT and got == want, (kind, got, want)
            seen.update(got)
        assert seen == {0, 1}, "one answer to everything tells nothing apart"
        half = encoded(Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)), "JPEG")
        for extension, data in (("jpg", half[: len(half) // 2]), ("png", encoded(Image.open(io.BytesIO(half)), "PNG")[:2000])):
            root = folder / f"half-{extension}"
            for split in ("train", "test"):
                for label in "ab":
                    (root / split / label).mkdir(parents=True)
                    (root / split / label / f"0.{extension}").write_bytes(data)
            (root / "task.yaml").write_text("source: {folder: {train: train, test: test}}\n")
            for command in (("eval", "-m", model, "-t", root / "task.yaml"), ("tasks", root / "task.yaml")):
                done = taskvec(*command, status=2)
                assert f"0.{extension}" in done.stderr, done.stderr


if __name__ == "__main__":
    main()
