"""The training loop, and its state, from which training resumes bit for bit."""

import copy
import math
import time
from dataclasses import asdict, dataclass, field
from functools import reduce

import numpy as np
import torch

from parts import randomness
from parts.errors import UserError
from parts.model.batches import Batch, Rows
from parts.model.objectives import weights_of_typical
from parts.options import from_plain
from parts.training.adam import Adam

LOOK_STEPS, LOOK_SECONDS = 64, 1.0  # between looks at the losses: a look waits for the device
MAX_BAD_STEPS = 10  # non-finite steps in a row before training stops
FEWEST_ALIKE = 50  # rows with about as many observed cells, of which `settle` leaves out a share
N_SETTLED_AT_A_TIME = 4096  # rows of which `settle` measures the loss at a time


@dataclass
class Position:
    """How far training is: what resuming needs beside weights, optimisers and random state."""

    epoch: int = 0  # finished epochs
    row: int = 0  # rows visited in the current epoch
    sums: dict = field(default_factory=dict)  # of the epoch: statistic -> (sum over rows, rows)
    skipped: int = 0  # non-finite steps so far
    streak: int = 0  # of them in a row, up to now
    best_epoch: int = 0
    best_elbo: float = -math.inf  # on held-out rows

    def check(self, n):
        """Raise ValueError unless it is a place among n rows, with sums of their statistics."""
        sums_are_pairs = all(
            len(pair) == 2 and all(isinstance(one, int | float) for one in pair)
            for pair in self.sums.values()
        )
        counts = (self.epoch, self.row, self.skipped, self.streak, self.best_epoch)
        if min(counts) < 0 or not sums_are_pairs or (self.row >= n and not self.sums):
            raise ValueError(f"its position is no place among {n} rows")

    def add(self, n, stats):
        """Count a step over n rows: `stats` are its means, and `skipped` 1 where it was skipped."""
        if stats.pop("skipped"):
            self.skipped, self.streak = self.skipped + 1, self.streak + 1
            if self.streak >= MAX_BAD_STEPS:
                self.refuse_to_end()
            n, stats = 0, dict.fromkeys(stats, 0.0)
        else:
            self.streak = 0
        for name, value in stats.items():
            total, rows = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + n * value, rows + n)

    def refuse_to_end(self):
        """Raise UserError for steps in a row that were skipped."""
        raise UserError(
            f"diverged in epoch {self.epoch + 1}: {self.streak} steps in a row had a non-finite "
            "loss or gradient; what was saved is kept; try a lower lr in a new run"
        )

    def finish_epoch(self):
        """The epoch's means over rows, None where every step was skipped; starts the next epoch."""
        means = {name: total / n if n else None for name, (total, n) in self.sums.items()}
        self.epoch, self.row, self.sums = self.epoch + 1, 0, {}
        return means


def beta_at(step, beta, warmup_steps, cycle_steps=0):
    """Linear from 0 to beta over warmup_steps, then constant (Sonderby et al. 2016).

    With cycle_steps it starts again from 0 after each of so many steps (Fu et al. 2019).
    """
    step = step % cycle_steps if cycle_steps else step
    return beta if warmup_steps == 0 else beta * min(1.0, step / warmup_steps)


