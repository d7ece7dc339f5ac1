"""The aggregated posterior of a run's rows, as the p(z) of a score."""

import torch

from parts.model.normal import LOG_2PI


class Aggregated:
    """The aggregated posterior of N rows, (1/N) sum_n q(z|x_n) (Makhzani et al. 2015).

    N(0, I) also covers places to which no row is sent, and every p(x) is too high there; as the
    prior it is what maximises the ELBO (Tomczak & Welling 2018, eq. 5). mu, logvar: [..., N, Z].
    """

    def __init__(self, mu, logvar):
        precision = torch.exp(-logvar)
        self.n_rows = mu.shape[-2]
        self.middle = mu.mean(-2, keepdim=True)  # [..., 1, Z]
        mu = mu - self.middle  # the same density, and products of smaller numbers
        self.weight = torch.cat([mu * precision, -0.5 * precision], -1).mT  # of z and of z^2
        constant = mu.square() * precision + logvar + LOG_2PI
        self.constant = -0.5 * constant.sum(-1).unsqueeze(-2)

    def log_prob(self, z, own=None):
        """log q(z), [..., K, B], of z [..., K, B, Z].

        `own` [B] numbers the rows among the N that the z's come from, -1 for none: these are left
        out, as a nearest neighbour is searched among the others.
        """
        flat = z.flatten(-3, -2) - self.middle  # [..., K B, Z]
        terms = torch.cat([flat, flat.square()], -1) @ self.weight
        terms = terms.add_(self.constant).unflatten(-2, z.shape[-3:-1])  # [..., K, B, N]
        n = self.n_rows
        if own is not None:
            at = torch.nonzero(own >= 0).squeeze(-1)
            terms[..., at, own[at]] = -torch.inf
            n = n - (own >= 0).to(z.dtype)
        most = terms.amax(-1, keepdim=True)  # in place: a pass over N numbers per z is the cost
        # exp of what ends below the least normal number takes thirty times as long.
        total = terms.sub_(most).clamp_(min=-80.0).exp_().sum(-1)
        return torch.log(total / n) + most.squeeze(-1)
