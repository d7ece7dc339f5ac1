"""Cells such as <0.5: read with a limit, counted by the probability beyond it, written back."""

import numpy as np
import pandas as pd
import pytest
import torch

from parts.forms import units
from parts.forms.tables import encoding, kinds, samples
from parts.model.likelihoods.mixed import Mixed
from parts.model.limits import AT_LIMIT


def column_of(texts, wanted=None):
    return kinds.fit_column("x", pd.Series(texts, dtype="str"), wanted)


def encode(texts, column):
    frame = pd.DataFrame({"x": pd.Series(texts, dtype="str")})
    return encoding.encode(frame, [column])


RNG = np.random.default_rng(0)
VALUES = RNG.normal(10, 3, 400).clip(0.1, 13)
TEXTS = ["<7" if v < 7 else ">12.5" if v > 12.5 else f"{v:.2f}" for v in VALUES]


def test_a_column_has_the_limits_of_its_cells():
    column = column_of(TEXTS)
    assert (column.kind, column.below, column.above) == ("real", 7.0, 12.5)
    assert column.describe() == "numbers, robustly scaled, limits <7 and >12.5"
    assert column.n_unread == 0


def test_a_cell_at_a_limit_is_the_limit_and_exact_cells_are_not():
    column = column_of(TEXTS)
    x, mask, odd, _ = encode(["<7", "7", "7.00", ">12.5", "12.5", "9", "<3"], column)
    below, above = column.limits
    assert mask.all()
    assert not odd
    at = np.abs(x[:, :1] - [below, above]) <= AT_LIMIT
    assert at.tolist() == [
        [True, False],
        [False, False],
        [False, False],
        [False, True],
        [False, False],
        [False, False],
        [True, False],  # below 3 is below 7
    ]
    assert column.to_user(x[1:2, 0]) == pytest.approx(7, abs=1e-3)


@pytest.mark.parametrize("cell", ["<9", ">11"])
def test_a_limit_inside_the_range_is_unknown_and_odd(cell):
    column = column_of(TEXTS)
    x, mask, odd, notes = encode(["9", cell], column)
    assert mask[:, 0].tolist() == [1, 0]
    assert odd[0].rows.tolist() == [1]
    assert odd[0].nats == pytest.approx(np.log(401))
    assert (
        f"1 cell taken as missing: '{cell}' in row 2, which is a limit that the training rows"
        in notes[-1]
    )


def test_a_limit_where_training_had_none_is_unknown():
    column = column_of([f"{v:.2f}" for v in VALUES])
    _, mask, odd, _ = encode(["9", "<7"], column)
    assert mask[:, 0].tolist() == [1, 0]
    assert len(odd) == 1


def limited(below=None, above=None, noise="independent"):
    columns = [units.Column("a", below=below, above=above), units.Column("b")]
    return Mixed(columns, variance="column", noise=noise)


def params_of(likelihood, mu):
    return torch.tensor(mu, dtype=torch.float32).reshape(1, 1, -1)


def test_a_cell_below_a_limit_counts_by_the_probability_of_that():
    from scipy import stats

    likelihood = limited(below=0.5)
    x = torch.tensor([[0.5, 0.3], [0.9, 0.3]])
    params = params_of(likelihood, [0.2, -0.1]).expand(1, 2, -1)
    std = likelihood.std(params)[0, 0].detach().double().numpy()
    found = likelihood.log_prob(params, x)[0]
    b = stats.norm(-0.1, std[1]).logpdf(0.3)
    censored = stats.norm(0.2, std[0]).logcdf(0.5) + b
    exact = stats.norm(0.2, std[0]).logpdf(0.9) + b
    np.testing.assert_allclose(found.detach().numpy(), [censored, exact], rtol=1e-5)
    per_column = likelihood.log_prob_per_column(params, x)[0]
    np.testing.assert_allclose(per_column.sum(-1).detach().numpy(), [censored, exact], rtol=1e-5)


def test_the_density_and_the_mass_beyond_both_limits_sum_to_1():
    likelihood = limited(below=-0.7, above=1.1)
    grid = torch.linspace(-0.7, 1.1, 20_001)[1:-1]
    ends = torch.tensor([-0.7, 1.1])
    cells = torch.cat([grid, ends])
    x = torch.stack([cells, torch.zeros_like(cells)], -1)
    mask = torch.tensor([1.0, 0.0]).expand_as(x)
    params = params_of(likelihood, [0.2, 0.0]).expand(1, len(x), -1)
    log_p = likelihood.log_prob(params, x, mask)[0].double().exp()
    total = torch.trapezoid(log_p[:-2], grid.double()) + log_p[-2:].sum()
    assert total.item() == pytest.approx(1, abs=1e-3)


def test_with_correlated_noise_a_censored_cell_is_conditional_on_the_exact_ones():
    from scipy import stats

    likelihood = limited(above=0.4, noise="correlated")
    with torch.no_grad():
        likelihood.blocks["real"].low[1, 0] = 0.8
    params = params_of(likelihood, [0.1, -0.2])
    covariance = likelihood.blocks["real"].noise().covariance.detach().numpy()
    x = torch.tensor([[0.4, 0.6]])
    weight = covariance[0, 1] / covariance[1, 1]
    mean = 0.1 + weight * (0.6 + 0.2)
    std = np.sqrt(covariance[0, 0] - weight * covariance[0, 1])
    expected = stats.norm(-0.2, np.sqrt(covariance[1, 1])).logpdf(0.6)
    expected += stats.norm(mean, std).logsf(0.4)
    found = likelihood.log_prob(params, x)
    assert found.item() == pytest.approx(expected, rel=1e-4)
    found.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in likelihood.parameters())


def test_generated_cells_beyond_a_limit_are_written_as_such():
    column = column_of(TEXTS)
    x = column.to_model(np.array([3.0, 9.0, 14.0]))[:, None]
    frame = samples.as_frame(x, np.ones_like(x), [column])
    assert frame["x"].tolist() == ["<7", "9.00", ">12.5"]


def test_a_limit_has_no_change_of_variables():
    column = column_of(TEXTS)
    x, *_ = encode(["<7", "9"], column)
    at_limit, inside = column.log_det(x[:, 0])
    assert at_limit == 0
    assert inside != 0


@pytest.mark.slow
def test_the_mean_below_a_limit_is_learned_from_the_probability_of_it(tmp_path, call):
    """A censored normal: what is drawn below the limit is as often there as in the rows."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=1500)
    y = 0.8 * z + 0.6 * rng.normal(size=1500)
    texts = [f"{v:.3f}" if v >= -0.5 else "<-0.5" for v in y]
    frame = pd.DataFrame({"y": texts, "z": np.round(z, 3)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    runs = ("--runs-dir", tmp_path / "runs")
    call("train", "--data", tmp_path / "t.csv", *runs, "--run", "r", "--threads", "1")
    out = tmp_path / "g.csv"
    flags = ("--marginals", "model", "--n", "3000")
    made = call("generate", "--run", "r", *runs, "--out", out, *flags)
    assert made.code == 0, made.err
    drawn = pd.read_csv(out, dtype=str)
    below = drawn["y"] == "<-0.5"
    assert below.mean() == pytest.approx(np.mean(y < -0.5), abs=0.04)
    assert drawn["z"][below].astype(float).mean() == pytest.approx(z[y < -0.5].mean(), abs=0.12)
