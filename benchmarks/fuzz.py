"""Give the commands broken files, and count what is no answer.

    python benchmarks/fuzz.py                      # 5000 inputs, about half an hour on one core
    python benchmarks/fuzz.py --inputs 200 --seconds 60 --seed 1
    python benchmarks/fuzz.py --only 1234 --keep DIR   # input 1234 again; its files stay in DIR

Each input is one of a few good files, or one file of a run, of which some bytes, cells, nodes or
arrays were changed; its number and the seed decide it. A command reads it, in a process that many
inputs share; every twentieth has its own, in which alone faults at the end of a process are seen.
The right answer is exit code 0, or 2 and one line. What is counted: *faults*, any other code, a
traceback, or more than a line on stderr; *hangs*, no answer within HANGS_AFTER seconds; *crashes*,
a process that died; *leftovers*, an output or a part of one although the command failed. The peak
is of the memory of the process.
"""

import contextlib
import importlib
import io
import json
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

from benchmarks.mutations import MUTATIONS, choice
from parts.console.flags import Parser
from parts.console.script import run_script
from parts.files import write_json
from parts.options import count, positive, positive_int, seed
from parts.runs import versions

RESULTS = ROOT / "benchmarks/results"
HANGS_AFTER = 60.0  # seconds
OWN_PROCESS_EVERY = 20  # inputs
FIT = ("--epochs", "1", "--threads", "1", "--runs-dir", "runs", "--latent-dim", "2")
FEW = ("--n-samples", "3", "--threads", "1", "--runs-dir", "runs", "--out", "out.csv")

# Kind of input -> (file that is broken, commands of which one reads it). RUN stands for a run.
TABLES = {
    "CSV": ("t.csv", ("data --data {}", "detect {} --run t", "impute {} --run t", "fit {}")),
    "TSV": ("t.tsv", ("data --data {}", "detect {} --run t", "impute {} --run t --draws 1")),
    "Parquet": ("t.parquet", ("data --data {}", "detect {} --run t", "impute {} --run t")),
    "npy": ("x.npy", ("data --data {}", "detect {} --run x", "impute {} --run x")),
    "npz": ("y.npz", ("data --data {}", "detect {} --run x", "impute {} --run x")),
    "pictures, npz": ("p.npz", ("data --data {}", "detect {} --run p", "impute {} --run p")),
    "pictures, PNG": ("pp/3.png", ("data --data pp", "detect pp --run p")),
    "kinds, JSON": ("kinds.json", ("data --data t.csv --columns {}",)),
    "relations, JSON": ("relations.json", ("data --data t.csv --relations {}",)),
    "flags, JSON": ("config.json", ("fit --config {}",)),
}
# Figures take seconds, so what they are drawn from is broken less often.
RUN_FILES = (*("config.json", "checkpoint.pt", "rows.npz") * 4, "metrics.jsonl", "evaluation.npz")
RUN_COMMANDS = {
    "t": ("detect t.csv --run t", "impute t.csv --run t", "generate --run t --n 5", "resume t"),
    "x": ("detect x.npy --run x", "evaluate --run x", "generate --run x --n 5", "resume x"),
    "p": ("detect p.npz --run p", "evaluate --run p", "resume p"),
}
FOR_FIGURES = ("metrics.jsonl", "evaluation.npz")


def make_files(folder):
    """Write the good files and train the runs t, x and p in a folder."""
    import pandas as pd
    from PIL import Image

    rng = np.random.default_rng(0)
    n = 60
    table = pd.DataFrame(
        {
            "id": [f"R{i:04d}" for i in range(n)],
            "age": rng.integers(18, 90, n),
            "income": rng.lognormal(10, 1, n).round(2),
            "city": rng.choice(["Bern", "Rome", "Oslo"], n),
            "visits": rng.poisson(2, n),
            "share": [f"{v:.1f}%" for v in rng.uniform(0, 100, n)],
            "day": pd.to_datetime(rng.integers(15_000, 19_000, n), unit="D").strftime("%Y-%m-%d"),
            "size": rng.choice(["S", "M", "L"], n),
        }
    )
    table.loc[::7, "income"] = np.nan
    table.loc[3::9, "city"] = None
    x = rng.normal(size=(n, 4))
    pixels = (rng.random((40, 6, 6)) * 255).astype(np.uint8)
    table.to_csv(folder / "t.csv", index=False)
    table.to_csv(folder / "t.tsv", index=False, sep="\t")
    table.assign(day=pd.to_datetime(table["day"])).to_parquet(folder / "t.parquet")
    np.save(folder / "x.npy", x)
    np.savez(folder / "y.npz", X=x, y=rng.integers(0, 2, n), factors=rng.integers(0, 3, (n, 2)))
    np.savez(folder / "p.npz", X=pixels)
    (folder / "pp").mkdir()
    for i, picture in enumerate(pixels[:8]):
        Image.fromarray(picture).save(folder / "pp" / f"{i}.png")
    kinds = {"age": "real", "city": {"kind": "categorical", "levels": ["Bern", "Rome", "Oslo"]}}
    write_json(folder / "kinds.json", kinds)
    write_json(folder / "relations.json", {"add": ["visits <= age"], "strike": []})
    flags = {"data": "t.csv", "lr": 0.01, "hidden_dims": [8], "kind": ["age=real"], "beta": 1.0}
    write_json(folder / "config.json", flags)
    with contextlib.chdir(folder):
        for name, data in (("t", "t.csv"), ("x", "x.npy"), ("p", "p.npz")):
            answers = [answer("train", ["--data", data, "--run", name, *FIT])]
            answers += [answer("evaluate", ["--run", name, "--n-samples", "3", "--threads", "1"])]
            assert [found["code"] for found in answers] == [0, 0], answers


