"""The model that a config describes, with fresh weights or given ones."""

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch.overrides import TorchFunctionMode

from parts import memory
from parts.errors import UserError
from parts.lazy import member
from parts.model.config import MODEL_OPTIONS, MODELS
from parts.model.flows import FLOWS
from parts.model.likelihoods import LIKELIHOOD_OPTIONS, LIKELIHOODS
from parts.model.priors import PRIORS

MOST_LAYERS = 1000  # of a flow
BYTES_PER_PARAMETER = 16  # least in training: itself, its gradient and two averages of Adam


class Space(NamedTuple):
    """What a model is told of its data: the columns of x, how they lie, and how long y is.

    Of y the last numbers may be those of the states at each step, `state_dim` a step. Of a column a
    likelihood may read `kind`, `levels`, `centre` and `spread`.
    """

    columns: list
    shape: tuple
    y_dim: int
    state_dim: int = 0
    shrinkage: tuple = ()  # of the covariance of windows, as in likelihoods/windows.py

    @classmethod
    def of(cls, codec):
        own = codec.state_dim, tuple(codec.shrinkage)
        return cls(codec.modelled, codec.shape, codec.y_dim, *own)


def build_model(config, space):
    """The model of a ModelConfig for data in that Space, with fresh weights.

    UserError where it would be larger than memory.
    """
    y_dim = space.y_dim
    if config.network == "conv" and y_dim and y_dim >= math.prod(space.shape[-2:]):
        raise UserError(
            f"the condition has {y_dim} numbers and a picture {list(space.shape[-2:])} pixels, "
            "expected fewer with network conv; use network mlp"
        )
    likelihood = LIKELIHOODS[config.likelihood]
    options = {name: getattr(config, name) for name in likelihood.options}
    likelihood = likelihood.of_space(space, **options)
    if config.mask_features:
        likelihood.sees_mask = True
        likelihood.n_features += likelihood.n_columns
    with torch.device("meta"), Undrawn():  # where tensors have a shape and take no memory
        sketch = around(likelihood, replace(config, prior="normal"), space)
    n = sum(p.numel() for p in sketch.parameters())
    n += config.prior_components * config.latent_dim if config.prior != "normal" else 0
    what = f"a model of {n} parameters"
    memory.refuse_beyond_memory(what, n, BYTES_PER_PARAMETER, "parameters")
    return around(likelihood, config, space)


