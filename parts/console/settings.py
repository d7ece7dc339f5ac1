"""What a model and its training can be told on the command line."""

from parts.console.flags import (
    add_device_flags,
    batch_size,
    count,
    fraction,
    non_negative,
    positive,
    positive_int,
    seed,
)
from parts.model.build import MODELS
from parts.model.flows import FLOWS
from parts.model.likelihoods import LIKELIHOODS
from parts.model.networks import NETWORKS
from parts.model.objectives import OBJECTIVES
from parts.model.priors import PRIORS
from parts.training.loop import SCHEDULES
from parts.training.presets import PRESETS


def add_model_flags(parser):
    """The flags that decide what is trained, on what and how; not where it is kept."""
    add = parser.add_argument
    add("--preset", choices=sorted(PRESETS), help="a named set of flags; given flags win")
    add("--epochs", type=positive_int, default=50, help="passes over the rows (default: 50)")
    add("--batch-size", type=batch_size, default=32, help="rows per step, or full (default: 32)")
    add("--lr", type=positive, default=1e-3, help="Adam's learning rate (default: 0.001)")
    add("--schedule", choices=SCHEDULES, default="constant",
        help="of the rate; onecycle rises and then falls to 0 (default: constant)")  # fmt: skip
    add("--hidden-dims", type=positive_int, nargs="*", default=[64],
        help="the encoder's hidden layers, mirrored in the decoder (default: 64)")  # fmt: skip
    add("--network", choices=sorted(NETWORKS), default="mlp", help="its kind (default: mlp)")
    add("--latent-dim", type=positive_int, default=8, help="dimensions of z (default: 8)")
    add("--members", type=positive_int, default=1,
        help="an even mixture of so many VAEs, trained side by side (default: 1)")  # fmt: skip
    add("--likelihood", choices=sorted(LIKELIHOODS),
        help="p(x|z) (default: gaussian; tables: mixed; pictures: bernoulli)")  # fmt: skip
    add("--variance", default="decoder",
        help="of numbers: fixed:V, shared, column or decoder (default: decoder)")  # fmt: skip
    add("--real", choices=("gaussian", "student"), default="gaussian",
        help="mixed: the distribution of its real columns (default: gaussian)")  # fmt: skip
    add("--binarize", choices=("none", "static", "dynamic"),
        help="bernoulli: draw each pixel as 0 or 1 with its grey value, once or at every visit "
        "(default: dynamic for pictures, else none)")  # fmt: skip
    add("--components", type=positive_int, default=1,
        help="logistic: of the mixture at every pixel (default: 1)")  # fmt: skip
    add("--hide-rate", type=fraction, default=0.0,
        help="hide up to this share of a row's cells while training, in half of the rows, so that "
        "any part of a row can be encoded (default: 0)")  # fmt: skip
    add("--objective", choices=sorted(OBJECTIVES), default="elbo",
        help="the bound that training climbs, and its gradient (default: elbo)")  # fmt: skip
    add("--n-samples", type=positive_int, default=1, help="its samples of z per row (default: 1)")
    add("--beta", type=non_negative, default=1.0, help="weight of the KL (default: 1, the ELBO)")
    add("--warmup-epochs", "--warmup", type=count, default=0,
        help="epochs over which beta rises from 0, or the capacity (default: 0)")  # fmt: skip
    add("--cycles", type=positive_int, default=1,
        help="times that it rises anew, in equal parts of the epochs (default: 1)")  # fmt: skip
    add("--capacity", type=non_negative, metavar="NATS",
        help="beta weighs the KL's distance from so many nats, instead of the KL")  # fmt: skip
    add("--free-bits", type=non_negative, default=0.0, metavar="NATS",
        help="of each latent's KL, below which the loss gains nothing (default: 0)")  # fmt: skip
    add("--flow", metavar="NAME:LAYERS",
        help=f"takes q(z|x) further: {', '.join(FLOWS)} (default: none)")  # fmt: skip
    add("--prior", choices=sorted(PRIORS), default="normal",
        help="p(z); a learned one is p(z|y) if there is --condition (default: normal)")  # fmt: skip
    add("--prior-components", type=positive_int, default=50, help="of p(z) (default: 50)")
    add("--model", choices=sorted(MODELS), default="vae", help="its kind (default: vae)")
    add("--n-codes", type=positive_int, default=64,
        help="vqvae: vectors in the codebook; z is --latent-dim of them (default: 64)")  # fmt: skip
    add("--code-dim", type=positive_int, default=4, help="vqvae: their size (default: 4)")
    add("--commitment", type=non_negative, default=0.25,
        help="vqvae: weight of the encoder's distance from its codes (default: 0.25)")  # fmt: skip
    add("--gamma", type=non_negative, default=1.0,
        help="vaegan: weight of x and its features in the decoder's loss (default: 1)")  # fmt: skip
    add("--seed", type=seed, default=0, help="seed of weights, order and noise (default: 0)")
    add_device_flags(parser)
