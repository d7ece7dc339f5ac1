"""README.md and docs/: the size of the pages, their links, their tables and their words."""

import json
import os
import re
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.start import INSTALL_LINES, copy_repository
from parts.errors import UserError

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
NAMES = ("tables", "series", "pictures", "variants", "tuning", "results", "metrics", "development")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def without_code(text):
    """A page's text without its fenced blocks and what stands in backticks."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(path):
    """The links that the page's headings answer to, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_pages_are_there():
    assert {path.stem for path in PAGES} == {"README", *NAMES}


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_bytes()) <= 10_000


@pytest.mark.parametrize("word", ["nats", "aggregated posterior", "log-determinant"])
def test_the_readme_has_plain_words(word):
    assert word not in (REPOSITORY / "README.md").read_text(encoding="utf-8").lower()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_and_figures_are_there(page):
    for target in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def test_the_readme_links_every_page():
    targets = LINK.findall((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert {f"docs/{name}.md" for name in NAMES} <= set(targets)


def test_every_figure_of_the_results_is_shown():
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    figures = [path.name for path in (REPOSITORY / "benchmarks/results").glob("*.png")]
    assert figures
    assert [name for name in figures if name not in pages] == []


def test_continuous_integration_runs_the_readmes_second_line():
    lines = (REPOSITORY / ".ci/run").read_text(encoding="utf-8").splitlines()
    shown = (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()
    assert INSTALL_LINES[1] in lines
    assert INSTALL_LINES[1] in shown
    assert lines.index("python -m pytest -m slow") > lines.index(INSTALL_LINES[1])


def test_the_lines_for_a_fresh_machine_are_those_that_are_timed():
    timed = json.loads((REPOSITORY / "benchmarks/results/start.json").read_text())["rows"]
    assert [row["line"] for row in timed] == list(INSTALL_LINES)
    for row in timed:
        assert len(row["seconds"]) == len(row["line"].split(" && "))
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert (REPOSITORY / name).is_file()


def test_a_copy_of_the_repository_holds_what_git_knows(tmp_path):
    if not (REPOSITORY / ".git").exists():
        pytest.skip("no git checkout")
    copy_repository(tmp_path)
    assert (tmp_path / "train.py").read_bytes() == (REPOSITORY / "train.py").read_bytes()
    assert (tmp_path / "parts/model/flows.py").is_file()
    assert not (tmp_path / ".git").exists()


# Tables


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A small repository of two pages and one result."""
    results = tmp_path / "benchmarks/results"
    results.mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    (results / "a.json").write_text(json.dumps({"command": "python a.py", "n": 3}))
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "RESULTS", results)
    tables = {
        "one": ("a.json", lambda result: f"n is {result['n']}"),
        "two": ("a.json", lambda result: "![a figure](benchmarks/results/a.png)"),
    }
    monkeypatch.setattr(report, "TABLES", tables)
    (tmp_path / "README.md").write_text(f"before\n{marked('one')}\nafter\n")
    (tmp_path / "docs/a.md").write_text(marked("two"))
    (tmp_path / "docs/b.md").write_text("no marker\n")
    return tmp_path


def marked(name):
    return f"<!-- results:begin {name} -->\nold\n<!-- results:end -->"


def test_a_page_is_rewritten_between_its_markers(site):
    with pytest.raises(UserError, match=r"README\.md is stale: run python benchmarks/report\.py"):
        report.main(["--check"])
    assert "old" in (site / "README.md").read_text()
    report.main([])
    report.main(["--check"])
    text = (site / "README.md").read_text()
    assert text.startswith(
        "before\n<!-- results:begin one -->\nn is 3\n\nWritten by `python a.py`."
    )
    assert text.endswith("<!-- results:end -->\nafter\n")
    assert (site / "docs/b.md").read_text() == "no marker\n"


def test_a_figure_is_found_from_the_folder_of_the_page(site):
    report.main([])
    (target,) = LINK.findall((site / "docs/a.md").read_text())
    assert target == "../benchmarks/results/a.png"
    (site / "docs/a.md").write_text("")
    (site / "README.md").write_text(f"{marked('one')}\n{marked('two')}")
    report.main([])
    assert LINK.findall((site / "README.md").read_text()) == ["benchmarks/results/a.png"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "two stands 0 times on the pages, expected once"),
        (f"{marked('two')}\n{marked('one')}", "one stands 2 times on the pages, expected once"),
        (f"{marked('two')}\n{marked('three')}", "results:begin three: expected one of one, two"),
    ],
)
def test_a_marker_stands_once_and_has_a_table(site, text, said):
    (site / "docs/a.md").write_text(text)
    with pytest.raises(UserError, match=re.escape(said)):
        report.main([])


def test_the_tables_are_those_of_the_results():
    report.main(["--check"])


def test_the_best_other_method_and_where_it_is_ahead():
    tables = {
        "a": {"VAE": 90.0, "x": 80.0, "y": 95.0},
        "b": {"VAE": 90.0, "x": 91.0, "y": 92.0},
        "c": {"VAE": 90.0, "x": 89.0, "y": 60.0},
    }
    name, ahead, difference = report.best_filler(tables)
    assert (name, ahead) == ("y", ["c"])  # means 86.7 and 82.3
    assert difference == "+7.667 ± 11.200"  # of -5, -2 and 30: s.d. 19.4
    rows = [
        {"name": t, "auroc": {m: [v, 0.4 if m == "x" else 0.5] for m, v in row.items()}}
        for t, row in tables.items()
    ]
    assert report.won_and_lost(rows, "x") == (["a", "c"], ["b"])  # by more than 0.9
    rows[2]["auroc"]["x"][1] = 0.6
    assert report.won_and_lost(rows, "x") == (["a"], ["b"])
    assert report.lead(rows, "x") == "+3.3 ± 3.4"  # of 10, -1 and 1: s.d. 5.86, over the root of 3


def test_a_long_output_is_shown_without_its_middle():
    lines = [f"line {i}" for i in range(20)]
    shown = report.output({"lines": {"python a.py": lines}}, "python a.py", first=2, last=1)
    assert shown.splitlines() == ["```", "python a.py", "line 0", "line 1", "...", "line 19", "```"]


def test_the_pages_are_relative_to_no_machine():
    for page in PAGES:
        assert os.fspath(REPOSITORY) not in page.read_text(encoding="utf-8")
