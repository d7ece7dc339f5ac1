"""parts/model/precision.py: arithmetic on devices without float64; the CPU plays one."""

import pytest
import scipy.stats
import torch

from parts.model import precision
from parts.model.likelihoods.discrete import NegativeBinomial
from parts.model.precision import sample_gamma, to_float64


def test_float64_on_a_device_without_it_is_on_the_cpu(monkeypatch):
    assert to_float64(torch.ones(2, device="meta")).device.type == "meta"
    monkeypatch.setattr(precision, "NO_FLOAT64", {"cpu"})
    moved = to_float64(torch.tensor([1.5], requires_grad=True))
    assert (moved.dtype, moved.device.type) == (torch.float64, "cpu")
    assert moved.requires_grad


@pytest.mark.parametrize("devices", [{"cpu"}, set()])
def test_a_gamma_draw_has_the_gamma_distribution_with_and_without_a_kernel(devices, monkeypatch):
    monkeypatch.setattr(precision, "HAS_GAMMA", devices)
    concentration = torch.tensor([0.3, 4.0])
    draws = sample_gamma(concentration.expand(20_000, 2))
    torch.manual_seed(1)
    once = sample_gamma(concentration)
    torch.manual_seed(1)
    torch.testing.assert_close(sample_gamma(concentration), once, atol=0, rtol=0)
    for column, a in zip(draws.T, concentration.tolist(), strict=True):
        assert scipy.stats.kstest(column.numpy(), scipy.stats.gamma(a).cdf).pvalue > 1e-3


def test_both_ways_of_a_gamma_draw_give_the_same_numbers(monkeypatch):
    found = []
    for devices in ({"cpu"}, set()):
        monkeypatch.setattr(precision, "HAS_GAMMA", devices)
        torch.manual_seed(0)
        found.append(sample_gamma(torch.tensor([0.5, 2.0, 30.0]).expand(50, 3)))
    torch.testing.assert_close(*found, atol=0, rtol=0)


def test_a_count_without_float64_on_the_device_has_the_same_log_prob(monkeypatch):
    likelihood = NegativeBinomial([1.0, 5.0], [0.5, 0.7])
    params, x = torch.randn(3, 4, 2), torch.tensor([[0.0, 4000.0]]).expand(4, 2)
    whole = likelihood.log_prob(params, x)
    monkeypatch.setattr(precision, "NO_FLOAT64", {"cpu"})
    torch.testing.assert_close(likelihood.log_prob(params, x), whole, atol=0, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
def test_describing_arrays_on_another_device_than_the_module():
    """`center`, `cell_errors` and `baselines` take arrays of the CPU, and the other way round."""
    from parts.forms.units import Column
    from parts.model.batches import Batch
    from parts.model.likelihoods import LIKELIHOODS

    columns = [
        Column("a", kind="categorical", levels=list("xyz")),
        Column("b"),
        Column("c", kind="ordinal", levels=list("1234")),
        Column("d", kind="count", centre=1.0, spread=0.8),
        Column("e", kind="binary", levels=["no", "yes"]),
    ]
    codes = torch.stack([torch.randint(k, (50,)) for k in (3, 9, 4, 9, 2)], -1).float()
    for name, likelihood in LIKELIHOODS.items():
        x = (codes > 1).float() if name in ("bernoulli", "logistic") else codes
        mask = None if name == "gaussian" else (torch.rand(50, 5) > 0.3).float()
        full = torch.ones_like(x) if mask is None else mask
        expected = None
        for module_on, arrays_on in (("cpu", "cpu"), ("cuda", "cpu"), ("cpu", "cuda")):
            own = likelihood.of(columns).to(module_on)
            rows = Batch(x.to(arrays_on), None, None if mask is None else mask.to(arrays_on))
            center = own.center(rows.x, full.to(arrays_on))
            errors = own.cell_errors(rows.x, center.expand(50, -1))
            found = [center.cpu(), errors.cpu(), own.baselines(rows, rows)]
            expected = expected or found
            torch.testing.assert_close(found, expected)