def make_input(folder, number, first_seed):
    """Break one file of a folder; its kind, and the words of the command that reads it."""
    rng = np.random.default_rng((first_seed, number))
    if rng.random() < 0.35:
        run, name = choice(rng, list(RUN_COMMANDS)), choice(rng, RUN_FILES)
        kind, path = f"run, {name}", Path("runs", run, name)
        command = choice(rng, RUN_COMMANDS[run])
        if name in FOR_FIGURES:
            command = f"plot_results --run {run}"
    else:
        kind = choice(rng, list(TABLES))
        path, commands = Path(TABLES[kind][0]), TABLES[kind][1]
        command = choice(rng, commands).format(path)
    content = MUTATIONS[path.suffix](rng, (folder / path).read_bytes())
    (folder / path).write_bytes(content)
    return kind, path, words_of(command)


def words_of(command):
    """The words of a command, with flags that make it small."""
    verb, *words = command.split()
    if verb == "fit":
        words = words if words[0].startswith("--") else ["--data", *words]
        return ["train", *words, "--run", "new", *FIT]
    if verb == "resume":
        return ["train", "--resume", *words, "--runs-dir", "runs", "--epochs", "2"]
    if verb in ("detect", "impute"):
        ending = Path(words[0]).suffix if verb == "impute" else ".csv"
        return [verb, *words, *FEW[:-1], f"out{ending}"]
    if verb == "generate":
        return [verb, *words, "--threads", "1", "--runs-dir", "runs", "--out", "out.csv"]
    if verb == "evaluate":
        return [verb, *words, *FEW[:-2]]
    return [verb, *words]


def answer(verb, words):
    """Run a command in this process; its exit code, the words on stderr, and warnings."""
    main = importlib.import_module(verb).main
    err, argv = io.StringIO(), sys.argv
    sys.argv = [f"{verb}.py", *words]
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("always")
            run_script(main)
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = argv
    return {"code": code, "err": err.getvalue()}


