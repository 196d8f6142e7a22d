#!/usr/bin/env python3
"""Task vectors as files, read and written by safetensors and NumPy from what docs/deltas.md says of the layouts.

Exit code 77 where safetensors or NumPy is not here.
"""

import json
import sys
import tempfile
from pathlib import Path

from common import taskvec

try:
    import numpy as np
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)


def metadata(path):
    with safe_open(path, "np") as file:
        return file.metadata()


def models(folder):
    rng = np.random.default_rng(0)
    base = {"a": rng.normal(size=(300, 1000)).astype(np.float32), "b": rng.normal(size=7).astype(np.float16),
            "scalar": np.array(2.5, np.float32), "ids": np.arange(4)}
    ft = {name: np.asarray(x + 0.01 * rng.normal(size=x.shape), x.dtype) if x.dtype.kind == "f" else x for name, x in base.items()}
    for name, model in (("base", base), ("ft", ft)):
        save_file(model, folder / f"{name}.safetensors", {"format": "pt"})
    return base, ft


def exact(base, ft):
    return {name: np.asarray(ft[name].astype(np.float64) - base[name].astype(np.float64)) for name in base if base[name].dtype.kind == "f"}


def dense(parts, tau):
    out = np.zeros(tau.size, np.float32)
    out[parts["indices"]] = parts["values"]
    return out.reshape(tau.shape)


def parts_of(stored, name, *suffixes):
    return {suffix: stored[f"{name}.{suffix}"] for suffix in suffixes}


def check_extract(folder, taus):
    extract = lambda *options: (taskvec("extract", folder / "base.safetensors", folder / "ft.safetensors", "-o",
                                        folder / "tv.safetensors", "--force", *options), load_file(folder / "tv.safetensors"))[1]
    stored = extract()
    assert set(stored) == set(taus)
    for name, tau in taus.items():
        assert np.array_equal(stored[name], tau.astype(np.float32)), name
    stored = extract("--sparse", 0.25)
    for name, tau in taus.items():
        tau32 = tau.astype(np.float32)
        k = max(1, int(np.floor(0.25 * tau.size + 0.5)))
        kept = np.sort(np.argsort(-np.abs(tau32).ravel(), kind="stable")[:k])
        parts = parts_of(stored, name, "indices", "values")
        assert np.array_equal(parts["indices"], kept), name
        assert np.array_equal(parts["values"], tau32.ravel()[kept]), name
    stored = extract("--sparse", 0.25, "--random", "--seed", 5)
    for name, tau in taus.items():
        parts = parts_of(stored, name, "indices", "values")
        assert np.array_equal(parts["values"], (4 * tau).astype(np.float32).ravel()[parts["indices"]]), name
    share = stored["a.indices"].size / taus["a"].size
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / taus["a"].size), share
    stored = extract("--sign")
    for name, tau in taus.items():
        bits = np.unpackbits(stored[f"{name}.bits"], bitorder="little")[: tau.size]
        assert np.array_equal(bits, (tau < 0).ravel()), name
        assert np.isclose(stored[f"{name}.scale"], np.abs(tau).mean(), rtol=1e-7), name
    print("extract: dense, sparse, random and sign files hold what NumPy computes")


def check_written_by_numpy(folder, base, taus):
    """A sparse file of safetensors' making is a source like any other."""
    tensors, described = {}, []
    for name, tau in taus.items():
        kept = np.flatnonzero(np.abs(tau).ravel() > 0.01).astype(np.uint32)
        tensors[f"{name}.indices"], tensors[f"{name}.values"] = kept, tau.astype(np.float32).ravel()[kept]
        described.append({"name": name, "dtype": "F32", "shape": tau.shape})
    taskvec("edit", "base", "-s", f"base={folder / 'base.safetensors'}", "-o", folder / "copy.safetensors")
    inspected = json.loads(taskvec("inspect", "--json", folder / "copy.safetensors").stdout)["result"]
    fingerprint = json.loads(inspected["metadata"]["taskvec.sources"])[0]["fingerprint"]
    ends = {"taskvec.delta.base": json.dumps({"path": "base", "fingerprint": fingerprint}),
            "taskvec.delta.finetuned": json.dumps({"path": "ft", "fingerprint": "unknown"})}
    save_file(tensors, folder / "np.safetensors", {"taskvec.delta": "sparse", "taskvec.delta.tensors": json.dumps(described), **ends})
    taskvec("edit", "base - 0.5*tv", "-s", f"base={folder / 'base.safetensors'}", "-s", f"tv={folder / 'np.safetensors'}",
            "-o", folder / "out.safetensors")
    out = load_file(folder / "out.safetensors")
    for name, tau in taus.items():
        expected = base[name].astype(np.float64) - 0.5 * dense(parts_of(tensors, name, "indices", "values"), tau).astype(np.float64)
        assert np.array_equal(out[name], expected.astype(base[name].dtype)), name
    assert np.array_equal(out["ids"], base["ids"])
    print("a sparse file written by safetensors is added as NumPy adds it")


def check_lossless(folder, ft):
    taskvec("extract", folder / "base.safetensors", folder / "ft.safetensors", "-o", folder / "exact.safetensors", "--lossless")
    taskvec("apply", folder / "base.safetensors", folder / "exact.safetensors", "-o", folder / "again.safetensors")
    again = load_file(folder / "again.safetensors")
    assert all(np.array_equal(again[name], x) and again[name].dtype == x.dtype for name, x in ft.items()) and set(again) == set(ft)
    assert metadata(folder / "again.safetensors") == {"format": "pt"}
    print("lossless: what apply writes is what safetensors wrote")


with tempfile.TemporaryDirectory() as scratch:
    place = Path(scratch)
    base, ft = models(place)
    check_extract(place, exact(base, ft))
    check_written_by_numpy(place, base, exact(base, ft))
    check_lossless(place, ft)
