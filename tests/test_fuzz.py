"""benchmarks/fuzz.py and mutations.py: inputs repeat, verdicts are right, a short run is clean."""

import io
import json

import numpy as np
import pytest

from benchmarks import fuzz, mutations

TABLE = b"a,b\n" + b"".join(b"%d.5,%d\n" % (i, i % 3) for i in range(20))
GOOD = {
    "mutated_array": np.arange(6.0).reshape(2, 3),
    "mutated_bytes": TABLE,
    "mutated_json": b'{"a": [1, 2.5, "x"], "b": {"c": null}}',
    "mutated_npy": mutations.npy(np.arange(6.0)),
    "mutated_plain": {"a": [1, 2.5, "x"], "b": {"c": None}},
    "mutated_text": TABLE,
}


@pytest.mark.parametrize("name", GOOD)
def test_a_generator_breaks_a_file_the_same_way_again(name):
    mutate, good = getattr(mutations, name), GOOD[name]
    made = [[repr(mutate(np.random.default_rng(i), good)) for i in range(50)] for _ in range(2)]
    assert made[0] == made[1]
    assert sum(one == repr(good) for one in made[0]) < 10
    assert len(set(made[0])) > 15


def test_an_archive_is_broken_in_its_arrays_too():
    file = io.BytesIO()
    np.savez(file, X=np.ones((5, 2)), y=np.arange(5))
    shapes = set()
    for i in range(100):
        broken = mutations.mutated_npz(np.random.default_rng(i), file.getvalue())
        try:
            with np.load(io.BytesIO(broken), allow_pickle=False) as archive:
                shapes |= {archive[name].shape for name in archive.files if name == "X"}
        except Exception:  # of whatever kind, as the readers find it
            shapes.add("broken")
    assert {"broken", (5, 2)} < shapes


@pytest.mark.parametrize(
    ("code", "err", "left", "wrong"),
    [
        (0, "", [], ""),
        (0, "a warning\n", [], "faults"),
        (0, "", ["out.csv"], ""),
        (1, "error: x\n", [], "faults"),
        (2, "Traceback\nerror: x\n", [], "faults"),
        (2, "error: x\n", [".out.csv.0123"], "leftovers"),
        (2, "error: x\n", [], ""),
        (-9, "", [], "faults"),
    ],
)
def test_what_is_no_answer_is_counted(code, err, left, wrong):
    assert fuzz.verdict({"code": code, "err": err}, left) == wrong


def test_counts_by_kind():
    found = [
        {"kind": "npy", "code": 0, "wrong": ""},
        {"kind": "CSV", "code": 2, "wrong": "leftovers"},
        {"kind": "CSV", "code": None, "wrong": "hangs"},
    ]
    rows = fuzz.table_of(found)
    assert list(rows) == ["CSV", "npy"]
    wanted = {"inputs": 2, "accepted": 0, "refused": 1, "faults": 0, "hangs": 1, "crashes": 0}
    assert rows["CSV"] == wanted | {"leftovers": 1}


@pytest.mark.slow
def test_a_short_run_finds_no_fault(tmp_path, capsys):
    out = tmp_path / "fuzz.json"
    code = fuzz.main(["--inputs", "200", "--seconds", "300", "--seed", "7", "--out", str(out)])
    result = json.loads(out.read_text())
    assert code == 0, capsys.readouterr().out
    assert result["total"]["inputs"] >= 100
    assert min(result["total"][what] for what in ("accepted", "refused")) > 20
    assert result["peak_mb"] < 2000
    assert result["longest_seconds"] < fuzz.HANGS_AFTER
