"""Maps from the encoder's Gaussian to a richer q(z|x), with their log-determinants.

    z', log_det = flow(z, params)        log q(z'|x) = log N(z; mu, sigma^2) - log_det

Shapes: z [K, B, Z], any axes before it; params [B, n_params], from the encoder beside mu and
logvar, broadcast over K; log_det [K, B], nats. Every flow starts near the identity
(planar: where params are small).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

MIN_STRETCH = 1e-6  # least det of a planar layer where it folds most, for a finite log


class Flow(nn.Module):
    """An invertible map of z given x. Subclasses set `n_params`: numbers per row, from the encoder.

    Where an `inverse(z', params) -> z` is cheap enough to be of use, they have one.
    """

    def __init__(self, z_dim, n_layers, n_params):
        super().__init__()
        self.z_dim, self.n_layers, self.n_params = z_dim, n_layers, n_params

    def describe(self):
        return f"{type(self).__name__} flow of {self.n_layers} layers"

    def forward(self, z, params):
        """z' and log |det d z' / d z|."""
        raise NotImplementedError


class Planar(Flow):
    """z' = z + u tanh(w.z + b) in every layer; u, w and b all from the encoder.

    Rezende & Mohamed 2015, eq. 10-12.
    """

    def __init__(self, z_dim, n_layers):
        super().__init__(z_dim, n_layers, n_params=n_layers * (2 * z_dim + 1))

    def layers(self, params):
        """w [..., B, L, Z], b [..., B, L], u such that the map is invertible, and w.u."""
        sizes = [self.z_dim, self.z_dim, 1]
        u, w, b = params.unflatten(-1, (self.n_layers, -1)).split(sizes, -1)
        wu = (w * u).sum(-1, keepdim=True)
        # Rezende & Mohamed 2015, appendix A.1: w.u >= -1, by moving u along w. They have
        # m(a) = -1 + softplus(a); with this shift m(0) = 0, and u = 0 is the identity.
        bounded = F.softplus(wu + math.log(math.e - 1)).clamp(min=MIN_STRETCH) - 1
        along = w / w.square().sum(-1, keepdim=True).clamp(min=1e-12)
        return w, b.squeeze(-1), u + (bounded - wu) * along, bounded.squeeze(-1)

    def forward(self, z, params):
        w, b, u, wu = self.layers(params)
        log_det = 0.0
        for l in range(self.n_layers):
            t = torch.tanh((z * w[..., l, :]).sum(-1) + b[..., l])  # [K, B]
            z = z + u[..., l, :] * t.unsqueeze(-1)
            log_det = log_det + torch.log1p((1 - t.square()) * wu[..., l])  # eq. 12
        return z, log_det


class IAF(Flow):
    """Inverse autoregressive: each z_i is scaled and shifted by a network of those before it and
    of x; the order turns round from layer to layer.

    Kingma et al. 2016, eq. 10, and not the gates of their algorithm 1, which only ever shrink z:
    on MNIST these were worse than no flow.
    """

    def __init__(self, z_dim, n_layers, context_dim=32, hidden_dim=64):
        super().__init__(z_dim, n_layers, n_params=context_dim)
        hidden_dim = max(hidden_dim, 2 * z_dim)
        self.context = nn.Linear(context_dim, n_layers * hidden_dim)  # of all layers at once
        self.steps = nn.ModuleList(Masked(z_dim, hidden_dim, l % 2 == 1) for l in range(n_layers))

    def forward(self, z, params):
        log_det = 0.0
        for step, h in zip(self.steps, self.contexts(params), strict=True):
            shift, log_scale = step(z, h)
            z = z * log_scale.exp() + shift
            log_det = log_det + log_scale.sum(-1)
        return z, log_det

    def contexts(self, params):
        return self.context(params).chunk(self.n_layers, -1)

    def inverse(self, z, params):
        """One coordinate after the other, since each needs those before it."""
        for step, h in reversed(list(zip(self.steps, self.contexts(params), strict=True))):
            before = torch.zeros_like(z)
            for i in step.order.argsort():
                shift, log_scale = step(before, h)
                there = torch.arange(self.z_dim, device=z.device) == i
                before = torch.where(there, (z - shift) * (-log_scale).exp(), before)
            z = before
        return z


class Masked(nn.Module):
    """Shift and log scale of every z_i, from the z's before it and a context h, both 0 at first
    (Germain et al. 2015).
    """

    def __init__(self, z_dim, hidden_dim, backward):
        super().__init__()
        order = torch.arange(z_dim)
        order = order.flip(0) if backward else order
        # A hidden unit sees the inputs up to its degree; those of degree -1 see only the context.
        degree = torch.arange(hidden_dim) % z_dim - 1
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("mask_in", (order <= degree[:, None]).float(), persistent=False)
        mask_out = (degree < order[:, None]).float().repeat(2, 1)  # of both
        self.register_buffer("mask_out", mask_out, persistent=False)
        self.weight_in = nn.Parameter(nn.Linear(z_dim, hidden_dim).weight.detach().clone())
        self.weight_out = nn.Parameter(torch.zeros(2 * z_dim, hidden_dim))
        self.bias_out = nn.Parameter(torch.zeros(2 * z_dim))

    def forward(self, z, h):
        h = F.silu(F.linear(z, self.weight_in * self.mask_in) + h)
        return F.linear(h, self.weight_out * self.mask_out, self.bias_out).chunk(2, -1)


FLOWS = {"planar": Planar, "iaf": IAF}
