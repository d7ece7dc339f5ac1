"""The aggregated posterior of a run's rows, as the p(z) by which rows are scored."""

import torch

from parts.model.normal import LOG_2PI


class Aggregated:
    """The aggregated posterior of N rows, (1/N) sum_n q(z|x_n) (Makhzani et al. 2015).

    It is the prior that maximises the ELBO (Tomczak & Welling 2018, eq. 5): N(0, I) also covers
    places to which the encoder sends no row, and p(x) is too high there. mu, logvar: [..., N, Z].
    `width` adds width^2 times the variance of mu to each variance, as in a kernel density.
    """

    def __init__(self, mu, logvar, width=0.0):
        if width and mu.shape[-2] > 1:
            logvar = torch.log(logvar.exp() + width**2 * mu.var(-2, keepdim=True))
        precision = torch.exp(-logvar)
        self.n_rows = mu.shape[-2]
        self.middle = mu.mean(-2, keepdim=True)  # [..., 1, Z]
        mu = mu - self.middle  # the same density, and products of smaller numbers
        self.weight = torch.cat([mu * precision, -0.5 * precision], -1).mT  # of z and of z^2
        constant = mu.square() * precision + logvar + LOG_2PI
        self.constant = -0.5 * constant.sum(-1).unsqueeze(-2)

    def log_prob(self, z, own=None):
        """log q(z), [..., K, B], of z [..., K, B, Z].

        `own` [B] says which of the N rows each z was encoded from, -1 for none of them. That row
        is left out of the mixture of its z, as in a search for nearest neighbours.
        """
        flat = z.flatten(-3, -2) - self.middle  # [..., K B, Z]
        terms = torch.cat([flat, flat.square()], -1) @ self.weight
        terms = terms.add_(self.constant).unflatten(-2, z.shape[-3:-1])  # [..., K, B, N]
        n = self.n_rows
        if own is not None:
            at = torch.nonzero(own >= 0).squeeze(-1)
            terms[..., at, own[at]] = -torch.inf
            n = n - (own >= 0).to(z.dtype)
        # In place: a pass over N numbers per z is what takes the time.
        highest = terms.amax(-1, keepdim=True)
        # exp of numbers whose result is denormal takes thirty times as long.
        total = terms.sub_(highest).clamp_(min=-80.0).exp_().sum(-1)
        return torch.log(total / n) + highest.squeeze(-1)
