"""parts/console/devices.py and precision: every script with the model on another device.

The arrays stay on the CPU. The device is a real one where torch finds it. Elsewhere a stand-in
plays it: its tensors are ordinary ones of a class of their own, and every operation on them is
checked as that device would check it.
"""

import copy
import importlib
import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.overrides import TorchFunctionMode

import tune
from parts.console import devices
from parts.measure import baselines, closeness, disentanglement
from parts.model.precision import NO_FLOAT64
from parts.training import presets

DEVICES = ("cuda", "mps")
CHOOSERS = ("parts.console.fitting", "evaluate", "generate", "tune")


# The played device

# Operations that take tensors of two devices, a destination and a source, or only compare types.
ACROSS = {"copy_", "to", "type_as", "_has_compatible_shallow_copy_type"}
# Operations that refuse even a tensor without dimensions from another device; sums, products,
# comparisons and `where` take one.
STRICT = {
    *("cat", "concat", "stack", "hstack", "vstack", "index_select", "gather", "scatter"),
    *("index_add", "index_add_", "searchsorted", "matmul", "__matmul__", "__rmatmul__", "mm"),
    *("bmm", "baddbmm", "addmm", "linear", "einsum", "cdist"),
}
NO_NUMPY = {"numpy", "__array__"}
NO_KERNEL = {"cuda": set(), "mps": {"_standard_gamma", "special_ndtri"}}  # of what is used here
ANSWERS = {torch.Tensor.is_cpu: False, torch.Tensor.is_cuda: "cuda", torch.Tensor.is_mps: "mps"}


