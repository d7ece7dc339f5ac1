"""p(x|z) of windows of a series: N(m(y) + mu(z), T^-1 diag(exp 2g(z)) T^-T), T lower triangular.

The cells of a window of L steps and D columns lie in the order of time, step by step. Row j of T
predicts cell j from the cells before it, e = T (x - mean) are the innovations, and exp g is their
scale. m(y) is linear in y, the calendar of the window and the states at each of its steps. Where
there are states, all of this is told of (x - m(y)) / a(y), where a is the scale of a cell in the
states of its step. Training starts at mu = 0 and g = 0, where p(x) is the Gaussian of windows.
Missing cells are marginalised exactly.

Shapes: N whatever else there is of a row (samples, members), x [B, L D], mask [B, L D] (1 =
observed), y [B, C + L S] with S numbers of the states at a step, params [..., B, n_params];
log-probabilities in nats.
"""

import math
from typing import NamedTuple

import torch
from torch import nn

from parts.model.batches import observed
from parts.model.likelihoods.base import Likelihood
from parts.model.likelihoods.conditioned import Scaled, Triangle
from parts.model.networks import N_WINDOWS
from parts.model.normal import LOG_2PI, log_normal
from parts.model.precision import to_float64

N_CONCENTRATIONS = 5
MOST_CELLS = 1000  # of a window with a full covariance; its costs grow with their third power
RIDGE = 3e-4  # added to the windows' covariance, in variances of a cell
SHRINK = 1e-3  # of the calendar's weights, a ridge in variances of y
STEPS_PER_KNOT = 3  # g is linear in time between its knots
MAX_LOG_SCALE = 3.0  # of an innovation beside its usual size
FARTHEST = 5.0  # innovations beyond which the encoder sees no difference
TINY = 1e-3  # added to mean squares of innovations before their log
PACE = 0.15  # of T in training, beside that of the networks
MOST_BLOCKS = 16  # of a window, of which the networks are told the shares of the states
SCORING_STEPS = 10  # of the fit of the scales by state
MAX_LOG_STATE = 3.0  # of a cell's scale beside its usual one


class WindowGaussian(NamedTuple):
    """A Gaussian of windows x given y: mean [L D], weights of y [C, L D], covariance [L D, L D]."""

    mean: torch.Tensor
    weights: torch.Tensor
    covariance: torch.Tensor


class Shrinkage(NamedTuple):
    """How a covariance of windows is kept from what few windows do not tell: `ridge`, in variances
    of a cell, is added to the diagonal, and covariances between columns shrink by a share `apart`.
    """

    ridge: float = RIDGE
    apart: float = 0.0


USUAL = Shrinkage()


def fit_windows(x, y=None, shrinkage=USUAL, n_each=1, trim=0.0):
    """The WindowGaussian of complete windows x [n, L D] of D = n_each columns and y [n, C], in
    float64.

    With `trim` it is that of all but this share of the windows, those farthest from it, found in
    some steps of concentration as of the MCD (Rousseeuw & Van Driessen 1999).
    """
    x = to_float64(x)
    y = x.new_zeros(len(x), 0) if y is None else to_float64(y)
    if trim:
        near = nearest_windows(x, y, shrinkage, n_each, trim)
        x, y = x[near], y[near]
    return fit_all(x, y, shrinkage, n_each)


def nearest_windows(x, y, shrinkage, n_each, trim):
    """The numbers of all but a share `trim` of the windows, those that `fit_windows` takes."""
    found = fit_all(x, y, shrinkage, n_each)
    for _ in range(N_CONCENTRATIONS):
        root = torch.linalg.cholesky(found.covariance)
        r = x - found.mean - y @ found.weights
        far = torch.linalg.solve_triangular(root, r.mT, upper=False).square().sum(0)
        near = far.argsort(stable=True)[: math.ceil((1 - trim) * len(x))]
        found = fit_all(x[near], y[near], shrinkage, n_each)
    return near


