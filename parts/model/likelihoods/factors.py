"""p(x|z) of windows of a series by factors: N(m(y) + mu(z), exp(2 s(z)) (B B' + diag d)).

The members of the model differ in the rank of B, that is, in how much of a window its noise may
explain, which the data cannot tell: with none z must explain every shape, and with many the model
is near to the Gaussian of windows. A window that one of them does not expect is odd. Where there
are states, the noise is that of (x - m(y)) / a(y), see windows.py.

Shapes: M members, x [B, L D], mask [B, L D] (1 = observed), params [M, ..., B, n_params] whose last
number is that of the member; log-probabilities in nats.
"""

import torch
from torch import nn

from parts.model.batches import observed
from parts.model.likelihoods.windows import Conditioned, OfWindows, Shrinkage
from parts.model.normal import LOG_2PI, log_normal

# The ranks of the members, by whether odd windows may be learned. Where none are, the data tell how
# much the noise explains, and one rank with a free scale is better than the oddest of several.
RANKS = {False: (8,), True: (0, 8, 32)}
FLOOR = {False: 0.01, True: 0.03}  # of the noise's variances, by whether odd windows may be learned
LEAST_LOG_SCALE = {False: -3.0, True: -0.5}
MAX_LOG_SCALE = 3.0
TRIM = 0.2  # share of windows that are left out of the Gaussian at the start
MOST_FACTORS, WIDE_FLOOR = 64, 1e-3  # of wide windows, in place of a full covariance
PACE = 0.1  # of the factors in training, beside that of the networks
N_ROUNDS = 50  # of EM for the factors
LEAST = 1e-3  # variance beside the factors


