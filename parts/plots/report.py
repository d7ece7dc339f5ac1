"""report.html: all that a run found, in one file for people who would rather look than read.

`page` fills the template beside this module. Jinja escapes every value in it, and `visible` shows
the characters that would hide or reorder what a user's file holds. The page has no script and
loads nothing.
"""

import base64
import struct
from pathlib import Path
from typing import NamedTuple

from parts.plots.sections import SECTIONS
from parts.plots.words import visible

TEMPLATE = Path(__file__).with_name("report.html.jinja")
# A command for each file of a run that is not there yet, and what it adds to the page.
COMMANDS = {
    "evaluation": ("evaluate.py {flags}", "how well the model describes rows it has not seen"),
    "scores": ("detect.py FILE {flags}", "which rows are odd, and why"),
    "imputed": ("impute.py FILE {flags} --check", "empty cells filled, and how well"),
    "generated": ("generate.py {flags}", "new rows, and how near they are to real ones"),
}


# The command that writes each of these files.
VERBS = {file: text.partition(".")[0] for file, (text, _) in COMMANDS.items()}


class Figure(NamedTuple):
    """A figure of the page: a PNG file, what it shows in a sentence, and how to read it."""

    name: str
    png: bytes
    message: str
    reading: str

    @property
    def title(self):
        return self.name.replace("_", " ").capitalize().replace(" kl", " KL")

    @property
    def alt(self):
        return self.message or self.title

    @property
    def base64(self):
        return base64.b64encode(self.png).decode()

    @property
    def size(self):
        """Width and height in pixels, which stand at a fixed place of every PNG file."""
        return struct.unpack(">II", self.png[16:24])


def page(name, facts, about, figures, flags):
    """The page of a run as text.

    `facts` are those of the run's JSON files, `about` says in words what the data are, `figures`
    maps files of the run to lists of Figures, and `flags` name the run for commands.
    """
    from jinja2 import Environment, StrictUndefined

    drawn = {file: figures.get(file, []) for file in SECTIONS}
    facts = facts | {"about": about, "drawn": drawn}
    sections = [(file, make(facts), drawn[file]) for file, make in SECTIONS.items()]
    sections = [
        (file, with_age(section, facts, file), pictures)
        for file, section, pictures in sections
        if section is not None
    ]
    there = {file for file, *_ in sections}
    missing = [
        (text.format(flags=flags), adds)
        for file, (text, adds) in COMMANDS.items()
        if file not in there
    ]
    environment = Environment(
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        name=name,
        data=about["data"],
        sections=sections,
        missing=missing,
        flags=flags,
        versions=facts["config"]["versions"],
    )


def with_age(section, facts, file):
    """A Section of the results in `file`, which says so if the run was trained on since."""
    if (verb := VERBS.get(file)) is None:
        return section
    found, now = facts[verb].get("epoch"), facts["about"].get("epoch")
    if found is None or now is None or found >= now:
        return section
    said = f"This was found after epoch {found}, and the run was trained to epoch {now} since"
    gist = f"{section.gist} This was after epoch {found} of {now}." if section.gist else ""
    sentences = [f"{said}: run {verb}.py again to see what it finds now.", *section.sentences]
    return section._replace(sentences=sentences, gist=gist)


def finalize(value):
    """What the template writes for a value: markup that it made itself, or visible text."""
    return value if hasattr(value, "__html__") else visible(value)
