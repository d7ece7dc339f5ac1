"""Columns decoded in order: bins, masses and draws against sums over all rows; `generate FILE`."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit

from parts.errors import UserError
from parts.forms.tables.kinds import fit_column
from parts.forms.units import Column
from parts.model.batches import Batch
from parts.model.bins import MOST_BINS, Bins
from parts.model.likelihoods import ordered
from parts.model.likelihoods.ordered import Completed, Ordered
from vae import VAE

close = torch.testing.assert_close
LEVELS = [
    Column("a", kind="binary", levels=["no", "yes"]),
    Column("b", kind="categorical", levels=["x", "y", "z"]),
    Column("c", kind="ordinal", levels=["1", "2", "3"]),
]
EVERY = torch.tensor(list(itertools.product(range(2), range(3), range(3))), dtype=torch.float32)
NUMBER = Column("number")
COUNT = Column("count", kind="count", centre=1.0, spread=1.0)


def numbers_of_kind(kind, n=2000):
    """Cells of a column of numbers, [n]."""
    rng = np.random.default_rng(0)
    return {
        "smooth": rng.normal(size=n),
        "spiked": np.where(rng.random(n) < 0.6, 0.0, rng.exponential(size=n)),
        "whole": rng.poisson(30, n).astype(float),
        "two": rng.integers(0, 2, n).astype(float),
        "one": np.full(n, 3.0),
    }[kind]


def started(columns, x, heads="bins", seed=0):
    """The likelihood in evaluation mode, started at rows x, with parameters away from 0."""
    torch.manual_seed(seed)
    likelihood = Ordered(columns, heads)
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    likelihood.start_at(torch.as_tensor(x, dtype=torch.float32))
    return likelihood.eval()


# Bins


@pytest.mark.parametrize("kind", ["one", "smooth", "spiked", "two", "whole"])
def test_the_density_of_a_number_is_one_in_all(kind):
    cells = numbers_of_kind(kind)
    bins = Bins([NUMBER])
    bins.start_at(torch.from_numpy(cells)[:, None].float())
    k = int(bins.n_bins[0])
    assert k == min(MOST_BINS, len(np.unique(cells))) or kind in ("smooth", "spiked")
    edges = np.unique(np.concatenate([bins.ends[0].numpy(), bins.edges[0, : k - 1].numpy()]))
    far = np.geomspace(1e-6, 1e6, 40_000)
    grid = np.concatenate([edges[0] - far[::-1], edges, edges[-1] + far])
    grid = np.unique(np.concatenate([grid, np.linspace(edges[0], edges[-1], 20_001)]))
    middle = (grid[1:] + grid[:-1]) / 2
    place = bins.place(torch.from_numpy(middle)[:, None].float())
    density = place.log_density[:, 0].double().exp().numpy() * np.diff(grid)
    of_bin = np.bincount(place.code[:, 0].numpy(), density, minlength=k)
    assert of_bin == pytest.approx(np.ones(k), abs=0.02)  # each bin's density is one in all
    assert of_bin[1:-1] == pytest.approx(np.ones(max(0, k - 2)), abs=0.01)


def test_the_masses_of_a_count_are_one_in_all():
    bins = Bins([COUNT])
    cells = np.random.default_rng(0).poisson(np.where(np.arange(4000) % 2, 3, 60))
    bins.start_at(torch.from_numpy(cells)[:, None].float())
    place = bins.place(torch.arange(100_000.0)[:, None])
    masses = np.bincount(place.code[:, 0].numpy(), place.log_density[:, 0].double().exp().numpy())
    assert len(masses) == bins.n_bins[0]
    assert masses == pytest.approx(np.ones(len(masses)), abs=1e-4)


def test_a_frequent_value_has_a_bin_of_its_own():
    bins = Bins([NUMBER])
    x = torch.from_numpy(numbers_of_kind("spiked"))[:, None].float()
    bins.start_at(x)
    code = bins.place(x).code[:, 0]
    spike = code[x[:, 0] == 0].unique()
    assert len(spike) == 1
    assert (x[code == spike] == 0).all()
    shares = torch.bincount(code) / len(x)
    assert shares[shares < 0.5].max() < 2.5 / MOST_BINS


def test_drawn_numbers_are_those_of_the_training_rows():
    from scipy.stats import ks_2samp

    for kind in ("smooth", "spiked", "whole"):
        bins = Bins([NUMBER])
        x = torch.from_numpy(numbers_of_kind(kind))[:, None].float()
        bins.start_at(x)
        torch.manual_seed(0)
        drawn = bins.draw(0, bins.place(x).code[:, 0])
        assert ks_2samp(drawn, x[:, 0]).statistic < 0.02, kind
        close(bins.place(drawn[:, None]).code, bins.place(x).code, atol=1, rtol=0)
        if kind == "spiked":
            assert ((drawn == 0) == (x[:, 0] == 0)).all()


def test_far_numbers_have_a_finite_density_that_falls():
    bins = Bins([NUMBER, COUNT])
    x = torch.tensor([[0.0, 1.0], [1.0, 2.0], [2.0, 5.0]])
    bins.start_at(x)
    far = torch.tensor([[0.0, 5.0], [9.0, 9.0], [1e6, 1e5], [1e15, 1e6]])
    found = bins.place(far).log_density
    assert found.isfinite().all()
    assert (found.diff(dim=0) < 0).all()


def test_edges_are_taken_from_seen_cells_only():
    x, mask = torch.tensor([[1.0], [2.0], [999.0]]), torch.tensor([[1.0], [1.0], [0.0]])
    bins = Bins([NUMBER])
    bins.start_at(x, mask)
    assert bins.n_bins[0] == 2
    close(bins.ends[0], torch.tensor([0.5, 2.5]))


# Masses


def test_the_probabilities_of_all_rows_sum_to_one():
    likelihood = started(LEVELS, EVERY)
    params = torch.randn(4, 1, likelihood.n_params).expand(4, len(EVERY), -1)
    total = likelihood.log_prob(params, EVERY).logsumexp(-1)
    close(total, torch.zeros(4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("heads", ["bins", "mixture"])
def test_the_masses_of_a_number_sum_to_one_whatever_comes_before(heads):
    x = np.column_stack([numbers_of_kind("smooth"), numbers_of_kind("spiked")])
    likelihood = started([NUMBER, NUMBER], x, heads)
    some = torch.from_numpy(x[:7]).float()
    params = torch.randn(7, likelihood.n_params)
    out = likelihood.outputs(params, likelihood.bins.place(some).code)
    for j in range(2):
        masses = likelihood.masses(j, out[j])
        close(masses.logsumexp(-1), torch.zeros(7), atol=1e-4, rtol=0)
        at = likelihood.bins.place(some).code
        whole = likelihood.masses_at([j], out[[j]], at.T[[j]])[0]
        close(whole, masses.gather(-1, at[:, j, None]).squeeze(-1), atol=1e-4, rtol=1e-4)


def test_a_mixture_has_the_masses_of_logistic_distributions():
    likelihood = started(
        [NUMBER, NUMBER], np.random.default_rng(0).normal(size=(500, 2)), "mixture"
    )
    out = torch.randn(5, likelihood.last.shape[-1])
    location, raw, shares = out[:, :9].double().numpy().reshape(5, 3, 3).swapaxes(0, 1)
    shares = np.exp(shares) / np.exp(shares).sum(-1, keepdims=True)
    edges = likelihood.bins.scores[0].double().numpy()[: int(likelihood.bins.n_bins[0]) + 1]
    below = expit((edges[None, :, None] - location[:, None]) / np.exp(raw)[:, None])
    expected = (np.diff(below, axis=1) * shares[:, None]).sum(-1)
    found = likelihood.masses(0, out)[:, : expected.shape[1]].exp()
    assert found.detach().numpy() == pytest.approx(expected, rel=1e-3, abs=1e-7)


def test_a_column_depends_on_the_earlier_ones_only():
    likelihood = started(LEVELS, EVERY)
    params = torch.randn(1, likelihood.n_params)
    row = torch.tensor([[1.0, 2.0, 0.0]])
    for j in range(3):
        for k in range(3):
            other = row.clone()
            other[0, j] = (other[0, j] + 1) % 2
            before, after = (likelihood.log_prob_per_column(params, r)[0, k] for r in (row, other))
            assert (before != after) == (k >= j), (j, k)


def test_params_of_several_samples_are_those_of_each():
    likelihood = started([*LEVELS, NUMBER], np.column_stack([EVERY, np.arange(18.0)]))
    x = torch.column_stack([EVERY, torch.arange(18.0)])
    params = torch.randn(3, 18, likelihood.n_params)
    whole = likelihood.log_prob(params, x)
    close(whole, torch.stack([likelihood.log_prob(p, x) for p in params]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("heads", ["bins", "mixture"])
def test_gradients_are_those_of_finite_differences(heads):
    x = torch.column_stack([EVERY[:6, 1], torch.linspace(-1, 1, 6)])
    likelihood = started([LEVELS[1], NUMBER, NUMBER][:2], x, heads).double()
    params = torch.randn(6, likelihood.n_params).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: likelihood.log_prob(p, x.double()), params)


# Draws and holes


def test_draws_have_the_probabilities_of_rows():
    likelihood = started(LEVELS, EVERY)
    params = torch.randn(1, likelihood.n_params)
    expected = likelihood.log_prob(params.expand(18, -1), EVERY).exp().detach()
    torch.manual_seed(0)
    drawn = likelihood.sample(params.expand(40_000, -1))
    number = (drawn @ torch.tensor([9.0, 3.0, 1.0])).long()
    close(torch.bincount(number, minlength=18) / 40_000, expected, atol=0.01, rtol=0)


def conditional(likelihood, params, x, mask):
    """Probability of each of EVERY row given the observed cells of x, [18], and their log p."""
    agrees = ((x == EVERY) | (mask == 0)).all(-1)
    log_p = likelihood.log_prob(params.expand(18, -1), EVERY).detach()
    log_p = log_p.masked_fill(~agrees, -math.inf)
    return log_p.softmax(-1), log_p.logsumexp(-1)


HOLES = [torch.tensor(mask) for mask in ([0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [0.0, 0.0, 1.0])]


@pytest.mark.parametrize("mask", HOLES, ids=str)
def test_missing_cells_are_summed_out_by_draws(mask):
    likelihood = started(LEVELS, EVERY)
    params, x = torch.randn(1, likelihood.n_params), torch.tensor([[1.0, 2.0, 0.0]])
    expected, log_p = conditional(likelihood, params, x, mask)
    many = params.expand(20_000, 1, -1)
    for found in (
        likelihood.log_prob(many, x, mask[None]),
        likelihood.complete(many, x, mask[None])[0],
    ):
        close(found.logsumexp(0)[0] - math.log(20_000), log_p, atol=0.03, rtol=0)
    log_w, drawn = likelihood.complete(many, x, mask[None])
    number = (drawn[:, 0] @ torch.tensor([9.0, 3.0, 1.0])).long()
    weights = torch.bincount(number, log_w[:, 0].softmax(0), minlength=18)
    close(weights.float(), expected, atol=0.02, rtol=0)


def test_the_score_of_a_row_with_holes_does_not_depend_on_other_rows():
    likelihood = started(LEVELS, EVERY)
    params, mask = torch.randn(5, 18, likelihood.n_params), torch.ones(18, 3)
    mask[::2, 0] = 0
    whole = likelihood.log_prob(params, EVERY, mask)
    close(whole[:, 4], likelihood.log_prob(params[:, 4:5], EVERY[4:5], mask[4:5])[:, 0])
    close(whole, likelihood.log_prob(params, EVERY, mask), atol=0, rtol=0)


def test_a_model_imputes_and_resamples_by_the_joint_distribution():
    torch.manual_seed(1)
    likelihood = started(LEVELS, EVERY)
    model = VAE(likelihood, (4,), z_dim=1).eval()
    with torch.no_grad():
        model.decoder[-1].weight.zero_()  # p(x|z) is the same for every z
    params = model.decode(torch.zeros(1, 1)).detach()
    x, mask = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[0.0, 1.0, 1.0]])
    expected, log_p = conditional(likelihood, params, x, mask)
    torch.manual_seed(0)
    filled = model.impute(x, mask, n_samples=4000, draws=4000)
    close(filled.log_px[0], log_p, atol=0.1, rtol=0)
    yes = expected[EVERY[:, 0] == 1].sum()
    close(filled.draws[:, 0, 0].mean(), yes, atol=0.04, rtol=0)
    assert filled.mean[0, 0] == (yes > 0.5)
    assert (filled.draws[:, 0, 1:] == x[0, 1:]).all()


def test_resampling_with_conditions_keeps_the_cells_that_were_weighted():
    from parts.model.importance import resample

    likelihood = started(LEVELS, EVERY)
    model = VAE(likelihood, (4,), z_dim=1, y_dim=1).eval()
    with torch.no_grad():
        model.decoder[-1].weight.zero_()
    params = model.decode(torch.zeros(1, 1), torch.zeros(1, 1)).detach()
    x, mask = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[0.0, 1.0, 1.0]])
    expected, _ = conditional(likelihood, params, x, mask)
    torch.manual_seed(0)
    found = resample(model, 4000, x, mask, torch.zeros(4000, 1), 4000)
    close(found.x[:, 0].mean(), expected[EVERY[:, 0] == 1].sum(), atol=0.04, rtol=0)


def test_an_average_is_a_vote_of_levels_a_median_of_ranks_and_a_mean_of_numbers():
    likelihood = started([*LEVELS, NUMBER], np.column_stack([EVERY, np.arange(18.0)]))
    rows = torch.tensor([[0.0, 0, 0, 1], [1, 2, 2, 2], [1, 2, 1, 6]])[:, None]
    weights = torch.tensor([[0.4], [0.35], [0.25]])
    close(likelihood.average(Completed(rows), weights)[0], torch.tensor([1.0, 2.0, 1.0, 2.6]))


def test_log_p_of_rows_with_holes_is_that_of_the_sum_over_all_rows():
    likelihood = started(LEVELS, EVERY)
    model = VAE(likelihood, (4,), z_dim=1).eval()
    with torch.no_grad():
        model.decoder[-1].weight.zero_()
    params = model.decode(torch.zeros(1, 1)).detach()
    mask = torch.ones(18, 3)
    mask[:, 1] = 0
    found = model.importance(EVERY, None, mask, n_samples=2000).log_px
    expected = torch.stack(
        [conditional(likelihood, params, EVERY[i : i + 1], mask[i])[1] for i in range(18)]
    )
    close(found, expected, atol=0.08, rtol=0)


def test_training_marks_missing_cells_and_learns_from_the_others():
    torch.manual_seed(0)
    x = torch.randint(0, 2, (300, 1)).float().repeat(1, 3)  # three equal columns
    mask = torch.ones(300, 3)
    mask[:, 1] = (torch.rand(300) < 0.5).float()
    columns = [Column(name, kind="binary", levels=["0", "1"]) for name in "abc"]
    from parts.tasks.fit import fit_arrays

    model = VAE(Ordered(columns), (8,), z_dim=2)
    fit_arrays(model, x, mask, epochs=60, lr=0.01)
    model.eval()
    log_px = model.importance(x[:20], n_samples=50).log_px
    assert log_px.mean() == pytest.approx(math.log(0.5), abs=0.1)
    holed = torch.ones(20, 3)
    holed[:, 0] = 0
    filled = model.impute(x[:20], holed, n_samples=100)
    assert (filled.mean[:, 0] == x[:20, 0]).all()


# The likelihood in a model


def test_its_own_table_is_not_trained():
    model = VAE(Ordered([*LEVELS, COUNT]), (4,), z_dim=1)
    trained = {id(p) for p in model.parameters_of("vae")}
    frozen = [p for p in model.likelihood.table.parameters()]
    assert frozen
    assert not trained & {id(p) for p in frozen}
    assert len(trained) + len(frozen) == len(list(model.parameters()))


def test_too_many_columns_are_refused():
    columns = [Column(f"c{j}") for j in range(ordered.MOST_ORDERED + 1)]
    with pytest.raises(UserError, match="201 columns, expected at most 200"):
        Ordered(columns)


def test_many_columns_have_small_layers():
    wide = Ordered([Column(f"c{j}") for j in range(150)])
    assert sum(p.numel() for p in wide.parameters()) < 10_000_000
    assert wide.n_hidden == 20


def test_a_column_fitted_to_text_levels_goes_through():
    series = pd.Series(["x", "y", "x", "z"] * 5)
    column = fit_column("k", series)
    likelihood = started(
        [column, NUMBER], np.random.default_rng(0).normal(size=(20, 2)).round() % 3
    )
    assert likelihood.sample(torch.randn(6, likelihood.n_params)).shape == (6, 2)
    assert likelihood.std(torch.randn(6, likelihood.n_params)).shape == (6, 2)
    assert likelihood.mean(torch.randn(6, likelihood.n_params)).isfinite().all()


# Preset generate


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def related(n, seed=0):
    """A table whose categories exclude one another, and whose number depends on both."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 4, n)
    b = (a + rng.integers(0, 2, n)) % 4
    size = np.where(b == a, 0.0, rng.normal(5 * a, 1))
    return pd.DataFrame(
        {"a": [f"a{v}" for v in a], "b": [f"b{v}" for v in b], "size": [f"{v:.2f}" for v in size]}
    )