class FactorWindows(OfWindows):
    """Windows whose noise has few factors, as many as `ranks` say for each member; z moves its
    scale. `robust` where odd windows may be among those of training.
    """

    preset = "series"
    options = ("robust",)
    of_members = True

    def __init__(self, n_columns, shape, y_dim=0, state_dim=0, robust=False):
        super().__init__(n_columns, n_columns + 1, shape, y_dim, state_dim)
        self.ranks = [min(rank, n_columns - 1) for rank in self.ranks_of(robust)]
        self.floor, self.least = self.floor_of(robust), LEAST_LOG_SCALE[robust]
        self.trim, self.shrinkage = TRIM if robust else 0.0, Shrinkage(self.floor)
        n, most = len(self.ranks), max(1, *self.ranks)
        self.register_buffer("factors0", torch.zeros(n, n_columns, most))
        self.register_buffer("own0", torch.ones(n, n_columns))
        has = torch.arange(most) < torch.tensor(self.ranks).unsqueeze(-1)
        self.register_buffer("has", has.float().unsqueeze(1))  # [M, 1, R]
        self.register_buffer("scaled", (torch.tensor(self.ranks) > 0).float())  # by z, [M]
        pace = torch.where(self.scaled > 0, PACE, 1.0)
        self.register_buffer("pace", pace.unsqueeze(-1))
        self.factors = nn.Parameter(torch.zeros(n, n_columns, most))
        self.own = nn.Parameter(torch.zeros(n, n_columns))

    @staticmethod
    def ranks_of(robust):
        return RANKS[robust]

    @staticmethod
    def floor_of(robust):
        return FLOOR[robust]

    def describe(self):
        ranks = ", ".join(map(str, self.ranks))
        return f"windows of {self.shape[0]} x {self.shape[1]} with noise of {ranks} factors"

    @torch.no_grad()
    def start(self, found):
        super().start(found)
        for m, rank in enumerate(self.ranks):
            factors, own = fit_factors(found.covariance, rank)
            self.factors0[m, :, :rank] = factors.float()
            self.own0[m] = (own - self.floor).clamp(min=LEAST).float()

    # The noise

    def noise(self):
        """B [M, L D, R] and d [M, L D]."""
        own = self.floor + self.own0 * torch.exp(self.pace * self.own)
        return (self.factors0 + PACE * self.factors) * self.has, own

    def parts(self, params):
        """mu [..., L D] and the log-scale s [...] of params whose first axis is of members."""
        mu, s = params[..., : self.n_columns], params[..., self.n_columns]
        s = (MAX_LOG_SCALE * torch.tanh(s / MAX_LOG_SCALE)).clamp(min=self.least)
        return mu, s * self.scaled.reshape(-1, *[1] * (s.dim() - 1))

    # Densities

    def log_prob(self, params, x, mask=None):
        flat = params.reshape(len(self.ranks), -1, *params.shape[-2:])  # [M, K, B, P]
        mu, s = self.parts(flat)
        a = self.log_state_of(flat)
        r = observed((x - mu) * torch.exp(-a), mask)
        factors, own = self.noise()
        precision = 1 / own[:, None, None]  # [M, 1, 1, L D]
        if mask is None or bool((mask > 0).all()):
            n, root = self.n_columns, self.capacitance(factors, own)
            weighted = torch.linalg.solve_triangular(
                root, (factors / own.unsqueeze(-1)).mT, upper=False
            )
            explained = (r @ weighted.mT.unsqueeze(1)).square().sum(-1)
            log_det = own.log().sum(-1) + 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
            log_det = log_det[:, None, None]
        else:
            n, root = mask.sum(-1), self.capacitance(factors, own, mask)  # [M, B, R, R]
            projected = ((r * precision) @ factors.unsqueeze(1)).movedim(1, -1)  # [M, B, R, K]
            half = torch.linalg.solve_triangular(root, projected, upper=False)
            explained = half.square().sum(-2).movedim(-1, 1)
            log_det = own.log() @ mask.mT + 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
            log_det = log_det.unsqueeze(1)
        square = (r.square() * precision).sum(-1) - explained
        found = -0.5 * (square * torch.exp(-2 * s) + log_det + n * LOG_2PI) - n * s
        found = found - observed(a, mask).sum(-1)
        return found.reshape(params.shape[:-1])

    @torch.no_grad()
    def volume(self, mask):
        """-log p of the observed cells where all are as expected and s is 0, [M, B]."""
        factors, own = self.noise()
        root = self.capacitance(factors, own, mask)
        log_det = own.log() @ mask.mT + 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return 0.5 * (log_det + LOG_2PI * mask.sum(-1))

    def capacitance(self, factors, own, mask=None):
        """The Cholesky root of I + B_o' D_o^-1 B_o, [M, R, R], or of each row by its mask
        [M, B, R, R].
        """
        identity = torch.eye(factors.shape[-1]).to(factors)
        if mask is None:
            return torch.linalg.cholesky(identity + factors.mT @ (factors / own.unsqueeze(-1)))
        pairs = (factors.unsqueeze(-1) * factors.unsqueeze(-2)).flatten(2) / own.unsqueeze(-1)
        inner = (mask @ pairs).unflatten(-1, factors.shape[-1:] * 2)
        return torch.linalg.cholesky(identity + inner)

    def log_prob_per_column(self, params, x):
        """log p of each cell given z and the window's other cells, [..., B, L D]."""
        mu, std, (factors, own, scale) = self.of_each(params)
        r = x - mu
        root = self.capacitance(factors, own)  # [..., R, R] of each row's member
        inverse = torch.cholesky_inverse(root)
        weighted = factors / own.unsqueeze(-1)
        explained = weighted @ inverse
        u = r / own - (explained @ (weighted.mT @ r.unsqueeze(-1))).squeeze(-1)
        precision = 1 / own - (explained * weighted).sum(-1)
        return log_normal(u / precision, 0.0, 2 * scale - precision.log())

    # Means and draws; params [..., B, P] of any members, which their last numbers tell

    def of_each(self, params):
        """mu and the marginal deviations [..., L D], and B, d and s of each row's own member."""
        member = params[..., -1].long()
        factors, own = self.noise()
        factors, own = factors[member], own[member]
        mu, s = params[..., : self.n_columns], params[..., self.n_columns]
        s = (MAX_LOG_SCALE * torch.tanh(s / MAX_LOG_SCALE)).clamp(min=self.least)
        s = (s * self.scaled[member]).unsqueeze(-1)
        unit = torch.exp(self.log_state_of(params))
        factors, own = factors * unit.unsqueeze(-1), own * unit.square()
        std = torch.exp(s) * (own + factors.square().sum(-1)).sqrt()
        return mu, std, (factors, own, s)

    def given(self, params, x, mask):
        return Conditioned(params, x, mask)

    def factors_given(self, given):
        """E[factors | observed cells] [..., R] and the Cholesky root of their precision."""
        params, x, mask = given
        mu, _, (factors, own, _) = self.of_each(params)
        weight = torch.ones_like(x) if mask is None else mask
        weighted = factors * (weight / own).unsqueeze(-1)
        identity = torch.eye(factors.shape[-1]).to(factors)
        root = torch.linalg.cholesky(identity + factors.mT @ weighted)
        projected = weighted.mT @ observed(x - mu, mask).unsqueeze(-1)
        return torch.cholesky_solve(projected, root).squeeze(-1), root

    def mean(self, params):
        if not isinstance(params, Conditioned):
            return params[..., : self.n_columns]
        mu, _, (factors, *_) = self.of_each(params.params)
        expected, _ = self.factors_given(params)
        return mu + (factors @ expected.unsqueeze(-1)).squeeze(-1)

    def std(self, params):
        if not isinstance(params, Conditioned):
            return self.of_each(params)[1]
        _, _, (factors, own, s) = self.of_each(params.params)
        _, root = self.factors_given(params)
        left = torch.linalg.solve_triangular(root, factors.mT, upper=False).square().sum(-2)
        return torch.exp(s) * (own + left).sqrt()

    def sample(self, params):
        given = isinstance(params, Conditioned)
        mu, _, (factors, own, s) = self.of_each(params.params if given else params)
        eps = torch.randn(*mu.shape[:-1], factors.shape[-1]).to(mu)
        scale = torch.exp(s)
        if given:
            expected, root = self.factors_given(params)
            drawn = torch.linalg.solve_triangular(root.mT, eps.unsqueeze(-1), upper=True)
            eps = expected / scale + drawn.squeeze(-1)
        noise = (factors @ eps.unsqueeze(-1)).squeeze(-1) + own.sqrt() * torch.randn_like(mu)
        return mu + scale * noise