def fit_all(x, y, shrinkage, n_each=1):
    """`fit_windows` of all windows."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    r, c = x - x_mean, y - y_mean
    square = c.mT @ c
    square.diagonal().add_(SHRINK * len(x))
    weights = torch.linalg.solve(square, c.mT @ r)
    r = r - c @ weights
    covariance = shrink(r.mT @ r / len(x), shrinkage, n_each)
    return WindowGaussian(x_mean - y_mean @ weights, weights, covariance)


def shrink(covariance, shrinkage, n_each):
    """A covariance [L D, L D] of windows of D = n_each columns, as a Shrinkage says."""
    column = torch.arange(len(covariance), device=covariance.device) % n_each
    other = column.unsqueeze(-1) != column
    found = torch.where(other, (1 - shrinkage.apart) * covariance, covariance)
    own = found.diagonal()
    own.add_(shrinkage.ridge * own.clamp(min=shrinkage.ridge))
    return found


def whitening(covariance):
    """Lower triangular T with T C T' = I."""
    root = torch.linalg.cholesky(covariance)
    identity = torch.eye(len(root)).to(root)
    return torch.linalg.solve_triangular(root, identity, upper=False)


def fit_scales(r, states):
    """log-scales of the columns by state [S, D], of r [n, L, D] and states [n, L, S].

    log var r = const + 2 states @ found, by Fisher's scoring for Gaussian cells (Harvey 1976).
    """
    s = torch.cat([torch.ones_like(states[..., :1]), states], -1).flatten(0, 1)  # [n L, 1 + S]
    square = r.flatten(0, 1).square().clamp(min=TINY)
    start = 0.5 * square.mean(0).log()
    found = torch.zeros(s.shape[-1], r.shape[-1]).to(r)
    found[0] = start
    gram = s.mT @ s
    gram.diagonal()[1:].add_(SHRINK * len(s))
    for _ in range(SCORING_STEPS):
        ratio = square * torch.exp(-2 * s @ found)
        gradient = s.mT @ (ratio.clamp(max=FARTHEST**2) - 1) / 2
        gradient[1:] -= SHRINK * len(s) * found[1:]
        found = found + torch.linalg.solve(gram, gradient)
    return found[1:].clamp(-MAX_LOG_STATE, MAX_LOG_STATE)


class Conditioned(NamedTuple):
    """p(missing cells | z, observed cells), as `mean`, `std`, `sample` and `average` take it."""

    params: torch.Tensor
    x: torch.Tensor
    mask: torch.Tensor


