"""What training climbs: bounds on log p(x), each with its gradient estimator.

An objective takes a model, a Batch, beta and the number of samples K, and returns the loss and its
parts as detached scalars. beta weighs the KL (Higgins et al. 2017), or its estimate in log w.
"""

import math

import torch

from parts.model.normal import kl_normal


def elbo(model, batch, beta, n_samples, free_bits=0.0, capacity=None):
    """Minus the ELBO (Kingma & Welling 2014), the mean over K draws of z.

    `free_bits`: no latent gains from a KL below so many nats, the mean over the batch (Kingma et
    al. 2016, eq. 15). `capacity`: beta weighs |KL - capacity| (Burgess et al. 2018, eq. 8).
    """
    q, n_samples = model.posterior(*batch), None if n_samples == 1 else n_samples
    _, log_px_z, kl = model.elbo_of(q, *batch, n_samples=n_samples)
    log_px_z, kl = log_px_z.mean(), kl.mean()
    rate = kl
    if free_bits:
        by_latent = kl_normal(q.mu, q.logvar, by_latent=True).mean(-2)  # [Z], of members [M, Z]
        rate = by_latent.clamp(min=free_bits).sum(-1).mean()
    if capacity is not None:
        rate = (rate - capacity).abs()
    loss = -torch.sub(log_px_z, rate, alpha=beta)  # the only minus between a bound and a loss
    return loss, {"loss": loss.detach(), "log_px_z": log_px_z.detach(), "kl": kl.detach()}


def iwae(model, batch, beta, n_samples, *_):
    """Minus the importance-weighted bound (Burda et al. 2016, eq. 8)."""
    log_px_z, log_ratio, _ = model.log_w_terms(*batch, n_samples=n_samples)
    loss = -log_mean_exp(log_px_z + beta * log_ratio).mean()
    return loss, _stats(loss, log_px_z, log_ratio)


def dreg(model, batch, beta, n_samples, *_):
    """The same bound by its doubly reparameterised gradient (Tucker et al. 2018, eq. 8).

    The decoder's gradient is IWAE's. The encoder's comes only through z, each sample by its squared
    normalised weight: of the same mean, of smaller variance, and not lost in noise as K grows.
    Where beta weighs log p(z) - log q(z|x), only that part of the score function is to be replaced:
    samples then count by (1 - beta) w + beta w^2.
    """
    log_px_z, log_ratio, z = model.log_w_terms(*batch, n_samples=n_samples, detach_q=True)
    log_w = log_px_z + beta * log_ratio  # [K, B]
    # Softmax and bound in one pass and without a graph.
    values = log_w.detach()
    most = values.amax(-2, keepdim=True)
    weights = (values - most).exp_()
    total = weights.sum(-2, keepdim=True)
    weights /= total
    bound = (most + total.log()).mean() - math.log(values.shape[-2])
    if z.requires_grad:
        ones = torch.ones_like(weights)
        z.register_hook(lambda grad: torch.lerp(ones, weights, beta).unsqueeze(-1) * grad)
    surrogate = -(weights * log_w).sum(-2).mean()  # its gradient is wanted, its value is not
    return surrogate, _stats(-bound, log_px_z, log_ratio)


def log_mean_exp(log_w):
    """log of the mean over samples, [..., K, B] -> [..., B]."""
    return log_w.logsumexp(-2) - math.log(log_w.shape[-2])


def _stats(loss, log_px_z, log_ratio):
    """Logged beside an importance-weighted loss: its value and the two halves of the mean log w."""
    parts = {"loss": loss, "log_px_z": log_px_z.mean(), "kl": -log_ratio.mean()}
    return {name: value.detach() for name, value in parts.items()}


OBJECTIVES = {"elbo": elbo, "iwae": iwae, "dreg": dreg}