@pytest.mark.slow
def test_generate_fits_a_run_to_a_file(folder, call):
    frame = related(1500)
    frame.to_csv("t.csv", index=False)
    result = call("generate", "t.csv", "--n", 1500, "--relations", "off", "--threads", 1)
    assert result.code == 0, result.err
    made = pd.read_csv("generated.csv", dtype=str)
    real = set(zip(frame["a"], frame["b"], strict=True))
    found = list(zip(made["a"], made["b"], strict=True))
    assert np.mean([pair in real for pair in found]) > 0.98
    apart = (made["a"].str[1:] == made["b"].str[1:]) == (made["size"].astype(float) == 0)
    assert apart.mean() > 0.97
    assert "each given the earlier" in result.out
    assert "A classifier tells generated from held-out rows with an AUROC of 0." in result.out
    assert "Worst pair: " in result.out
    assert "mapped to the training rows' marginals" not in result.out
    assert "Draw more with: python generate.py --run 0001" in result.out
    # The run is one like any other.
    more = call("generate", "--run", "0001", "--given", "a=a3", "--n", 50, "--out", "g.csv")
    assert more.code == 0, more.err
    given = pd.read_csv("g.csv")
    assert (given["a"] == "a3").all()
    assert given["b"].isin(["b3", "b0"]).mean() > 0.9


