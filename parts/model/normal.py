"""Log-densities of diagonal Gaussians and the KL between two of them, in nats."""

import math

import torch

LOG_2PI = math.log(2 * math.pi)


def deviance(x, mu, logvar):
    """-2 log N(x; mu, exp(logvar)) per element."""
    return LOG_2PI + logvar + (x - mu).square() * torch.exp(-logvar)


def log_normal(x, mu, logvar):
    """log N(x; mu, exp(logvar)) per element."""
    return -0.5 * deviance(x, mu, logvar)


def kl_normal(mu_q, logvar_q, mu_p=None, logvar_p=None, by_latent=False):
    """KL(q || p) of diagonal Gaussians, exact, summed over the last axis or not. p None: N(0, I).

    Kingma & Welling 2014, appendix B, for any p.
    """
    if mu_p is None:
        twice = torch.addcmul(torch.expm1(logvar_q), mu_q, mu_q) - logvar_q
    else:
        ratio = (logvar_q.exp() + (mu_q - mu_p).square()) * torch.exp(-logvar_p)
        twice = ratio - 1 + logvar_p - logvar_q
    return 0.5 * (twice if by_latent else twice.sum(-1))