class OnDevice(torch.Tensor):
    """A tensor on the played device. Its numbers lie in main memory; a PlayedDevice checks them."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        raise AssertionError(f"{function.__name__} of a played tensor where no device is played")


class PlayedDevice(TorchFunctionMode):
    """While it is entered, torch has a device of this type ("cuda" or "mps") as well as the CPU.

    What torch raises on such a device is raised here, by the same rules:
    an operation takes tensors of one device, or tensors of the CPU without dimensions as well
    (an index may lie on the CPU); NumPy reads none of its tensors; random numbers of it come from
    no generator of the CPU; and mps has no float64, and lacks the kernels in NO_KERNEL.
    """

    def __init__(self, kind):
        super().__init__()
        self.kind, self.device = kind, torch.device(kind, 0)

    def is_own(self, device):
        return isinstance(device, (str, torch.device)) and torch.device(device).type == self.kind

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name, asked = function.__name__, self.destination(function, args, kwargs)
        # What else a deep copy has copied so far is no part of this one.
        tensors = list(tensors_in(args[:1] if name == "__deepcopy__" else (args, kwargs)))
        if not self.is_own(asked) and not any(isinstance(t, OnDevice) for t in tensors):
            return function(*args, **kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            return self.run(function, name, args, kwargs, tensors, asked)

    def run(self, function, name, args, kwargs, tensors, asked):
        here = [t for t in tensors if isinstance(t, OnDevice)]
        if name == "__get__" and function.__self__ is torch.Tensor.device:
            return self.device
        if name == "__get__" and function.__self__ in ANSWERS:
            return ANSWERS[function.__self__] == self.kind
        if name == "_has_compatible_shallow_copy_type":  # so that Module.to makes new parameters
            return len(here) == len(tensors)
        if name in NO_NUMPY:
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to "
                "copy the tensor to host memory first."
            )
        if name in NO_KERNEL[self.kind]:
            raise NotImplementedError(
                f"The operator 'aten::{name}' is not currently implemented for the MPS device."
            )
        if name == "__deepcopy__":
            tensor, memo = args
            copied = self.wrap(tensor.detach().clone()).requires_grad_(tensor.requires_grad)
            return memo.setdefault(id(tensor), copied)
        if name == "__reduce_ex__":  # saved; torch.load with map_location="cpu" gives it back
            return args[0].detach().as_subclass(torch.Tensor).__reduce_ex__(*args[1:])
        if name == "__iter__":
            return iter(self.wrap(args[0].unbind(0)))
        self.refuse_mixed(name, args, tensors)
        stays = self.is_own(asked) or (asked is None and name != "cpu")
        if kwargs.get("generator") is not None and stays:
            raise RuntimeError(
                f"Expected a '{self.kind}' device type for generator but found 'cpu'"
            )
        if asked is not None:
            args, kwargs = self.on_the_cpu(args, kwargs)
        found = function(*args, **kwargs)
        if here and isinstance(found, torch.Tensor) and found.dtype != here[0].dtype:
            self.refuse_float64(found)  # on the way to the CPU too
        moved = asked is not None or name == "cpu"
        if moved and isinstance(found, torch.Tensor):
            found = found.clone()  # for between devices no memory is shared
        return self.wrap(found) if stays else as_ordinary(found)

    def destination(self, function, args, kwargs):
        """The device that a call names, or None."""
        if kwargs.get("device") is not None:
            return torch.device(kwargs["device"])
        if function is not torch.Tensor.to:
            return None
        for value in (*args[1:2], kwargs.get("other")):
            if isinstance(value, torch.Tensor):
                return self.device if isinstance(value, OnDevice) else torch.device("cpu")
            if isinstance(value, (str, torch.device)):
                return torch.device(value)
        return None

    def on_the_cpu(self, args, kwargs):
        """The arguments with this device replaced by the CPU, where the numbers lie."""
        if self.is_own(kwargs.get("device")):
            kwargs["device"] = "cpu"
        return tuple("cpu" if self.is_own(value) else value for value in args), kwargs

    def refuse_mixed(self, name, args, tensors):
        if name in ACROSS:
            return
        others = [t for t in tensors if not isinstance(t, OnDevice)]
        if name in ("__getitem__", "__setitem__") and isinstance(args[0], OnDevice):
            others = list(tensors_in(args[2:]))  # what is assigned; an index may lie on the CPU
            others = [t for t in others if not isinstance(t, OnDevice)]
        elif name == "__getitem__" and isinstance(args[0], torch.Tensor):
            # Of an ordinary tensor: a whole number is read from the device, an index array is not.
            numbers = [t for t in tensors_in(args[1:]) if isinstance(t, OnDevice)]
            if all(t.dim() == 0 and t.dtype != torch.bool for t in numbers):
                return
        if any(t.dim() or name in STRICT for t in others) and len(others) < len(tensors):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{self.device} and cpu! (in {name})"
            )

    def refuse_float64(self, tensor):
        if self.kind in NO_FLOAT64 and tensor.dtype in (torch.float64, torch.complex128):
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't "
                "support float64. Please use float32 instead."
            )

    def wrap(self, found):
        """The result with its tensors on this device."""
        if isinstance(found, OnDevice):
            return found
        if isinstance(found, torch.Tensor):
            self.refuse_float64(found)
            return found.as_subclass(OnDevice)
        if isinstance(found, (list, tuple)) and not isinstance(found, torch.Size):
            parts = [self.wrap(part) for part in found]
            if hasattr(found, "_make"):
                return found._make(parts)
            return type(found)(parts)
        return found


def as_ordinary(found):
    return found.as_subclass(torch.Tensor) if isinstance(found, OnDevice) else found


def tensors_in(value):
    """The tensors among nested arguments."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def is_there(kind):
    return torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()


@pytest.fixture(params=DEVICES)
def device(request):
    """A device other than the CPU: the real one where there is one, else it is played."""
    with ExitStack() as played:
        if not is_there(request.param):
            played.enter_context(PlayedDevice(request.param))
        yield torch.device(request.param)


@pytest.fixture
def on_device(device, monkeypatch):
    """Every script computes on `device`, whatever --device says."""
    for name in CHOOSERS:
        module = importlib.import_module(name)
        assert module.choose_device is devices.choose_device
        monkeypatch.setattr(module, "choose_device", lambda name: device)
    return device


# The device itself


def test_a_planted_mix_of_devices_is_caught(device):
    there, here = torch.ones(3, device=device), torch.ones(3)
    planted = (
        lambda: there + here,
        lambda: here * there,
        lambda: there.mul_(here),
        lambda: torch.where(here > 0, there, 0.0),
        lambda: torch.cat([there, here]),
        lambda: torch.stack([there[0], here[0]]),
        lambda: torch.nn.functional.linear(there, here[None]),
        lambda: there.index_select(0, torch.tensor([1])),
        lambda: here[torch.tensor([1], device=device)],
        lambda: here + there.sum(),
        lambda: torch.einsum("a,a->", there, here),
    )
    for mix in planted:
        with pytest.raises((RuntimeError, IndexError)):
            mix()