def lr_at(step, lr, total_steps, schedule):
    """`constant`; or `onecycle`: linear up to lr over a fifth of the steps, then a cosine to 0.

    After Smith & Topin 2017, without their momentum cycle.
    """
    if schedule == "constant":
        return lr
    rise = max(1, total_steps // 5)
    if step < rise:
        return lr * (step + 1) / rise
    return lr * 0.5 * (1 + math.cos(math.pi * (step - rise + 1) / (total_steps - rise + 1)))


def weighted_mean(loss, weights=None):
    """The mean of weights * loss over rows, both [B]: the scalar that a step goes down.

    It is not divided by the weights of the batch: their mean over all rows is 1, and a row counts
    alike in whatever batch it lies.
    """
    return loss.mean() if weights is None else (weights.to(loss.dtype) * loss).mean()


def sizes_of_ties(values):
    """Sizes of groups of equal values [N] in their order, each of at least FEWEST_ALIKE rows."""
    sizes = [0]
    for count in values.unique(return_counts=True)[1].tolist():
        if sizes[-1] >= FEWEST_ALIKE:
            sizes.append(0)
        sizes[-1] += count
    if len(sizes) > 1 and sizes[-1] < FEWEST_ALIKE:
        sizes[-2:] = [sum(sizes[-2:])]
    return sizes


def permutation(n, shuffle_seed, epoch):
    """The order of rows in an epoch, a function of seed and epoch: nothing to save."""
    # Both through NumPy's SeedSequence: torch's own CPU generator drops all but 32 bits of a seed.
    mixed = int(np.random.SeedSequence((shuffle_seed, epoch)).generate_state(1)[0])
    generator = torch.Generator().manual_seed(mixed)
    return torch.randperm(n, generator=generator, dtype=torch.int32)


class Training:
    """A model in training: its optimisers, one per phase, and its position in the data."""

    def __init__(self, model, lr=1e-3, seed=0):
        self.model, self.lr, self.seed = model, lr, seed
        self.optimizers = {phase: Adam(model.parameters_of(phase), lr) for phase in model.phases}
        self.position = Position()
        self.best = None  # weights and optimisers of the best epoch, where there is early stopping
        self.pending = []  # statistics of the last steps, still on the device
        self.kept = None  # False for each row that is left out for good, [N]; see `settle`

    def run(
        self,
        rows,
        epochs,
        batch_size=32,
        beta=1.0,
        warmup_epochs=0,
        cycles=1,
        schedule="constant",
        capacity=None,
        weights=None,
        trim=0.0,
        **loss_options,
    ):
        """Train on `rows` up to epoch `epochs`; `loss_options` go to `model.loss`.

        `rows` is a Batch, or Rows: what has a length, a device and `take(index)` -> Batch.

        beta rises over the first warmup_epochs of each of `cycles` equal parts of the epochs; a
        capacity does in its place, where there is one. `weights` [N], at least 0, say how much each
        row's loss counts: a row of weight 2 counts as two rows, one of weight 0 gives no gradient.

        `trim`: in the first half of the epochs, and the first epoch, this share of each batch gives
        no gradient, see `weights_of_typical`, and in the second half the rows that `settle` leaves
        out.

        A generator: it yields the epoch's means after each epoch and None every few steps. At each
        yield the caller may save `self.state()`, from which training resumes bit for bit.
        """
        rows = Rows(rows) if isinstance(rows, Batch) else rows
        at, n = self.position, len(rows)
        if weights is not None:
            weights = (weights / weights.mean()).to(rows.device)
        batch_size = n if batch_size == "full" else min(batch_size, n)
        steps_per_epoch = math.ceil(n / batch_size)
        warmup_steps = warmup_epochs * steps_per_epoch
        cycle_steps = math.ceil(epochs * steps_per_epoch / cycles) if cycles > 1 else 0

        def scheduled(step):
            if capacity is None:
                return {"beta": beta_at(step, beta, warmup_steps, cycle_steps)}
            return {"beta": beta, "capacity": beta_at(step, capacity, warmup_steps, cycle_steps)}

        while at.epoch < epochs:
            if trim and at.epoch < max(1, epochs // 2):
                self.kept = None  # what a shorter training had decided
            elif trim and self.kept is None:
                first_step = at.epoch * steps_per_epoch
                self.settle(rows, trim / 2, loss_options | scheduled(first_step))
            kept = None if self.kept is None else self.kept.to(rows.device)
            options = loss_options | ({"trim": trim} if trim and kept is None else {})
            order = permutation(n, self.seed, at.epoch).to(rows.device)
            first_step = at.epoch * steps_per_epoch
            next_look = time.monotonic() + LOOK_SECONDS
            while at.row < n:
                index = order[at.row : at.row + batch_size]
                step = first_step + at.row // batch_size
                lr = lr_at(step, self.lr, epochs * steps_per_epoch, schedule)
                index = index if kept is None else index[kept[index]]
                of_batch = None if weights is None else weights[index]
                if len(index):
                    self.update(rows.take(index), lr, options | scheduled(step), of_batch)
                at.row += batch_size
                if len(self.pending) >= LOOK_STEPS or time.monotonic() > next_look:
                    self.look()
                    yield None
                    next_look = time.monotonic() + LOOK_SECONDS
            self.look()
            if at.epoch + 1 == epochs and at.streak >= steps_per_epoch:
                at.refuse_to_end()
            last_step = first_step + steps_per_epoch - 1
            yield at.finish_epoch() | scheduled(last_step)

    def update(self, batch, lr, loss_options, weights=None):
        """One step of each phase's optimiser; it counts as skipped where any of them skipped it."""
        stats, skipped = {}, []
        # Squared importance weights of poor samples are denormal numbers, and a product with one
        # takes a processor ten times as long. The setting holds for NumPy and the caller too, so it
        # is made for these steps only.
        torch.set_flush_denormal(True)
        try:
            for phase, optimizer in self.optimizers.items():
                optimizer.lr = lr
                loss, parts = self.model.loss(phase, batch, **loss_options)
                skipped.append(optimizer.step(weighted_mean(loss, weights)))
                stats |= parts
        finally:
            torch.set_flush_denormal(False)
        stats["skipped"] = reduce(torch.maximum, skipped)
        self.pending.append((stats, len(batch.x)))

    def settle(self, rows, share, loss_options):
        """Decide which rows are left out for good: the `share` with the highest loss.

        It is that share of the rows with equally many observed cells each time: a row with few of
        them has a smaller loss and, where columns depend on one another, a larger one per cell.

        Leaving out a share of each batch is robust, but it leaves out good rows as well. Once the
        model has found what most rows look like, the rows next to these are told from odd ones:
        they are learned from then on, like the rows that the reweighted MCD estimator takes back
        (Rousseeuw & Van Driessen 1999).
        """
        (phase,) = self.model.phases
        options = loss_options | {"hide_rate": 0.0}
        losses, masks = [], []
        self.model.eval()
        with randomness.fixed_randomness(self.seed), torch.no_grad():
            for index in torch.arange(len(rows), device=rows.device).split(N_SETTLED_AT_A_TIME):
                batch = rows.take(index)
                losses.append(self.model.loss(phase, batch, **options)[0])
                masks.append(batch.mask)
        self.model.train()
        loss = torch.cat(losses)
        n_seen = torch.zeros_like(loss) if masks[0] is None else torch.cat(masks).sum(-1)
        self.kept = torch.ones_like(loss, dtype=torch.bool)
        for alike in n_seen.argsort(stable=True).split(sizes_of_ties(n_seen)):
            self.kept[alike] = weights_of_typical(loss[alike], None, share) > 0

    def look(self):
        """Bring the pending statistics to the host, in one transfer."""
        if not self.pending:
            return
        values = torch.stack([value for stats, _ in self.pending for value in stats.values()])
        values = iter(values.tolist())
        for stats, n in self.pending:
            self.position.add(n, {name: next(values) for name in stats})
        self.pending = []

    def keep_best(self, elbo):
        """Remember weights and optimisers if the held-out bound is the highest so far."""
        at = self.position
        if elbo > at.best_elbo:
            at.best_elbo, at.best_epoch = elbo, at.epoch
            self.best = copy.deepcopy(self.weights() | {"epoch": at.epoch})

    def weights(self):
        optimizers = {phase: o.state_dict() for phase, o in self.optimizers.items()}
        return {"model": dict(self.model.state_dict()), "optimizers": optimizers}

    def state(self):
        """All that `load_state` needs. The tensors are those in training: save or copy them now."""
        self.look()
        position = {"position": asdict(self.position), "rng": randomness.random_state()}
        return self.weights() | position | {"best": self.best, "kept": self.kept}

    def load_state(self, state):
        self.model.load_state_dict(state["model"])
        for phase, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][phase])
        self.position = from_plain(Position, copy.deepcopy(state["position"]))
        self.best, self.pending = state["best"], []
        self.kept = state.get("kept")
        if self.kept is not None and self.kept.dtype != torch.bool:
            raise TypeError(f"the kept rows are {self.kept.dtype}")
        randomness.set_random_state(state["rng"])


SCHEDULES = ("constant", "onecycle")
