"""Bins of a table's columns: the levels of categories, and intervals of numbers.

The edges of intervals are quantiles of the training rows; a value that a fiftieth of them hold has
a bin of its own. The density of a number is the mass of its bin times the density inside the bin.

Shapes: B rows, D columns, L most bins of a column, N cells of one column.
"""

from typing import NamedTuple

import torch
from torch import nn

from parts.model.precision import to_float64

MOST_BINS = 100  # of a column of numbers
N_QUANTILES = 1000  # of the training rows, between which drawn numbers lie
N_SPIKES, SPIKE_SHARE = 3, 0.05  # most bins that are spikes, and the least share of each
LEAST_WIDTH = 1e-30  # of a bin
FAR_SCORE = 1e4  # beyond every normal score


class Place(NamedTuple):
    """Where cells x [B, D] lie: the codes of their bins, and log p(x | its bin), 0 for levels."""

    code: torch.Tensor
    log_density: torch.Tensor


class Bins(nn.Module):
    """The bins of Columns; `start_at` fixes those of numbers.

    The density inside a bin is even. Of the mass of an outermost bin of n training rows a share of
    1 / (n + 2) lies beyond them: its density falls with the square of the distance, that of counts
    geometrically.
    """

    def __init__(self, columns):
        super().__init__()
        self.levels = [j for j, column in enumerate(columns) if column.levels]
        self.numbers = [j for j, column in enumerate(columns) if not column.levels]
        n_bins = torch.tensor([len(column.levels) or MOST_BINS for column in columns])
        is_count = torch.tensor([column.kind == "count" for column in columns])
        n, most = len(columns), int(n_bins.max())
        codes = torch.arange(most, dtype=torch.float32).expand(n, most)
        buffers = {
            "n_bins": n_bins,
            "edges": codes[:, 1:] - 0.5,  # inner ones
            "log_density": torch.zeros(n, most),  # inside
            "ends": torch.tensor([-torch.inf, torch.inf]).expand(n, 2).clone(),  # of training rows
            "tail_mass": torch.zeros(n, 2),  # its log, as a share of the bin
            "tail_scale": torch.ones(n, 2),
            "centre": codes.clone(),  # mean of the training rows in the bin
            "lowest": codes.clone(),  # of these
            "highest": codes.clone(),
            "spikes": torch.full((n, N_SPIKES), -1),  # bins of one value that is frequent
            "quantiles": torch.zeros(n, N_QUANTILES),
            "ranks": torch.zeros(n, most + 1),  # share of training rows below the bin
            "scores": torch.zeros(n, most + 1),  # its normal score
            "middle": torch.zeros(n, most),  # the normal score of the bin's middle rank
        }
        for name, value in buffers.items():
            self.register_buffer(name, value)
        self.register_buffer("is_count", is_count, persistent=False)
        self.close()

    @property
    def most(self):
        return self.centre.shape[1]

    @property
    def exists(self):
        """Whether column j has a bin k, [D, L]."""
        return torch.arange(self.most, device=self.n_bins.device) < self.n_bins[:, None]

    @torch.no_grad()
    def start_at(self, x, mask=None):
        """Fit the bins of numbers to training rows x [n, D]."""
        for j in self.numbers:
            cells = x[:, j] if mask is None else x[mask[:, j] > 0, j]
            if len(cells):
                self.fit(j, to_float64(cells).sort().values)
        self.close()

    def close(self):
        """Move the edges of bins that do not exist beyond every value."""
        self.edges.masked_fill_(~self.exists[:, 1:], torch.inf)

    def fit(self, j, cells):
        """Fit the bins of column j to its sorted training cells, float64."""
        n, half = len(cells), 0.5
        values, counts = cells.unique_consecutive(return_counts=True)
        above = counts.cumsum(0)
        bin_of = torch.arange(len(values), device=cells.device)
        if len(values) > MOST_BINS:  # by the middle of a value's ranks: a spike is alone
            bin_of = ((above - counts / 2) / n * MOST_BINS).long()
        last = torch.nonzero(bin_of.diff(append=bin_of[-1:] + 1)).squeeze(-1)  # value in each bin
        gaps = values.diff() if len(values) > 1 else values.new_ones(1)
        edges = values[last[:-1]] + half * gaps[last[:-1]] if len(last) > 1 else values[:0]
        ends = torch.stack([values[0] - half * gaps[0], values[-1] + half * gaps[-1]])
        if self.is_count[j]:
            edges, ends = edges.floor() + half, torch.stack([values[0] - half, values[-1] + half])
        # In float32 the middle of two neighbours may be the upper one, which would lie below it.
        as_held = edges.to(self.edges.dtype)
        upper = values[last[:-1] + 1].to(as_held) if len(last) > 1 else as_held
        edges = torch.where(as_held >= upper, values[last[:-1]], edges)
        width = torch.cat([ends[:1], edges, ends[1:]]).diff().clamp(min=LEAST_WIDTH)
        total = torch.cat([above.new_zeros(1), above[last]])  # rows below each bin
        beyond = 1 / (total.diff()[[0, -1]] + 2)
        if self.is_count[j] and values[0] == 0:
            beyond[0] = 0.0
        density = -width.log()
        density[0] += torch.log1p(-beyond[0])
        density[-1] += torch.log1p(-beyond[1])
        sums = torch.cat([cells.new_zeros(1), cells.cumsum(0)])[total]
        lowest, highest = cells[total[:-1]], cells[total[1:] - 1]
        spiked = (total.diff() >= SPIKE_SHARE * n) & (lowest == highest)
        frequent = torch.where(spiked, total.diff(), 0).argsort(descending=True, stable=True)
        places = torch.arange(N_QUANTILES, device=cells.device) + half
        found = {
            "edges": edges,
            "log_density": density,
            "ends": ends,
            "tail_mass": beyond.log(),
            "tail_scale": width[[0, -1]],
            "centre": sums.diff() / total.diff(),
            "lowest": lowest,
            "highest": highest,
            "spikes": frequent[: min(N_SPIKES, int(spiked.sum()))],
            "quantiles": interpolated(cells, places / N_QUANTILES * n - half),
            "ranks": total / n,
            "scores": torch.special.ndtri(total / n).clamp(-FAR_SCORE, FAR_SCORE),
            "middle": torch.special.ndtri((total[1:] + total[:-1]) / (2 * n)),
        }
        self.n_bins[j], self.spikes[j] = len(last), -1
        for name, value in found.items():
            buffer = self.get_buffer(name)
            buffer[j, : len(value)] = value.to(buffer.dtype).to(buffer.device)

    def place(self, x, columns=slice(None)):
        """The Place of cells x [B, D], or [B, d] of the columns in a slice."""
        code = torch.searchsorted(self.edges[columns], x.T.contiguous()).T
        column = torch.arange(len(self.n_bins), device=x.device)[columns]
        low, high = self.ends[columns].unbind(-1)
        side, beyond = (x > high).long(), torch.maximum(low - x, x - high)
        scale, mass = self.tail_scale[column, side], self.tail_mass[column, side]
        distance = beyond.clamp(min=0) / scale
        # Of a count at the distance d = 1, 2, ...: (1 - r) r^(d - 1) with r = scale / (1 + scale).
        steps = (beyond + 0.5).clamp(min=1)
        of_count = -torch.log1p(scale) + (steps - 1) * -torch.log1p(1 / scale)
        of_real = -scale.log() - 2 * torch.log1p(distance)
        tail = mass + torch.where(self.is_count[columns], of_count, of_real)
        return Place(code, torch.where(beyond > 0, tail, self.log_density[column, code]))

    def draw(self, j, code):
        """Values of column j drawn in the bins `code` [N]: training values and what lies between;
        levels are codes.
        """
        if j in self.levels:
            return code.to(self.edges)
        low, high = self.ranks[j, code], self.ranks[j, code + 1]
        rank = low + (high - low) * torch.rand_like(low)
        drawn = interpolated(self.quantiles[j], rank * N_QUANTILES - 0.5)
        drawn = torch.clamp(drawn, self.lowest[j, code], self.highest[j, code])
        return drawn.round() if self.is_count[j] else drawn


def interpolated(values, places):
    """Sorted values [n] at fractional places from 0 to n - 1, linearly interpolated."""
    places = places.clamp(0, len(values) - 1)
    below = places.floor().long()
    above = (below + 1).clamp(max=len(values) - 1)
    return torch.lerp(values[below], values[above], (places - below).to(values))
