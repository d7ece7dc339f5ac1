"""What can be asked of the model: its kind, likelihood, networks, posterior and prior."""

from dataclasses import dataclass

from parts.model.flows import FLOWS
from parts.model.likelihoods import LIKELIHOODS
from parts.model.likelihoods.correlated import NOISES
from parts.model.likelihoods.ordered import HEADS
from parts.model.networks import NETWORKS
from parts.model.priors import PRIORS
from parts.options import n_components, non_negative, option, options_of, positive_int

# `parts.lazy.member` imports the one that is built.
MODELS = {
    "vae": "vae:VAE",
    "vqvae": "parts.model.vqvae:VQVAE",
    "vaegan": "parts.model.vaegan:VAEGAN",
    "windows": "parts.model.windowvae:WindowVAE",
}


@dataclass(frozen=True)
class ModelConfig:
    """Options of the model. None: decided by the data, see `parts.training.presets`."""

    model: str = option("vae", "its kind (default: vae)", choices=tuple(MODELS))
    hidden_dims: list = option(
        [64],
        "the encoder's hidden layers, mirrored in the decoder (default: 64)",
        parse=positive_int,
        nargs="*",
    )
    network: str = option("mlp", "its kind (default: mlp)", choices=sorted(NETWORKS))
    latent_dim: int | None = option(8, "dimensions of z (default: 8)", parse=positive_int)
    members: int | None = option(
        1,
        "an even mixture of so many VAEs, trained side by side (default: 1)",
        parse=positive_int,
    )
    likelihood: str | None = option(
        None,
        "p(x|z) (default: gaussian; tables: mixed; pictures: bernoulli)",
        choices=sorted(LIKELIHOODS),
    )
    variance: str | None = option(
        "decoder", "of numbers: fixed:V, shared, column or decoder (default: decoder)"
    )
    noise: str | None = option(
        "independent",
        "of numbers given z: independent, along the directions of near-copies (stretched), "
        "correlated, both, or started at the Gaussian of the rows (fitted) (default: independent; "
        "by the preset and the rows)",
        choices=tuple(NOISES),
    )
    real: str = option(
        "gaussian",
        "mixed: the distribution of its real columns (default: gaussian)",
        choices=("gaussian", "student"),
    )
    heads: str | None = option(
        "bins",
        "ordered: of numbers, a mass for each bin or a mixture (default: bins; preset generate: by "
        "the number of rows)",
        choices=HEADS,
    )
    binarize: str | None = option(
        None,
        "bernoulli: draw each pixel as 0 or 1 with its grey value, once or at every visit "
        "(default: dynamic for pictures, else none)",
        choices=("none", "static", "dynamic"),
    )
    components: int = option(
        1, "logistic: of the mixture at every pixel (default: 1)", parse=n_components
    )
    flow: str | None = option(
        None,
        f"takes q(z|x) further: {', '.join(FLOWS)} (default: none)",
        metavar="NAME:LAYERS",
    )
    prior: str = option(
        "normal",
        "p(z); a learned one is p(z|y) if there is --condition (default: normal)",
        choices=sorted(PRIORS),
    )
    prior_components: int = option(50, "of p(z) (default: 50)", parse=positive_int)
    n_codes: int = option(
        64,
        "vectors in the codebook; z is --latent-dim of them (default: 64)",
        parse=positive_int,
        of="vqvae",
    )
    code_dim: int = option(4, "their size (default: 4)", parse=positive_int, of="vqvae")
    commitment: float = option(
        0.25,
        "weight of the encoder's distance from its codes (default: 0.25)",
        parse=non_negative,
        of="vqvae",
    )
    gamma: float = option(
        1.0,
        "weight of x and its features in the decoder's loss (default: 1)",
        parse=non_negative,
        of="vaegan",
    )
    robust: bool = False  # windows: whether odd ones may be among those of training
    mask_features: bool = False  # whether the encoder is told which cells are there


MODEL_OPTIONS = {name: options_of(ModelConfig, name) for name in MODELS}