class OfWindows(Likelihood):
    """A likelihood of windows of `shape` (L, D) around m(y); y has `y_dim` numbers, among them the
    `state_dim` ones of the states at each step. T0 whitens the training windows.

    With states params end with log a(y) [L D], before the member's number if there is one.
    """

    scaling = "kinds"
    n_start = 20_000
    of_members = False  # whether each member has its noise, and params end with its number
    shrinkage = USUAL
    trim = 0.0  # share of windows that are left out of the Gaussian at the start

    def __init__(self, n_columns, n_params, shape, y_dim=0, state_dim=0):
        super().__init__(n_columns, n_params)
        self.shape, self.state_dim = tuple(shape), state_dim
        self.calendar_dim = y_dim - self.shape[0] * state_dim
        self.n_features = N_WINDOWS * n_columns + 2 * self.shape[1] + 2
        self.register_buffer("mean0", torch.zeros(n_columns))
        self.register_buffer("weights", torch.zeros(y_dim, n_columns))
        self.register_buffer("T0", torch.eye(n_columns))
        if state_dim:
            self.register_buffer("by_state", torch.zeros(state_dim, self.shape[1]))

    @classmethod
    def of_space(cls, space, **options):
        return cls(len(space.columns), space.shape, space.y_dim, space.state_dim, **options)

    def state_nats(self, y, mask=None):
        """The part of -log p of the observed cells that their scales a(y) make, [B]."""
        if not self.state_dim:
            return 0.0
        return observed(self.log_state(y), mask).sum(-1)

    @torch.no_grad()
    def start_at(self, x, y=None):
        """Start at the Gaussian of windows x [n, L D], in which no cell is missing."""
        if not self.state_dim:
            self.start(fit_windows(x, y, self.shrinkage, self.shape[1], self.trim))
            return
        x, y = to_float64(x), to_float64(y)
        if self.trim:  # the windows that are odd for their states
            _, r = self.fit_states(x, y)
            none = r.new_zeros(len(r), 0)
            near = nearest_windows(r, none, self.shrinkage, self.shape[1], self.trim)
            x, y = x[near], y[near]
        found, r = self.fit_states(x, y)
        of_noise = fit_windows(r, None, self.shrinkage, self.shape[1])
        self.start(found._replace(covariance=of_noise.covariance))

    def fit_states(self, x, y):
        """Fit the scales of the states to windows; their WindowGaussian, and (x - m(y)) / a(y)."""
        found = fit_all(x, y, self.shrinkage)
        r = x - found.mean - y @ found.weights
        self.by_state.copy_(fit_scales(r.unflatten(-1, self.shape), self.states(y)))
        return found, r * torch.exp(-(self.states(y) @ self.by_state.to(y)).flatten(-2))

    @torch.no_grad()
    def start(self, found):
        """Start at a WindowGaussian."""
        self.T0.copy_(whitening(found.covariance))
        self.mean0.copy_(found.mean)
        self.weights.copy_(found.weights)

    @torch.no_grad()
    def gaussian_at_start(self):
        T0 = to_float64(self.T0)
        identity = torch.eye(len(T0)).to(T0)
        root = torch.linalg.solve_triangular(T0, identity, upper=False)
        return WindowGaussian(to_float64(self.mean0), to_float64(self.weights), root @ root.mT)

    def usual(self, y=None):
        """m(y): the mean of windows with this calendar, [..., L D]."""
        return self.mean0 if y is None else self.mean0 + y @ self.weights

    def states(self, y):
        """The states at each step of y, [..., L, S]."""
        return y[..., self.calendar_dim :].unflatten(-1, (self.shape[0], self.state_dim))

    def log_state(self, y):
        """log a(y): that of the scales of cells in their states, [..., L D]."""
        return (self.states(y) @ self.by_state).flatten(-2)

    def context_dim(self, y_dim):
        return self.calendar_dim + min(MOST_BLOCKS, self.shape[0]) * self.state_dim

    def context(self, y):
        """What the networks are told of y: the calendar, and the shares of the states in blocks of
        the window, [..., context_dim].
        """
        if not self.state_dim:
            return y
        blocks = self.states(y).tensor_split(min(MOST_BLOCKS, self.shape[0]), -2)
        shares = torch.stack([block.mean(-2) for block in blocks], -2)
        return torch.cat([y[..., : self.calendar_dim], shares.flatten(-2)], -1)

    def log_state_of(self, params):
        """log a(y) that params hold, [..., L D]; 0 without states."""
        if not self.state_dim:
            return torch.zeros_like(params[..., : self.n_columns])
        return params[..., self.n_params : self.n_params + self.n_columns]

    # What the encoder sees of r = x - m(y)

    def features(self, r, mask=None):
        """The cells, which are there, their innovations, and the logs of the sizes of these."""
        seen = observed(r, mask)
        there = torch.ones_like(r) if mask is None else mask
        e = seen @ self.T0.mT
        squares, sizes = (part.unflatten(-1, self.shape) for part in (e.square(), e.abs()))
        parts = [seen, there, e.clamp(-FARTHEST, FARTHEST)]
        parts += [(each.mean(-2) + TINY).log() for each in (squares, sizes)]
        parts += [(each.mean((-2, -1)) + TINY).log().unsqueeze(-1) for each in (squares, sizes)]
        return torch.cat(parts, -1)


