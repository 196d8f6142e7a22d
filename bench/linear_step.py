#!/usr/bin/env python3
"""Milliseconds of a standard and of a linear fine-tuning step in Python: transformers' model, torch's fused AdamW, the same torch.
The linear step is the one of the published code: torch.func.jvp of the functional model, whose graph the gradient goes through.

usage: linear_step.py MODEL BATCH SECONDS    MODEL: a CLIP folder, or vit-b-32 for random weights; prints both medians
"""

import statistics
import sys
import time

import torch
from transformers import CLIPConfig, CLIPModel

model_path, batch, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
# The fused attention has no forward derivative.
model = CLIPModel(CLIPConfig()) if model_path == "vit-b-32" else CLIPModel.from_pretrained(model_path)
size = model.config.vision_config.image_size
pixels, labels = torch.randn(batch, 3, size, size), torch.arange(batch) % 10
head = torch.randn(model.config.projection_dim, 10)


class ImageEncoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.vision_model, self.visual_projection = model.vision_model, model.visual_projection

    def forward(self, x):
        return self.visual_projection(self.vision_model(pixel_values=x).pooler_output)


encoder = ImageEncoder().train()
origin = {name: p.detach().clone() for name, p in encoder.named_parameters()}


def loss_of(features):
    features = features / features.norm(dim=-1, keepdim=True)
    return torch.nn.functional.cross_entropy(features @ head, labels)


def standard(parameters):
    model.set_attn_implementation("sdpa")
    return loss_of(torch.func.functional_call(encoder, parameters, (pixels,)))


def linear(parameters):
    model.set_attn_implementation("eager")
    call = lambda p: torch.func.functional_call(encoder, p, (pixels,))
    tau = {name: parameters[name] - origin[name] for name in origin}
    f0, derivative = torch.func.jvp(call, (origin,), (tau,))
    return loss_of(f0 + derivative)


def median_step(loss):
    parameters = {name: p.clone().requires_grad_() for name, p in origin.items()}
    optimiser = torch.optim.AdamW(parameters.values(), lr=1e-5, weight_decay=0.1, fused=True)
    times, end = [], None
    while end is None or time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        optimiser.zero_grad()
        loss(parameters).backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimiser.step()
        times.append((time.perf_counter() - start) * 1000)
        end = end or time.perf_counter() + seconds  # the first one is not among them
    return statistics.median(times[1:])


print(median_step(standard), median_step(linear))
