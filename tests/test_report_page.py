"""report.html: its structure, its words, what it escapes, and that a browser shows it."""

import html
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parts.console.notes import notes_kept
from parts.plots import report, sections, words
from parts.plots.words import counted
from parts.runs import Run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "nav", "main", "section"),
    *("footer", "h1", "h2", "h3", "p", "a", "ul", "li", "div", "span", "code", "strong"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "img"),
}
VOID = {"meta", "img"}
# Names and cells that would break a page, or fool its reader, if they were not escaped.
NASTY = '<script>alert("1")</script>'
QUOTES = "a\"b'c&d <b>"
BIDI = "\u202eevil\u202c"
LEVELS = ["<img src=x onerror=alert(1)>", "</td>&amp;", "ok\x07bell"]


class Page(HTMLParser):
    """The elements of a page, (tag, attributes, text) in their order, and whether tags match."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.styles = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes)
        self.elements.append([tag, dict(attributes), ""])
        if tag not in VOID:
            self.open.append((tag, self.elements[-1]))

    def handle_endtag(self, tag):
        assert self.open[-1][0] == tag
        self.open.pop()

    def handle_data(self, data):
        for _, element in self.open:
            element[2] += data

    def all(self, *tags):
        return [(attributes, text) for tag, attributes, text in self.elements if tag in tags]


def table_file(path, n=60, seed=0):
    """A table with nasty names, holes, a note (a cell that is no number) and an odd row."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=n).round(2).astype(str)
    numbers[2:4] = "50.0", "what?"
    frame = pd.DataFrame(
        {
            NASTY: numbers,
            QUOTES: rng.choice(LEVELS, n),
            BIDI: rng.choice(["yes", "no"], n),
            "שלום": rng.lognormal(size=n).round(3),
            "odd": (np.arange(n) == 2).astype(int),
        }
    )
    frame.loc[5:15, QUOTES] = ""
    frame.to_csv(path, index=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, call):
    """A folder with a table, and with a run `a` on it that every verb was used on."""
    folder, before = tmp_path_factory.mktemp("report"), Path.cwd()
    os.chdir(folder)
    table_file("q&<i>.csv")
    few = ("--run", "a", "--n-samples", 5)
    for command in (
        ("train", "--data", "q&<i>.csv", "--run", "a", "--epochs", 2, "--kind", "odd=ignore"),
        ("evaluate", *few),
        ("detect", "q&<i>.csv", *few, "--labels", "odd"),
        ("impute", "q&<i>.csv", *few, "--check"),
        ("generate", "--run", "a", "--n", 40),
    ):
        result = call(*command)
        assert result.code == 0, result.err
    os.chdir(before)
    return folder


def draw(call, *args):
    """The page that plot_results.py writes of a run, as text."""
    result = call("plot_results", *args)
    assert result.code == 0, result.err
    return Path(result.out.splitlines()[-1].removeprefix("Wrote ")).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(trained, call):
    return draw(call, "--run", trained / "runs/a")


# Structure


