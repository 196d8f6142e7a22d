#!/usr/bin/env python3
"""What transformers says to the models that taskvec reads and writes: tokens, predictions, and outputs on a CLIP of its own.

Exit code 77 where transformers or MNIST is not here.
"""

import json
import random
import sys
import tempfile
from pathlib import Path

from common import taskvec

ROOT = Path(__file__).resolve().parent.parent.parent
POCKET = ROOT / "assets/pocket-clip"
MNIST = ROOT / ".data/mnist"
IMAGES = 1000

try:
    import numpy as np
    import torch
    from PIL import Image
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)
if not (MNIST / "t10k-images-idx3-ubyte").exists():
    print("skipped: no MNIST in .data/mnist")
    sys.exit(77)


def mnist():
    raw = np.fromfile(MNIST / "t10k-images-idx3-ubyte", np.uint8)[16:].reshape(-1, 28, 28)
    return [Image.fromarray(image) for image in raw[:IMAGES]]


def class_names():
    return json.loads(taskvec("tasks", "mnist", "--json").stdout)["result"]["mnist"]["classes"]


def transformers_predictions(folder):
    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), CLIPTokenizer.from_pretrained(folder)
    processor = CLIPImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        out = model(
            pixel_values=processor(images=mnist(), return_tensors="pt")["pixel_values"],
            **tokenizer(class_names(), padding=True, return_tensors="pt"),
        )
    return out.logits_per_image.argmax(1).tolist()


def taskvec_predictions(folder, scratch):
    file = Path(scratch) / "predictions.jsonl"
    taskvec("eval", "-m", folder, "-t", "mnist", "--predictions", file, "--force")
    return [json.loads(line)["prediction"] for line in file.read_text().splitlines()[:IMAGES]]


def check_predictions(what, folder, scratch):
    same = sum(a == b for a, b in zip(transformers_predictions(folder), taskvec_predictions(folder, scratch), strict=True))
    print(f"{what}: {same} of {IMAGES} predictions are the same")
    assert same >= 0.999 * IMAGES, what


def hostile_texts():
    texts = ["", " ", "digit seven", "naïve café", "e\u0301 vs é", "İstanbul ΣΑΣ ß ﬀ", "漢字かな交じり文", "한국어", "ไทย", "👩‍👩‍👧‍👦🏳️‍🌈",
             "a\u0000b\u0007c\u200b\ufeff", "\u00a0\u2003\u3000 tabs\tand\nlines\r\n", "x" * 3000, "don't we'll I'VE 'S'", "<|startoftext|>hi<|endoftext|>",
             "<|STARTOFTEXT|>!!", "!!<|EndOfText|>x", "3.14159 ²³ Ⅷ ½ ٣", "\ud7ff\ue000\U0010ffff", "_-–—…!?#@$%^&*()", "ſtrange K", "\u0085next"]
    rng = random.Random(0)
    pools = [(0x20, 0x7E), (0xA0, 0x24F), (0x370, 0x5FF), (0x900, 0xDFF), (0x2000, 0x2BFF), (0x3000, 0x30FF), (0x1F300, 0x1FAFF), (0, 0x2F)]
    for _ in range(400):
        low, high = rng.choice(pools)
        texts.append("".join(chr(rng.randint(low, high)) if rng.random() < 0.8 else rng.choice(" 'sS\u0301<|>") for _ in range(rng.randint(1, 40))))
    return texts


def check_tokens(folder):
    texts = hostile_texts()
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    expected = [tokenizer(text, truncation=True, max_length=32)["input_ids"] for text in texts]
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    got = [json.loads(line) for line in taskvec("tokenize", "-m", folder, "--max-length", 32, input=lines).stdout.splitlines()]
    wrong = [(text, a, b) for text, a, b in zip(texts, expected, got, strict=True) if a != b]
    print(f"tokens: {len(texts) - len(wrong)} of {len(texts)} texts are the same")
    assert not wrong, wrong[:3]


def write_random_clip(folder):
    """A CLIP of transformers' making, with another shape and activation than ours."""
    torch.manual_seed(0)
    pocket = json.loads((POCKET / "config.json").read_text())
    size = dict(num_hidden_layers=3, hidden_act="gelu", num_attention_heads=2)
    text = dict(size, hidden_size=32, intermediate_size=48, max_position_embeddings=32,
                **{key: pocket["text_config"][key] for key in ("vocab_size", "eos_token_id", "bos_token_id", "pad_token_id")})
    vision = dict(size, hidden_size=48, intermediate_size=64, image_size=32, patch_size=8)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    CLIPModel(config).save_pretrained(folder)
    CLIPTokenizer.from_pretrained(POCKET).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)


with tempfile.TemporaryDirectory() as scratch:
    check_tokens(POCKET)
    check_predictions("the pocket CLIP", POCKET, scratch)
    tuned, edited, other = (Path(scratch) / name for name in ("tuned", "edited", "other"))
    taskvec("finetune", "-m", POCKET, "-t", "mnist", "-o", tuned, "--steps", 20, "--warmup", 5, "-q")
    taskvec("edit", "base + 0.5*(ft - base)", "-s", f"base={POCKET}", "-s", f"ft={tuned}", "-o", edited)
    check_predictions("an edited copy", edited, scratch)
    check_tokens(edited)
    write_random_clip(other)
    check_predictions("a CLIP made by transformers", other, scratch)
    check_tokens(other)
