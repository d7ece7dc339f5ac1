"""parts/model/flows.py: log-determinants against autograd, inverses, masks, and total mass."""

import math

import pytest
import torch
from torch.distributions import Normal
from torch.testing import assert_close as close

from parts.model.flows import FLOWS, IAF, MIN_STRETCH, Flow, Planar

each_flow = pytest.mark.parametrize("name", FLOWS)
each_size = pytest.mark.parametrize(("z_dim", "n_layers"), [(1, 1), (2, 3), (5, 4)])


def build(name, z_dim, n_layers):
    """A flow far from the identity, in float64."""
    flow = FLOWS[name](z_dim, n_layers).double()
    far = {"planar": 1.5, "iaf": 0.7}[name]  # scales are exponentials, of which four are multiplied
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(far * torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
    return flow


def params_of(flow, n_rows, scale=1.5):
    return scale * torch.randn(n_rows, flow.n_params).double()


def jacobian(flow, z, params):
    """d z' / d z of one z [Z]."""
    return torch.autograd.functional.jacobian(lambda v: flow(v[None], params[None])[0][0], z)


@each_flow
@each_size
def test_log_det_is_that_of_the_jacobian(name, z_dim, n_layers):
    flow = build(name, z_dim, n_layers)
    z, params = torch.randn(3, 4, z_dim).double(), params_of(flow, 4)
    moved, log_det = flow(z, params)
    assert moved.shape == z.shape
    assert log_det.shape == (3, 4)
    for k in range(3):
        for b in range(4):
            sign, expected = torch.linalg.slogdet(jacobian(flow, z[k, b], params[b]))
            assert sign > 0
            close(log_det[k, b], expected)
    assert log_det.abs().min() > 1e-4
    assert (moved - z).abs().max() > 0.1


@each_flow
def test_params_of_a_row_move_its_samples_only_and_alike(name):
    flow = build(name, 3, 2)
    z, params = torch.randn(5, 4, 3).double(), params_of(flow, 4)
    moved, log_det = flow(z, params)
    for b in range(4):
        alone = flow(z[:, b : b + 1], params[b : b + 1])
        close((moved[:, b : b + 1], log_det[:, b : b + 1]), alone)
        close(
            (moved[0, b : b + 1], log_det[0, b : b + 1]), flow(z[0, b : b + 1], params[b : b + 1])
        )
    assert (flow(z, params.flip(0))[0] - moved).abs().max() > 0.1
    members = z.expand(2, 5, 4, 3)
    close(flow(members, params.expand(2, 1, 4, -1))[1], log_det.expand(2, 5, 4))


@each_flow
def test_a_transformed_gaussian_has_mass_one(name):
    """The sum runs over a grid of z', by change of variables, and not over z."""
    flow, n = build(name, 1, 4), 40_001
    params = params_of(flow, 1)
    z = torch.linspace(-9, 9, n).double().view(n, 1, 1)
    moved, log_det = flow(z, params)
    moved, log_q = moved.flatten(), (Normal(0, 1).log_prob(z[..., 0]) - log_det).flatten()
    assert (moved.diff() > 0).all()
    assert torch.trapezoid(log_q.exp(), moved).item() == pytest.approx(1, abs=1e-6)


@each_flow
@torch.no_grad()
def test_density_in_two_dimensions_is_that_of_the_samples(name):
    """Over samples in a disc, 1 / q(z') averages to the area of the disc."""
    flow, n = build(name, 2, 3), 50_000
    z = torch.randn(n, 1, 2).double()
    moved, log_det = flow(z, params_of(flow, 1))
    moved, log_q = moved.flatten(0, 1), (Normal(0, 1).log_prob(z).sum(-1) - log_det).flatten()
    spread = moved.std(0)
    inside = ((moved - moved.median(0).values) / spread).square().sum(-1) < 0.25
    terms = inside * torch.exp(-log_q)
    area, error = 0.25 * math.pi * spread.prod(), terms.std() / n**0.5
    assert error < 0.02 * area
    assert (terms.mean() - area).abs() < 5 * error


@each_flow
def test_a_fresh_flow_is_near_the_identity_and_can_be_trained(name):
    flow = FLOWS[name](8, 4)
    z, params = torch.randn(16, 8), (0.1 * torch.randn(16, flow.n_params)).requires_grad_()
    moved, log_det = flow(z, params)
    assert (moved - z).square().mean().sqrt() < 0.25
    assert log_det.abs().max() < 8 * 4 * 0.06
    (moved.square().sum() - log_det.sum()).backward()
    with torch.no_grad():
        for parameter in flow.parameters():  # from a start where some are 0
            parameter.sub_(1e-3 * parameter.grad)
    moved, log_det = flow(z, params)
    (moved.square().sum() - log_det.sum()).backward()
    assert all(p.grad.abs().max() > 0 for p in [params, *flow.parameters()])


@each_flow
@pytest.mark.parametrize("scale", [30.0, 1e4])
def test_values_and_gradients_are_finite_at_extreme_params(name, scale):
    flow = FLOWS[name](4, 3)
    z, params = scale * torch.randn(2, 64, 4), (scale * torch.randn(64, flow.n_params))
    params.requires_grad_()
    moved, log_det = flow(z, params)
    assert moved.isfinite().all()
    assert log_det.isfinite().all()
    gradients = torch.autograd.grad(log_det.sum(), [params, *flow.parameters()], allow_unused=True)
    assert all(g is None or g.isfinite().all() for g in gradients)


def test_zeros_from_the_encoder_are_the_planar_identity():
    z = torch.randn(3, 4, 5)
    moved, log_det = Planar(5, 3)(z, torch.zeros(4, 33))
    close(moved, z)
    close(log_det, torch.zeros(3, 4))


# Planar: Rezende & Mohamed 2015


def test_a_planar_layer_is_that_of_the_paper_where_u_needs_no_help():
    """u moves along w by m(w.u) - w.u (eq. 10 and 12); its part orthogonal to w stays."""
    u, w, b = torch.tensor([2.0, -1, 0]), torch.tensor([1.0, 2, 3]), torch.tensor([0.3])
    z = torch.randn(50, 1, 3)
    moved, log_det = Planar(3, 1)(z, torch.cat([u, w, b])[None])
    inner = (z @ w + b)[..., None]
    close(moved, z + u * torch.tanh(inner))
    close(log_det, torch.zeros(50, 1), atol=1e-6, rtol=0)  # w.u = 0: a shear
    params = torch.tensor([[0.5, 0.2, -0.1, 1, 2, 3, 0.3]])
    _, _, moved_u, wu = Planar(3, 1).layers(params)
    expected = math.log1p(math.exp(0.6) * (math.e - 1)) - 1  # w.u = 0.6
    close(wu, torch.tensor([[expected]]))
    close((moved_u[0, 0] * w).sum(), torch.tensor(expected))
    off = moved_u[0, 0] - params[0, :3]
    close(off, off @ w / (w @ w) * w)  # along w


def test_planar_layers_keep_w_u_above_minus_one():
    flow = Planar(3, 5).double()
    for scale in (0.1, 1.0, 5.0):
        w, _, u, wu = flow.layers(params_of(flow, 1000, scale))
        close((w * u).sum(-1), wu)
        assert wu.min() >= -1 + 0.99 * MIN_STRETCH
        assert (wu.min() < -0.9) == (scale >= 1)


def test_a_planar_layer_is_monotone_along_w():
    """This also holds where the encoder's own u would have folded z over itself."""
    flow, n = Planar(2, 1).double(), 2001
    params = params_of(flow, 200, 3.0)
    u, w = params[:, :2], params[:, 2:4]
    assert ((u * w).sum(-1) < -1).sum() > 50
    z = torch.linspace(-10, 10, n).double()[:, None, None] * (w / w.norm(dim=-1, keepdim=True))
    along = (flow(z, params)[0] * w).sum(-1)  # [n, 200]
    assert (along.diff(dim=0) > 0).all()


# Inverse autoregressive: Kingma et al. 2016


@each_size
def test_the_inverse_undoes_the_autoregressive_flow(z_dim, n_layers):
    flow = build("iaf", z_dim, n_layers)
    z, params = torch.randn(3, 4, z_dim).double(), params_of(flow, 4)
    moved, _ = flow(z, params)
    assert (moved - z).abs().max() > 0.1
    close(flow.inverse(moved, params), z)


@pytest.mark.parametrize("z_dim", [1, 2, 6, 80])
def test_shift_and_scale_see_only_the_zs_before_and_every_one_of_them(z_dim):
    flow, ones = build("iaf", z_dim, 2), torch.tril(torch.ones(z_dim, z_dim), -1)
    h = torch.randn(flow.steps[0].weight_in.shape[0]).double()
    for step, expected in zip(flow.steps, (ones, ones.T), strict=True):
        z = torch.randn(z_dim).double()
        both = torch.autograd.functional.jacobian(lambda v, s=step: torch.stack(s(v, h)), z)
        for seen in both:
            close((seen != 0).float(), expected)


def test_every_shift_and_scale_sees_the_context():
    flow = build("iaf", 4, 2)
    z, h = torch.randn(4).double(), torch.randn(64).double()
    for step in flow.steps:
        both = torch.autograd.functional.jacobian(lambda v, s=step: torch.stack(s(z, v)), h)
        assert (both.abs().sum(-1) > 0).all()


def test_a_fresh_autoregressive_flow_is_the_identity():
    z = torch.randn(3, 4, 5)
    close(IAF(5, 3)(z, torch.randn(4, 32)), (z, torch.zeros(3, 4)))


def test_flows_describe_themselves_and_ask_for_what_they_use():
    assert {name: FLOWS[name](3, 4).n_params for name in FLOWS} == {"planar": 28, "iaf": 32}
    assert FLOWS["planar"](3, 4).describe() == "Planar flow of 4 layers"
    assert all(issubclass(flow, Flow) for flow in FLOWS.values())
