"""benchmarks/variants.py: a row and a strip of pictures for each variant, and what they are of."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import variants


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(variants, "RESULTS", tmp_path)
    monkeypatch.setattr(variants, "BASE", "--data digits --epochs 1 --batch-size 256")
    rows = {"plain": "", "of a label": "--condition label"}
    words = ("changes", "source", "use")
    monkeypatch.setattr(variants, "VARIANTS", {k: (v, *words) for k, v in rows.items()})
    monkeypatch.setattr(variants, "DIGITS_BETAS", (0.5, 2.0))
    return tmp_path


def test_each_variant_has_its_row_its_pictures_and_a_place_on_the_curve(results, capsys):
    assert variants.main(["--seeds", "1"]) == 0
    found = json.loads((results / "variants.json").read_text())
    assert [row["flags"] for row in found["rows"]] == ["", "--condition label"]
    assert all(row["log_px"]["mean"] < 0 for row in found["rows"])
    for row in found["rows"]:
        strip = np.asarray(Image.open(results / row["picture"]).convert("L"))
        assert strip.shape[1] > 8 * strip.shape[0]  # side by side
        assert strip.std() > 5
    low, high = found["rate_distortion"]["points"]
    assert low["kl"]["mean"] > high["kl"]["mean"]
    assert (results / "rate_distortion_digits.png").exists()