class WideWindows(FactorWindows):
    """Windows with too many cells for a full covariance: one noise of many factors in its place."""

    options = ()

    @property
    def width(self):
        return self.n_columns * self.ranks[0]  # of a row whose cells are given others

    @staticmethod
    def ranks_of(robust):
        return (MOST_FACTORS,)

    @staticmethod
    def floor_of(robust):
        return WIDE_FLOOR


def fit_factors(covariance, rank):
    """B [n, rank] and d [n] of a covariance, by EM from its principal components (Rubin & Thayer
    1982).
    """
    n, identity = len(covariance), torch.eye(rank).to(covariance)
    diagonal = covariance.diagonal()
    if not rank:
        return covariance.new_zeros(n, 0), diagonal.clone()
    values, vectors = torch.linalg.eigh(covariance)
    own = values[: n - rank].mean().clamp(min=LEAST).expand(n)
    factors = vectors[:, n - rank :] * (values[n - rank :] - own[0]).clamp(min=1e-6).sqrt()
    for _ in range(N_ROUNDS):
        weighted = factors / own.unsqueeze(-1)
        gain = weighted @ torch.linalg.inv(identity + factors.mT @ weighted)
        across = covariance @ gain
        left = identity - gain.mT @ factors + gain.mT @ across
        factors = across @ torch.linalg.inv(left)
        own = (diagonal - (factors * across).sum(-1)).clamp(min=LEAST)
    return factors, own