class Undrawn(TorchFunctionMode):
    """Leave weights as they are: on "meta", a first normal draw loads a compiler for seconds."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.nn.init.normal_:
            return kwargs["tensor"]
        return function(*args, **kwargs or {})


def around(likelihood, config, space):
    """The model of a ModelConfig around a likelihood."""
    y_dim = likelihood.context_dim(space.y_dim)
    n_features = likelihood.n_features + y_dim
    sizes = config.latent_dim, n_features, config.prior_components, y_dim
    prior = PRIORS[config.prior](*sizes)
    model = member(MODELS, config.model)
    parts = {"members": config.members, "flow": flow_of(config), "prior": prior}
    return model(
        likelihood,
        config.hidden_dims,
        config.latent_dim,
        y_dim,
        network=config.network,
        shape=space.shape,
        **{name: part for name, part in parts.items() if name not in model.needs},
        **{name: getattr(config, name) for name in MODEL_OPTIONS[config.model]},
    )


def fit_to_model(config, given):
    """The Config with what its model and likelihood need; refuses what was `given` for another.

    `given` are the names of the options that were asked for, with their values.
    """
    name, model = config.model.model, member(MODELS, config.model.model)
    for option in sorted(set().union(*MODEL_OPTIONS.values())):
        if option in given and option not in MODEL_OPTIONS[name]:
            raise UserError(f"option {option} does not go with model {name}")
    settings = config.flat()
    for option, values in model.needs.items():
        value = settings[option]
        left_to_data = value is None and len(values) > 1
        if value in values or left_to_data:
            continue
        if option in given or len(values) > 1:
            fit = "none" if values == (None,) else " or ".join(map(str, values))
            raise UserError(f"{option} {value} does not go with model {name}, which takes {fit}")
        config = config.replace(**{option: values[0]})
    others = other_than_preset(config)
    config = config.replace(**{k: v for k, v in others.items() if k not in given})
    likelihood = LIKELIHOODS[config.model.likelihood]
    for option in sorted(LIKELIHOOD_OPTIONS):
        if option in given and option not in likelihood.options:
            raise UserError(
                f"option {option} does not go with likelihood {config.model.likelihood}"
            )
    if config.data.kinds and likelihood.scaling != "kinds":
        raise UserError(
            f"kinds of columns do not go with likelihood {config.model.likelihood}; use mixed"
        )
    if config.data.relations and likelihood.scaling != "kinds":
        raise UserError(
            f"relations of columns do not go with likelihood {config.model.likelihood}; use mixed"
        )
    refuse_unfit(config)
    static = config.model.binarize == "static"
    return config.replace(scaling=likelihood.scaling, static_pixels=static)


def other_than_preset(config):
    """Options that a preset chose and that a flow, a prior or another loss needs changed."""
    needs, model, training = {}, config.model, config.training
    plain = model.flow is None and model.prior == "normal"
    if not plain or training.objective != "elbo" and training.preset == "generate":
        needs["free_bits"] = 0.0
    if training.free_bits or training.capacity is not None:
        needs["objective"] = "elbo"
    elif model.flow is not None and training.objective == "dreg":
        needs["objective"] = "iwae"
    if model.flow is not None or model.prior != "normal":
        needs["members"] = 1
    return needs


def options_of_others(settings):
    """Names of options that belong to other likelihoods and models than `settings` has."""
    taken = {name: likelihood.options for name, likelihood in LIKELIHOODS.items()} | MODEL_OPTIONS
    own = [taken.get(settings[axis], ()) for axis in ("likelihood", "model")]
    return set().union(*taken.values()).difference(*own)


def flow_of(config):
    """The flow that "NAME:LAYERS" asks for, or None."""
    if config.flow is None:
        return None
    name, _, layers = config.flow.partition(":")
    if name not in FLOWS or not layers.isdecimal() or not 1 <= int(layers) <= MOST_LAYERS:
        raise UserError(
            f"flow {config.flow}, expected NAME:LAYERS such as planar:10, NAME one of "
            f"{', '.join(FLOWS)}, of at most {MOST_LAYERS} layers"
        )
    return FLOWS[name](config.latent_dim, int(layers))


def refuse_unfit(config):
    """Raise UserError for options that contradict each other, before anything is written."""
    model, training = config.model, config.training
    several = model.members is not None and model.members > 1
    plain = model.flow is None and model.prior == "normal"
    for option, value in (("flow", model.flow), ("prior", model.prior)):
        if several and value not in (None, "normal"):
            raise UserError(f"{option} {value} goes with one member, not with {model.members}")
    if model.flow is not None and training.objective == "dreg":
        # Its gradient needs log q at z with q held, and so the inverse of the flow.
        raise UserError("a flow does not go with objective dreg; use elbo or iwae")
    for option, off in (("free_bits", 0.0), ("capacity", None)):
        if getattr(training, option) != off and training.objective != "elbo":
            raise UserError(
                f"option {option} goes with objective elbo, not with {training.objective}"
            )
    if model.noise == "fitted" and model.network != "mlp":
        raise UserError(f"noise fitted goes with network mlp, not with {model.network}")
    if training.free_bits and not plain:
        raise UserError("option free_bits needs a KL of each latent: no flow, and prior normal")


def load_weights(model, weights, path):
    """Load a checkpoint's weights; a UserError where they are damaged or of another model."""
    own = {name: value.shape for name, value in model.state_dict().items()}
    found = {name: value.shape for name, value in weights.items()}
    wrong = [name for name in own | found if own.get(name) != found.get(name)]
    wrong = wrong or [name for name, value in weights.items() if value.isnan().any()]
    if wrong:
        raise UserError(
            f"{path} does not hold the weights of its model ({wrong[0]}): it is damaged, or of "
            "another version; train again"
        )
    model.load_state_dict(weights)
