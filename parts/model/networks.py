"""Encoders and decoders: maps from [..., in_dim] to [..., out_dim], one or several at once.

All are built by (in_dim, hidden_dims, out_dim, members, shape); shape is that of what the encoder
is given and the decoder gives, for the networks that need one: (C, H, W) of a picture, (L, D) of a
window of L steps and D columns. A decoder takes the encoder's hidden_dims in reverse.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from parts.errors import UserError

N_WINDOWS = 3  # of what the encoder of windows sees: the cells, which are there, their innovations


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


def mlp(in_dim, hidden_dims, out_dim, members=1, shape=None):
    """Linear layers with SiLU between them; any number of hidden layers, also none.

    With several members everything has their axis first: [M, ..., in_dim] -> [M, ..., out_dim].
    """
    dims = [in_dim, *hidden_dims, out_dim]
    layers = []
    for d_in, d_out in zip(dims, dims[1:], strict=False):
        linear = nn.Linear(d_in, d_out) if members == 1 else Linears(members, d_in, d_out)
        layers += [linear, nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class ConvEncoder(nn.Module):
    """Strided convolutions, then dense layers: [..., planes H W + extra] -> [..., out_dim].

    All hidden_dims but the last are the channels of a convolution that halves height and width; the
    last is the width of a dense layer, which the extra numbers, a condition, join.
    """

    def __init__(self, in_dim, hidden_dims, out_dim, members=1, shape=None):
        super().__init__()
        *channels, dense_dim = check_fit(hidden_dims, members, shape)
        self.size, self.out_dim = tuple(shape[1:]), out_dim
        self.planes, n_extra = divmod(in_dim, math.prod(self.size))
        if self.planes == 0 or self.planes % shape[0]:
            raise UserError(
                f"network conv: {in_dim} numbers for pictures of shape {tuple(shape)}, expected "
                "whole planes, and a condition of fewer numbers than a plane; use network mlp"
            )
        sizes = halved(self.size, len(channels))
        layers = []
        for c_in, c_out in zip([self.planes, *channels], channels, strict=False):
            layers += [he_init(nn.Conv2d(c_in, c_out, 3, stride=2, padding=1)), nn.SiLU()]
        self.convs = nn.Sequential(*layers)
        n_flat = [c * h * w for c, (h, w) in zip([self.planes, *channels], sizes, strict=True)]
        self.width = max(n_flat)
        self.dense = mlp(n_flat[-1] + n_extra, [dense_dim], out_dim)

    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        n_picture = self.planes * math.prod(self.size)
        picture, extra = flat[:, :n_picture], flat[:, n_picture:]
        # Channels fastest in memory is quickest on a CPU; of the pictures only, not of the weights,
        # as the fused Adam goes through weights and gradients in the order of memory.
        picture = picture.unflatten(1, (self.planes, -1)).mT.flatten(1)  # [N, H W planes]
        picture = picture.unflatten(1, (*self.size, self.planes)).permute(0, 3, 1, 2)
        h = self.convs(picture).permute(0, 2, 3, 1).flatten(1)  # [N, h w c]: no copy
        return self.dense(torch.cat([h, extra], 1)).reshape(*x.shape[:-1], self.out_dim)


class ConvDecoder(nn.Module):
    """Dense layers, then transposed convolutions: [..., in_dim] -> [..., planes H W], planes first.

    The first of hidden_dims is the dense layer's width, the others are the channels of what
    convolutions double in height and width: those of the encoder in reverse.
    """

    def __init__(self, in_dim, hidden_dims, out_dim, members=1, shape=None):
        super().__init__()
        dense_dim, *channels = check_fit(hidden_dims, members, shape)
        planes, rest = divmod(out_dim, math.prod(shape[1:]))
        if planes == 0 or rest:
            raise UserError(
                f"network conv: {out_dim} numbers for pictures of shape {tuple(shape)}, expected "
                "whole planes; use network mlp"
            )
        self.out_dim = out_dim
        channels.append(planes)
        sizes = halved(shape[1:], len(channels) - 1)[::-1]
        self.start = (*sizes[0], channels[0])  # [h, w, c]
        self.dense = mlp(in_dim, [dense_dim], math.prod(self.start))
        layers = []
        for c_in, c_out, size in zip(channels, channels[1:], sizes[1:], strict=False):
            # From n, doubled: 2 n - 1, and 1 more where the size is even.
            more = tuple((n + 1) % 2 for n in size)
            up = nn.ConvTranspose2d(c_in, c_out, 3, stride=2, padding=1, output_padding=more)
            layers += [nn.SiLU(), he_init(up)]
        self.convs = nn.Sequential(*layers)
        self.width = max(c * h * w for c, (h, w) in zip(channels, sizes, strict=True))

    def forward(self, z):
        h = self.dense(z.reshape(-1, z.shape[-1])).unflatten(1, self.start)
        planes = self.convs(h.permute(0, 3, 1, 2))  # [N, planes, H, W]
        return planes.reshape(*z.shape[:-1], self.out_dim)


class Conv1dEncoder(nn.Module):
    """Strided convolutions in time, then dense layers: [..., N_WINDOWS L D + extra] -> [..., out].

    What comes first are windows, whose columns are the channels. All hidden_dims but the last are
    the channels of a convolution that halves the steps; the last is the width of a dense layer,
    which the extra numbers, such as a calendar, join.
    """

    def __init__(self, in_dim, hidden_dims, out_dim, members=1, shape=None):
        super().__init__()
        *channels, dense_dim = check_fit(hidden_dims, members, shape, "conv1d")
        (n_steps, n_each), self.out_dim = shape, out_dim
        self.windows = N_WINDOWS, n_steps, n_each
        self.n_windows = math.prod(self.windows)
        if in_dim < self.n_windows:
            raise UserError(
                f"network conv1d: {in_dim} numbers, expected {N_WINDOWS} windows of shape "
                f"{tuple(shape)}, which likelihoods windows and factors give; use network mlp"
            )
        sizes, layers = [N_WINDOWS * n_each, *channels], []
        for c_in, c_out in zip(sizes, channels, strict=False):
            layers += [he_init(nn.Conv1d(c_in, c_out, 5, stride=2, padding=2)), nn.SiLU()]
            n_steps = math.ceil(n_steps / 2)
        self.convs = nn.Sequential(*layers)
        n_flat = n_steps * sizes[-1]
        self.dense = mlp(n_flat + in_dim - self.n_windows, [dense_dim], out_dim)
        self.width = max(n_flat, *(math.ceil(shape[0] / 2) * c for c in channels[:1]))

    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        windows = flat[:, : self.n_windows].unflatten(1, self.windows)
        h = self.convs(windows.permute(0, 1, 3, 2).flatten(1, 2)).flatten(1)
        h = self.dense(torch.cat([h, flat[:, self.n_windows :]], 1))
        return h.reshape(*x.shape[:-1], self.out_dim)


def dense_decoder(in_dim, hidden_dims, out_dim, members=1, shape=None):
    """The decoder beside a Conv1dEncoder: dense layers, all as wide as that one's dense layer."""
    return mlp(in_dim, hidden_dims[:1] * max(1, len(hidden_dims) - 1), out_dim)


