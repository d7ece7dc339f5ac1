"""Rows on their way through a model: a batch, cells hidden from it, and chunks of bounded size."""

from typing import NamedTuple

import torch

from parts.model.precision import to_float64

CHUNK_FLOATS = 2**21  # numbers in the widest activation of one chunk: 8 MB, near a core's cache


class Batch(NamedTuple):
    """Rows as the model takes them: data, condition (None: none), mask (None: all observed)."""

    x: torch.Tensor
    y: torch.Tensor | None = None
    mask: torch.Tensor | None = None

    @classmethod
    def of(cls, arrays, device="cpu"):
        """From anything with NumPy arrays x, y and mask, such as a `data.Split`."""
        parts = (arrays.x, arrays.y, arrays.mask)
        return cls(*[None if p is None else torch.from_numpy(p).to(device) for p in parts])

    @classmethod
    def on(cls, device, x, y=None, mask=None):
        """From arrays or tensors of any number type, as float32 on the device."""
        parts = (x, y, mask)
        return cls(
            *[
                None if part is None else torch.as_tensor(part, dtype=torch.float32, device=device)
                for part in parts
            ]
        )

    def take(self, index):
        """The rows numbered in the tensor `index`, or of a slice."""
        if isinstance(index, slice):
            return Batch(*[None if part is None else part[index] for part in self])
        return Batch(*[None if part is None else part.index_select(0, index) for part in self])


class Rows:
    """Rows in memory, as training takes them: len(rows), rows.take(index), rows.device.

    Whatever else offers these three may stand in their place: rows of a memory-mapped array, or of
    the parts of a data set that is larger than memory.
    """

    def __init__(self, batch):
        self.batch, self.device = batch, batch.x.device

    def __len__(self):
        return len(self.batch.x)

    def take(self, index):
        """The Batch of the rows numbered in the tensor `index`."""
        return self.batch.take(index)


def hide(batch, rate):
    """The batch with cells hidden at random: half its rows stay, the others lose up to `rate`.

    So the encoder learns q(z | any part of x), also from a table without holes.
    """
    share = (torch.rand(len(batch.x), 1, device=batch.x.device) * 2 - 1).clamp(min=0) * rate
    keep = (torch.rand_like(batch.x) >= share).to(batch.x.dtype)
    return batch._replace(mask=keep if batch.mask is None else batch.mask * keep)


def in_chunks(function, batch, n_rows, *others):
    """function(piece) for pieces of at most n_rows rows, their results joined along rows.

    `others` are further tensors of as many rows, cut alike. The function returns several tensors,
    and what they are joined to is a NamedTuple where it returns one, else a list.
    """
    cuts = [slice(start, start + n_rows) for start in range(0, len(batch.x), n_rows)]
    pieces = [function(batch.take(cut), *(other[cut] for other in others)) for cut in cuts]
    joined = [torch.cat(parts) for parts in zip(*pieces, strict=True)]
    return pieces[0]._make(joined) if hasattr(pieces[0], "_make") else joined


def column_sums(x, mask):
    """Sums of the observed cells of x [N, D], [D] float64; in pieces, for x may be large.

    They lie on the CPU where the device of x has no float64.
    """
    n = max(1, 2**20 // x.shape[1])
    pieces = zip(x.split(n), mask.split(n), strict=True)
    return sum(to_float64(piece * there).sum(0) for piece, there in pieces)


def observed(x, mask=None):
    """x with its missing cells set to 0, whatever stood there."""
    return x if mask is None else torch.where(mask > 0, x, 0.0)


def sum_columns(per_column, mask=None):
    """Sum over the last axis, of observed columns only."""
    return (per_column if mask is None else per_column * mask).sum(-1)
