"""The model that a run's config describes, with fresh weights or those of its checkpoint."""

import math

from parts.errors import UserError
from parts.forms import conditions
from parts.forms.tables.encoding import Column, modelled
from parts.model.flows import FLOWS
from parts.model.likelihoods import LIKELIHOODS
from parts.model.priors import PRIORS
from parts.model.vaegan import VAEGAN
from parts.model.vqvae import VQVAE
from vae import VAE

MOST_LAYERS = 1000  # of a flow
# What older runs say nothing of.
EARLIER = {"model": "vae", "members": 1, "flow": None, "prior": "normal", "prior_components": 50,
           "binarize": "none", "components": 1, "free_bits": 0.0, "capacity": None,
           "objective": "elbo", "mask_features": False}  # fmt: skip


def from_config(config):
    """The model, with fresh weights."""
    config = EARLIER | config
    refuse_unfit(config)
    likelihood = LIKELIHOODS[config["likelihood"]]
    columns = [Column(**column) for column in config["columns"]]
    y_dim = sum(conditions.sizes(conditions.of(columns)))
    if config["network"] == "conv" and y_dim and y_dim >= math.prod(config["shape"][-2:]):
        raise UserError(
            f"--condition: it has {y_dim} numbers and a picture {config['shape'][-2:]} pixels, "
            "expected fewer with --network conv; use --network mlp"
        )
    options = {name: config[name] for name in likelihood.options}
    likelihood = likelihood.of(modelled(columns), **options)
    if config["mask_features"]:
        likelihood.sees_mask, likelihood.n_features = True, 2 * likelihood.n_features
    n_features = likelihood.n_features + y_dim
    sizes = config["latent_dim"], n_features, config["prior_components"], y_dim
    prior = PRIORS[config["prior"]](*sizes)
    model = MODELS[config["model"]]
    parts = {"members": config["members"], "flow": flow_of(config), "prior": prior}
    return model(
        likelihood,
        config["hidden_dims"],
        config["latent_dim"],
        y_dim,
        network=config["network"],
        shape=config.get("shape"),
        **{name: part for name, part in parts.items() if name not in model.needs},
        **{name: config[name] for name in model.options},
    )


def fit_to_model(config, given):
    """The config with what its model needs; refuses flags that were `given` for another model."""
    name = config["model"]
    model = MODELS[name]
    for flag in sorted(MODEL_OPTIONS):
        if flag in given and flag not in model.options:
            raise UserError(f"--{flag.replace('_', '-')} does not go with --model {name}")
    for flag, values in model.needs.items():
        left_to_data = config[flag] is None and len(values) > 1
        if config[flag] in values or left_to_data:
            continue
        if flag in given or len(values) > 1:
            dashed = f"--{flag.replace('_', '-')}"
            fit = f"{dashed} {' or '.join(map(str, values))}"
            fit = fit if values != (None,) else f"no {dashed}"
            raise UserError(f"{dashed} {config[flag]}: --model {name} takes {fit}")
        config = config | {flag: values[0]}
    return config | {flag: v for flag, v in other_than_preset(config).items() if flag not in given}


def other_than_preset(config):
    """Of flags that a preset chose, what a flow, a learned prior or another loss needs instead."""
    needs = {}
    if config["free_bits"] or config["capacity"] is not None:
        needs["objective"] = "elbo"
    elif config["flow"] is not None and config["objective"] == "dreg":
        needs["objective"] = "iwae"
    if config["flow"] is not None or config["prior"] != "normal":
        needs["members"] = 1
    return needs


def flow_of(config):
    """The flow that "NAME:LAYERS" asks for, or None."""
    if config["flow"] is None:
        return None
    name, _, layers = config["flow"].partition(":")
    if name not in FLOWS or not layers.isdecimal() or not 1 <= int(layers) <= MOST_LAYERS:
        raise UserError(
            f"--flow {config['flow']}, expected NAME:LAYERS such as planar:10, NAME one of "
            f"{', '.join(FLOWS)}, of at most {MOST_LAYERS} layers"
        )
    return FLOWS[name](config["latent_dim"], int(layers))


def refuse_unfit(config):
    """Settings that contradict each other, before anything is written."""
    several = config["members"] > 1
    plain = config["flow"] is None and config["prior"] == "normal"
    for flag, value in (("flow", config["flow"]), ("prior", config["prior"])):
        if several and value not in (None, "normal"):
            raise UserError(
                f"--{flag} {value} goes with one member, not --members {config['members']}"
            )
    if config["flow"] is not None and config["objective"] == "dreg":
        # Its gradient needs log q at z with q held, and so the inverse of the flow.
        raise UserError("--flow does not go with --objective dreg; use elbo or iwae")
    for flag, off in (("free_bits", 0.0), ("capacity", None)):
        if config[flag] != off and config["objective"] != "elbo":
            raise UserError(
                f"--{flag.replace('_', '-')} goes with --objective elbo, not {config['objective']}"
            )
    if config["free_bits"] and not plain:
        raise UserError("--free-bits needs a KL of each latent: no --flow, and --prior normal")


def load_model(run, device="cpu"):
    """The model of a run, at its best epoch where early stopping kept one; and the checkpoint."""
    checkpoint = run.load_checkpoint()
    if not (checkpoint["position"]["epoch"] or checkpoint["position"]["row"]):
        raise UserError(f"{run.path} holds no training yet: resume it, or train another")
    model = from_config(checkpoint["config"])
    weights = (checkpoint["best"] or checkpoint)["model"]
    refuse_damaged(weights, model, run)
    model.load_state_dict(weights)
    return model.to(device).eval(), checkpoint


def refuse_damaged(weights, model, run):
    """Weights of a file that is whole but does not hold those of this model."""
    own = {name: value.shape for name, value in model.state_dict().items()}
    found = {name: value.shape for name, value in weights.items()}
    wrong = [name for name in own | found if own.get(name) != found.get(name)]
    wrong = wrong or [name for name, value in weights.items() if value.isnan().any()]
    if wrong:
        raise UserError(
            f"{run.checkpoint} does not hold the weights of its model ({wrong[0]}): it is damaged, "
            "or of another version; train again"
        )


MODELS = {"vae": VAE, "vqvae": VQVAE, "vaegan": VAEGAN}
MODEL_OPTIONS = set().union(*(model.options for model in MODELS.values()))