class Windows(OfWindows):
    """Windows whose noise has a full covariance, its innovations scaled by z."""

    preset = "series"
    baseline_names = {"gaussian": "Gaussian of windows", "diagonal": "independent cells"}

    def __init__(self, n_columns, shape, y_dim=0, state_dim=0):
        n_steps, n_each = shape
        n_knots = math.ceil((n_steps - 1) / STEPS_PER_KNOT) + 1
        super().__init__(n_columns, n_columns + n_knots * n_each, shape, y_dim, state_dim)
        at = torch.arange(n_steps) / max(1, n_steps - 1) * (n_knots - 1)
        between = (1 - (at.unsqueeze(-1) - torch.arange(n_knots)).abs()).clamp(min=0)
        self.register_buffer("between", between)  # [L, knots]
        self.low = nn.Parameter(torch.zeros(n_columns, n_columns))
        self.log_scale = nn.Parameter(torch.zeros(n_columns))

    @classmethod
    def of_space(cls, space, **options):
        kind = cls
        if len(space.columns) > MOST_CELLS:
            from parts.model.likelihoods.factors import WideWindows as kind  # it builds on this one
        likelihood = kind(len(space.columns), space.shape, space.y_dim, space.state_dim, **options)
        likelihood.shrinkage = Shrinkage(*space.shrinkage)
        return likelihood

    def describe(self):
        return f"Gaussian of windows of {self.shape[0]} x {self.shape[1]}, scaled by z"

    # Parameters

    def parts(self, params):
        """The mean, g and log a, each [..., B, L D], of params."""
        mu, knots = params[..., : self.n_columns], params[..., self.n_columns : self.n_params]
        g = MAX_LOG_SCALE * torch.tanh(knots / MAX_LOG_SCALE)
        g = self.between.to(g) @ g.unflatten(-1, (-1, self.shape[1]))
        g = g.flatten(-2) + PACE * self.log_scale
        return mu, g, self.log_state_of(params)

    def innovations(self, r):
        """T r."""
        e = r @ self.T0.mT
        return e + PACE * (e @ self.low.tril(-1).mT)

    def triangle(self):
        """T in float64."""
        T0 = to_float64(self.T0)
        return T0 + PACE * to_float64(self.low).tril(-1) @ T0

    @property
    def log_det(self):
        """log |T|, but for what g holds of it."""
        return self.T0.diagonal().log().sum()

    # Densities

    def log_prob(self, params, x, mask=None):
        if mask is not None and not bool((mask > 0).all()):
            return self.log_prob_with_holes(params, x, mask)
        mu, g, a = self.parts(params)
        e = self.innovations((x - mu) * torch.exp(-a)) * torch.exp(-g)
        return self.log_det - (g + a + 0.5 * e.square() + 0.5 * LOG_2PI).sum(-1)

    def log_prob_with_holes(self, params, x, mask):
        flat = params.reshape(-1, *params.shape[-2:])
        found = [given.log_prob for given, _ in self.solve(flat, x, mask)]
        return torch.stack(found, -1).to(params).reshape(params.shape[:-1])

    def log_prob_per_column(self, params, x):
        """log p of each cell given z and the window's other cells, [..., B, L D]; by the precision
        P: x_j - E[x_j | the others] = (P r)_j / P_jj.
        """
        mu, g, a = self.parts(to_float64(params))
        T, weights = self.triangle(), torch.exp(-2 * g)
        unit = torch.exp(-a)
        u = (weights * ((unit * (x - mu)) @ T.mT)) @ T * unit
        precision = (weights @ T.square()) * unit.square()
        return log_normal(u / precision, 0.0, -precision.log()).to(params)

    def solve(self, params, x, mask):
        """Yield what `solve_row` finds of each row, for params [N, B, n_params]."""
        triangle = Triangle(self.triangle())
        for b in range(len(x)):
            yield self.solve_row(triangle, params[:, b], x[b], mask[b])

    def solve_row(self, triangle, params, x, mask):
        """The conditional of a row's missing cells, and their mean [N, m], for params [N, P]."""
        mu, g, a = (part[:, 0] for part in self.parts(to_float64(params).unsqueeze(1)))
        missing, unit = mask == 0, torch.exp(a)
        given = triangle.given(torch.where(missing, 0.0, to_float64(x) - mu) / unit, missing, g)
        given = Scaled(given, unit) if self.state_dim else given
        return given, given.mean + mu[:, missing]

    @torch.no_grad()
    def volume(self, mask):
        """-log p of the observed cells where all are as expected and g is 0, [1, B]."""
        triangle, zero = Triangle(self.triangle()), to_float64(mask.new_zeros(1, self.n_columns))
        found = [-triangle.given(zero, missing).log_prob for missing in mask == 0]
        return torch.stack(found, -1).to(mask)

    def log_prob_of_hidden(self, params, x, mask):
        found = torch.zeros(*params.shape[:-1], self.n_columns, dtype=torch.float64)
        flat = found.reshape(-1, *found.shape[-2:])
        rows = self.solve(params.reshape(-1, *params.shape[-2:]), x, mask)
        for b, (given, mean) in enumerate(rows):
            hidden = given.missing
            cells = log_normal(to_float64(x[b, hidden]), mean, given.variance.log())
            flat[:, b, hidden] = cells
        return found.to(params)

    def given(self, params, x, mask):
        return Conditioned(params, x, mask)

    # Means and draws

    def of_missing(self, conditioned, cells):
        """x [..., B, L D] whose missing cells are `cells(given, mean, index)` [N, m].

        Several of the N draws may have one z: each z is solved once, and `index` [N] tells it.
        """
        params, x, mask = conditioned
        found = x.expand(*params.shape[:-1], -1).clone()
        flat = found.reshape(-1, *found.shape[-2:])
        every = params.reshape(-1, *params.shape[-2:])
        triangle = Triangle(self.triangle())
        for b in range(len(x)):
            own, index = torch.unique(every[:, b], dim=0, return_inverse=True)
            given, mean = self.solve_row(triangle, own, x[b], mask[b])
            flat[:, b, given.missing] = cells(given, mean, index).to(flat)
        return flat.reshape(found.shape)

    def mean(self, params):
        if isinstance(params, Conditioned):
            return self.of_missing(params, lambda given, mean, index: mean[index])
        return self.parts(params)[0]

    def std(self, params):
        if isinstance(params, Conditioned):
            return self.of_missing(params, deviations)
        inverse = torch.linalg.inv(self.triangle())
        _, g, a = self.parts(to_float64(params))
        std = (torch.exp(2 * g) @ inverse.square().mT).sqrt()
        return (std * torch.exp(a)).to(params)

    def sample(self, params):
        if isinstance(params, Conditioned):
            return self.of_missing(params, drawn)
        mu, g, a = self.parts(to_float64(params))
        e = torch.exp(g) * torch.randn_like(g)
        # One right side for each window: several triangles would be copied, one for each.
        r = torch.linalg.solve_triangular(self.triangle(), e.flatten(0, -2).mT, upper=False)
        r = r.mT.reshape(e.shape)
        return (mu + torch.exp(a) * r).to(params)

    # Baselines

    @torch.no_grad()
    def baselines(self, train, test):
        """Mean log p of the Batch `test` under the Gaussian of windows at which training started,
        and under independent cells of the same means and variances.
        """
        zero = test.x.new_zeros(len(test.x), self.n_params)
        a = self.log_state(test.y) if self.state_dim else torch.zeros_like(test.x)
        r = test.x - self.usual(test.y)
        own = train.x - self.usual(train.y)
        there = torch.ones_like(own) if train.mask is None else train.mask
        variance = (own.square() * there).sum(0) / there.sum(0).clamp(min=1)
        cells = log_normal(r, 0.0, (variance + RIDGE).log())
        cells = cells if test.mask is None else cells * test.mask
        at_start = Windows(self.n_columns, self.shape)
        at_start.T0.copy_(self.T0)
        gaussian = at_start.to(r.device).log_prob(zero, r * torch.exp(-a), test.mask)
        gaussian = (gaussian - observed(a, test.mask).sum(-1)).mean().item()
        return {"gaussian": gaussian, "diagonal": cells.sum(-1).mean().item()}


def deviations(given, mean, index):
    """Standard deviations of the missing cells, [N, m]."""
    return given.variance.sqrt()[index]


def drawn(given, mean, index):
    """Joint draws of the missing cells under the Gaussians numbered `index` [N], [N, m]."""
    found = mean[index]
    for k in range(len(mean)):
        own = (index == k).nonzero()[:, 0]
        noise = torch.randn(len(own), given.n_noise, dtype=found.dtype, device=found.device)
        found[own] += given.deviations(k, noise)
    return found
