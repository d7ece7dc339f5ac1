"""Forms of data: tables and pictures. Each form has a folder and an entry in FORMS.

Scripts find a form by `form_of` or `open_source`, and never ask which form they have.
"""

from pathlib import Path

from parts.errors import UserError
from parts.forms.builtin import BUILTIN
from parts.forms.pictures import picture_files
from parts.forms.pictures.form import Pictures
from parts.forms.tables.form import Tables
from parts.forms.tables.table_files import READERS


def form_of(data):
    """The form of a data set or of a path; tables if no form recognises the path."""
    if data in BUILTIN:
        return FORMS[BUILTIN[data][0]]
    recognised = (form for form in FORMS.values() if form.recognises(data))
    return next(recognised, FORMS["tables"])  # reading a table reports what is wrong with the path


def open_source(config):
    """Open the data of a DataConfig: their form and their Source."""
    refuse_options(config)
    form = form_of(config.data)
    form.refuse(config)
    if config.data in BUILTIN:
        return form, BUILTIN[config.data][1](config)
    if not Path(config.data).suffix and not Path(config.data).exists():
        raise UserError(
            f"--data {config.data}: neither a file, a folder nor one of {', '.join(BUILTIN)}"
        )
    return form, form.read(config.data, config)


def refuse_options(config):
    """Raise UserError for options that `--data` does not take."""
    name = config.data
    if config.data_dir is not None and name not in picture_files.IDX:
        raise UserError(
            f"--data-dir goes with --data {' or '.join(picture_files.IDX)}, not --data {name}"
        )
    for flag in ("image_size", "grey"):
        if getattr(config, flag) and (name in BUILTIN or not Path(name).is_dir()):
            raise UserError(
                f"--{flag.replace('_', '-')} goes with --data DIR, a folder of pictures, "
                f"not --data {name}"
            )


def codec_from(plain):
    """The codec that a run's config.json holds."""
    if plain.get("form") not in FORMS:
        raise UserError(f"form {plain.get('form')!r}, expected one of {', '.join(FORMS)}")
    return FORMS[plain["form"]].codec.from_dict(plain)


def endings():
    """The endings of files that hold rows."""
    return tuple(READERS)


# The first that recognises a path reads it.
FORMS = {"pictures": Pictures(), "tables": Tables()}