def test_a_file_and_a_run_are_not_given_together(folder, call):
    related(50).to_csv("t.csv", index=False)
    result = call("generate", "t.csv", "--run", "r")
    assert result.code == 2
    assert "give one" in result.err
    result = call("generate", "--kind", "a=binary")
    assert result.code == 2
    assert "belong to training" in result.err
    (folder / "out.csv").write_text("mine")
    result = call("generate", "t.csv", "--out", "out.csv")
    assert result.code == 2
    assert not (folder / "runs").exists()


def test_a_flow_or_a_prior_takes_the_place_of_free_bits(folder, train):
    related(120).to_csv("t.csv", index=False)
    flags = ("--data", "t.csv", "--likelihood", "ordered", "--epochs", 2)
    for own in (("--flow", "planar:2"), ("--objective", "iwae", "--n-samples", 3), ("--beta", 0.5)):
        train(folder / "runs", own[0].strip("-"), *flags, *own)


def test_a_batch_may_lack_a_mask():
    likelihood = started(LEVELS, EVERY)
    model = VAE(likelihood, (4,), z_dim=1)
    loss, _ = model.loss("vae", Batch(EVERY))
    assert loss.isfinite().all()


def test_one_sample_of_a_row_with_holes_is_unbiased_over_rows():
    """The draws of different rows differ: their mean is the marginal, also with one sample of z."""
    x = torch.column_stack([EVERY.repeat(80, 1), torch.randn(1440)])
    likelihood = started([*LEVELS, NUMBER], x)
    params = torch.randn(1, likelihood.n_params).expand(1440, -1)
    mask = torch.ones(1440, 4)
    mask[:, 1] = 0
    one = likelihood.log_prob(params, x, mask).detach()
    many = likelihood.log_prob(params.expand(60, -1, -1), x, mask).detach()
    exact = many.logsumexp(0) - math.log(60)
    close((one - exact).exp().mean(), torch.tensor(1.0), atol=0.05, rtol=0)
    assert one.mean() < exact.mean()  # Jensen


