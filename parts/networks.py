"""Encoders and decoders: maps from [..., in_dim] to [..., out_dim], one or several at once."""

import math

import torch
from torch import nn


class Linears(nn.Module):
    """Linear layers of several members in one batched product, [M, ..., in] -> [M, ..., out].

    Initialised as nn.Linear.
    """

    def __init__(self, members, in_dim, out_dim):
        super().__init__()
        bound = 1 / math.sqrt(max(1, in_dim))
        self.weight = nn.Parameter(torch.empty(members, in_dim, out_dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, out_dim).uniform_(-bound, bound))

    def forward(self, x):
        flat = x.flatten(1, -2)
        return torch.baddbmm(self.bias, flat, self.weight).unflatten(1, x.shape[1:-1])


def mlp(in_dim, hidden_dims, out_dim, members=1):
    """Linear layers with SiLU between them; any number of hidden layers, also none.

    With several members everything has their axis first: [M, ..., in_dim] -> [M, ..., out_dim].
    """
    dims = [in_dim, *hidden_dims, out_dim]
    layers = []
    for d_in, d_out in zip(dims, dims[1:], strict=False):
        linear = nn.Linear(d_in, d_out) if members == 1 else Linears(members, d_in, d_out)
        layers += [linear, nn.SiLU()]
    return nn.Sequential(*layers[:-1])


NETWORKS = {"mlp": mlp}
