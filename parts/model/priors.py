"""Learned p(z) in place of N(0, I): a mixture of Gaussians, and the VampPrior.

    log_pz = prior.log_prob(z, encode, y)      z = prior.sample(n, encode, y)

`encode` maps encoder features [C, F] to mu and logvar [C, Z]; only a prior that lives on the
encoder's output asks for it, and it stays the model's: no prior holds its weights.
"""

import torch
from torch import nn

from parts.model.noise import normal_grid
from parts.model.normal import LOG_2PI

MIN_LOGVAR = -7.0  # of a component: a narrower one would need more digits than products have


class LearnedPrior(nn.Module):
    """A mixture of C diagonal Gaussians, which subclasses give by `components`.

    Its weights depend on y, where there is one: p(z|y).
    """

    def __init__(self, n_components, y_dim=0):
        super().__init__()
        self.n_components = n_components
        self.logits = nn.Parameter(torch.zeros(n_components))  # of the components' weights
        self.by_y = nn.Parameter(torch.zeros(y_dim, n_components)) if y_dim else None

    def describe(self):
        return f"{type(self).__name__} prior of {self.n_components} components"

    def components(self, encode):
        """mu and logvar, each [C, Z]."""
        raise NotImplementedError

    def bounded(self, encode):
        mu, logvar = self.components(encode)
        return mu, logvar.clamp(min=MIN_LOGVAR)

    def log_weights(self, y=None):
        """Log weights of the components, [C] or [B, C]."""
        logits = self.logits if self.by_y is None else self.logits + y @ self.by_y
        return logits.log_softmax(-1)

    def start_at(self, features):
        """Initialise from rows of encoder features [N, F], where a prior can."""

    def log_prob(self, z, encode=None, y=None):
        """log p(z), [...], of z [..., Z]; given y [B, n] of z [..., B, Z]."""
        mu, logvar = self.bounded(encode)
        middle = mu.mean(0).detach()  # the same density, and products of smaller numbers
        z, mu = z - middle, mu - middle
        precision = torch.exp(-logvar)
        # -(z - mu)^2 / (2 sigma^2) as products with z and z^2: no array [..., C, Z].
        constant = (mu.square() * precision + logvar + LOG_2PI).sum(-1)
        terms = z @ (mu * precision).mT - 0.5 * (z.square() @ precision.mT + constant)
        return (terms + self.log_weights(y)).logsumexp(-1)

    def sample(self, n, encode=None, y=None):
        """z [n, Z]."""
        mu, logvar = self.bounded(encode)
        weights = self.log_weights(y).exp()
        if weights.dim() == 1:
            at = torch.multinomial(weights, n, replacement=True)
        else:
            at = torch.multinomial(weights, 1).squeeze(1)
        return mu[at] + torch.exp(0.5 * logvar[at]) * torch.randn_like(mu[at])


class Mixture(LearnedPrior):
    """A mixture whose means, variances and weights are learned; at first close to N(0, I)."""

    def __init__(self, z_dim, n_components, y_dim=0):
        super().__init__(n_components, y_dim)
        # Scott 1992: the bandwidth of so many kernels; the means have what is left of variance 1.
        variance = torch.tensor(n_components ** (-2 / (z_dim + 4)))
        spread = (1 - variance).sqrt() * normal_grid(n_components, z_dim).squeeze(1)
        self.mu = nn.Parameter(spread)
        self.logvar = nn.Parameter(variance.log().expand(n_components, z_dim).clone())

    def components(self, encode):
        return self.mu, self.logvar


class VampPrior(LearnedPrior):
    """q(z|u) of learned pseudo-inputs u (Tomczak & Welling 2018, eq. 9), with learned weights.

    The u live among the encoder's features [C, F], where numbers have no holes and no kinds.
    """

    def __init__(self, n_features, n_components, y_dim=0):
        super().__init__(n_components, y_dim)
        self.pseudo_inputs = nn.Parameter(torch.randn(n_components, n_features))

    @torch.no_grad()
    def start_at(self, features):
        """Initialise the pseudo-inputs as random rows of features [N, F]: better than noise."""
        n = len(features)
        at = torch.cat([torch.randperm(n) for _ in range(-(-self.n_components // n))])
        self.pseudo_inputs.copy_(features[at[: self.n_components].to(features.device)])

    def components(self, encode):
        return encode(self.pseudo_inputs)


# Builders by (z_dim, n_features of the encoder, n_components, y_dim); None is N(0, I), in closed
# form, whatever y.
PRIORS = {
    "normal": lambda z_dim, n_features, *_: None,
    "mixture": lambda z_dim, n_features, *sizes: Mixture(z_dim, *sizes),
    "vamp": lambda z_dim, n_features, *sizes: VampPrior(n_features, *sizes),
}
