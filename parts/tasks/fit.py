"""Fit a model to Data: build it, train it, and keep rows for comparisons.

    fitted = fit(data, config)

`fit` is `start` followed by `epochs`, which training with a run calls separately.
"""

import contextlib
import math
from dataclasses import dataclass

import torch

from parts.errors import UserError
from parts.forms.base import N_KEPT_CELLS, N_KEPT_ROWS, Codec, Reference, random_rows
from parts.model.batches import Batch
from parts.model.build import Space, build_model
from parts.model.likelihoods.correlated import NOISES
from parts.randomness import fixed_randomness, seed_everything
from parts.training.loop import Training

# Fewest training rows whose terms are measured where cells are hidden, and times of doing so.
N_WATCHED, N_WATCHES = 100, 10
N_PROBED = 64  # most training rows by which a run is found to have diverged
BOUND_SAMPLES, MOST_DECODED = 64, 2**16  # most samples of z per held-out row, and of all rows


@dataclass
class Fitted:
    """A model in evaluation mode, its codec, its Config, and rows for comparisons.

    `train` and `held` are random samples of the training rows and of the held-out rows; `n_train`
    is the number of all training rows.
    """

    model: torch.nn.Module
    codec: Codec
    config: object
    train: Reference
    held: Reference
    n_train: int
    name: str = "this"

    @property
    def device(self):
        return next(self.model.parameters()).device

    @property
    def in_question(self):
        """Whether the training rows may hold odd ones, which training then left out."""
        return self.config is not None and self.config.training.trim > 0

    @property
    def steps_per_epoch(self):
        size = self.config.training.batch_size
        return 1 if size == "full" else math.ceil(self.n_train / size)

    def has_diverged(self):
        """Whether most of a sample of the training rows have no finite bound on log p(x)."""
        some = self.train.take(random_rows(len(self.train.x), N_PROBED))
        rows = Batch.on(self.device, some.x, some.y, some.mask)
        with fixed_randomness():
            rows = rows._replace(x=self.model.likelihood.draw(rows.x))
            elbo = self.model.terms(rows).elbo
        return bool((~torch.isfinite(elbo)).float().mean() > 0.5)

    @property
    def sees_near_copies(self):
        """Whether the model keeps the small differences of nearly equal columns."""
        if self.config is None:
            return False
        noise = NOISES.get(self.config.model.noise)
        is_stretched = noise is not None and noise.directions != "identity"
        return is_stretched or self.config.model.likelihood == "ordered"


def fit(data, config, device="cpu"):
    """Train a model on Data by a Config, without a run."""
    training = start(data, config, device)
    for _ in epochs(training, data, config):
        pass
    if training.best:
        training.model.load_state_dict(training.best["model"])
    train, held = references(data)
    n_train = len(data.train.x)
    return Fitted(training.model.eval(), data.codec, config, train, held, n_train)


def fit_arrays(model, x, mask=None, epochs=50, lr=1e-3, seed=0, y=None, **options):
    """Train `model` on arrays x, mask [N, D] in model units and conditions y [N, C].

    Returns the means of each epoch. `options` are those of `Training.run`. `seed` decides the order
    of rows; weights and noise use torch's global random state.
    """
    device = next(model.parameters()).device
    rows = Batch.on(device, x, y, mask)
    if not all(torch.isfinite(bound) for bound in torch.aminmax(rows.x)):  # makes no copy of x
        raise UserError("x holds NaN or infinite cells, expected finite numbers")
    steps = Training(model, lr, seed).run(rows, epochs, **options)
    return [means for means in steps if means]


