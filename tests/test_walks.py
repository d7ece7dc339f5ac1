"""parts/tasks/walks.py and parts/forms/pictures/sheets.py: walks and sheets made by hand."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import norm

from parts.forms.pictures import sheets
from parts.model.flows import FLOWS
from parts.model.priors import PRIORS
from parts.model.vqvae import VQVAE
from parts.tasks import walks
from vae import VAE, Bernoulli


def linear_model(z_dim, y_dim=0, **options):
    torch.manual_seed(0)
    model = VAE(Bernoulli(12), hidden_dims=(), z_dim=z_dim, y_dim=y_dim, **options)
    return model, lambda z: torch.sigmoid(model.decoder(z)).detach().numpy()


def test_a_traversal_changes_one_unit_at_a_time():
    model, means = linear_model(3)
    code = torch.randn(50, 3) * torch.tensor([0.5, 3.0, 1.0])
    found = walks.decode_walks(model, code)
    np.testing.assert_array_equal(found["traversed"], [1, 2, 0])  # the most varied first
    at = np.linspace(-3, 3, 11)
    np.testing.assert_allclose(found["traversed_at"], at, atol=1e-6)
    for row, unit in enumerate(found["traversed"]):
        z = code[0].repeat(11, 1)
        z[:, unit] = torch.from_numpy(at).float()
        np.testing.assert_allclose(found["latent_traversal"][row], means(z), atol=1e-6)


def test_only_active_units_are_traversed():
    model, _ = linear_model(3)
    code = torch.randn(200, 3) * torch.tensor([0.01, 1.0, 0.5])
    np.testing.assert_array_equal(walks.decode_walks(model, code)["traversed"], [1, 2])
    np.testing.assert_array_equal(walks.decode_walks(model, code / 100)["traversed"], [1])


def test_under_a_learned_prior_a_walk_goes_as_far_as_that_does():
    torch.manual_seed(0)
    model, means = linear_model(2, prior=PRIORS["mixture"](2, 12, 3, 0))
    with torch.no_grad():
        model.prior.mu.add_(torch.tensor([4.0, 0.0]))
    mu, logvar = model.prior.components(None)
    share = model.prior.logits.softmax(-1)[:, None]
    center = (share * mu).sum(0)
    spread = ((share * (mu.square() + logvar.exp())).sum(0) - center.square()).sqrt()
    found = walks.decode_walks(model, torch.randn(50, 2))
    z = (center + spread * torch.tensor(norm.ppf([0.025, 0.975]))[[0, 1], None]).float().detach()
    corners = found["manifold"][[-1, 0], [0, -1]]
    np.testing.assert_allclose(corners, means(z), atol=0.02)


def test_a_vqvae_is_traversed_from_code_to_code():
    torch.manual_seed(0)
    model = VQVAE(Bernoulli(12), hidden_dims=(8,), z_dim=2, n_codes=5, code_dim=3)
    x = torch.rand(40, 12)
    model.start_at(x)
    q = model.posterior(x)
    found = walks.decode_walks(model, model.posterior_mean(q))
    assert sorted(found["traversed_at"]) == list(range(5))
    assert len(found["traversed"]) == 2
    for row, place in enumerate(found["traversed"]):
        for column, code in enumerate(found["traversed_at"]):
            indices = q.indices[0].clone()
            indices[place] = int(code)
            z = model.codebook.codes[indices].flatten()
            expected = model.likelihood.mean(model.decode(z)).detach()
            found_here = found["latent_traversal"][row, column]
            np.testing.assert_allclose(found_here, expected, atol=1e-6)


def test_an_interpolation_is_straight_and_ends_at_reconstructions():
    model, means = linear_model(3)
    code = torch.randn(7, 3)  # three pairs, and one without a partner
    found = walks.decode_walks(model, code)["interpolations"]
    assert found.shape == (3, walks.N_BETWEEN, 12)
    np.testing.assert_allclose(found[:, 0], means(code[0:6:2]), atol=1e-6)
    np.testing.assert_allclose(found[:, -1], means(code[1:6:2]), atol=1e-6)
    middle = means((code[2] + code[3]) / 2)
    np.testing.assert_allclose(found[1, walks.N_BETWEEN // 2], middle, atol=1e-6)


def test_a_manifold_goes_through_the_inverse_normal_cdf():
    model, means = linear_model(2)
    found = walks.decode_walks(model, torch.randn(5, 2))
    n = walks.N_MANIFOLD
    at = norm.ppf((np.arange(n) + 0.5) / n)
    np.testing.assert_allclose(found["manifold_at"], at, atol=1e-5)
    corners = found["manifold"][[0, 0, -1], [0, -1, 0]]
    ends = torch.tensor([[at[0], at[-1]], [at[-1], at[-1]], [at[0], at[0]]]).float()
    np.testing.assert_allclose(corners, means(ends), atol=1e-5)
    assert "manifold" not in walks.decode_walks(linear_model(3)[0], torch.randn(5, 3))


def test_a_condition_is_the_first_rows_and_goes_straight_too():
    model, means = linear_model(2, y_dim=2)
    code, y = torch.randn(4, 2), torch.eye(2)[[0, 1, 1, 1]]
    found = walks.decode_walks(model, code, y)
    middle = means(torch.cat([(code[0] + code[1]) / 2, torch.tensor([0.5, 0.5])]))
    np.testing.assert_allclose(found["interpolations"][0, walks.N_BETWEEN // 2], middle, atol=1e-6)
    z = code[0].clone()
    z[found["traversed"][0]] = -3.0
    expected = means(torch.cat([z, y[0]]))
    np.testing.assert_allclose(found["latent_traversal"][0, 0], expected, atol=1e-6)
    assert found["manifold"].shape == (walks.N_MANIFOLD, walks.N_MANIFOLD, 12)


def test_one_row_has_a_traversal_and_chunks_change_nothing(monkeypatch):
    model, _ = linear_model(2)
    found = walks.decode_walks(model, torch.zeros(1, 2))
    assert set(found) == {
        "latent_traversal",
        "traversed",
        "traversed_at",
        "manifold",
        "manifold_at",
    }
    monkeypatch.setattr(walks, "CHUNK_FLOATS", 30 * model.width)
    again = walks.decode_walks(model, torch.zeros(1, 2))
    np.testing.assert_allclose(again["manifold"], found["manifold"], atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 3)])
def test_grey_pictures_between_their_ends(shape):
    x = np.array([[0.0, 0.5, 1.0, 2.0, 1.5, np.nan]])
    shown = sheets.as_colour(x, shape, "gray", 0.0, 2.0)
    assert shown.shape == (1, 2, 3, 3)
    np.testing.assert_allclose(shown[0, :, :, 0].flat[:5], [0, 0.25, 0.5, 1, 0.75])
    np.testing.assert_array_equal(shown[0, 1, 2], sheets.HOLE_COLOR)
    ink = sheets.as_colour(x, shape, "gray_r", 0.0, 2.0)
    np.testing.assert_allclose(ink[0, :, :, 2].flat[:5], [1, 0.75, 0.5, 0, 0.25])


def test_colours_are_as_they_are_and_cut_off():
    x = np.arange(12.0).reshape(2, 6)[::-1] / 10
    shown = sheets.as_colour(x, (3, 1, 2), "gray")
    np.testing.assert_allclose(shown[1, 0], [[0, 0.2, 0.4], [0.1, 0.3, 0.5]])
    np.testing.assert_allclose(shown[0, 0], [[0.6, 0.8, 1], [0.7, 0.9, 1]])
    x[0, 2] = np.nan  # one channel of the left pixel
    np.testing.assert_array_equal(
        sheets.as_colour(x, (3, 1, 2), "gray")[0, 0, 0], sheets.HOLE_COLOR
    )


def test_a_sheet_is_in_rows_with_lines_between(tmp_path):
    shown = sheets.rows_of(np.arange(3.0)[:, None, None, None] * np.ones((3, 2, 4, 3)) / 4, 2)
    assert shown.shape == (2, 2, 2, 4, 3)
    np.testing.assert_array_equal(shown[1, 1, 0, 0], sheets.LINE_COLOR)  # blank
    canvas = sheets.sheet(shown)
    assert canvas.shape == (2 * 3 + 1, 2 * 5 + 1, 3)
    np.testing.assert_array_equal(canvas[1:3, 6:10], 0.25)
    np.testing.assert_array_equal(canvas[3], np.broadcast_to(sheets.LINE_COLOR, (11, 3)))
    sheets.write(tmp_path / "a.png", shown)
    image = np.asarray(Image.open(tmp_path / "a.png"))
    assert image.shape == (42, 66, 3)
    np.testing.assert_array_equal(image[3::6, 3::6], np.round(255 * canvas))


@pytest.mark.parametrize("name", ["flow", "mixture", "vamp"])
def test_models_with_a_flow_or_a_learned_prior(name):
    options = {"flow": FLOWS["planar"](2, 2)} if name == "flow" else {}
    options |= {"prior": PRIORS[name](2, 12, 5)} if name != "flow" else {}
    model, means = linear_model(2, **options)
    code = model.posterior_mean(model.posterior(torch.rand(4, 12))).detach()
    found = walks.decode_walks(model, code)["interpolations"][:, 0]
    np.testing.assert_allclose(found, means(code[::2]), atol=1e-6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train):
    """A folder with runs on colours: `a` of two latents, `members` of two members."""
    folder = tmp_path_factory.mktemp("gallery")
    x = np.random.default_rng(0).random((40, 3, 5, 4)).astype(np.float32)
    np.savez(folder / "colours.npz", X=x, y=np.arange(40) % 2)
    flags = ("--data", folder / "colours.npz", "--epochs", 2, "--threads", 1)
    train(folder / "runs", "a", *flags, "--latent-dim", 2)
    gaussian = ("--likelihood", "gaussian", "--variance", "shared")
    train(folder / "runs", "members", *flags, *gaussian, "--members", 2)
    return folder


def test_a_run_has_figures_of_its_walks(folder, call):
    for script, run in (("evaluate", "a"), ("plot_results", "a"), ("evaluate", "members")):
        result = call(script, "--run", run, *(("--n-samples", 5) if script == "evaluate" else ()))
        assert (result.code, result.err) == (0, "")
    figures = {path.stem for path in (folder / "runs/a/figures").iterdir()}
    assert figures >= {"reconstructions", "latent_traversal", "interpolations", "manifold"}
    with np.load("runs/a/evaluation.npz") as arrays:
        assert arrays["manifold"].dtype == np.uint8
        ends, recon = arrays["interpolations"][:, 0] / 255, arrays["recon"][0:8:2]
    np.testing.assert_allclose(ends, recon[: len(ends)], atol=0.6 / 255)
    with np.load("runs/members/evaluation.npz") as arrays:
        assert not set(walks.PICTURES) & set(arrays)  # each member has latents of its own
