"""A VAE of windows of a series, whose calendar and states y move the mean of p(x|z, y) too.

After a window's holes were filled by a draw, training climbs the bound on log p of the whole
window, with a posterior that sees only what was observed, and less where cells are hidden: so
encoding, scoring and filling know q(z | any part of a window).
"""

import torch

from parts.model.batches import hide
from vae import VAE

SHARE_OF_RUNS = 0.5  # of the windows with hidden cells, in which runs are hidden, not cells
START_OF_MEAN, START_OF_SCALE = 0.1, 0.3  # of the decoder's last weights


class WindowVAE(VAE):
    """q(z|x, y) of r = (x - m(y)) / a(y), and p(x|z, y) around m(y), in the scale a(y) of the
    states; see parts/model/likelihoods/windows.py. The networks see `context(y)` in place of y.

    In training x holds draws where its mask is 0.
    """

    needs = {"objective": ("elbo",)}

    def context(self, y):
        return None if y is None else self.likelihood.context(y)

    def posterior(self, x, y=None, mask=None):
        r = x - self.likelihood.usual(y)
        if self.likelihood.state_dim:
            r = r * torch.exp(-self.likelihood.log_state(y))
        return super().posterior(r, self.context(y), mask)

    def log_pz(self, z, y=None):
        return super().log_pz(z, self.context(y))

    def sample_z(self, n, y=None):
        return super().sample_z(n, self.context(y))

    def decode(self, z, y=None):
        params, n = super().decode(z, self.context(y)), self.likelihood.n_columns
        mu, usual = params[..., :n], self.likelihood.usual(y).expand(*params.shape[:-1], n)
        parts = [mu + usual, params[..., n:]]
        if self.likelihood.state_dim:
            a = self.likelihood.log_state(y).expand_as(mu)
            parts = [torch.addcmul(usual, mu, torch.exp(a)), params[..., n:], a]
        if self.likelihood.of_members:
            shape = (self.members, *[1] * (params.dim() - 1))
            member = torch.arange(self.members, device=params.device).reshape(shape)
            parts.append(member.to(params).expand(*params.shape[:-1], 1))
        return torch.cat(parts, -1)

    def oddness(self, loss, batch):
        return loss - self.likelihood.state_nats(batch.y, batch.mask)

    @torch.no_grad()
    def start_at(self, x, y=None, mask=None):
        """Start at the Gaussian of the windows x [n, L D], in which no cell is missing."""
        self.likelihood.start_at(x, y)
        *_, last = self.decoder
        n = self.likelihood.n_columns
        weight = last.weight if self.members == 1 else last.weight.mT  # [..., out, in]
        weight[..., :n, :] *= START_OF_MEAN
        weight[..., n:, :] *= START_OF_SCALE
        last.bias.zero_()

    def in_training(self, batch, hide_rate):
        seen = hide_runs(batch, hide_rate, self.likelihood.shape) if hide_rate else batch
        return seen, batch._replace(mask=None)


def hide_runs(batch, rate, shape):
    """`hide`, but in a share of the windows whole runs of steps of a column are hidden."""
    cells = hide(batch, rate)
    n, (n_steps, n_each), device = len(batch.x), shape, batch.x.device
    length = torch.rand(n, 1, n_each, device=device) * rate * n_steps
    start = torch.rand(n, 1, n_each, device=device) * (n_steps - length)
    step = torch.arange(n_steps, device=device).reshape(1, -1, 1)
    left = ((step < start) | (step >= start + length)).flatten(1).to(batch.x.dtype)
    left = left if batch.mask is None else left * batch.mask
    in_runs = torch.rand(n, 1, device=device) < SHARE_OF_RUNS
    whole = (cells.mask == (1.0 if batch.mask is None else batch.mask)).all(-1, keepdim=True)
    return cells._replace(mask=torch.where(in_runs & ~whole, left, cells.mask))
