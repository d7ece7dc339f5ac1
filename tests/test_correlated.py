"""Correlated noise: densities, conditionals and gradients against dense Gaussians; its start."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from parts.errors import UserError
from parts.forms.units import Column
from parts.model import covariance as covariances
from parts.model.covariance import Masks, fit_gaussian
from parts.model.likelihoods import correlated
from parts.model.likelihoods.base import weighted_mean
from parts.model.likelihoods.correlated import (
    NEAR_COPY,
    NOISES,
    CorrelatedGaussian,
    has_near_copies,
    is_spiked,
    numbers,
)
from parts.model.likelihoods.gaussian import Gaussian
from parts.model.likelihoods.mixed import Mixed
from vae import VAE

close = torch.testing.assert_close
D = 4
# Every mask of four cells, also of none and of all.
MASKS = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * D)
SETTINGS = [
    ("stretched", "shared"),
    ("stretched", "column"),
    ("stretched", "decoder"),
    ("correlated", "column"),
    ("correlated", "decoder"),
    ("stretched-correlated", "decoder"),
    ("fitted", "column"),
    ("fitted", "decoder"),
    ("low rank", "column"),
    ("low rank", "decoder"),
]
each_setting = pytest.mark.parametrize(("noise", "variance"), SETTINGS)


def rows(n=300, gap=1e-2):
    """Rows [n, D] whose columns 0 and 2 are near-copies: they differ by `gap`."""
    x = torch.randn(n, D).double()
    x[:, 1] += 0.8 * x[:, 0]
    x[:, 2] = x[:, 0] + gap * x[:, 2]
    return x


def build(noise, variance, gap=1e-2, **options):
    """The likelihood in float64, started at rows, with drawn parameters."""
    options = {"floor": 0.01, "ceiling": 4.0} | options
    with pytest.MonkeyPatch.context() as patch:
        if noise == "low rank":
            patch.setattr(correlated, "MOST_DENSE", D - 1)
            patch.setattr(correlated, "RANK", 2)
            noise = "correlated"
        likelihood = CorrelatedGaussian(D, variance, noise, **options).double()
    likelihood.start_at(rows(gap=gap))
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape))
    return likelihood


def dense(likelihood, params):
    """Mean [..., D] and covariance [..., D, D] of p(x|z) from the definition, without masks."""
    std = (0.5 * torch.nn.functional.softplus(likelihood.raw_logvar - likelihood.min_logvar)).exp()
    std = std * math.exp(0.5 * likelihood.min_logvar)
    t = torch.diag(std.expand(D))
    if likelihood.rank:
        t = torch.linalg.cholesky(t @ t + likelihood.factors @ likelihood.factors.mT)
    elif likelihood.triangular:
        t = t + likelihood.low.tril(-1)
    m = likelihood.A @ t @ t.mT @ likelihood.A.mT
    mean = likelihood.mu0 + params[..., :D] @ likelihood.A.mT
    raw = params[..., D:]
    if not likelihood.scales:
        return mean, (m + likelihood.floor * torch.eye(D)).expand(*mean.shape, D)
    if likelihood.is_fitted:
        scale = (4 * torch.tanh(raw / 2)).exp().unsqueeze(-1)
        return mean, scale * m + likelihood.floor * torch.eye(D)
    own = m.diagonal()
    grown = 0.01 + own * (2 * raw @ likelihood.shares.mT).exp()
    bounded = 4 * grown / (4 + grown)  # the soft ceiling: 1 / (1 / 4 + 1 / v)
    a = (bounded / own).sqrt()
    return mean, a.unsqueeze(-1) * m * a.unsqueeze(-2)


# The density


@each_setting
def test_the_marginal_of_every_mask_is_the_dense_gaussians(noise, variance):
    likelihood = build(noise, variance)
    x = rows(len(MASKS))
    params = torch.randn(3, len(MASKS), likelihood.n_params).double()
    found = likelihood.log_prob(params, x, MASKS)
    mean, covariance = dense(likelihood, params)
    for b, there in enumerate(MASKS > 0):
        for k in range(3):
            block = covariance[k, b][there][:, there]
            expected = torch.zeros(()).double()
            if there.any():
                expected = MultivariateNormal(mean[k, b, there], block).log_prob(x[b, there])
            close(found[k, b], expected, rtol=1e-7, atol=1e-7)


@each_setting
def test_complete_rows_need_no_mask_and_missing_cells_may_hold_anything(noise, variance):
    likelihood = build(noise, variance)
    x, params = rows(len(MASKS)), torch.randn(len(MASKS), likelihood.n_params).double()
    close(likelihood.log_prob(params, x), likelihood.log_prob(params, x, torch.ones_like(x)))
    holed = torch.where(MASKS > 0, x, torch.nan)
    close(likelihood.log_prob(params, holed, MASKS), likelihood.log_prob(params, x, MASKS))
    params = torch.randn(2, 3, len(MASKS), likelihood.n_params).double()  # of members
    found = likelihood.log_prob(params, x, MASKS)
    close(found[1, 2], likelihood.log_prob(params[1, 2], x, MASKS))


@each_setting
def test_a_cell_given_the_others_is_the_dense_gaussians(noise, variance):
    likelihood = build(noise, variance)
    x, params = rows(5), torch.randn(2, 5, likelihood.n_params).double()
    whole = likelihood.log_prob(params, x)
    found = likelihood.log_prob_per_column(params, x)
    for j in range(D):
        mask = torch.ones_like(x)
        mask[:, j] = 0
        close(found[..., j], whole - likelihood.log_prob(params, x, mask), rtol=1e-6, atol=1e-6)


@each_setting
def test_the_gradient_is_that_of_the_dense_density(noise, variance):
    likelihood = build(noise, variance)
    x, params = rows(len(MASKS)), torch.randn(2, len(MASKS), likelihood.n_params).double()
    params.requires_grad_()
    weights = torch.randn(2, len(MASKS)).double()
    ours = (weights * likelihood.log_prob(params, x, MASKS)).sum()
    mean, covariance = dense(likelihood, params)
    pairs = MASKS.unsqueeze(-1) * MASKS.unsqueeze(-2)
    covariance = covariance * pairs + torch.diag_embed(1 - MASKS)
    r = (x - mean) * MASKS
    quad = (r * torch.linalg.solve(covariance, r.unsqueeze(-1)).squeeze(-1)).sum(-1)
    constant = MASKS.sum(-1) * math.log(2 * math.pi)
    theirs = (weights * -0.5 * (quad + torch.logdet(covariance) + constant)).sum()
    close(ours, theirs)
    learned = [params, *likelihood.parameters()]
    for got, expected in zip(
        torch.autograd.grad(ours, learned), torch.autograd.grad(theirs, learned), strict=True
    ):
        close(got, expected, rtol=1e-5, atol=1e-6)


def test_the_gradients_of_both_densities_pass_gradcheck():
    masks = Masks.of(MASKS[[3, 15, 6]], torch.eye(D).double())
    r = (torch.randn(2, 3, D).double() * masks.distinct[masks.of_row]).requires_grad_()
    root = torch.randn(D, D).double().requires_grad_()
    scale = torch.rand(2, 3).double().add(0.5).requires_grad_()

    def plain(r, root):
        r = r * masks.distinct[masks.of_row]
        return covariances.log_normal(r, root @ root.mT + torch.eye(D), masks)

    def scaled(r, root, scale):
        r = r * masks.distinct[masks.of_row]
        return covariances.log_scaled_normal(r, root @ root.mT, scale, 0.1, masks)

    assert torch.autograd.gradcheck(plain, (r, root))
    assert torch.autograd.gradcheck(scaled, (r, root, scale))


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6])
def test_near_copies_survive(gap):
    likelihood = build("stretched-correlated", "column", gap)
    params = torch.zeros(200, D).double()
    x = likelihood.sample(params)
    difference = x[:, 2] - x[:, 0]
    assert 0.1 * gap < difference.std() < 10 * max(gap, 3e-6)
    # Each of the pair alone has its whole variance, and hardly any given the other.
    mask = torch.ones_like(x)
    mask[:, 2] = 0
    given = likelihood.given(params, x, mask)
    assert (likelihood.mean(given)[:, 2] - x[:, 0]).abs().max() < 50 * max(gap, 3e-6)
    assert likelihood.std(given)[0, 2] < 10 * max(gap, 3e-6)
    assert likelihood.std(params)[0, 2] > 0.1
    # And float32 loses none of it: data and parameters come so.
    single = copy.deepcopy(likelihood).float()
    assert single.A.dtype == torch.float64
    ours = likelihood.log_prob(params, x.float().double())
    close(single.log_prob(params.float(), x.float()).double(), ours, rtol=1e-3, atol=0.1)


def test_a_covariance_that_is_none_gives_nan_and_no_error():
    masks = Masks.of(None, torch.eye(2).double())
    broken = torch.tensor([[1.0, 2.0], [2.0, 1.0]]).double()
    r = torch.zeros(1, 3, 2).double()
    assert covariances.log_normal(r, broken, masks).isnan().all()
    broken = torch.full_like(broken, torch.inf)
    assert covariances.log_normal(r, broken, masks).isnan().all()
    assert covariances.log_scaled_normal(r, broken, r[..., 0] + 1, 0.1, masks).isnan().all()


# Missing cells given observed ones, and draws


@each_setting
def test_missing_cells_have_the_dense_conditional(noise, variance):
    likelihood = build(noise, variance)
    x = rows(len(MASKS))
    params = torch.randn(2, len(MASKS), likelihood.n_params).double()
    given = likelihood.given(params, x, MASKS)
    mean, covariance = dense(likelihood, params)
    for k, b in np.ndindex(2, len(MASKS)):
        m, o = MASKS[b] == 0, MASKS[b] > 0
        s = covariance[k, b]
        gain = s[m][:, o] @ torch.linalg.inv(s[o][:, o])
        expected = mean[k, b, m] + gain @ (x[b, o] - mean[k, b, o])
        close(likelihood.mean(given)[k, b, m], expected, rtol=1e-6, atol=1e-6)
        left = (s[m][:, m] - gain @ s[o][:, m]).diagonal().sqrt()
        close(likelihood.std(given)[k, b, m], left, rtol=1e-4, atol=1e-6)


@each_setting
def test_draws_have_the_covariance_and_the_conditional_one(noise, variance):
    likelihood = build(noise, variance, gap=0.3)
    n = 40_000
    params = torch.randn(1, likelihood.n_params).double().expand(n, -1)
    mean, covariance = dense(likelihood, params[:1])
    drawn = likelihood.sample(params)
    scale = covariance[0].diagonal().sqrt()
    error = (drawn.T.cov() - covariance[0]) / scale.outer(scale)
    assert error.abs().max() < 0.03
    assert ((drawn.mean(0) - mean[0]) / scale).abs().max() < 0.03
    close(likelihood.std(params)[0], scale)
    x = rows(1)
    mask = torch.tensor([[1.0, 0, 1, 0]]).double()
    given = likelihood.given(
        params[:, None].transpose(0, 1)[0], x.expand(n, -1), mask.expand(n, -1)
    )
    drawn = likelihood.sample(given)[:, [1, 3]]
    m, o, s = [1, 3], [0, 2], covariance[0]
    gain = s[m][:, o] @ torch.linalg.inv(s[o][:, o])
    rest = s[m][:, m] - gain @ s[o][:, m]
    scale = rest.diagonal().sqrt()
    assert ((drawn.T.cov() - rest) / scale.outer(scale)).abs().max() < 0.03
    assert ((drawn.mean(0) - likelihood.mean(given)[0, m]) / scale).abs().max() < 0.03


# Start from training rows


def test_a_gaussian_is_fitted_to_rows_with_holes():
    torch.manual_seed(3)
    root = torch.randn(3, 3).double()
    x = torch.randn(1500, 3).double() @ root.mT + 1
    whole = fit_gaussian(x)
    close(whole.mean, x.mean(0))
    close(whole.covariance, x.T.cov(correction=0))
    mask = (torch.rand(1500, 3) > 0.3).double()
    mask[:5] = 0  # rows of which nothing is known say nothing
    holed = fit_gaussian(torch.where(mask > 0, x, torch.nan).nan_to_num(7.0), mask)
    close(holed.mean, whole.mean, atol=0.15, rtol=0)
    close(holed.covariance, whole.covariance, atol=0.3, rtol=0.05)
    # At the maximum the gradient of the density of the observed cells is 0.
    masks = Masks.of(mask, whole.covariance)
    at = [holed.mean.clone().requires_grad_(), holed.covariance.clone().requires_grad_()]
    r = (x - at[0]) * mask
    slope = torch.autograd.grad(covariances.log_normal(r[None], at[1], masks).mean(), at)
    assert all(part.abs().max() < 0.05 for part in slope)


def test_only_directions_of_near_copies_are_stretched():
    likelihood = CorrelatedGaussian(D, "shared", "stretched")
    likelihood.start_at(rows(gap=1.0).float())
    close(likelihood.A, torch.eye(D).double())
    x = rows(gap=1e-3)
    likelihood.start_at(x.float())
    y = (x - likelihood.mu0) @ torch.linalg.inv(likelihood.A).mT
    values = torch.linalg.eigvalsh(y.T.cov(correction=0))
    assert values[0] > 0.1
    assert torch.linalg.eigvalsh(likelihood.A)[0] == pytest.approx(1e-3 / 2**0.5, rel=0.15)
    assert torch.linalg.eigvalsh(likelihood.A)[1:] == pytest.approx([1, 1, 1])
    close(likelihood.inverse, torch.linalg.inv(likelihood.A))
    few = CorrelatedGaussian(D, "shared", "stretched")
    few.start_at(x[: 2 * D].float())  # too few rows to know
    close(few.A, torch.eye(D).double())


def test_near_copies_are_found_also_among_holes_and_constant_columns_are_none():
    x = rows(1000, gap=1e-3)
    assert has_near_copies(x)
    assert not has_near_copies(rows(gap=1.0))
    assert NEAR_COPY == 1e-3
    x[:, 3] = 0.0
    assert has_near_copies(x)
    assert not has_near_copies(x[:, [0, 1, 3]])
    mask = (torch.rand(1000, D) > 0.3).double()
    assert has_near_copies(x, mask)


def test_a_column_where_one_value_is_common_has_no_scale_of_its_own():
    x = rows(gap=1.0)
    x[:120, 1] = 0.5
    assert is_spiked(x[:, 1])
    assert not is_spiked(x[:, 0])
    likelihood = CorrelatedGaussian(D, "decoder", "correlated")
    likelihood.start_at(x)
    assert (likelihood.shares[:, 1] == 0).all()
    assert (likelihood.shares.diagonal()[[0, 2, 3]] > 0.4).all()


def test_near_copies_share_their_scale():
    likelihood = build("stretched-correlated", "decoder", gap=1e-4)
    params = torch.zeros(1, 2 * D).double()
    params[0, D:] = torch.tensor([1.5, 0.0, -0.5, 0.0])
    a = likelihood.parts(params).scale[0, 0]
    assert (a[0] / a[2] - 1).abs() < 1e-4
    assert a[0] / a[3] > 1.2


@pytest.mark.parametrize(("hidden_dims", "z_dim"), [((), 2), ((8,), 2), ((9, 12), 3), ((4,), 3)])
def test_fitted_noise_starts_at_the_gaussian_of_the_training_rows(hidden_dims, z_dim):
    x = rows(2000, gap=1e-2)
    likelihood = CorrelatedGaussian(D, "decoder", "fitted")
    model = VAE(likelihood, hidden_dims, z_dim=z_dim, y_dim=1)
    y = torch.randn(2000, 1)
    model.start_at(x.float(), y)
    covariance = x.T.cov(correction=0) + likelihood.floor * torch.eye(D)
    exact = MultivariateNormal(x.mean(0), covariance).log_prob(x)
    # q(z|x) is the posterior, so that one sample says all; the shrinkage is that of D / n.
    found = model.importance(x.float(), y, n_samples=5)
    close(found.log_px.double(), exact, atol=0.15, rtol=0)
    assert (found.log_px.double() - exact).mean().abs() < 0.01
    close(found.elbo, found.log_px, atol=1e-3, rtol=0)
    # The latents say what principal components say, but for the share that is noise.
    n_latents = min(z_dim, *(width // 2 for width in hidden_dims)) if hidden_dims else z_dim
    left = (x - model.reconstruct(x.float(), y)).square().mean(0).sum()
    values = torch.linalg.eigvalsh(covariance)
    expected = values[: D - n_latents].sum() + 0.25**2 * values[D - n_latents :].sum()
    assert left.item() == pytest.approx(expected.item(), rel=0.02)


def test_the_prior_of_the_correlations_is_worth_twenty_rows():
    likelihood = CorrelatedGaussian(D, "column", "correlated")
    likelihood.start_at(rows(200).float())
    with torch.no_grad():
        likelihood.low.fill_(2.0)
    assert likelihood.penalty().item() == pytest.approx(0.5 * 20 / 200 * 6 * 4)
    assert CorrelatedGaussian(D, "column", "stretched").penalty() is None
    model = VAE(likelihood, (8,), z_dim=2)
    from parts.model.batches import Batch

    batch = Batch(rows(16).float())
    torch.manual_seed(1)
    loss, _ = model.loss("vae", batch)
    torch.manual_seed(1)
    assert loss.mean().item() == pytest.approx(
        (likelihood.penalty() - model.elbo(*batch).elbo.mean()).item()
    )


# In a table and in a model


COLUMNS = [
    Column("start"),
    Column("sex", kind="binary", levels=["f", "m"]),
    Column("end"),
    Column("n", kind="count"),
    Column("fee", kind="positive"),
]


def table_rows(n=400):
    x = torch.randn(n, 5)
    x[:, 2] = x[:, 0] + 0.01 * x[:, 2]
    x[:, 1], x[:, 3] = (x[:, 1] > 0).float(), x[:, 3].abs().round()
    return x


def test_without_near_copies_and_correlations_a_table_has_the_same_bits():
    assert type(numbers(3, "independent")) is Gaussian
    torch.manual_seed(0)
    plain = VAE(Mixed(COLUMNS, "shared"), (8,), z_dim=2)
    torch.manual_seed(0)
    same = VAE(Mixed(COLUMNS, "shared", noise="independent"), (8,), z_dim=2)
    x = table_rows(50)
    same.start_at(x)
    for ours, theirs in zip(plain.state_dict().values(), same.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    # And with A = I and T = I the density is that of independent noise.
    likelihood = CorrelatedGaussian(3, "column", "correlated", floor=0.01)
    params, x, mask = torch.randn(2, 30, 3), torch.randn(30, 3), (torch.rand(30, 3) > 0.4).float()
    expected = Gaussian(3, "column", floor=0.01).log_prob(params, x, mask)
    close(likelihood.log_prob(params, x, mask), expected)


@pytest.mark.parametrize("noise", [name for name in NOISES if name != "independent"])
def test_a_table_fills_its_near_copies_in_every_noise(noise):
    likelihood = Mixed(COLUMNS, "column", noise=noise)
    model = VAE(likelihood, (16,), z_dim=2, members=2)
    x = table_rows()
    model.start_at(x)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    fresh = VAE(Mixed(COLUMNS, "column", noise=noise), (16,), z_dim=2, members=2)
    assert shapes == {name: value.shape for name, value in fresh.state_dict().items()}
    mask = torch.ones(20, 5)
    mask[:, 2] = 0
    filled = model.impute(x[:20], mask, n_samples=20, draws=4)
    assert filled.draws.shape == (4, 20, 5)
    assert torch.equal(filled.mean[:, [0, 1, 3, 4]], x[:20, [0, 1, 3, 4]])
    assert filled.mean.isfinite().all()
    if noise.startswith("stretched"):
        assert (filled.mean[:, 2] - x[:20, 2]).abs().max() < 0.1
        assert (filled.draws[..., 2] - x[:20, 2]).abs().max() < 0.2


def test_the_encoder_sees_the_differences_of_near_copies():
    likelihood = Mixed(COLUMNS, "column", noise="stretched")
    x = table_rows()
    likelihood.start_at(x)
    assert likelihood.n_features == likelihood.features(x).shape[1] == 5 + 5 + 3
    more = likelihood.features(x)[:, -3:]
    correlation = np.corrcoef(more[:, 0], x[:, 2] - x[:, 0])[0, 1]
    assert abs(correlation) > 0.99
    assert more.abs().max() <= 10  # clamped like all else
    mask = torch.ones_like(x)
    mask[:, 2] = 0
    unknown = likelihood.features(x, mask)[:, -3:]
    assert unknown.std() < 0.3 * more.std()  # its expectation given the other cells


def test_noise_is_refused_where_it_does_not_go():
    with pytest.raises(UserError, match="fixed:1 goes with independent noise"):
        CorrelatedGaussian(2, "fixed:1", "correlated")
    with pytest.raises(UserError, match="correlated does not go with real student"):
        Mixed(COLUMNS, "column", "student", "correlated")


# By preset and rows, and through the scripts


def trips(n=400):
    """Trips whose end lies minutes after their start, which spread over a month."""
    import pandas as pd

    rng = np.random.default_rng(0)
    start = pd.Timestamp("2024-03-01") + pd.to_timedelta(rng.integers(0, 30 * 24 * 3600, n), "s")
    took = pd.to_timedelta(np.round(60 * rng.gamma(4.0, 4.0, n) + 60), "s")
    fee = np.round(2 + 0.5 * took.total_seconds() / 60 + rng.normal(size=n), 2)
    frame = pd.DataFrame({"start": start, "end": start + took, "fee": fee})
    for name in ("start", "end"):
        frame[name] = frame[name].dt.strftime("%Y-%m-%d %H:%M:%S")
    return frame


def minutes(frame):
    import pandas as pd

    return (pd.to_datetime(frame["end"]) - pd.to_datetime(frame["start"])).dt.total_seconds() / 60


def test_presets_choose_the_noise_by_use_and_rows(tmp_path):
    from parts.console.fitting import prepare

    path = tmp_path / "trips.csv"
    trips().to_csv(path, index=False)
    plain = tmp_path / "plain.csv"
    np.savetxt(plain, np.random.default_rng(0).normal(size=(100, 3)), "%.4f", ",", header="a,b,c")

    def noise(path, **given):
        return prepare({"data": str(path), **given})[0].model.noise

    assert noise(path) == "stretched"
    assert noise(path, preset="impute") == "stretched-correlated"
    assert noise(plain) == "independent"
    assert noise(plain, preset="impute") == "correlated"
    assert noise(plain, noise="stretched") == "stretched"
    assert noise(plain, preset="impute", real="student") == "independent"
    assert noise("synthetic") == "fitted"
    assert noise("synthetic", variance="fixed:1") == "independent"
    assert noise("synthetic", preset="classic") == "independent"
    assert noise("synthetic", model="vaegan") == "independent"
    assert noise("digits", likelihood="gaussian") == "independent"


def test_trips_end_after_they_begin_when_generated_and_when_filled(call, train, tmp_path):
    import pandas as pd

    frame = trips()
    frame.to_csv(tmp_path / "trips.csv", index=False)
    train(tmp_path / "runs", "t", "--data", tmp_path / "trips.csv", "--epochs", "40")
    out = tmp_path / "new.csv"
    flags = ["--runs-dir", tmp_path / "runs", "--run", "t"]
    made = call("generate", *flags, "--n", "500", "--out", out)
    assert made.code == 0, made.err
    took = minutes(pd.read_csv(out))
    assert (took < 0).mean() < 0.01
    assert np.percentile(took, [5, 50, 95]) == pytest.approx(
        np.percentile(minutes(frame), [5, 50, 95]), rel=0.2
    )
    holed = frame.copy()
    holed.loc[:49, "end"] = ""
    holed.to_csv(tmp_path / "holed.csv", index=False)
    done = call("impute", tmp_path / "holed.csv", *flags, "--out", tmp_path / "filled.csv")
    assert done.code == 0, done.err
    filled = pd.read_csv(tmp_path / "filled.csv")
    assert filled["start"].equals(frame["start"])
    assert (minutes(filled) - minutes(frame)).abs()[:50].median() < 8


def test_resumed_training_has_the_same_bits(train, tmp_path):
    trips().to_csv(tmp_path / "trips.csv", index=False)
    flags = ["--data", tmp_path / "trips.csv", "--schedule", "constant", "--preset", "impute"]
    whole = train(tmp_path / "runs", "whole", *flags, "--epochs", "3")
    train(tmp_path / "runs", "parts", *flags, "--epochs", "1")
    halves = train(tmp_path / "runs", "parts", "--resume", "parts", "--epochs", "3")
    ours, theirs = (torch.load(run / "checkpoint.pt", weights_only=True) for run in (halves, whole))
    assert set(ours["model"]) == set(theirs["model"])
    for name, value in ours["model"].items():
        assert torch.equal(value, theirs["model"][name]), name
    block = "likelihood.blocks.real."
    assert ours["model"][block + "A"].dtype == torch.float64
    assert not torch.equal(ours["model"][block + "A"], torch.eye(3).double())


def test_weights_of_dates_in_seconds_sum_to_one():
    values = 1.6e9 + torch.randn(7, 5, 2).double()
    weights = torch.rand(7, 5).softmax(0)
    exact = weights.double() / weights.double().sum(0)
    expected = 1.6e9 + (exact.unsqueeze(-1) * (values - 1.6e9)).sum(0)
    close(weighted_mean(values, weights), expected, rtol=0, atol=1e-5)