def test_a_codebook_and_columns_in_order_go_together(folder, train):
    related(120).to_csv("t.csv", index=False)
    flags = ("--data", "t.csv", "--likelihood", "ordered", "--model", "vqvae", "--epochs", 2)
    train(folder / "runs", "v", *flags)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--given", "nope=3"), "nope"),
        (("--out", "x.npz"), "an array holds numbers only"),
        (("--pixels", "drawn"), "--pixels goes with pictures"),
    ],
)
def test_flags_of_a_new_run_are_refused_before_it_is_trained(folder, call, flags, said):
    related(60).to_csv("t.csv", index=False)
    result = call("generate", "t.csv", *flags)
    assert result.code == 2
    assert said in result.err
    assert not (folder / "runs").exists()


def test_neighbouring_numbers_have_a_bin_each():
    """The middle of two neighbouring float32 is rounded to one of them."""
    values = [torch.tensor(100.0)]
    for _ in range(5):
        values.append(torch.nextafter(values[-1], torch.tensor(torch.inf)))
    x = torch.stack(values)[:, None]
    bins = Bins([NUMBER])
    bins.start_at(x)
    assert bins.place(x).code[:, 0].tolist() == list(range(6))
    assert bins.place(x).log_density.isfinite().all()


# Near-copies, and the order of columns with holes


