#!/usr/bin/env python3
"""Milliseconds of one fine-tuning step of the pocket CLIP in Python: transformers' model, torch's fused AdamW, the same torch.

usage: step.py MODEL IMAGES BATCH SECONDS    IMAGES: an IDX file of 28 x 28 pixels; prints the median
"""

import statistics
import sys
import time

import numpy as np
import torch
from transformers import CLIPModel

model_path, images_path, batch, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
model = CLIPModel.from_pretrained(model_path, attn_implementation="sdpa").train()
pixels = torch.from_numpy(np.fromfile(images_path, np.uint8)[16:].reshape(-1, 1, 28, 28)[:4096].copy())
labels = torch.arange(4096) % 10
head = torch.nn.functional.normalize(torch.randn(model.config.projection_dim, 10), dim=0) * 100
encoder = [p for n, p in model.named_parameters() if n.startswith(("vision_model.", "visual_projection."))]
for parameter in model.parameters():
    parameter.requires_grad_(False)
for parameter in encoder:
    parameter.requires_grad_(True)
optimiser = torch.optim.AdamW(encoder, lr=1e-4, weight_decay=0.1, fused=True)


def step(i):
    chosen = torch.arange(i * batch, (i + 1) * batch) % len(pixels)
    x = (pixels[chosen].float() / 255 - 0.5) / 0.5
    features = model.visual_projection(model.vision_model(pixel_values=x.expand(-1, 3, -1, -1)).pooler_output)
    features = features / features.norm(dim=-1, keepdim=True)
    loss = torch.nn.functional.cross_entropy(features @ head, labels[chosen])
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(encoder, 1.0)
    optimiser.step()
    return loss.item()


for i in range(5):
    step(i)
times, end = [], time.perf_counter() + seconds
while time.perf_counter() < end:
    start = time.perf_counter()
    step(len(times))
    times.append((time.perf_counter() - start) * 1000)
print(statistics.median(times))