def test_the_page_has_the_structure_that_assistive_technology_needs(text):
    page = Page(text)
    assert {tag for tag, *_ in page.elements} <= TAGS
    (root, _), (main, _) = page.all("html")[0], page.all("main")[0]
    assert root["lang"] == "en"
    levels = [int(tag[1]) for tag, *_ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert page.all("a")[0] == ({"class": "skip", "href": f"#{main['id']}"}, "Skip to the contents")
    assert {"header", "nav", "main", "footer"} <= {tag for tag, *_ in page.elements}


def test_ids_are_unique_and_all_references_are_inside(text):
    page = Page(text)
    attributes = [attributes for _, attributes, _ in page.elements]
    ids = [a["id"] for a in attributes if "id" in a]
    assert len(set(ids)) == len(ids)
    for a in attributes:
        assert not {"style", "srcset", "onclick", "onerror"} & set(a)
        assert a.get("aria-labelledby", ids[0]) in ids
        assert a.get("href", "#main").removeprefix("#") in ids
        assert a.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
    (style,) = page.all("style")
    assert not re.search(r"url\(|@import|expression", style[1])
    policy = [a["content"] for a, _ in page.all("meta") if a.get("http-equiv")]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_figures_have_messages_and_tables_have_captions(text):
    page = Page(text)
    pictures = page.all("img")
    assert len(pictures) == 9
    for a, _ in pictures:
        assert a["alt"].endswith(".")
        assert int(a["width"]) > 100
        assert int(a["height"]) > 100
    assert page.all("img")[0][0]["alt"].startswith("Training loss ")
    assert len(page.all("table")) == len(page.all("caption")) == 7
    assert {a.get("scope") for a, _ in page.all("th")} == {"col", "row"}
    boxes = [a for a, _ in page.all("div") if "box" in a["class"].split()]
    assert len(boxes) == len(pictures) + 7
    for box in boxes:  # what scrolls can be reached by keyboard, and says what it is
        assert (box["role"], box["tabindex"]) == ("region", "0")
        assert box["aria-labelledby"]


def test_the_message_is_read_out_once(text):
    page = Page(text)
    shown = [t.strip() for a, t in page.all("p") if a.get("aria-hidden") == "true"]
    assert shown == [a["alt"] for a, _ in page.all("img")]


@pytest.mark.parametrize("scheme", ["dark", "light", "print"])
def test_colours_have_enough_contrast(text, scheme):
    """WCAG AA asks for 4.5 of text, see its definitions of contrast and of relative luminance."""
    (style,) = [t for _, t in Page(text).all("style")]
    start = {"light": ":root", "dark": "prefers-color-scheme: dark", "print": "@media print"}
    colors = dict(re.findall(r"--(\w+): (#\w{6})", style[style.index(start[scheme]) :]))
    first = dict(reversed(re.findall(r"--(\w+): (#\w{6})", style[style.index(start[scheme]) :])))
    assert set(first) == set(colors)

    def luminance(color):
        parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    for name in ("text", "quiet", "link", "mark"):
        dark, light = sorted(luminance(first[part]) for part in (name, "page"))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, name


# Escaping


def test_every_value_of_the_file_is_text(text):
    page = Page(text)
    assert "<script" not in text
    assert not re.search("[\x00-\x09\x0b-\x1f\u202a-\u202e]", text)
    (name,) = [t for _, t in page.all("h1")]
    assert name == "q&<i>.csv"
    cells = [t for _, t in page.all("th", "td")]
    assert NASTY in cells
    assert QUOTES in cells
    assert "⟨U+202E⟩evil⟨U+202C⟩" in cells
    assert "\u2068שלום\u2069" in cells
    assert any("</td>&amp;" in cell and LEVELS[0] in cell and "⟨U+0007⟩" in cell for cell in cells)
    assert any(f"{NASTY}=50.0 expected" in cell for cell in cells)


HOSTILE = f"{NASTY}{QUOTES}{BIDI}\x00\ud800"


def test_all_words_of_a_page_are_escaped_wherever_they_stand():
    """Every text that reaches the page, the run's name and flags among them, is hostile here."""
    picture = report.Figure("a", b"\x89PNG" + bytes(20), HOSTILE, HOSTILE)
    column = (HOSTILE, HOSTILE, HOSTILE)
    about = {key: HOSTILE for key in ("data", "row", "rows", "cells", "shape")}
    about |= {"n_modelled": 1, "columns": [column], "relations": [HOSTILE]}
    about |= {"learned": (HOSTILE, HOSTILE), "reading": [HOSTILE]}
    empty = dict.fromkeys(
        ["metrics", "evaluate", "detect", "detection", "impute", "imputation", "quadrants"]
        + ["windows"],
        {},
    )
    facts = empty | {
        "generate": {"n": 1, "file": HOSTILE, "given": HOSTILE, "relations": [HOSTILE]},
        "generation": {},
        "continue": dict.fromkeys(["start", "end", "every", "file"], HOSTILE)
        | {"n_steps": 2, "n_groups": 2, "n_draws": 2, "after": True},
        "train": {"model": HOSTILE, "notes": [HOSTILE]},
        "config": {
            "source": {"n_train": 1},
            "training": {"epochs": 1},
            "versions": {HOSTILE: HOSTILE},
        },
    }
    text = report.page(HOSTILE, facts, about, {"log": [picture]}, HOSTILE)
    page = Page(text.encode().decode())
    assert {tag for tag, *_ in page.elements} <= TAGS
    shown = words.visible(HOSTILE)
    assert text.count(html.escape(shown).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")) > 15
    assert page.all("img")[0][0]["alt"] == shown
    assert NASTY in shown


def test_hidden_letters_are_shown_and_words_from_right_to_left_isolated():
    assert words.visible("a\u202eb\u200b\ud800\tc\r\nd") == "a⟨U+202E⟩b⟨U+200B⟩⟨U+D800⟩ c d"
    assert words.visible("x שלום, 5 עולם=9") == "x \u2068שלום, 5 עולם\u2069=9"
    assert words.visible("naïve 東京 👩\u200d🔬") == "naïve 東京 👩\u200d🔬"


# Runs that hold only some files


PARTS = {
    "detect": ("scores", "Odd rows"),
    "generate": ("generated", "Generated rows"),
    "impute": ("imputed", "Empty cells"),
    "train": ("log", "Training"),
}


@pytest.mark.parametrize("verb", PARTS)
def test_a_run_with_a_part_of_the_files_has_a_page(trained, tmp_path, call, verb):
    run = Run(shutil.copytree(trained / "runs/a", tmp_path / "a"))
    for path in run.path.glob("*"):
        wanted = {"detect": "scores", "generate": "generat", "impute": "imput"}.get(verb, "none")
        if path.suffix in (".json", ".npz") and not path.stem.startswith((wanted, "config")):
            path.unlink()
    for path in run.kept.glob("*.json"):
        if path.stem not in ("train", verb):
            path.unlink()
    page = Page(draw(call, "--runs-dir", tmp_path, "--run", "a"))
    ids = {a["id"] for a, _ in page.all("section") if "id" in a}
    assert ids == {"data", "notes", "log", PARTS[verb][0]}
    assert PARTS[verb][1] in [t for _, t in page.all("h2")]
    commands = [t for _, t in page.all("code")]
    verbs = {"evaluate", "detect", "impute", "generate"} - {verb}
    assert {command.split()[1].removesuffix(".py") for command in commands[:-1]} == verbs


@pytest.mark.slow
def test_an_old_run_without_what_commands_keep_has_a_page(trained, tmp_path, call):
    shutil.copytree(trained / "runs/a", tmp_path / "a")
    shutil.rmtree(tmp_path / "a/report")
    text = draw(call, "--runs-dir", tmp_path, "--run", "a")
    assert "kept no notes" in text
    page = Page(text)
    assert len(page.all("img")) == 9
    assert NASTY in [t for _, t in page.all("th")]
    assert "Scores against the labels" in text


@pytest.mark.slow
def test_the_page_is_the_same_every_time(trained, text, call):
    assert draw(call, "--run", trained / "runs/a") == text


@pytest.mark.slow
def test_a_damaged_file_is_named(trained, tmp_path, call):
    run = Run(shutil.copytree(trained / "runs/a", tmp_path / "a"))
    run.metrics.write_text("{}x")
    result = call("plot_results", "--run", run.path)
    assert result.code == 2
    assert "metrics.json is damaged" in result.err
    run.metrics.write_text('{"test_mse": 1}')
    result = call("plot_results", "--run", run.path)
    assert result.code == 2
    assert "is damaged, because 'baseline_mse_mean' is missing" in result.err


# What commands keep


def test_notes_and_the_oddest_row_are_on_the_page(text):
    page = Page(text)
    notes = [t for _, t in page.all("li")]
    assert any("'what?' in row" in note and "which is no number" in note for note in notes)
    first = next(t for _, t in page.all("td") if "=50.0 expected" in t)
    rows = [t.split() for _, t in page.all("tr")]
    assert rows[[first in " ".join(row) for row in rows].index(True)][:2] == ["1", "3"]
    assert "11 empty cells in 11 of 60 rows of q&<i>.csv were filled." in [
        t for _, t in page.all("p")
    ]


def test_printed_notes_are_kept_and_printed(capsys):
    with notes_kept() as notes:
        print("Note: one\nNote: two, Note: three\nno note", end="")
        print(" Note: four")
    assert notes == ["one", "two, Note: three"]
    assert capsys.readouterr().out.splitlines()[-1] == "no note Note: four"


@pytest.mark.slow
def test_notes_are_kept_where_standard_output_gets_the_table(trained, tmp_path, run_script):
    shutil.copytree(trained / "runs/a", tmp_path / "a")
    flags = ("--run", tmp_path / "a", "--n-samples", 5, "--out", "-")
    result = run_script("impute", trained / "q&<i>.csv", *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Note: " not in result.stdout
    notes = json.loads((tmp_path / "a/report/impute.json").read_text())["notes"]
    assert [f"Note: {note}" for note in notes] == [
        line for line in result.stderr.splitlines() if line.startswith("Note: ")
    ]
    assert len(notes) > 0


def test_a_run_keeps_how_sure_fills_are(tmp_path, call, monkeypatch):
    """A copy of another column is filled for sure, and a column of noise by a guess only."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.normal(size=200).round(3)
    frame = pd.DataFrame({"x": x, "copy": x.round(2), "level": rng.choice(["a", "b"], 200)})
    holes = frame.astype(str)
    holes.loc[:19, "copy"] = ""
    holes.loc[10:49, "level"] = ""
    holes.to_csv("t.csv", index=False)
    flags = ("--run", "a", "--epochs", 60, "--hide-rate", 0.5, "--members", 1)
    assert call("train", "--data", "t.csv", *flags).code == 0
    assert call("impute", "t.csv", "--run", "a").code == 0
    kept = json.loads(Path("runs/a/report/impute.json").read_text())
    copy, level = kept["columns"]
    assert (copy["name"], copy["n"], level["name"], level["n"]) == ("copy", 20, "level", 40)
    sure, guess = (float(copy[key].removeprefix("±")) for key in ("sure", "guess"))
    assert sure < 0.25 < 1.2 < guess < 2.1  # 90 % of a normal column lie within ±1.64
    chances = [int(level[key].removesuffix(" % sure")) for key in ("sure", "guess")]
    assert 45 <= chances[0] <= 70
    assert 50 <= chances[1] <= 60


@pytest.mark.slow
def test_what_was_found_before_a_run_was_trained_on_is_called_older(trained, tmp_path, call):
    shutil.copytree(trained / "runs", tmp_path / "runs")
    runs = ("--runs-dir", tmp_path / "runs")
    assert "was found after epoch" not in draw(call, *runs, "--run", "a")
    log = tmp_path / "runs/a/metrics.jsonl"
    last = json.loads(log.read_text().splitlines()[-1])
    with log.open("a") as file:
        file.write(json.dumps(last | {"epoch": 3}) + "\n")
    kept = tmp_path / "runs/a/report/impute.json"
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"epoch": 3}))
    page = draw(call, *runs, "--run", "a")
    for verb, is_old in (("evaluate", 1), ("detect", 1), ("impute", 0), ("generate", 1)):
        said = (
            "This was found after epoch 2, and the run was trained to epoch 3 since: run "
            f"{verb}.py again to see what it finds now."
        )
        assert page.count(said) == is_old
    assert page.count("This was after epoch 2 of 3.") == 3


# Words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.0, "0"),
        (-8.0025, "−8.00"),
        (0.46, "0.460"),
        (1.2e-7, "1.20e-07"),
        (100.2, "100"),
        (123456.7, "123457"),
        (None, "—"),
        (float("inf"), "—"),
        (999.9, "1000"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert words.short(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.0004, "under 0.1 %"), (0.05, "5.0 %"), (0.5, "50 %"), (0.9996, "over 99.9 %")],
)
def test_shares_are_never_rounded_to_nothing_or_all(share, text):
    assert words.percent(share).replace("\u00a0", " ") == text


def test_changes_and_lists_are_in_words():
    assert words.change(20.1, 14.2) == "falls from 20.1 to 14.2"
    assert words.change(1, 1.0001) == "stays at 1.00"
    assert words.listed(["a"]) == "a"
    assert words.listed("abc") == "a, b and c"
    assert words.listed("abcdefg") == "a, b, c, d and 3 more"
    assert counted(1, "row") == "1 row"
    assert counted(2000, "category", "categories") == "2,000 categories"


METRICS = {
    "test_mse": 0.2,
    "baseline_mse_mean": 0.8,
    "baseline_mse_pca": 0.1,
    "log_px": -8.0,
    "log_px_se": 0.5,
}


def test_metrics_stand_beside_baselines_in_words():
    first, second = sections.errors_in_words(METRICS, "rows")
    assert first.replace("\u00a0", " ").endswith(
        "0.200 a cell; a guess of the training mean has 0.800: 75 % less."
    )
    assert second.startswith("That is not less than the 0.100 of PCA")
    worse = METRICS | {"test_mse": 1.0, "baseline_mse_pca": None}
    (only,) = sections.errors_in_words(worse, "rows")
    assert only.replace("\u00a0", " ").endswith(": 25 % more.")
    said = sections.density_in_words(METRICS, "columns", -10.0, "row")
    assert said.endswith("a test row is 2.00 nats likelier, a factor of 7.39.")
    said = sections.density_in_words(METRICS, "columns", -7.5, "row")
    assert said.endswith("0.500 nats less likely, a factor of 1.65: no clear difference.")


@pytest.mark.parametrize(
    ("apart", "verdict"),
    [(-0.3, "the model errs less"), (-0.01, "no clear difference"), (0.3, "k-NN errs less")],
)
def test_errors_of_fills_stand_beside_the_best_other_method(apart, verdict):
    error = {"VAE": 0.5, "mean": 0.9, "k-NN": 0.5 - apart}
    result = {"error": error, "difference": {"k-NN": [apart, 0.05], "mean": [-0.4, 0.05]}}
    result |= {"columns": {}, "n_hidden": 7, "interval": 0.9}
    said, table = sections.hidden_cells(result)
    assert said.endswith(f"and the best other method, k-NN, {words.short(0.5 - apart)}: {verdict}.")
    assert table.rows[-1][1:4] == ["0.500", "0.900", words.short(0.5 - apart)]


def test_what_may_be_copies_is_said():
    result = {"nearer": 0.9, "nearer_real": 0.5}
    assert sections.copies_in_words(result, "row", "rows").endswith(": some may be copies.")
    result["nearer"] = 0.55
    assert sections.copies_in_words(result, "row", "rows").endswith(": no sign of copies.")


def test_long_tables_are_cut():
    found = sections.table("", ["a"], ([str(i)] for i in range(1000)))
    assert (len(found.rows), found.more) == (sections.MOST_ROWS, 1000 - sections.MOST_ROWS)


# Pictures


def test_pictures_are_on_the_page(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.random((60, 4, 4)).astype(np.float32)
    np.savez("t.npz", x=x)
    x[:5, :2] = np.nan
    np.savez("holes.npz", x=x)
    for command in (
        ("train", "--data", "t.npz", "--run", "a", "--epochs", 1),
        ("detect", "t.npz", "--run", "a", "--n-samples", 5),
        ("impute", "holes.npz", "--run", "a", "--n-samples", 5),
        ("generate", "--run", "a", "--n", 9),
    ):
        result = call(*command)
        assert result.code == 0, result.err
    page = Page(draw(call, "--run", "a"))
    alts = [a["alt"] for a, _ in page.all("img")]
    assert "The 40 pictures with the highest scores." in alts
    assert "The first 9 pictures that were drawn." in alts
    assert "5 pictures with missing pixels, filled by their mean and by 2 draws each." in alts
    assert "Odd pictures" in [t for _, t in page.all("h2")]
    with np.load("runs/a/imputed.npz") as arrays:
        was, filled = arrays["filled"][:2].reshape(2, 5, 4, 4)
        np.testing.assert_array_equal(filled[:, 2:], was[:, 2:])  # what was there
        np.testing.assert_array_equal(was[:, 2:], np.round(255 * x[:5, 2:]))
        assert arrays["hole"][0].sum() == 5 * 8


# A browser

MEASURE = """
<!doctype html><body><script>
const found = [];
function measure(width, then) {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 800; frame.srcdoc = PAGE;
  frame.onload = () => {
    const inside = frame.contentDocument, images = [...inside.images];
    const root = inside.documentElement;
    found.push({width, scroll: root.scrollWidth, shown: root.clientWidth, n: images.length,
                drawn: images.filter(image => image.complete && image.naturalWidth > 0).length});
    then();
  };
  document.body.append(frame);
}
measure(360, () => measure(768, () => measure(1280, () => {
  document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
})));
</script></body>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.slow
def test_a_browser_shows_it_without_sideways_scrolling(text, tmp_path):
    """The page is shown at the width of a phone, of a tablet and of a desktop."""
    path = tmp_path / "measure.html"
    quoted = json.dumps(text).replace("</", "<\\/")
    # The page's own policy forbids scripts inside it; the script that measures is outside.
    path.write_text(MEASURE.replace("PAGE", quoted), encoding="utf-8")
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=9999",
    ]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = json.loads(html.unescape(re.search("FOUND(.*)END", shown)[1]))
    assert [each["width"] for each in found] == [360, 768, 1280]
    for each in found:
        assert each["scroll"] <= each["shown"] <= each["width"]
        assert each["n"] == each["drawn"] == 9


def test_the_found_events_of_a_series_are_told_beside_the_detectors():
    def measured(vus):
        return {"auroc": [0.9, 0.8, 1.0], "ap": [0.5, 0.4, 0.6], "vus_pr": vus}

    found = {"VAE": measured(0.648), "nearest window": measured(0.705)}
    counts = {"labelled": 8, "found": 7, "events": 9, "false": 2}
    facts = {"detect": {}, "detection": found | {"events": counts}, "about": {"rows": "rows"}}
    section = sections.detection_section(facts)
    said = "Of 8 labelled events 7 were found, and 2 of 9 events overlap no label."
    assert said in section.sentences
    (table,) = section.tables
    assert [row[0] for row in table.rows] == ["VAE", "nearest window"]
    assert [row[3] for row in table.rows] == ["64.8", "70.5"]
    assert len(table.head) == 4
    facts = {"threshold": 1.7, "means": "by which nothing is false", "what": "scored"}
    assert sections.threshold_in_words(facts).endswith("above 1.70, by which nothing is false")