def copies(n=3000):
    """Three numbers: one alone, the first plus a little, and the sum of both; then a level."""
    rng = np.random.default_rng(0)
    a, small = rng.normal(size=n), 0.01 * rng.normal(size=n)
    x = np.column_stack([a, a + small, 2 * a + small - 1, rng.integers(0, 2, n)])
    return torch.from_numpy(x).float(), [NUMBER, Column("b"), Column("c"), LEVELS[0]]


@pytest.mark.parametrize("heads", ordered.HEADS)
def test_small_differences_of_nearly_equal_columns_are_kept(heads):
    x, columns = copies()
    likelihood = started(columns, x, heads)
    assert (likelihood.slopes != 0).tolist()[:2] == [[False] * 4, [True, False, False, False]]
    assert not (likelihood.slopes[3] != 0).any()
    drawn = likelihood.sample(
        torch.randn(2000, ordered.N_CONTEXT)
    )  # by weights that learned nothing
    assert (drawn[:, 1] - drawn[:, 0]).std() < 0.03
    assert (drawn[:, 2] - drawn[:, 0] - drawn[:, 1] + 1).std() < 1e-3
    assert drawn[:, 0].std() > 0.5


@pytest.mark.parametrize("heads", ordered.HEADS)
def test_the_density_of_a_near_copy_is_one_in_all_beside_its_column(heads):
    x, columns = copies()
    likelihood = started(columns, x, heads)
    params = torch.randn(1, ordered.N_CONTEXT)
    grid = torch.cat([-torch.logspace(2, -4, 4000), torch.logspace(-4, 2, 4000)]) + 0.7
    rows = torch.tensor([[0.7, 0.0, 0.3, 1.0]]).repeat(len(grid), 1)
    rows[:, 1] = grid
    log_p = likelihood.log_prob_per_column(params.expand(len(rows), -1), rows)[:, 1].detach()
    assert torch.trapezoid(log_p.double().exp(), grid.double()) == pytest.approx(1, abs=0.02)


