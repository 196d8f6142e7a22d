#!/usr/bin/env python3
"""Files that PyTorch writes, turned into safetensors by taskvec and read back by the reference implementation: equal bit for bit, and
nothing that they would have called is called.

Exit code 77 where torch or safetensors is not here.
"""

import json
import os
import pickle
import sys
import tempfile
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

from common import taskvec

try:
    import torch
    from safetensors.torch import load_file
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)
warnings.filterwarnings("ignore")
torch.manual_seed(0)

DTYPES = ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int64", "int32", "int16", "int8", "uint64",
          "uint32", "uint16", "uint8", "bool"]


def raw(tensor):
    """The bytes of a tensor, NaN payloads and all."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def random_bits(dtype, *shape):
    size = torch.empty(0, dtype=dtype).element_size()
    count = size * int(torch.tensor(shape).prod())
    high = 2 if dtype == torch.bool else 256
    return torch.randint(0, high, (count,), dtype=torch.uint8).view(dtype).reshape(shape)


def check(what, file, expected):
    """taskvec reads exactly the expected tensors from the file."""
    out = file.with_suffix(".safetensors")
    taskvec("edit", "a", "-s", f"a={file}", "-o", out, "--force")
    got = load_file(out)
    assert set(got) == set(expected), f"{what}: {sorted(set(got) ^ set(expected))}"
    for name, tensor in expected.items():
        assert got[name].dtype == tensor.dtype and got[name].shape == tensor.shape, f"{what}: {name}"
        assert torch.equal(raw(got[name]), raw(tensor)), f"{what}: {name} differs"
    print(f"{what}: {len(expected)} tensors are the same")


def metadata(file):
    return json.loads(taskvec("inspect", "--json", file).stdout)["result"]["metadata"]


def refused(what, file, *words):
    done = taskvec("inspect", file, status=2)
    assert all(word in done.stderr for word in words), f"{what}: {done.stderr}"
    print(f"{what}: refused, {done.stderr.strip().split(': ', 2)[-1]}")


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7), torch.nn.Linear(7, 3, bias=False))
        self.scale = torch.nn.Parameter(torch.randn(()))
        self.head = torch.nn.Linear(3, 3)
        self.head.weight = torch.nn.Parameter(torch.randn(3, 3).t())
        self.register_buffer("table", torch.arange(4, dtype=torch.int32))

    def forward(self, x):
        return self.head(self.body(x)) * self.scale


def tensors():
    base = torch.randn(6, 8)
    state = {f"dtype.{name}": random_bits(getattr(torch, name), 3, 5) for name in DTYPES}
    state |= {
        "shared.all": base, "shared.rows": base[2:4], "shared.columns": base[:, 3:], "shared.element": base[5, 7],
        "transposed": base.t(), "steps": base[::2, ::3], "permuted": torch.randn(2, 3, 4, 5).permute(2, 0, 3, 1),
        "channels_last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last), "half.steps": base.half()[:, ::2],
        "expanded": torch.randn(1, 4).expand(3, 4), "scalar": torch.tensor(1.5), "empty": torch.empty(0),
        "empty.shape": torch.empty(3, 0, 2), "empty.view": base[6:], "parameter": torch.nn.Parameter(torch.randn(2, 2)),
        "sign": torch.tensor([-0.0, float("nan"), float("inf")]), "byte.steps": torch.arange(9, dtype=torch.uint8)[::3],
        "double.steps": torch.randn(9, dtype=torch.float64)[1::2], "unaligned": torch.randn(7)[3:],
    }
    return state


def save_both(object, folder, name):
    for form, new in (("zip", True), ("legacy", False)):
        file = folder / f"{name}-{form}.pt"
        torch.save(object, file, _use_new_zipfile_serialization=new)
        yield f"{name}, {form}", file


def check_state_dicts(folder):
    state = tensors()
    for what, file in save_both(OrderedDict(state), folder, "state dict"):
        check(what, file, state)
    for protocol in (3, 4, 5):
        file = folder / f"protocol{protocol}.pt"
        torch.save(state, file, pickle_protocol=protocol)
        check(f"protocol {protocol}", file, state)
    file = folder / "deflated.pt"
    with zipfile.ZipFile(folder / "state dict-zip.pt") as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    check("deflated again", file, state)
    for what, file in save_both(torch.ones(2, 3), folder, "lone tensor"):
        check(what, file, {"tensor": torch.ones(2, 3)})


def check_training_checkpoints(folder):
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.randn(4, 5)).sum().backward()
    optimizer.step()
    state = net.state_dict()
    for key in ("state_dict", "model_state_dict", "model", "module"):
        saved = {"epoch": 3, "best": torch.tensor(0.5), key: state, "optimizer": optimizer.state_dict(), "args": {"lr": 0.1}}
        for what, file in save_both(saved, folder, f"training checkpoint with {key}"):
            check(what, file, state)
            assert metadata(file)["pytorch.path"] == key
            assert metadata(file)["pytorch.left_out"] == "epoch, best, optimizer, args"
    nested = {"encoder": {"layers": {0: state["body.0.weight"], 1: state["body.0.bias"]}}, "scales": [state["scale"]]}
    for what, file in save_both(nested, folder, "nested dicts"):
        check(what, file, {"encoder.layers.0": state["body.0.weight"], "encoder.layers.1": state["body.0.bias"], "scales.0": state["scale"]})


def check_modules(folder):
    net = Net().eval()
    for what, file in save_both(net, folder, "module"):
        check(what, file, net.state_dict())
        assert "Net" in metadata(file)["pytorch.globals"], metadata(file)
    for what, file in save_both({"model": torch.nn.DataParallel(net), "epoch": 1}, folder, "module in a dict"):
        check(what, file, {f"module.{name}": tensor for name, tensor in net.state_dict().items()})
    for name, scripted in (("scripted", torch.jit.script(net)), ("traced", torch.jit.trace(net, torch.randn(2, 5)))):
        file = folder / f"{name}.pt"
        scripted.save(str(file))
        check(f"TorchScript, {name}", file, net.state_dict())


def check_folders(folder):
    state = {"a": torch.randn(3), "b": torch.randn(2, 2)}
    lone, sharded = folder / "lone", folder / "sharded"
    for model in (lone, sharded):
        model.mkdir()
    torch.save(state, lone / "pytorch_model.bin")
    check("folder", lone, state)
    names = {key: f"pytorch_model-0000{i}-of-00002.bin" for i, key in enumerate(state, 1)}
    for key, name in names.items():
        torch.save({key: state[key]}, sharded / name)
    (sharded / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": names}))
    check("sharded folder", sharded, state)


def check_refused(folder):
    quantised = torch.quantize_per_tensor(torch.randn(3), 0.1, 0, torch.qint8)
    cases = {
        "sparse": (torch.eye(3).to_sparse(), "sparse", "to_dense"),
        "sparse csr": (torch.eye(3).to_sparse_csr(), "sparse", "to_dense"),
        "quantised": (quantised, "quantised", "dequantize"),
        "meta": (torch.empty(3, device="meta"), "without data"),
        "complex half": (torch.zeros(3, dtype=torch.complex32), "'w'", "taskvec does not know"),
        "negated": (torch.randn(3, dtype=torch.complex64).conj().imag, "negated", "resolve_neg"),
        "blown up": (torch.zeros(1).expand(1 << 40), "repeats a storage of 4 bytes"),
    }
    for what, (tensor, *words) in cases.items():
        file = folder / "refused.pt"
        torch.save({"w": tensor}, file)
        refused(what, file, "tensor 'w'", *words)
    (folder / "plain.pkl").write_bytes(pickle.dumps({"a": 1}))
    refused("a plain pickle", folder / "plain.pkl", "torch.save did not write")
    torch.save({"epoch": 3}, folder / "nothing.pt")
    refused("no tensors", folder / "nothing.pt", "no tensors in it")


class Trap:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def check_booby_traps(folder):
    marker, armed = folder / "marker", folder / "armed"
    os.system(f"touch {armed}")
    assert armed.exists(), "the trap itself does not work"
    weight = torch.randn(3)
    for what, file in save_both({"w": weight, "trap": Trap(marker)}, folder, "booby trap beside tensors"):
        check(what, file, {"w": weight})
        assert f"{os.name}.system" in metadata(file)["pytorch.globals"], metadata(file)
        assert f"{os.name}.system" in taskvec("inspect", file, status=None).stdout
    torch.save(Trap(marker), folder / "alone.pt")
    refused("booby trap alone", folder / "alone.pt", "no tensors in it", "would have called: posix.system")
    assert not marker.exists(), "a payload ran"


with tempfile.TemporaryDirectory() as scratch:
    for part in (check_state_dicts, check_training_checkpoints, check_modules, check_folders, check_refused, check_booby_traps):
        folder = Path(scratch) / part.__name__
        folder.mkdir()
        part(folder)
