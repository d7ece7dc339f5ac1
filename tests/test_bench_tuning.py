"""benchmarks/tuning.py: default and found settings from the same new seeds, in pairs of rows."""

import numpy as np
import pytest

from benchmarks import report, tuning


@pytest.fixture
def compared(monkeypatch):
    """A comparison of two settings whose log p(x) is made up; the seeds that were trained from."""
    seeds = {"default": [], "found": []}

    def trained(words, seed, folder):
        seeds[words].append(seed)
        test = np.array([-10.0, -20, -30, -40]) + seed + (words == "found") * np.array([1, 2, 3, 6])
        return {"cpu_seconds": 5.0 * seed, "held_out": test[:2] + 1, "test": test}

    monkeypatch.setattr(tuning, "trained", trained)
    return tuning.compare("default", "found", 3, None), seeds


def test_the_gain_is_of_pairs_of_test_rows_and_of_seeds_that_the_search_has_not_used(compared):
    row, seeds = compared
    assert seeds == {"default": [10, 11, 12], "found": [10, 11, 12]}
    assert (row["gain"], row["test_rows"]) == (3.0, 4)
    assert row["gain_se"] == pytest.approx(np.std([1, 2, 3, 6], ddof=1) / 2)
    assert row["default"]["test"] == {"mean": -14.0, "sd": 1.0}  # over seeds
    assert row["found"]["held_out"] == {"mean": -1.5, "sd": 1.0}


def test_the_table_shows_both_and_which_settings_were_found(compared):
    row, _ = compared
    ran = {"complete": 18, "pruned": 12, "cpu_seconds": 61.4, "default": -23.08, "best": -20.82}
    own = {"best_json": {"test": -10.5, "seed": 1}}
    rows = [{"name": "digits", "search": ran | {"settings": "depth 2"}, **row, **own}]
    lines = report.tuning({"tasks": {"digits": rows}}).splitlines()
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells[:4] == ["digits", "30 (12)", "61", "-23.08, -20.82"]
    assert cells[6:] == ["-14.00 ± 1.00, -11.00 ± 1.00", "3.00 ± 1.08", "-10.50"]
    assert lines[-1] == "- digits: depth 2"
