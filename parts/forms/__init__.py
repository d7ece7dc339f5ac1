"""Forms of data: tables and pictures. Each form has a folder and an entry in FORMS.

Scripts find a form by `form_of` or `open_source`, and never ask which form they have.
"""

from pathlib import Path

from parts.errors import UserError
from parts.files import as_argument, ending
from parts.forms.builtin import BUILTIN, IDX
from parts.lazy import member


def form_named(name):
    """The form with that name in FORMS."""
    return member(FORMS, name)


def form_of(data, config=None):
    """The form of a data set or of a path; tables for a file that no form recognises.

    `config` holds the options of reading. UserError for an empty name, and for a folder that no
    form recognises.
    """
    if data in BUILTIN:
        return form_named(BUILTIN[data][0])
    expected = f"expected a file that ends in {endings()}, or a folder of pictures"
    if not str(data):
        raise UserError(f"'' is no name of data, {expected}")
    for form in map(form_named, FORMS):
        if form.recognises(data, config):
            return form
    if Path(data).is_dir():
        from parts.forms.pictures.picture_files import ENDINGS

        raise UserError(
            f"{data} is a folder without pictures, {expected} that end in {', '.join(ENDINGS)} "
            f"(idx files: --data mnist --data-dir {as_argument(data)})"
        )
    return form_named("tables")  # reading a table reports what is wrong with the path


def open_source(config):
    """Open the data of a DataConfig: their form and their Source."""
    refuse_options(config)
    form = form_of(config.data, config)
    form.refuse(config)
    if config.data in BUILTIN:
        return form, BUILTIN[config.data][1](config)
    if not ending(config.data) and not Path(config.data).exists():
        raise UserError(
            f"--data {config.data}: neither a file, a folder nor one of {', '.join(BUILTIN)}"
        )
    return form, form.read(config.data, config)


def refuse_options(config):
    """Raise UserError for options that `--data` does not take."""
    name = config.data
    if config.data_dir is not None and name not in IDX:
        raise UserError(f"--data-dir goes with --data {' or '.join(IDX)}, not --data {name}")
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
    return form_named(plain["form"]).codec.from_dict(plain)


def endings():
    """The endings of files that hold rows, in words."""
    from parts.forms.tables.table_files import EXPECTED

    return EXPECTED


# The first that recognises a path reads it; `form_named` imports it.
FORMS = {
    "series": "parts.forms.series.form:SERIES",
    "tables": "parts.forms.tables.form:TABLES",
    "pictures": "parts.forms.pictures.form:PICTURES",
}
# What `data.py --example` writes, by --kind-of: functions from a seed to a DataFrame.
EXAMPLES = {
    "table": "parts.forms.tables.example:survey",
    "series": "parts.forms.series.example:sensors",
}
