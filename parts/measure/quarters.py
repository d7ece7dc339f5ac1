"""How well quarters of pictures are told from the others: by a model, and by neighbours and means.

The quarters are those of Sohn et al. 2015, section 5.2, in pyro's order: of one, the lower left is
seen; of two, the left half; of three, all but the lower right.
"""

import math

import numpy as np
import torch

from parts.model.batches import CHUNK_FLOATS, column_sums, in_chunks

N_CHECKED_PICTURES = 1000  # pictures
N_DISTANCES_AT_A_TIME = 2**24  # distances at a time, in numbers
N_SEEN = (1, 2, 3)


def hidden(shape, n_seen):
    """Which of a picture's numbers [D] are hidden where so many quarters are seen."""
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

    The first is log p(all) - log p(seen), each by importance sampling: too high where q(z | seen)
    is too narrow for the second. The other is by z's from p(z | seen) alone, self-normalised: too
    low where few of these explain the hidden pixels. The truth lies between them.
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
    """The hidden numbers of the training picture whose seen ones are the nearest, [N, hidden].

    Of Batches; to this their conditions are seen numbers like the others.
    """
    known, x = (
        torch.cat([rows.x[:, ~hidden], *([] if rows.y is None else [rows.y])], 1)
        for rows in (train, test)
    )
    cuts = x.split(max(1, N_DISTANCES_AT_A_TIME // len(known)))
    return train.x[torch.cat([torch.cdist(cut, known).argmin(1) for cut in cuts])][:, hidden]


@torch.no_grad()
def check(model, train, test, shape, n_samples=100):
    """Figures for one, two and three quarters seen, as a dict; of Batches of complete pictures.

    Log-probabilities are of `likelihood.draw`'s pixels, where these are drawn; errors are squared,
    of what is expected of the hidden pixels as they are, given the seen ones as they are.
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
