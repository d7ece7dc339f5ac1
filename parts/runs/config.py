"""A run's config: the options, the fitted codec, the source of the data, device and threads.

`Config` holds the options in three frozen parts. `RunConfig` adds the rest; config.json and the
checkpoint hold it as nested plain values.
"""

import os
from dataclasses import asdict, dataclass, field, fields
from dataclasses import replace as with_fields
from pathlib import Path

import data as datasets
from parts import forms
from parts.errors import UserError
from parts.files import STANDARD
from parts.forms.base import Codec
from parts.forms.config import DataConfig
from parts.model.config import ModelConfig
from parts.model.likelihoods import LIKELIHOODS
from parts.options import from_plain
from parts.training.config import TrainingConfig
from parts.training.presets import PRESETS

VERSION = 3  # format of config.json
PARTS = {"data": DataConfig, "model": ModelConfig, "training": TrainingConfig}
OPTION_NAMES = {part: {f.name for f in fields(made)} for part, made in PARTS.items()}


@dataclass(frozen=True)
class Config:
    """The options of a run in three parts; every name belongs to exactly one part."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def replace(self, **changes):
        """A copy with other values of the named options, in whichever part they are."""
        found = {}
        for part, names in OPTION_NAMES.items():
            own = {name: changes.pop(name) for name in names & set(changes)}
            found[part] = with_fields(getattr(self, part), **own)
        if changes:
            raise UserError(f"no option is named {', '.join(sorted(changes))}")
        return Config(**found)

    def flat(self):
        """All options by name."""
        return {
            name: getattr(getattr(self, part), name)
            for part in OPTION_NAMES
            for name in OPTION_NAMES[part]
        }


def resolve(given):
    """The Config of given options: default < preset < given, and the defaults of the data set.

    `given` maps names of options to values. Options that depend on the training rows stay None
    until `presets.fit_to_data`.
    """
    config = Config().replace(**given)
    name = config.data.data
    likelihood = config.model.likelihood or forms.form_of(name, config.data).default_likelihood(
        name
    )
    preset = config.training.preset or LIKELIHOODS[likelihood].preset
    config = Config().replace(**PRESETS.get(preset, {})).replace(**given)
    likelihood = config.model.likelihood or likelihood
    config = config.replace(preset=preset, likelihood=likelihood)
    return with_fields(config, data=datasets.resolve(config.data))


@dataclass(frozen=True)
class Execution:
    """The device and the threads of a run, on which rounding depends."""

    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class RunConfig:
    """All that a run was made from, as config.json holds it."""

    asked: Config
    codec: Codec
    fingerprint: str  # hash of the data
    n_train: int  # number of training rows
    execution: Execution
    versions: dict

    def to_dict(self, folder):
        """Nested plain values; the data's paths are relative to the run's `folder`."""
        asked = {part: asdict(getattr(self.asked, part)) for part in PARTS}
        paths = {}
        for name in ("data", "data_dir"):
            path = asked["data"][name]
            if path is not None and path != STANDARD and path not in forms.BUILTIN:
                paths[name] = os.path.realpath(path)
                asked["data"][name] = os.path.relpath(paths[name], os.path.realpath(folder))
        source = {"fingerprint": self.fingerprint, "n_train": self.n_train, "absolute": paths}
        return {
            "version": VERSION,
            **asked,
            "codec": self.codec.to_dict(),
            "source": source,
            "execution": asdict(self.execution),
            "versions": self.versions,
        }

    @classmethod
    def from_dict(cls, plain, folder):
        """Invert `to_dict`; `folder` is the present folder of the run."""
        parts = {}
        for part, made in PARTS.items():
            own = dict(plain[part])
            if part == "data":
                own |= paths_from(folder, own, plain["source"]["absolute"])
            parts[part] = from_plain(made, own)
        return cls(
            Config(**parts),
            forms.codec_from(plain["codec"]),
            plain["source"]["fingerprint"],
            plain["source"]["n_train"],
            from_plain(Execution, plain["execution"]),
            plain["versions"],
        )


def paths_from(folder, own, absolute):
    """The paths of a run's data, relative to the run if they exist there, else absolute."""
    found = {}
    for name, once in absolute.items():
        path = Path(os.path.realpath(folder), own[name]).resolve()
        path = path if path.exists() or not Path(once).exists() else Path(once)
        try:
            found[name] = os.path.relpath(path)
        except ValueError:  # on another drive
            found[name] = str(path)
        found[name] = min(found[name], str(path), key=len)
    return found