def test_what_devices_may_share_is_not_refused(device):
    there, here = torch.arange(3.0, device=device), torch.ones(())
    assert (there + here).tolist() == [1, 2, 3]
    assert there[torch.tensor([2, 0])].tolist() == [2, 0]
    assert torch.ones(3)[there.argmax()].item() == 1
    assert torch.zeros(3).copy_(there).tolist() == [0, 1, 2]
    assert there.to(here).device == here.device == torch.device("cpu")
    assert torch.ones(2).to(there).device.type == device.type


def test_a_planted_numpy_call_is_caught(device):
    there = torch.ones(3, device=device)
    planted = (
        there.numpy,
        lambda: np.asarray(there),
        lambda: np.ones(3) * there,
        there[0].numpy,
        lambda: torch.from_numpy(np.ones(3)) + there,
    )
    for call in planted:
        with pytest.raises((TypeError, RuntimeError)):
            call()
    np.testing.assert_array_equal(there.cpu().numpy(), 1)


def test_float64_is_refused_by_a_device_without_it(device):
    planted = (
        lambda: torch.ones(2, device=device).double(),
        lambda: torch.ones(2, dtype=torch.float64).to(device),
        lambda: torch.as_tensor(np.ones(2), device=device),
        lambda: torch.ones(2, device=device).to(torch.float64),
        lambda: torch.ones(2, device=device).to("cpu", torch.float64),
        lambda: torch.ones(2, device=device).to(torch.ones(2, dtype=torch.float64)),
        lambda: torch.ones(2, device=device).sum(dtype=torch.float64),
    )
    for call in planted:
        if device.type in NO_FLOAT64:
            with pytest.raises(TypeError):
                call()
        else:
            assert call().dtype == torch.float64


def test_a_kernel_that_the_device_lacks_is_missing(device):
    halves = torch.full((2,), 0.5, device=device)
    planted = (torch.special.ndtri, torch._standard_gamma)
    for call in planted:
        if device.type == "mps" and not is_there("mps"):
            with pytest.raises(NotImplementedError):
                call(halves)
        else:
            assert call(halves).device.type == device.type


def test_a_generator_of_the_cpu_draws_nothing_for_another_device(device):
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(RuntimeError, match="generator"):
        torch.randn(2, generator=generator, device=device)
    assert torch.randn(2, device=device).device.type == device.type


def test_a_module_lives_on_the_device(device, tmp_path):
    """A module is made, moved, differentiated, copied, saved and loaded on the device."""
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).to(device)
    tensors = [*module.parameters(), *module.buffers(), *module.state_dict().values()]
    assert {t.device.type for t in tensors} == {device.type}
    assert all(isinstance(p, torch.nn.Parameter) and p.is_leaf for p in module.parameters())
    x = torch.randn(5, 3)
    with pytest.raises(RuntimeError):
        module(x)
    grads = torch.autograd.grad(module(x.to(device)).square().sum(), list(module.parameters()))
    assert {g.device.type for g in grads} == {device.type}
    copied = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        module[0].bias += 1
    difference = module.state_dict()["0.bias"] - copied["0.bias"]
    assert difference.cpu().numpy() == pytest.approx(1)
    torch.save(module.state_dict(), tmp_path / "m.pt")
    loaded = torch.load(tmp_path / "m.pt", map_location="cpu", weights_only=True)
    assert {t.device.type for t in loaded.values()} == {"cpu"}
    module.load_state_dict(copied)
    assert module[0].bias.tolist() == copied["0.bias"].tolist()
    module.load_state_dict(loaded)
    assert module[0].bias.tolist() == loaded["0.bias"].tolist()


def test_a_copy_shares_no_memory_with_the_other_device(device):
    x = np.zeros(2, np.float32)
    there = torch.as_tensor(x, device=device)
    back = there.cpu()
    x += 1
    back += 2
    assert there.tolist() == [0, 0]


# The scripts


