#!/usr/bin/env python3
"""TIES in the paper's reading beside the steps of its authors' program, written with PyTorch's own functions.

Exit code 77 where PyTorch or safetensors is not here.
"""

import sys
import tempfile
from pathlib import Path

from common import taskvec

try:
    import torch
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)


def ties(vectors, density, mean):
    """Trim, elect, merge (ties_merging.py: topk_values_mask, resolve_sign, disjoint_merge)."""
    n = vectors.shape[1]
    kept = int(n * density)
    if kept < n:
        thresholds = vectors.abs().kthvalue(n - kept, dim=1, keepdim=True).values
        vectors = vectors * (vectors.abs() >= thresholds)
    signs = torch.sign(vectors.sum(dim=0))
    signs[signs == 0] = torch.sign(signs.sum())
    chosen = vectors * torch.where(signs[None] > 0, vectors > 0, vectors < 0)
    total = chosen.sum(dim=0)
    return total / (chosen != 0).sum(dim=0).clamp(min=1) if mean else total


def models(dtype, spread, generator):
    shapes = {"b.weight": (33, 65), "a.bias": (17,), "c.weight": (4, 5, 3), "scale": ()}
    base = {name: torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for name, shape in shapes.items()}
    tuned = []
    for _ in range(3):
        steps = {name: torch.randint(-spread, spread + 1, shape, generator=generator) for name, shape in shapes.items()}
        tuned.append({name: (base[name].double() + steps[name] / 512).to(dtype) for name in shapes})
    return base, tuned


def check(folder, dtype, spread, density, mean, generator):
    base, tuned = models(dtype, spread, generator)
    arguments = []
    for name, tensors in {"base": base, **{f"m{i}": tensors for i, tensors in enumerate(tuned)}}.items():
        save_file(tensors, folder / f"{name}.safetensors")
        arguments += ["-s", f"{name}={folder / name}.safetensors"]
    call = f"ties(m0 - base, m1 - base, m2 - base, density={density}, normalize={'true' if mean else 'false'})"
    out = folder / "out.safetensors"
    taskvec("edit", f"base + 0.75*{call}", *arguments, "-o", out, "--dtype", "F32", "--force")
    names = sorted(base)
    # Of float32, as the product has them: the difference of two numbers of at most 24 bits, rounded once.
    vectors = torch.stack([torch.cat([(t[n].double() - base[n].double()).float().reshape(-1) for n in names]) for t in tuned])
    merged = 0.75 * ties(vectors.double(), density, mean).float().double()
    wanted = (torch.cat([base[n].double().reshape(-1) for n in names]) + merged).float()
    made = load_file(out)
    found = torch.cat([made[n].reshape(-1) for n in names])
    assert torch.equal(found, wanted), (dtype, spread, density, mean, (found - wanted).abs().max())


def main():
    generator = torch.Generator().manual_seed(3)
    with tempfile.TemporaryDirectory() as name:
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            for spread in (2, 1000):  # nearly all magnitudes are equal; nearly none
                for density in (0.05, 0.2, 0.5, 0.999, 1.0):
                    for mean in (True, False):
                        check(Path(name), dtype, spread, density, mean, generator)


if __name__ == "__main__":
    main()
