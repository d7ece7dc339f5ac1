"""Importance sampling from q(z|x): estimates of log p(x), imputations, and draws of p(x | cells).

Every function takes the model first, a VAE or a subclass of it, and works in chunks of rows and
samples, so that memory is bounded whatever B and K are.

Shapes: B batch, K samples of z, M members, S draws of x, D columns of x, P likelihood parameters.
"""

import math
from functools import partial
from typing import NamedTuple

import torch

from parts import memory
from parts.model.batches import CHUNK_FLOATS, Batch, in_chunks

LOWEST = -1e30  # of a log weight


class Importance(NamedTuple):
    """Importance-sampling estimates, each [B]: the bounds in nats, `ess` in samples."""

    log_px: torch.Tensor
    elbo: torch.Tensor
    ess: torch.Tensor


class Imputation(NamedTuple):
    """Rows with missing cells filled: by expectation [B, D], by draws [S, B, D]; see Importance."""

    mean: torch.Tensor
    draws: torch.Tensor
    log_px: torch.Tensor
    ess: torch.Tensor


class Resampled(NamedTuple):
    """Drawn rows x [n, D] and their y [n, C]; log p(the given cells), and `ess` in samples."""

    x: torch.Tensor
    y: torch.Tensor | None
    log_p: float
    ess: float


def samples_per_member(model, n_samples, eps=None):
    """How many z's each member draws of n_samples in all; as many as `eps` [K, 1, Z] holds."""
    return math.ceil(n_samples / model.members) if eps is None else len(eps)