def test_a_map_is_not_used_where_its_columns_are_hidden():
    x, columns = copies(50)
    likelihood = started(columns, copies()[0]).train()
    mask = torch.ones_like(x)
    mask[::2, 0] = 0  # columns 1 and 2 follow from it
    params = torch.randn(50, ordered.N_CONTEXT)
    found = likelihood.log_prob(params, x, mask)
    other = torch.where(mask > 0, x, 5.0)
    close(likelihood.log_prob(params, other, mask), found)
    moved = x.clone()
    moved[::2, 1] += 3
    close(likelihood.log_prob(params, moved, mask), found)
    assert likelihood.with_map(mask)[0].tolist() == [0, 0, 0, 1]
    assert likelihood.with_map(mask)[1].tolist() == [1, 1, 1, 1]


def test_columns_with_holes_are_decoded_last():
    torch.manual_seed(0)
    likelihood = Ordered(LEVELS)
    mask = torch.ones(20, 3)
    mask[:5, 0], mask[:2, 1] = 0, 0
    likelihood.start_at(EVERY[:18].repeat(2, 1)[:20], mask)
    assert likelihood.sequence.tolist() == [2, 1, 0]
    likelihood.eval()
    params = torch.randn(1, ordered.N_CONTEXT).expand(len(EVERY), -1)
    log_p = likelihood.log_prob_per_column(params, EVERY).detach()
    assert log_p.sum(1).exp().sum() == pytest.approx(1, abs=1e-5)
    table = log_p.reshape(2, 3, 3, 3)  # by the values of the three columns
    close(table[..., 2], table[:1, :1, :, 2].expand(2, 3, 3))  # the first depends on none
    close(table[..., 1], table[:1, ..., 1].expand(2, 3, 3))  # the second not on the third
    assert (table[0, ..., 0] - table[0, :1, :1, 0]).abs().max() > 1e-3


