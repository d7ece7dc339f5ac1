"""Encoders and decoders: maps from [..., in_dim] to [..., out_dim]."""

from torch import nn


def mlp(in_dim, hidden_dims, out_dim):
    """Linear layers with SiLU between them; any number of hidden layers, also none."""
    dims = [in_dim, *hidden_dims, out_dim]
    layers = []
    for d_in, d_out in zip(dims, dims[1:], strict=False):
        layers += [nn.Linear(d_in, d_out), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


NETWORKS = {"mlp": mlp}