@torch.no_grad()
def importance(model, batch, n_samples=1000, eps=None, prior=None, own=None):
    """log p(x) by importance sampling from q(z|x), with the ELBO and the effective sample size.

    Burda et al. 2016, eq. 8; ESS = (sum w)^2 / sum w^2. The n_samples are shared evenly by the
    members. `eps` [K, 1, Z], see `VAE.grid`, is the noise of every row where it is given. `prior`
    has a log_prob(z, own) that takes the place of the model's p(z), as parts/model/aggregated.py
    does, and `own` [B] is handed to it.
    """
    n_each = samples_per_member(model, n_samples, eps)
    width = model.members * max(model.width, prior.n_rows if prior else 0)
    n_decoded = max(1, CHUNK_FLOATS // width)  # z's of each member that are decoded at a time
    k_chunk = min(n_each, n_decoded)

    def estimate(piece, own=None):
        log_pz = None if prior is None else partial(prior.log_prob, own=own)
        return _importance_chunk(model, piece, n_each, k_chunk, eps, log_pz)

    others = [] if own is None else [own]
    return in_chunks(estimate, batch, n_decoded // k_chunk, *others)


def _importance_chunk(model, batch, n_each, k_chunk, eps, log_pz):
    log_sum = log_sum_sq = batch.x.new_full((len(batch.x),), -torch.inf)  # of w and w^2, [B]
    total = torch.zeros_like(log_sum)  # of log w
    for start in range(0, n_each, k_chunk):
        k = min(k_chunk, n_each - start)
        noise = None if eps is None else eps[start : start + k]
        log_w = model.log_w(*batch, n_samples=k, eps=noise, prior=log_pz)  # [M K, B]
        log_sum = torch.logaddexp(log_sum, log_w.logsumexp(0))
        log_sum_sq = torch.logaddexp(log_sum_sq, (2 * log_w).logsumexp(0))
        total = total + log_w.sum(0)
    n_samples = n_each * model.members
    log_px = log_sum - math.log(n_samples)
    return Importance(log_px, total / n_samples, torch.exp(2 * log_sum - log_sum_sq))


@torch.no_grad()
def hidden_log_prob(model, batch, hidden, eps):
    """log p(a cell | y and the cells of its row that are not hidden), [B, D], nats.

    `hidden` [D] marks the columns that are hidden together; of the others the result means nothing.
    z is drawn from q(z | the other cells) with noise `eps` [K, 1, Z], so one pass serves them all.
    """
    left = torch.where(
        hidden > 0, 0.0, torch.ones_like(batch.x) if batch.mask is None else batch.mask
    )
    n_rows = max(1, CHUNK_FLOATS // (model.width * len(eps) * model.members))

    def estimate(piece, left):
        x, y, _ = piece
        z, log_qz_x = model.draw(model.posterior(x, y, left), len(eps), eps)
        params = model.decode(z, y)
        log_w = model.likelihood.log_prob(params, x, left) + model.log_pz(z, y) - log_qz_x
        cells = model.likelihood.log_prob_of_hidden(params, x, left)  # [..., K, B, D]
        log_w, cells = log_w.flatten(0, -2), cells.flatten(0, -3)
        return ((log_w.log_softmax(0).unsqueeze(-1) + cells).logsumexp(0),)

    return in_chunks(estimate, batch, n_rows, left)[0]


@torch.no_grad()
def terms(model, batch, n_samples=1):
    """`model.elbo` of any number of rows in bounded memory, for evaluation."""
    n_rows = max(1, CHUNK_FLOATS // (model.width * n_samples * model.members))
    return in_chunks(lambda piece: model.elbo(*piece, n_samples=n_samples), batch, n_rows)


@torch.no_grad()
def impute(model, batch, n_samples=1000, draws=0, eps=None, unit=None, x_of=None):
    """Missing cells by their distribution given the observed ones, which stay as they are.

    `mean` is the conditional mean by self-normalised importance sampling (Mattei & Frellsen 2019,
    eq. 10), for categories the most probable; `unit` as in `Likelihood.average`. As many rows as
    `draws` are drawn jointly, by sampling importance resampling (Rubin 1988); `x_of` makes x of
    what `likelihood.given` returns, and is `likelihood.sample` where it is None.
    """
    n_each = samples_per_member(model, n_samples, eps)
    each = 4 * model.width * model.members  # bytes: a row is completed with all samples at once
    memory.refuse_beyond_memory(f"{n_each} samples of z", n_each, each, "samples")
    n_rows = max(1, CHUNK_FLOATS // (model.width * max(n_each * model.members, draws)))
    x_of = x_of or model.likelihood.sample

    def fill(piece):
        return _impute_chunk(model, piece, n_each, draws, eps, unit, x_of)

    filled = in_chunks(fill, batch, n_rows)
    return filled._replace(draws=filled.draws.transpose(0, 1))


def _impute_chunk(model, batch, n_each, draws, eps, unit, x_of):
    """An Imputation whose draws are [B, S, D]: rows come first, as chunks are joined along them."""
    x, y, mask = batch
    z, log_qz_x = model.draw(model.posterior(x, y, mask), n_each, eps)
    params = model.decode(z, y)  # [K, B, P]
    log_px_z, drawn = model.likelihood.complete(params, x, mask)
    log_w, params = log_px_z + (model.log_pz(z, y) - log_qz_x), with_drawn(params, drawn)
    log_w, params = log_w.flatten(0, -2), params.flatten(0, -3)  # [M K, B], [M K, B, P]
    # Of a row so far out that nothing finite is left all samples weigh alike.
    weights = log_w.nan_to_num(LOWEST, posinf=LOWEST, neginf=LOWEST).softmax(0)
    log_px = log_w.logsumexp(0) - math.log(len(log_w))
    missing = model.likelihood.given(params, x, mask)
    expected = model.likelihood.average(missing, weights, unit)  # [B, D]
    mean = expected if unit is not None else torch.where(mask > 0, x, expected)
    drawn = x.new_empty(len(x), 0, x.shape[1])
    if draws:
        chosen = torch.multinomial(weights.T, draws, replacement=True).T  # [S, B]
        params = params[chosen, torch.arange(len(x), device=x.device)]  # [S, B, P]
        drawn = x_of(model.likelihood.given(params, x, mask))  # [S, B, D]
        drawn = torch.where(mask > 0, x, drawn).transpose(0, 1)  # [B, S, D]
    return Imputation(mean, drawn, log_px, 1 / weights.square().sum(0))


def with_drawn(params, drawn):
    """params [..., P] with what `complete` drew, [..., P + D]; no copy where that is nothing."""
    return torch.cat([params, drawn], -1) if drawn.shape[-1] else params


@torch.no_grad()
def resample(model, n, x, mask, y, n_samples, x_of=None):
    """n rows of p(x, y | the observed cells of x [1, D]), by sampling importance resampling.

    Rubin 1988. y [n_samples, C] are draws of p(y), None where the model has no condition: each z is
    proposed with one of them, evenly by the members; `model.n_z_per_condition` z's with each.
    """
    if y is None:
        filled = impute(model, Batch(x, None, mask), n_samples, draws=n, x_of=x_of)
        return Resampled(filled.draws[:, 0], None, filled.log_px.item(), filled.ess.item())
    n_z = model.n_z_per_condition

    def propose(piece):
        x, y, mask = piece
        z, log_qz_x = model.draw(model.posterior(*piece), n_z)
        log_px_z, drawn = model.likelihood.complete(model.decode(z, y), x, mask)
        log_w = (log_px_z + model.log_pz(z, y) - log_qz_x).flatten(0, -2).T  # [B, M K]
        return log_w, *(part.flatten(0, -3).transpose(0, 1) for part in (z, drawn))  # [B, M K, Z]

    n_each = math.ceil(n_samples / (model.members * n_z))
    proposals = Batch(x.expand(n_each, -1), y[:n_each], mask.expand(n_each, -1))
    n_rows = max(1, CHUNK_FLOATS // (model.width * model.members * n_z))
    log_w, z, drawn = in_chunks(propose, proposals, n_rows)
    weights = log_w.flatten().softmax(0)
    chosen = torch.multinomial(weights, n, replacement=True)
    row, of_row = chosen // log_w.shape[1], chosen % log_w.shape[1]
    z, drawn, y = z[row, of_row], drawn[row, of_row], y[row]
    if model.members == 1:
        params = model.decode(z, y)  # [n, P]
    else:
        every = model.decode(z.expand(model.members, -1, -1), y)  # [M, n, P]
        params = every[of_row, torch.arange(n, device=x.device)]
    params = with_drawn(params, drawn)
    missing = model.likelihood.given(params, x.expand(n, -1), mask.expand(n, -1))
    drawn = torch.where(mask > 0, x, (x_of or model.likelihood.sample)(missing))
    log_p = log_w.logsumexp((0, 1)) - math.log(log_w.numel())
    return Resampled(drawn, y, log_p.item(), 1 / weights.square().sum().item())
