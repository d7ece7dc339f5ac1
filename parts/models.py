"""The model that a run's config describes, with fresh weights or those of its checkpoint."""

from parts.errors import UserError
from parts.flows import FLOWS
from parts.likelihoods import LIKELIHOODS
from parts.priors import PRIORS
from parts.tables import Column, modelled
from vae import VAE

# What older runs say nothing of.
EARLIER = {"model": "vae", "members": 1, "flow": None, "prior": "normal", "prior_components": 50,
           "binarize": "none", "components": 1, "free_bits": 0.0, "capacity": None,
           "objective": "elbo", "mask_features": False}  # fmt: skip


def from_config(config):
    """The model, with fresh weights."""
    config = EARLIER | config
    refuse_unfit(config)
    likelihood = LIKELIHOODS[config["likelihood"]]
    columns = modelled([Column(**column) for column in config["columns"]])
    options = {name: config[name] for name in likelihood.options}
    likelihood = likelihood.of(columns, **options)
    if config["mask_features"]:
        likelihood.sees_mask, likelihood.n_features = True, 2 * likelihood.n_features
    prior = PRIORS[config["prior"]]
    return MODELS[config["model"]](
        likelihood,
        config["hidden_dims"],
        config["latent_dim"],
        network=config["network"],
        members=config["members"],
        shape=config.get("shape"),
        flow=flow_of(config),
        prior=prior(config["latent_dim"], likelihood.n_features, config["prior_components"]),
    )


def flow_of(config):
    """The flow that "NAME:LAYERS" asks for, or None."""
    if config["flow"] is None:
        return None
    name, _, layers = config["flow"].partition(":")
    if name not in FLOWS or not layers.isdecimal() or int(layers) < 1:
        raise UserError(
            f"--flow {config['flow']}, expected NAME:LAYERS such as planar:10, NAME one of "
            f"{', '.join(FLOWS)}"
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
    for flag in ("free_bits", "capacity"):
        if config[flag] and config["objective"] != "elbo":
            raise UserError(
                f"--{flag.replace('_', '-')} goes with --objective elbo, not {config['objective']}"
            )
    if config["free_bits"] and not plain:
        raise UserError("--free-bits needs a KL of each latent: no --flow, and --prior normal")


def load_model(run, device="cpu"):
    """The model of a run, at its best epoch where early stopping kept one; and the checkpoint."""
    checkpoint = run.load_checkpoint()
    model = from_config(checkpoint["config"])
    model.load_state_dict((checkpoint["best"] or checkpoint)["model"])
    return model.to(device).eval(), checkpoint


MODELS = {"vae": VAE}