def answer_of_process(verb, words):
    """Run a command in a process of its own; see `answer`."""
    command = [sys.executable, str(ROOT / f"{verb}.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    return {"code": done.returncode, "err": done.stderr}


def verdict(found, leftovers):
    """What is wrong with an answer, "" if nothing is."""
    code, lines = found["code"], found["err"].splitlines()
    if code not in (0, 2) or "Traceback" in found["err"] or len(lines) != (code == 2):
        return "faults"
    return "leftovers" if leftovers and code else ""


def leftovers_in(folder, known):
    """Files that are new in a folder: outputs, and parts of files; runs may have whole ones."""
    runs, left = folder / "runs", []
    for path in folder.rglob("*"):
        is_new = path.is_file() and path not in known and path.name not in (".lock", ".use")
        if is_new and (path.name.startswith(".") or runs not in path.parents):
            left.append(path.relative_to(folder).as_posix())
    return sorted(left)


def run_input(good, folder, number, first_seed):
    """Make an input in a fresh copy of the good files, and judge the answer of its command."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good, folder)
    kind, path, (verb, *words) = make_input(folder, number, first_seed)
    known = {each for each in folder.rglob("*") if each.is_file()}
    started = time.perf_counter()
    with contextlib.chdir(folder):
        own = number % OWN_PROCESS_EVERY == 0
        found = (answer_of_process if own else answer)(verb, words)
    left = leftovers_in(folder, known) if found["code"] else []
    return {
        "kind": kind,
        "code": found["code"],
        "wrong": verdict(found, left),
        "seconds": time.perf_counter() - started,
        "peak": peak_mb(),
        "said": found["err"][-600:],
        "command": " ".join((verb, *words)),
        "file": str(path),
        "left": left,
    }


def peak_mb():
    """Most memory that this process has taken, MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000  # kB on Linux


def worker(connection, good, folder, first_seed):
    """Answer the numbers of inputs that come through a connection, until None comes."""
    while (number := connection.recv()) is not None:
        connection.send(run_input(Path(good), Path(folder), number, first_seed))


class Worker:
    """A process that runs inputs, and is started anew when it hangs or dies."""

    def __init__(self, good, folder, first_seed):
        self.arguments = str(good), str(folder), first_seed
        self.context = multiprocessing.get_context("spawn")
        self.start()

    def start(self):
        self.connection, theirs = self.context.Pipe()
        arguments = (theirs, *self.arguments)
        self.process = self.context.Process(target=worker, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    def run(self, number):
        """What became of an input; see `run_input`."""
        self.connection.send(number)
        try:
            if self.connection.poll(HANGS_AFTER):
                return self.connection.recv()
            wrong = "hangs"
        except EOFError:
            wrong = "crashes"
        self.process.kill()
        self.process.join()
        self.start()
        return {"kind": "?", "code": None, "wrong": wrong, "seconds": HANGS_AFTER, "peak": 0.0}

    def end(self):
        self.connection.send(None)
        self.process.join()


def table_of(found):
    """Counts by kind of input: a dict for each."""
    rows = {}
    for each in found:
        row = rows.setdefault(each["kind"], Counter())
        row.update(["inputs", {0: "accepted", 2: "refused"}.get(each["code"], "other")])
        row.update([each["wrong"]] if each["wrong"] else [])
    names = ("inputs", "accepted", "refused", "faults", "hangs", "crashes", "leftovers")
    return {kind: {name: rows[kind][name] for name in names} for kind in sorted(rows)}


def fuzz(n_inputs, seconds, first_seed, folder):
    """Run inputs until there are enough of them, or no time is left; what became of each."""
    good = folder / "good"
    good.mkdir()
    make_files(good)
    workers, found, ends = Worker(good, folder / "work", first_seed), [], time.monotonic() + seconds
    for number in range(1, n_inputs + 1):
        if time.monotonic() > ends:
            break
        result = workers.run(number) | {"number": number}
        found.append(result)
        if result["wrong"]:
            print(json.dumps(result), flush=True)
    workers.end()
    return found


def main(argv=None):
    parser = Parser(prog="benchmarks/fuzz.py", description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=positive_int, default=5000, help="default: 5000")
    parser.add_argument("--seconds", type=positive, default=3600.0, help="at most (default: 3600)")
    parser.add_argument("--seed", type=seed, default=0, help="default: 0")
    parser.add_argument("--only", type=count, help="the number of the one input to run")
    parser.add_argument("--keep", type=Path, help="with --only: a new folder for its files")
    parser.add_argument("--out", type=Path, default=RESULTS / "fuzz.json", help="where counts go")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        if args.only is not None:
            make_files(Path(folder))
            keep = args.keep or Path(folder, "work")
            print(json.dumps(run_input(Path(folder), keep, args.only, args.seed), indent=2))
            return 0
        started = time.perf_counter()
        found = fuzz(args.inputs, args.seconds, args.seed, Path(folder))
    rows = table_of(found)
    total = Counter()
    for row in rows.values():
        total.update(row)
    result = {
        "command": f"python benchmarks/fuzz.py --inputs {args.inputs} --seed {args.seed}",
        "rows": rows,
        "total": dict(total),
        "peak_mb": round(max(each["peak"] for each in found)),
        "own_processes": sum(each["number"] % OWN_PROCESS_EVERY == 0 for each in found),
        "longest_seconds": round(max(each["seconds"] for each in found), 1),
        "seconds": round(time.perf_counter() - started),
        "versions": versions(),
    }
    write_json(args.out, result)
    for kind, row in (*rows.items(), ("all", total)):
        print(f"{kind:<24}" + "  ".join(f"{name} {n}" for name, n in row.items()))
    print(f"Peak {result['peak_mb']} MB, longest answer {result['longest_seconds']} s")
    return int(any(total[name] for name in ("faults", "hangs", "crashes", "leftovers")))


if __name__ == "__main__":
    run_script(main)