@pytest.fixture
def said(call, tmp_path, monkeypatch):
    """said(script, *args): what a script that succeeds prints, run in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(script, *args):
        result = call(script, *args)
        assert (result.code, result.err) == (0, ""), result.err
        return result.out

    return run


SMALL = ("--hidden-dims", 8, "--latent-dim", 3, "--epochs", 1, "--threads", 1, "--batch-size", 32)
FEW = ("--n-samples", 8)
VQVAE = ("--model", "vqvae", "--n-codes", 8, "--code-dim", 2)


def slow(*flags):
    """A case that takes long and differs little from another."""
    return pytest.param(flags if len(flags) > 1 else flags[0], marks=pytest.mark.slow)


def table(n=60):
    """A table of every kind of column, with holes."""
    rng = np.random.default_rng(0)
    found = pd.DataFrame(
        {
            "job": rng.choice(["nurse", "cook", "smith", "clerk"], n),
            "size": rng.normal(3, 1, n),
            "sales": rng.poisson(3, n),
            "member": rng.choice(["no", "yes"], n),
            "grade": rng.integers(1, 5, n),
            "pay": rng.lognormal(2, 1, n),
            "town": rng.choice(["a", "b", "c"], n),
            "age": rng.normal(40, 9, n),
        }
    )
    found = found.astype(object)
    for column in found:
        found.loc[rng.random(n) < 0.15, column] = None
    return found.assign(odd=rng.integers(0, 2, n))


def pictures(n=60):
    """Grey bars of 4 x 4 pixels, upright or not, and which."""
    rng = np.random.default_rng(0)
    x, label = np.full((n, 4, 4), 51 / 255), np.tile([3, 5], n // 2)
    x[np.arange(n), :, rng.integers(4, size=n)] = 204 / 255
    x[label == 5] = x[label == 5].transpose(0, 2, 1)
    return x, label


@pytest.fixture
def few_baselines(monkeypatch):
    """What scikit-learn computes from arrays alone left out: it knows of no device."""
    monkeypatch.setattr(baselines, "imputers", lambda *args: {})
    monkeypatch.setattr(closeness, "nearer_than_neighbours", lambda *args: 0.5)
    monkeypatch.setattr(baselines, "detectors", lambda known, x: {"none": np.arange(len(x))})


def all_verbs_on_a_table(said, *flags):
    """Every script but tune.py and plot_results.py, on a table with holes and conditions."""
    table().to_csv("t.csv", index=False)
    given = ("--condition", "town,age")
    said("train", "--data", "t.csv", *given, "--kind", "odd=ignore", *SMALL, *flags, "--run", "r")
    said("evaluate", *FEW)
    said("detect", "t.csv", "--run", "r", "--labels", "odd", *FEW)
    said("impute", "t.csv", "--run", "r", "--check", "--interval", 0.8, "--draws", 2, *FEW)
    for cells in ("--keep-missing",), ("--given", "town=a,age=30"), ("--given", "job=cook,town=b"):
        said("generate", "--n", 20, *cells, "--overwrite")


def all_verbs_on_pictures(said, *flags):
    x, label = pictures()
    np.savez("p.npz", X=x, y=label)
    said(
        "train",
        "--data",
        "p.npz",
        "--condition",
        "label",
        "--hide-rate",
        0.5,
        *SMALL,
        *flags,
        "--run",
        "r",
    )
    said("evaluate", *FEW)
    said("detect", "p.npz", "--run", "r", *FEW)
    x[::2, :2, :2] = np.nan
    np.savez("holes.npz", X=x, y=label)
    said("impute", "holes.npz", "--run", "r", "--check", "--draws", 1, *FEW)
    for cells in (), ("--pixels", "drawn"), ("--given", "label=3"):
        said("generate", "--n", 20, *cells, "--overwrite")


@pytest.mark.usefixtures("few_baselines", "on_device")
@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--real", "student", "--prior", "mixture", "--variance", "decoder"),
        VQVAE,
        slow("--likelihood", "ordered", "--heads", "mixture"),
        ("--likelihood", "ordered", "--heads", "bins"),
        slow("--flow", "planar:2"),
        slow("--members", 2, "--objective", "iwae"),
    ],
    ids=["members", "student mixture", "vqvae", "mixture", "bins", "planar", "iwae"],
)
def test_a_mixed_table(said, flags):
    all_verbs_on_a_table(said, *flags)


@pytest.mark.usefixtures("few_baselines", "on_device")
@pytest.mark.parametrize(
    "flags",
    [
        (),
        VQVAE,
        ("--model", "vaegan"),
        ("--likelihood", "logistic", "--components", 2, "--prior", "vamp"),
        ("--likelihood", "gaussian", "--members", 2),
        ("--binarize", "static", "--flow", "iaf:2"),
        ("--network", "conv", "--hidden-dims", 4, 8),
    ],
    ids=["defaults", "vqvae", "vaegan", "logistic vamp", "gaussian members", "static iaf", "conv"],
)
def test_pictures(said, flags):
    all_verbs_on_pictures(said, *flags)


@pytest.mark.usefixtures("few_baselines", "on_device")
@pytest.mark.parametrize(
    "flags",
    [
        ("--likelihood", "gaussian"),
        ("--likelihood", "student", "--flow", "iaf:1"),
        ("--likelihood", "gaussian", "--prior", "vamp", "--variance", "shared"),
        slow("--likelihood", "gaussian", "--model", "vaegan"),
    ],
    ids=["gaussian", "student iaf", "vamp", "vaegan"],
)
def test_a_table_of_numbers(said, flags):
    rng = np.random.default_rng(0)
    numbers = pd.DataFrame(rng.normal(size=(60, 3)) @ rng.normal(size=(3, 4)), columns=list("abcd"))
    numbers.to_csv("t.csv", index=False)
    said("train", "--data", "t.csv", *flags, *SMALL, "--run", "r")
    said("evaluate", *FEW)
    said("detect", "t.csv", "--run", "r", *FEW)
    said("generate", "--n", 20)
    said("generate", "--n", 20, "--given", "a=1", "--overwrite")
    numbers[rng.random(numbers.shape) < 0.2] = np.nan
    numbers.to_csv("holes.csv", index=False)
    said("impute", "holes.csv", "--run", "r", "--check", *FEW)


@pytest.mark.usefixtures("few_baselines", "on_device")
@pytest.mark.slow
def test_runs_that_are_fitted_to_a_file(said, monkeypatch):
    for preset in ("table", "impute"):
        small = {"hidden_dims": [8], "epochs": 2}
        monkeypatch.setitem(presets.PRESETS, preset, presets.PRESETS[preset] | small)
    table(40).to_csv("t.csv", index=False)
    said("detect", "t.csv", "--labels", "odd", *FEW)
    said("impute", "t.csv", "--check", *FEW)


@pytest.mark.usefixtures("on_device")
@pytest.mark.parametrize("flags", [(), ("--objective", "iwae", "--n-samples", 2)])
def test_a_run_that_is_resumed(said, flags):
    """The run stops early, so that it also keeps a copy of its best weights."""
    started = ("--data", "iris", "--run", "r", "--patience", 1, *flags)
    said("train", *started, *SMALL)
    said("train", "--resume", "r", "--epochs", 3)
    lines = Path("runs/r/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines][:2] == [1, 2]
    said("evaluate", *FEW)


@pytest.mark.usefixtures("on_device")
def test_known_factors(said, monkeypatch):
    monkeypatch.setattr(disentanglement, "MAX_FACTOR_ROWS", 200)
    data = ("--data", "sprites", "--n-rows", 200)
    said("train", *data, *SMALL, "--latent-dim", 2, "--run", "r")
    said("evaluate", "--factors", *FEW)
    assert "mig" in json.loads(Path("runs/r/metrics.json").read_text())
    with np.load("runs/r/evaluation.npz") as arrays:
        assert "manifold" in arrays


@pytest.mark.usefixtures("on_device")
@pytest.mark.parametrize("data", ["iris", slow("p.npz")])
def test_a_search(said, monkeypatch, data):
    monkeypatch.setattr(tune, "draw", lambda *arguments: None)
    x, label = pictures()
    np.savez("p.npz", X=x, y=label)
    said("tune", "--data", data, "--epochs", 2, "--trials", 2, "--threads", 1)


@pytest.mark.parametrize("data", ["iris", "t.csv"])
def test_the_figures_are_those_of_the_cpu(said, device, monkeypatch, data):
    """A run trained on the device has equal figures on both devices, up to rounding.

    A real device draws other samples than the CPU; there only figures without samples are compared.
    """
    table().to_csv("t.csv", index=False)
    found = []
    for on in (device, torch.device("cpu")):
        for chooser in CHOOSERS:
            monkeypatch.setattr(f"{chooser}.choose_device", lambda name, on=on: on)
        if not found:
            said("train", "--data", data, *SMALL, "--run", "r")
            assert json.loads(Path("runs/r/config.json").read_text())["execution"]["device"] == (
                device.type
            )
        said("evaluate", *FEW)
        metrics = json.loads(Path("runs/r/metrics.json").read_text())
        found.append({name: value for name, value in metrics.items() if type(value) is float})
    if is_there(device.type):
        found = [{k: v for k, v in m.items() if k.startswith(("baseline", "test"))} for m in found]
    assert found[0] == pytest.approx(found[1], rel=1e-5)
