"""What training climbs: bounds on log p(x), each with its gradient estimator.

An objective takes a model, a Batch, beta and the number of samples K. It returns the loss of each
row [B], whose mean over rows is minimised, and parts of it by name, [..., B]. `seen` is the Batch
that the encoder is given, where it is another one. Weights of rows are no part of it: see
`weighted_mean` in parts/training/loop.py, and `weights_of_typical` below. beta weighs the KL
(Higgins et al. 2017), or its estimate in log w.
"""

import math

import torch

from parts.model.normal import kl_normal


def elbo(model, batch, beta, n_samples, free_bits=0.0, capacity=None, seen=None):
    """Minus the ELBO (Kingma & Welling 2014), the mean over K draws of z.

    `free_bits`: no latent gains from a KL below so many nats, the mean over the batch (Kingma et
    al. 2016, eq. 15). `capacity`: beta weighs |KL - capacity|, of the mean KL (Burgess et al. 2018,
    eq. 8). Both look at the batch to decide which way they push, and each row then has its share.
    """
    q, n_samples = model.posterior(*(seen or batch)), None if n_samples == 1 else n_samples
    _, log_px_z, kl = model.elbo_of(q, *batch, n_samples=n_samples)  # [B]
    rate = kl
    if free_bits:
        rate = free_bits_rate(kl_normal(q.mu, q.logvar, by_latent=True), free_bits)
        rate = mean_over_members(rate)
    if capacity is not None:
        distance = rate - capacity
        rate = distance.detach().mean().sign() * distance  # its mean is |mean rate - capacity|
    loss = -torch.sub(log_px_z, rate, alpha=beta)  # the only minus between a bound and a loss
    return loss, {"loss": loss, "log_px_z": log_px_z, "kl": kl}


def free_bits_rate(kl_by_latent, free_bits):
    """KL [..., B] of the latents that cost more than `free_bits`; the others cost just that.

    kl_by_latent [..., B, Z]. The mean over rows is the sum over latents of max(mean KL, free_bits).
    """
    above = kl_by_latent.detach().mean(-2, keepdim=True) >= free_bits  # [..., 1, Z]
    return torch.where(above, kl_by_latent, free_bits).sum(-1)


def iwae(model, batch, beta, n_samples, *_, seen=None):
    """Minus the importance-weighted bound (Burda et al. 2016, eq. 8)."""
    q = model.posterior(*(seen or batch))
    log_px_z, log_ratio, _ = model.log_w_terms(*batch, n_samples=n_samples, q=q)
    loss = -mean_over_members(log_mean_exp(log_px_z + beta * log_ratio))
    return loss, {"loss": loss, "log_px_z": log_px_z, "kl": -log_ratio}


def dreg(model, batch, beta, n_samples, *_, seen=None):
    """Minus the importance-weighted bound, with its doubly reparameterised gradient (Tucker et al.
    2018, eq. 8).

    The decoder's gradient is IWAE's. The encoder's comes only through z, each sample by its squared
    normalised weight: of the same mean, of smaller variance, and not lost in noise as K grows.
    Where beta weighs log p(z) - log q(z|x), only that part of the score function is to be replaced:
    samples then count by (1 - beta) w + beta w^2.
    """
    q, options = model.posterior(*(seen or batch)), {"n_samples": n_samples, "detach_q": True}
    log_px_z, log_ratio, z = model.log_w_terms(*batch, q=q, **options)
    log_w = log_px_z + beta * log_ratio  # [K, B]
    # The gradient of the bound in log w is the normalised weights; of z it is then w once more.
    bound = log_mean_exp(log_w)
    if z.requires_grad:
        weights = log_w.detach().softmax(-2)
        once_more = torch.lerp(torch.ones_like(weights), weights, beta).unsqueeze(-1)
        z.register_hook(lambda grad: once_more * grad)
    loss = -mean_over_members(bound)
    return loss, {"loss": loss, "log_px_z": log_px_z, "kl": -log_ratio}


def log_mean_exp(log_w):
    """log of the mean over samples, [..., K, B] -> [..., B]."""
    return log_w.logsumexp(-2) - math.log(log_w.shape[-2])


def mean_over_members(per_row):
    """[B] as it is, [M, B] -> [B]."""
    return per_row if per_row.dim() == 1 else per_row.mean(0)


def means(parts, weights=None):
    """The means of tensors [..., B] by name, as detached scalars: what is logged beside a loss.

    `weights` [B] of rows, if given, have mean 1.
    """
    if weights is None:
        return {name: value.detach().mean() for name, value in parts.items()}
    return {name: (weights * value.detach()).mean() for name, value in parts.items()}


def weights_of_typical(loss, mask, trim):
    """Weights [B] of mean 1: 0 for the share `trim` of rows with the highest loss per seen cell.

    Least trimmed squares (Rousseeuw 1984) with a bound on log p(x) in place of squares: a row that
    is far from what most rows look like is left out before it can be learned, and as it is never
    learned it stays far. By observed cell, because a row with hidden cells has a smaller loss.
    """
    cost = loss.detach()
    if mask is not None:
        cost = cost / mask.sum(-1).clamp(min=1)
    n_kept = len(cost) - int(round(trim * len(cost)))
    cost = torch.nan_to_num(cost, nan=math.inf)
    kept = (cost <= cost.kthvalue(n_kept).values).to(loss.dtype)
    return kept / kept.mean()


OBJECTIVES = {"elbo": elbo, "iwae": iwae, "dreg": dreg}