@torch.no_grad()
def start_linear(network, inner, outer, bias):
    """Make an `mlp` the linear map outer @ inner @ x + bias, exactly, before training.

    inner [R, in_dim], outer [out_dim, R], bias [out_dim]. As silu(u) - silu(-u) = u, two hidden
    units carry one number; the other units keep their weights, and the last layer ignores them.
    """
    *hidden, last = (layer for layer in network if not isinstance(layer, nn.SiLU))
    pairs = torch.cat([torch.eye(len(inner)), -torch.eye(len(inner))]).to(inner)  # [2 R, R]
    for layer in hidden:
        set_rows(layer, pairs @ inner)
        inner = pairs.mT  # of what the layer gives
    for parameter in last.parameters():
        parameter.zero_()
    set_rows(last, outer @ inner, bias)


def set_rows(layer, weight, bias=0.0):
    """Set the first outputs of a linear layer to weight @ its first inputs + bias; in all members.

    Other inputs have no part in them.
    """
    n_out, n_in = weight.shape
    own = layer.weight if isinstance(layer, nn.Linear) else layer.weight.mT  # [..., out, in]
    own[..., :n_out, :] = 0.0
    own[..., :n_out, :n_in] = weight.to(own)
    layer.bias[..., :n_out] = bias.to(own) if isinstance(bias, torch.Tensor) else bias


def most_linear(hidden_dims):
    """How many numbers `start_linear` can carry through such hidden layers."""
    return min(hidden_dims, default=10**9) // 2


def he_init(conv):
    """The convolution, its weights drawn so that a signal keeps its size from layer to layer.

    He et al. 2015, eq. 10; the bias is 0. With torch's own initialisation the signal fades, and the
    first epochs learn nothing.
    """
    fan_in = conv.in_channels * math.prod(conv.kernel_size)
    if conv.transposed:  # every output meets only a part of the kernel
        fan_in /= math.prod(conv.stride)
    nn.init.normal_(conv.weight, std=math.sqrt(2 / fan_in))
    nn.init.zeros_(conv.bias)
    return conv


SHAPES = {  # network -> what it is for, and the shape of that
    "conv": ("pictures", "(C, H, W)"),
    "conv1d": ("windows of a series", "(steps, columns)"),
}


def check_fit(hidden_dims, members, shape, network="conv"):
    """hidden_dims, or a UserError where no convolutional network can be built with these."""
    what, expected = SHAPES[network]
    if members > 1:
        raise UserError(f"network {network} goes with one member, not {members}; use network mlp")
    if shape is None or len(shape) != expected.count(",") + 1:
        found = f"no {what}" if shape is None else f"rows of shape {tuple(shape)}"
        raise UserError(f"network {network}: {found}, expected {expected}; use network mlp")
    if not hidden_dims:
        raise UserError(
            f"network {network}: no hidden dims, expected channels and a width: 32 64 256"
        )
    return hidden_dims


def halved(size, n_times):
    """(height, width) before and after every halving, rounded up: n_times + 1 of them."""
    return [tuple(math.ceil(n / 2**i) for n in size) for i in range(n_times + 1)]


class Network(NamedTuple):
    """How to build both halves of a VAE."""

    encoder: Callable
    decoder: Callable


NETWORKS = {
    "mlp": Network(mlp, mlp),
    "conv": Network(ConvEncoder, ConvDecoder),
    "conv1d": Network(Conv1dEncoder, dense_decoder),
}
