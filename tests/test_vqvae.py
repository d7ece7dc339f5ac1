"""parts/model/vqvae.py and codebook.py: codes, prior and bound against sums over all codes."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from parts.errors import UserError
from parts.model.codebook import DEAD, DECAY, Codebook, CodePrior, perplexity
from parts.model.importance import resample
from parts.model.vqvae import VQVAE, straight_through
from parts.runs import Run
from parts.training import loop as training_loop
from parts.training.loop import Training
from tests.test_resume import assert_same_run
from vae import Batch, Bernoulli, Gaussian

M, N_CODES, C = 2, 3, 2
SEQUENCES = torch.tensor(list(product(range(N_CODES), repeat=M)))  # all that z can be
ROWS = torch.tensor(list(product((0.0, 1.0), repeat=4)))  # all that x can be


def tiny(likelihood=None, **options):
    """A model in float64 whose prior and codes are far from even."""
    model = VQVAE(
        likelihood or Bernoulli(4), (5,), z_dim=M, n_codes=N_CODES, code_dim=C, **options
    ).double()
    with torch.no_grad():
        model.prior.out.mul_(6)
        model.prior.bias.normal_()
    model.start_at(ROWS.double(), torch.zeros(16, model.y_dim).double() if model.y_dim else None)
    return model


def joint(model, x, mask=None, y=None):
    """log p(x, z) of every z [9, B], and the parameters of p(x|z) [9, 1, P]; given one y [C]."""
    params = model.decode(model.codebook.codes[SEQUENCES].flatten(1).unsqueeze(1), y)
    log_pz = model.prior.log_prob(SEQUENCES, y).unsqueeze(1)
    return (log_pz + model.likelihood.log_prob(params, x, mask)).detach(), params.detach()


# The codebook


def test_the_nearest_code_is_that_of_a_brute_force_search():
    codebook, z_e = Codebook(20, 3), torch.randn(40, 5, 3) + 2
    brute = cdist(z_e.flatten(0, 1).numpy(), codebook.codes.numpy())
    np.testing.assert_array_equal(codebook.nearest(z_e).flatten(), brute.argmin(1))
    distances = codebook.distances(z_e).flatten(0, 1)
    np.testing.assert_allclose(distances, brute**2, rtol=1e-4, atol=1e-4)


def test_the_gradient_at_z_e_is_the_decoders_at_z_q():
    model = tiny()
    q = model.posterior(ROWS.double())
    assert not torch.allclose(q.z_e, q.z_q)
    z_q = q.z_q.clone().requires_grad_()
    loss = model.likelihood.log_prob(model.decode(z_q.flatten(1)), ROWS).sum()
    (at_z_q,) = torch.autograd.grad(loss, z_q)
    (at_z_e,) = torch.autograd.grad(model.elbo_of(q, ROWS.double()).log_px_z.sum(), q.z_e)
    assert at_z_q.abs().min() > 0
    torch.testing.assert_close(at_z_e, at_z_q)
    far = q.z_e * 1e6
    torch.testing.assert_close(straight_through(far, q.z_q), q.z_q, rtol=0, atol=0)


def test_a_step_of_the_codebook_is_the_moving_average():
    codebook = Codebook(3, 2)
    codes, share = codebook.codes.numpy().copy(), np.full(3, 1 / 3)
    counts, sums, variance = share, share[:, None] * codes, 1.0
    for _ in range(3):
        z_e = torch.randn(4, 5, 2)
        indices = codebook.nearest(z_e)
        flat, at = z_e.flatten(0, 1).numpy(), indices.flatten().numpy()
        hits = at[:, None] == np.arange(3)
        variance = DECAY * variance + (1 - DECAY) * ((flat - codes[at]) ** 2).mean()
        counts = DECAY * counts + (1 - DECAY) * hits.mean(0)
        means = [flat[hit].sum(0) / len(flat) for hit in hits.T]
        sums = DECAY * sums + (1 - DECAY) * np.array(means)
        codes = sums / counts[:, None]
        codebook.update(z_e, indices, torch.tensor(True))
        np.testing.assert_allclose(codebook.codes, codes, rtol=1e-5)
    np.testing.assert_allclose(codebook.share, counts, rtol=1e-5)
    assert codebook.variance.item() == pytest.approx(variance, rel=1e-5)


def test_the_size_of_a_batch_is_no_part_of_a_step():
    z_e, once, twice = torch.randn(6, 2, 3), Codebook(4, 3), Codebook(4, 3)
    twice.load_state_dict(once.state_dict())
    once.update(z_e, once.nearest(z_e), torch.tensor(True))
    z_e = torch.cat([z_e, z_e])
    twice.update(z_e, twice.nearest(z_e), torch.tensor(True))
    torch.testing.assert_close(once.codes, twice.codes)


def test_dead_codes_come_back_at_encoder_outputs():
    codebook = Codebook(4, 2)
    codebook.codes[2:] = 1e3
    z_e = torch.rand(500, 1, 2)
    for _ in range(math.ceil(math.log(DEAD) / math.log(DECAY)) - 1):
        codebook.update(z_e, codebook.nearest(z_e), torch.tensor(True))
    assert (codebook.codes[2:] > 900).all()
    assert set(codebook.nearest(z_e).flatten().tolist()) <= {0, 1}
    for _ in range(2):
        codebook.update(z_e, codebook.nearest(z_e), torch.tensor(True))
    assert (codebook.codes <= 1).all()
    assert set(codebook.nearest(z_e).flatten().tolist()) == {0, 1, 2, 3}


def test_codes_start_at_rows_even_where_these_are_few():
    model, x = VQVAE(Gaussian(3), (4,), z_dim=2, n_codes=7), torch.randn(2, 3)
    model.start_at(x)
    z_e = model.posterior(x).z_e.detach().flatten(0, 1)
    assert cdist(model.codebook.codes, z_e).min(1).max() == 0
    torch.testing.assert_close(model.codebook.variance, torch.zeros(()), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("indices", "expected"), [([0, 0, 0, 0], 1), ([0, 1, 2, 3], 4), ([0, 0, 1, 1], 2)]
)
def test_perplexity_is_the_number_of_codes_in_even_use(indices, expected):
    assert perplexity(torch.tensor([indices]), 4).item() == pytest.approx(expected)


# The prior


@pytest.mark.parametrize(("n_latents", "n_codes"), [(1, 4), (3, 3), (2, 1)])
def test_the_prior_is_a_distribution_over_all_codes_and_is_what_it_draws(n_latents, n_codes):
    prior = CodePrior(n_latents, n_codes, hidden_dim=16)
    with torch.no_grad():
        prior.out.mul_(6)
        prior.bias.normal_()
        sequences = torch.tensor(list(product(range(n_codes), repeat=n_latents)))
        probs = prior.log_prob(sequences).exp()
        assert probs.sum().item() == pytest.approx(1, abs=1e-5)
        assert probs.max() > 1.3 * probs.mean() or n_codes == 1
        n = 100_000
        drawn = prior.sample(torch.rand(n, n_latents))
    at = (drawn * n_codes ** torch.arange(n_latents - 1, -1, -1)).sum(-1)
    shares = torch.bincount(at, minlength=len(probs)) / n
    errors = (shares - probs).abs() / (probs * (1 - probs) / n).sqrt().clamp(min=1e-7)
    assert errors.max() < 4.5


def test_a_code_depends_on_those_before_it_and_on_no_others():
    prior, indices = CodePrior(4, 5), torch.randint(5, (6, 4))
    before = prior.log_prob_per_code(indices)
    changed = indices.clone()
    changed[:, 2] = (changed[:, 2] + 1) % 5
    after = prior.log_prob_per_code(changed)
    torch.testing.assert_close(after[:, :2], before[:, :2], rtol=0, atol=0)
    assert (after[:, 2:] - before[:, 2:]).abs().min() > 0


# The bound


def test_the_bound_is_that_of_the_rows_own_codes():
    model, x = tiny(), ROWS.double()
    log_joint, _ = joint(model, x)
    brute = cdist(model.posterior(x).z_e.detach().flatten(0, 1), model.codebook.codes)
    own = brute.argmin(1).reshape(-1, M) @ np.array([N_CODES, 1])
    expected = log_joint[torch.from_numpy(own), torch.arange(len(x))]
    assert len(set(own)) > 1
    elbo, log_px_z, kl = (t.detach() for t in model.elbo(x, n_samples=7))
    torch.testing.assert_close(elbo, expected)
    torch.testing.assert_close(elbo, log_px_z - kl)
    torch.testing.assert_close(kl, model.kl_by_latent(model.posterior(x)).sum(-1).detach())
    for found in (model.importance(x, n_samples=1), model.importance(x, n_samples=50)):
        torch.testing.assert_close(found.elbo, expected)
    torch.testing.assert_close(model.log_px(x, n_samples=1), expected)
    assert (model.log_px(x, n_samples=5) >= expected - 1e-12).all()


def test_log_px_is_the_sum_over_all_codes_and_p_is_a_distribution():
    model, x = tiny(), ROWS.double()
    log_joint, _ = joint(model, x)
    exact = log_joint.logsumexp(0)
    assert exact.exp().sum().item() == pytest.approx(1)
    assert (exact - model.elbo(x).elbo).detach().mean() > 0.2
    found = model.importance(x, n_samples=5000)
    torch.testing.assert_close(found.log_px, exact, atol=0.06, rtol=0)
    even = model.log_px(x, n_samples=4001, eps=model.grid(4001).double())
    torch.testing.assert_close(even, exact, atol=0.02, rtol=0)


@pytest.mark.parametrize("n_samples", [2, 3, 8])
def test_few_samples_are_unbiased_for_p(n_samples):
    model, x = tiny(), ROWS[3].double().expand(20_000, -1)
    exact = joint(model, x[:1])[0].logsumexp(0).exp().item()
    p = model.log_px(x, n_samples=n_samples).exp()
    assert p.std() > 0
    assert abs(p.mean().item() - exact) < 4.5 * p.std().item() / len(x) ** 0.5


def test_missing_cells_are_filled_by_the_sum_over_all_codes():
    model, x = tiny(), ROWS[5:9].double()
    mask = torch.tensor([1.0, 0, 1, 0]).double().expand(4, -1)
    log_joint, params = joint(model, x, mask)
    weights = log_joint.softmax(0)
    mean = (weights.unsqueeze(-1) * model.likelihood.mean(params)).sum(0)
    filled = model.impute(x, mask, n_samples=20_000, draws=5000)
    expected = torch.where(mask > 0, x, mean)
    torch.testing.assert_close(filled.mean, expected, atol=0.01, rtol=0)
    torch.testing.assert_close(filled.draws.mean(0), expected, atol=0.035, rtol=0)
    torch.testing.assert_close(filled.log_px, log_joint.logsumexp(0), atol=0.03, rtol=0)


def test_rows_are_drawn_as_often_as_they_are_probable():
    model = tiny()
    probs = joint(model, ROWS.double())[0].logsumexp(0).exp()
    n = 50_000
    at = (model.sample(n) @ torch.tensor([8.0, 4, 2, 1]).double()).long()
    shares = torch.bincount(at, minlength=16) / n
    assert ((shares - probs).abs() / (probs * (1 - probs) / n).sqrt()).max() < 4.5


def test_given_y_the_codes_are_those_of_y():
    """Sums over all codes give p(x|y), samples and fillings under a prior that depends on y."""
    model, x, mask = tiny(y_dim=2), ROWS.double(), torch.tensor([1.0, 0, 1, 0]).double()
    with torch.no_grad():
        model.prior.condition.weight.mul_(6)
    priors, n, eps = [], 10_000, model.grid(2001).double()
    for y in torch.eye(2).double():
        log_joint, params = joint(model, x, y=y)
        priors.append(model.prior.log_prob(SEQUENCES, y).exp())
        assert priors[-1].sum().item() == pytest.approx(1)
        exact, ys = log_joint.logsumexp(0), y.expand(16, -1)
        found = model.importance(x, ys, eps=eps)
        torch.testing.assert_close(found.log_px, exact, atol=0.02, rtol=0)
        own = model.posterior(x, ys).indices
        at = (own * torch.tensor([N_CODES, 1])).sum(-1)
        torch.testing.assert_close(found.elbo, log_joint[at, torch.arange(16)])
        drawn = (model.sample(n, y.expand(n, -1)) @ torch.tensor([8.0, 4, 2, 1]).double()).long()
        shares, probs = torch.bincount(drawn, minlength=16) / n, exact.exp()
        assert ((shares - probs).abs() / (probs * (1 - probs) / n).sqrt()).max() < 4.5
        weights = joint(model, x, mask, y)[0].softmax(0)
        mean = (weights.unsqueeze(-1) * model.likelihood.mean(params)).sum(0)
        filled = model.impute(x, mask.expand(16, -1), ys, eps=eps).mean
        torch.testing.assert_close(filled, torch.where(mask > 0, x, mean), atol=0.02, rtol=0)
    assert (priors[0] - priors[1]).abs().sum() > 0.3


def test_codes_under_an_even_prior_cost_all_the_nats_that_there_is_room_for():
    model, x = VQVAE(Bernoulli(4), (5,), z_dim=3, n_codes=16), ROWS
    with torch.no_grad():
        model.prior.out.zero_()
        kl = model.elbo(x).kl
    torch.testing.assert_close(kl, torch.full((16,), 3 * math.log(16)))
    assert model.describe().endswith("z of 3 codes x 4, each of 16: room for 8.3 nats")


# Training


def test_the_loss_of_a_row_does_not_depend_on_the_batch():
    model, x = tiny(Gaussian(4)), torch.randn(6, 4).double()
    with torch.no_grad():
        for phase in model.phases:
            alone = torch.cat([model.loss(phase, Batch(x[i : i + 1]))[0] for i in range(6)])
            for n in (1, 3):
                loss, _ = model.loss(phase, Batch(x.repeat(n, 1)))
                torch.testing.assert_close(loss, alone.repeat(n))


def test_the_loss_by_hand():
    model, x = tiny(commitment=0.7), ROWS.double()
    q, terms = model.posterior(x), model.elbo(x)
    distance = ((q.z_e - q.z_q) ** 2).flatten(1).sum(1)
    with torch.no_grad():
        loss, stats = model.loss("vqvae", Batch(x))
        torch.testing.assert_close(loss, 0.7 * distance - terms.log_px_z)
        torch.testing.assert_close(stats["loss"], (0.7 * distance - terms.elbo).mean())
        torch.testing.assert_close(model.loss("prior", Batch(x))[0], terms.kl)


def test_each_phase_moves_its_own_parameters():
    model = VQVAE(Gaussian(4, "shared"), (5,), z_dim=2)
    ours, prior = (model.parameters_of(phase) for phase in model.phases)
    assert {*map(id, ours)} | {*map(id, prior)} == {*map(id, model.parameters())}
    assert not {*map(id, ours)} & {*map(id, prior)}
    for phase, own, others in (("vqvae", ours, prior), ("prior", prior, ours)):
        loss, _ = model.loss(phase, Batch(torch.randn(8, 4)))
        grads = torch.autograd.grad(loss.sum(), [*own, *others], allow_unused=True)
        assert all(g is not None for g in grads[: len(own)])
        assert all(g is None for g in grads[len(own) :])


def test_only_a_sound_step_of_training_moves_the_codebook():
    model, x = VQVAE(Gaussian(4), (5,), z_dim=2), torch.randn(8, 4)

    def moved(call):
        before = {name: t.clone() for name, t in model.codebook.state_dict().items()}
        call()
        return any(not t.equal(before[n]) for n, t in model.codebook.state_dict().items())

    with torch.no_grad():
        assert not moved(lambda: model.loss("vqvae", Batch(x)))
    assert not moved(lambda: model.loss("prior", Batch(x)))
    assert not moved(lambda: model.terms(Batch(x)))
    assert not moved(lambda: model.loss("vqvae", Batch(x * math.nan)))
    assert not moved(lambda: model.loss("vqvae", Batch(x * 1e30)))
    assert moved(lambda: model.loss("vqvae", Batch(x)))


@pytest.mark.parametrize("z_dim", [1, 3])
def test_what_has_four_values_costs_the_nats_of_four(z_dim):
    patterns = (torch.rand(4, 12) > 0.5).float()
    x = patterns.repeat(32, 1)
    model = VQVAE(Bernoulli(12), (32,), z_dim=z_dim, n_codes=4)
    model.start_at(x)
    epochs = list(Training(model, lr=0.01).run(Batch(x), 120, batch_size=32))
    assert model.elbo(x).elbo.mean().item() == pytest.approx(-math.log(4), abs=0.1)
    found = [means["perplexity"] for means in epochs if means]
    assert all(1 <= value <= 4 + 1e-4 for value in found)
    assert set(epochs[-1]) >= {"loss", "log_px_z", "kl", "perplexity", "commitment"}
    drawn = model.sample(200)
    assert (cdist(drawn, patterns).min(1) == 0).mean() > 0.9


# The commands

FLAGS = ("--model", "vqvae", "--n-codes", 16, "--hidden-dims", 16, "--batch-size", 32)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A small .csv of mixed columns with holes."""
    rng = np.random.default_rng(0)
    job = rng.choice(["nurse", "clerk", "cook"], 200)
    age = 30 + 10 * (job == "cook") + rng.normal(0, 2, 200)
    rows = [
        f"{'' if i % 7 == 0 else round(a, 1)},{j},{v}"
        for i, (a, j, v) in enumerate(zip(age, job, rng.poisson(2, 200), strict=True))
    ]
    path = tmp_path_factory.mktemp("table") / "t.csv"
    path.write_text("\n".join(["age,job,visits", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train, table):
    folder = tmp_path_factory.mktemp("vqvae")
    train(folder / "runs", "a", "--data", table, *FLAGS, "--epochs", 40, "--val-fraction", 0.1)
    (folder / "t.csv").write_bytes(table.read_bytes())
    return folder


def test_rows_given_some_cells_and_no_condition_are_of_the_joint_distribution():
    """The reference p(x, y | two cells) sums over all codes, all x and both equally likely y."""
    torch.manual_seed(1)
    model = tiny(y_dim=2).eval()
    x, mask = ROWS[5:6].double(), torch.tensor([[1.0, 0, 0, 1]]).double()
    each_y = torch.eye(2).double()
    by_y = torch.stack([joint(model, x, mask, y)[0].logsumexp(0)[0] for y in each_y])
    exact = by_y.logsumexp(0) - math.log(2)
    y = each_y[torch.randint(2, (40_000,))]
    rows, drawn_y, log_p, ess = resample(model, 2000, x, mask, y, len(y))
    assert abs(log_p - exact) < 0.03
    assert ess > 2000
    assert (rows[:, [0, 3]] == x[0, [0, 3]]).all()
    assert abs(drawn_y[:, 0].mean() - by_y.softmax(0)[0]) < 0.05
    both = [joint(model, x, mask, y) for y in each_y]
    weights = torch.cat([log_p_z for log_p_z, _ in both]).softmax(0)  # [2 x 9, 1]
    means = torch.cat([model.likelihood.mean(params) for _, params in both])[:, 0]
    torch.testing.assert_close(rows.mean(0)[1:3], (weights * means).sum(0)[1:3], atol=0.05, rtol=0)


def test_every_verb_works_on_a_run(folder, call):
    config = Run(folder / "runs" / "a").config().asked
    # The preset of tables asks for another bound and for members.
    assert (config.training.objective, config.training.n_samples) == ("elbo", 1)
    assert config.model.members == 1
    assert all(1 <= line["perplexity"] <= 16 for line in Run(folder / "runs" / "a").read_log())
    run = ("--run", "a")
    result = call("evaluate", *run, "--n-samples", 20)
    assert result.code == 0, result.err
    assert "q(z|x) is deterministic" in result.out
    for name, *args in (
        ("plot_results",),
        ("generate", "--n", 50),
        ("impute", "t.csv"),
        ("generate", "--n", 20, "--given", "job=cook", "--out", "g.csv"),
        ("detect", "t.csv"),
    ):
        result = call(name, *args, *run)
        assert result.code == 0, result.err
    made = np.genfromtxt(folder / "g.csv", delimiter=",", dtype=str, skip_header=1)
    assert set(made[:, 1]) == {"cook"}
    assert abs(made[:, 0].astype(float).mean() - 40) < 3


def test_a_run_goes_on_from_every_checkpoint_to_the_same_bits(table, tmp_path, train, monkeypatch):
    """Kills fall in the midst of epochs, and after the codebook has moved."""
    flags, saved, save = ("--data", table, *FLAGS, "--epochs", 4), [], Run.save_checkpoint

    def note(run, checkpoint):
        save(run, checkpoint)
        if run.name == "straight":
            saved.append({p.name: p.read_bytes() for p in run.path.iterdir() if p.is_file()})

    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "LOOK_STEPS", 3)
        patch.setattr(Run, "save_checkpoint", note)
        straight = train(tmp_path, "straight", *flags, "--checkpoint-seconds", 0)
    inside = 0
    for i, files in enumerate(saved[1::3]):
        (tmp_path / f"{i}").mkdir()
        for name, content in files.items():
            (tmp_path / f"{i}" / name).write_bytes(content)
        inside += Run(tmp_path / f"{i}").load_checkpoint()["position"]["row"] > 0
        assert_same_run(train(tmp_path, f"{i}", "--resume", f"{i}"), straight)
    assert inside > 0


def test_pictures_are_generated_after_one_command(tmp_path, train, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train("runs", "a", "--data", "digits", *FLAGS, "--epochs", 2)
    assert call("generate", "--n", 9).code == 0
    with np.load("generated.npz") as arrays:
        (x,) = arrays.values()
    assert x.shape == (9, 8, 8)
    assert 0 < x.min() < 0.5 < x.max() < 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--beta 2", "beta 2.0 does not go with model vqvae, which takes 1.0"),
        ("--flow planar:2", "flow planar:2 does not go with model vqvae, which takes none"),
        ("--members 3", "members 3 does not go with model vqvae, which takes 1"),
        ("--model vae --n-codes 8", "option n_codes does not go with model vae"),
    ],
)
def test_flags_of_other_models_are_refused(tmp_path, call, flags, message):
    result = call(
        "train", "--runs-dir", tmp_path, "--data", "iris", "--model", "vqvae", *flags.split()
    )
    assert result.code == 2
    assert result.err.startswith(f"error: {message}")
    assert result.err.count("\n") == 1


def test_a_diverging_run_ends(tmp_path, call):
    """The prior alone would train on, because it sees only indices."""
    result = call("train", "--runs-dir", tmp_path, "--data", "iris", *FLAGS, "--lr", 1e30)
    assert result.code == 2
    assert "diverged in epoch" in result.err


def test_factors_need_a_gaussian():
    with pytest.raises(UserError, match="no mu and logvar"):
        tiny().encode(ROWS.double())
