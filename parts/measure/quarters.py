"""Measure the prediction of hidden quarters of pictures, by a model and by baselines.

The quarters are those of Sohn et al. 2015, section 5.2, in pyro's order: one seen quarter is the
lower left, two are the left half, three are all but the lower right.
"""

import math

import numpy as np
import torch

from parts.model.batches import CHUNK_FLOATS, column_sums, in_chunks

N_CHECKED_PICTURES = 1000  # most pictures whose quarters are hidden
N_DISTANCES_AT_A_TIME = 2**24  # distances in memory at a time
N_SEEN = (1, 2, 3)  # numbers of seen quarters


def hidden(shape, n_seen):
    """True for the hidden numbers of a picture [D] where `n_seen` quarters are seen."""
    channels, height, width = (1, *shape)[-3:]
    seen = np.zeros((channels, height, width), bool)
    seen[:, height // 2 :, : width // 2] = True
    if n_seen > 1:
        seen[:, :, : width // 2] = True
    if n_seen > 2:
        seen[:, : height // 2] = True
    return torch.from_numpy(~seen.reshape(-1))


@torch.no_grad()
def log_px_hidden(model, batch, hidden, n_samples):
    """Two estimates of log p(hidden | seen) of rows [B], nats, and the effective samples [B].

    The first estimate is log p(all) - log p(seen), both by importance sampling; it is too high if
    q(z | seen) is too narrow. The second uses only samples of z given the seen pixels, with
    self-normalised weights; it is too low if few samples explain the hidden pixels. The truth lies
    between them.
    """
    mask = (~hidden).to(batch.x).expand_as(batch.x)
    k = math.ceil(n_samples / model.members)

    def estimate(piece):
        x, y, mask = piece
        z, log_qz_x = model.draw(model.posterior(x, y, mask), k)
        params = model.decode(z, y)
        log_w = model.likelihood.log_prob(params, x, mask) + model.log_pz(z, y) - log_qz_x
        joint = model.likelihood.log_prob(params, x) + model.log_pz(z, y) - log_qz_x
        log_w, joint = log_w.flatten(0, -2), joint.flatten(0, -2)
        log_seen = log_w.logsumexp(0)
        ess = torch.exp(2 * log_seen - (2 * log_w).logsumexp(0))
        return log_seen - math.log(len(log_w)), joint.logsumexp(0) - log_seen, ess

    n_rows = max(1, CHUNK_FLOATS // (model.width * k * model.members))
    log_seen, within, ess = in_chunks(estimate, batch._replace(mask=mask), n_rows)
    return model.log_px(batch.x, batch.y, n_samples=n_samples) - log_seen, within, ess


def nearest_neighbour(train, test, hidden):
    """Hidden numbers of the training picture with the nearest seen numbers, [N, n_hidden].

    `train` and `test` are Batches, whose conditions count as seen numbers.
    """
    known, x = (
        torch.cat([rows.x[:, ~hidden], *([] if rows.y is None else [rows.y])], 1)
        for rows in (train, test)
    )
    cuts = x.split(max(1, N_DISTANCES_AT_A_TIME // len(known)))
    return train.x[torch.cat([torch.cdist(cut, known).argmin(1) for cut in cuts])][:, hidden]


@torch.no_grad()
def check(model, train, test, shape, n_samples=100):
    """Metrics for one, two and three seen quarters, as a dict; the Batches are complete pictures.

    Log-probabilities are those of pixels drawn by `likelihood.draw`. Squared errors are those of
    the mean of the hidden pixels given the seen ones, without draws.
    """
    test = test.take(slice(N_CHECKED_PICTURES))
    drawn = test._replace(x=model.likelihood.draw(test.x))
    result = {"n_rows": len(test.x), "n_samples": n_samples, "quarters": {}}
    for n_seen in N_SEEN:
        cut = hidden(shape, n_seen).to(test.x.device)
        mask = (~cut).to(test.x).expand_as(test.x)
        ratio, within, ess = log_px_hidden(model, drawn, cut, n_samples)
        ours = model.impute(test.x * mask, mask, test.y, n_samples=n_samples).mean[:, cut]
        ones = torch.ones(()).to(train.x).expand_as(train.x[:, cut])
        guesses = {
            "VAE": ours,
            "nearest neighbour": nearest_neighbour(train, test, cut),
            "mean": column_sums(train.x[:, cut], ones).div(len(train.x)).to(ours),
        }
        result["quarters"][n_seen] = {
            "log_px_hidden": ratio.mean().item(),
            "log_px_hidden_se": (ratio.std() / len(ratio) ** 0.5).item(),
            "log_px_hidden_within": within.mean().item(),
            "ess": ess.mean().item(),
            "mse": {k: (v - test.x[:, cut]).square().mean().item() for k, v in guesses.items()},
        }
    return result


def report(result):
    names = list(next(iter(result["quarters"].values()))["mse"])
    head = "".join(f"{name:>20}" for name in names)
    lines = [
        f"Hidden quarters of {result['n_rows']} test pictures; log p(hidden | seen) in nats per "
        f"picture, as log p(all) - log p(seen) by {result['n_samples']} samples, then by the "
        "samples of the second alone; mean squared error of a hidden pixel:",
        f"  {'seen':<6}{'log p':>18}{'within':>10}{'ESS':>8}{head}",
    ]
    for n_seen, entry in result["quarters"].items():
        errors = "".join(f"{entry['mse'][name]:>20.4f}" for name in names)
        log_px = f"{entry['log_px_hidden']:.2f} ± {entry['log_px_hidden_se']:.2f}"
        within = f"{entry['log_px_hidden_within']:.2f}"
        lines.append(f"  {n_seen:<6}{log_px:>18}{within:>10}{entry['ess']:>8.1f}{errors}")
    return "\n".join(lines)
