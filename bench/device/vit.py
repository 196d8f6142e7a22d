#!/usr/bin/env python3
"""The rows of bench/device/vit.cpp in Python: transformers' CLIP, torch's fused AdamW and automatic mixed precision, the same torch.
The linear step is the one of the published code: torch.func.jvp of the functional model, whose graph the gradient goes through.

usage: vit.py DEVICE SECONDS [MODEL eval|standard|linear]...   a line of JSON per row and precision
"""

import contextlib
import json
import sys
import time

import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

EVAL_BATCH, BATCH, CLASSES, IMAGES, WARM_UP = 256, 128, 10, 2048, 3
MODELS = {
    "ViT-B/32": dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, patch_size=32, projection_dim=512),
    "ViT-L/14": dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14, projection_dim=768),
    "tiny": dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, patch_size=32, projection_dim=512),
}

device, seconds = torch.device(sys.argv[1]), float(sys.argv[2])
on_card = device.type == "cuda"
mean = torch.tensor([0.48145466, 0.4578275, 0.40821073], device=device).view(1, 3, 1, 1)
std = torch.tensor([0.26862954, 0.26130258, 0.27577711], device=device).view(1, 3, 1, 1)
pixels, labels = torch.randint(0, 256, (IMAGES, 1, 224, 224), dtype=torch.uint8), torch.arange(IMAGES) % CLASSES


def batch(size, step):
    at = step * size % IMAGES
    rows = pixels[at : at + size]
    if on_card:
        rows = rows.pin_memory()
    images = rows.to(device, non_blocking=True).float() / 255
    return (images - mean) / std, labels[at : at + size].to(device)


def timed(step, size):
    """Images per second of step(i), after warming up."""
    start, i = None, 0
    while start is None or time.perf_counter() - start < seconds or i < WARM_UP + 2:
        step(i)
        i += 1
        if on_card:
            torch.cuda.synchronize()
        if i == WARM_UP:
            start = time.perf_counter()
    return (i - WARM_UP) * size / (time.perf_counter() - start)


def measure(name, what, precision):
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    half = torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
    config = CLIPVisionConfig(**MODELS[name])
    # The fused attention has no forward derivative.
    model = CLIPVisionModelWithProjection._from_config(config, attn_implementation="eager" if what == "linear" else "sdpa").to(device)
    head = torch.randn(config.projection_dim, CLASSES, device=device)

    def loss_of(features, targets):
        features = features.float()
        return torch.nn.functional.cross_entropy(features / features.norm(dim=-1, keepdim=True) @ head, targets)

    if what == "eval":
        model.eval()
        answers = []

        def step(i):
            with torch.inference_mode(), half:
                answers.append((model(batch(EVAL_BATCH, i)[0]).image_embeds.float() @ head).argmax(1))

        return timed(step, EVAL_BATCH)

    parameters = {key: p.detach().clone().requires_grad_() for key, p in model.named_parameters()}
    origin = {key: p.detach().clone() for key, p in parameters.items()}
    optimiser = torch.optim.AdamW(parameters.values(), lr=1e-5, weight_decay=0.1, fused=True)

    def step(i):
        images, targets = batch(BATCH, i)
        optimiser.zero_grad()
        call = lambda p: torch.func.functional_call(model, p, (images,)).image_embeds
        with half:
            if what == "linear":
                value, moved = torch.func.jvp(call, (origin,), ({key: p - origin[key] for key, p in parameters.items()},))
                features = value + moved
            else:
                features = call(parameters)
        loss_of(features, targets).backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimiser.step()

    return timed(step, BATCH)


for name, what in zip(sys.argv[3::2], sys.argv[4::2]):
    for precision in ["float32", "tf32", "bf16"] if on_card else ["float32", "bf16"]:
        line = {"model": name, "what": what, "precision": precision}
        if on_card:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            line["images_per_second"] = measure(name, what, precision)
            if on_card:
                line["peak_bytes"] = torch.cuda.max_memory_allocated()
        except (RuntimeError, NotImplementedError) as error:
            line["error"] = str(error).splitlines()[0]
        print(json.dumps(line), flush=True)