@pytest.mark.parametrize("first", ["has", "renov"])
@pytest.mark.slow
def test_a_column_is_drawn_right_that_stands_beside_one_with_holes(
    first, tmp_path, monkeypatch, call
):
    monkeypatch.chdir(tmp_path)
    rng, n = np.random.default_rng(0), 700
    has = rng.random(n) < 0.25
    cells = {
        "has": np.where(has, "yes", "no"),
        "renov": np.where(has, rng.integers(1990, 2020, n), 0),
    }
    frame = pd.DataFrame({name: cells[name] for name in (first, *({"has", "renov"} - {first}))})
    frame["z"] = rng.normal(size=n).round(2)
    frame["renov"] = frame["renov"].astype(str).where(has, "")
    frame.to_csv("t.csv", index=False)
    done = call("generate", "t.csv", "--n", 1000, "--out", "new.csv", "--threads", 1)
    assert done.code == 0, done.err
    assert (pd.read_csv("new.csv")["has"] == "yes").mean() == pytest.approx(has.mean(), abs=0.06)


def test_a_file_of_many_columns_is_refused_with_commands_that_work(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(40, ordered.MOST_ORDERED + 1)).round(2)
    pd.DataFrame(x).add_prefix("x").to_csv("my file.csv", index=False)
    done = call("generate", "my file.csv")
    assert done.code == 2
    assert "201 columns, of which at most 200" in done.err
    assert "python train.py --data 'my file.csv', then python generate.py" in done.err
    assert not Path("runs").exists()