def references(data):
    """Random samples of the training and of the held-out rows, which a run keeps."""
    n_kept = max(1, min(N_KEPT_ROWS, N_KEPT_CELLS // len(data.codec.modelled)))
    return data.train.sample(n_kept), data.val.sample(n_kept)


def start(data, config, device="cpu"):
    """Seed the random state, build a model, and return its Training."""
    refuse_without_held_out(data, config)
    seed_everything(config.training.seed)
    model = build_model(config.model, Space.of(data.codec)).to(device)
    names = [column.name for column in data.codec.modelled]
    for split in (data.train, data.val, data.test):
        if len(split.x):
            model.likelihood.check(split.x, names)
    with fixed_randomness(config.training.seed):
        rows = random_rows(len(data.train.x), model.likelihood.n_start)
        model.start_at(*Batch.of(data.train.take(rows), device))
    return Training(model, config.training.lr, config.training.seed)


def epochs(training, data, config):
    """Train to the last epoch; yield a record after each epoch, and None in between.

    At each yield `training.state()` may be saved; training from this state gives bit-identical
    results. With patience training ends when the held-out bound has not improved for that many
    epochs.
    """
    device = next(training.model.parameters()).device
    # Without held-out rows the log has terms of test rows, which choose nothing.
    part = "val" if len(data.val.x) else "test"
    held = Batch.of(getattr(data, part), device)
    rows, options = Batch.of(data.train, device), config.training
    whole = None
    if options.hide_rate:  # the means over the steps are then of rows with hidden cells
        n = max(len(held.x), N_WATCHED)
        whole = Batch.of(data.train.take(random_rows(len(rows.x), n)), device)
    at, every = training.position, max(1, options.epochs // N_WATCHES)
    if out_of_patience(training, options):
        return
    for means in training.run(rows, options.epochs, **options.loop_options()):
        if means is None:
            yield None
            continue
        record = {"epoch": at.epoch, **means, "skipped": at.skipped}
        record |= terms_after_epoch(training.model, held, part)
        if whole is not None and (at.epoch % every == 0 or at.epoch == options.epochs):
            record |= terms_after_epoch(training.model, whole, "train")
        # Of a trimmed fit, an epoch may be the best one once rows were taken back.
        if options.patience and (not options.trim or training.kept is not None):
            bound = held_out_bound(training.model, held, options)
            record["val_bound"] = -record["val_loss"] if bound is None else bound
            training.keep_best(record["val_bound"])
        yield record
        if out_of_patience(training, options):
            return


def out_of_patience(training, options):
    at = training.position
    if not options.patience or (options.trim and not at.best_epoch):
        return False
    return at.epoch - at.best_epoch >= options.patience


def terms_after_epoch(model, rows, part):
    """Loss, log p(x|z) and KL of whole rows, named by their part of the data, with fixed draws."""
    if not len(rows.x):
        return {}
    n_samples = max(1, min(8, 4096 // len(rows.x)))
    with fixed_randomness(), evaluation_mode(model):
        rows = rows._replace(x=model.likelihood.draw(rows.x))
        elbo, log_px_z, kl = (t.mean().item() for t in model.terms(rows, n_samples))
    return {f"{part}_loss": -elbo, f"{part}_log_px_z": log_px_z, f"{part}_kl": kl}


@contextlib.contextmanager
def evaluation_mode(model):
    """A context in which the model is in evaluation mode, and after which in training mode."""
    model.eval()
    try:
        yield
    finally:
        model.train()


def held_out_bound(model, rows, options):
    """The importance-weighted bound if it is the objective, nats per row; None for the ELBO.

    With IWAE or DReG the ELBO may fall while log p(x) rises, because q(z|x) stays loose.
    """
    if options.objective == "elbo":
        return None
    most = max(1, MOST_DECODED // len(rows.x))
    n_samples = max(options.n_samples, min(BOUND_SAMPLES, most))
    with fixed_randomness(), evaluation_mode(model):
        rows = rows._replace(x=model.likelihood.draw(rows.x))
        return model.log_px(*rows, n_samples=n_samples).mean().item()


def refuse_without_held_out(data, config):
    """Raise UserError if patience is given without held-out rows."""
    if config.training.patience and not len(data.val.x):
        raise UserError(
            "patience needs held-out rows, and there are none; a new run has them by a "
            "val_fraction of 0.1"
        )


def reset_patience(training, patience, patience_before):
    """Set the epoch from which the patience of a resumed run counts."""
    at = training.position
    if not patience:
        training.best, at.best_epoch, at.best_elbo = None, 0, -math.inf
    elif not patience_before:
        at.best_epoch = at.epoch
