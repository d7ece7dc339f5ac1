"""A run's folder: config.json, checkpoint.pt, metrics.jsonl, metrics.json; atomic and resumable.

Every file is written beside its place and renamed into it, so a reader sees all of it or none.
Imports torch only where tensors are saved or loaded: `plot_results.py` reads runs without it.
"""

import contextlib
import errno
import io
import json
import math
import os
import platform
import re
import secrets
import shlex
import shutil
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from parts.errors import UserError, stage
from parts.files import (
    as_argument,
    locked,
    read_arrays,
    without_interrupts,
    write_arrays,
    write_atomic,
    write_json,
)

N_NAMED = 20  # most runs that a message names
# What a run consists of: what else is in its folder belongs to the user.
OWN_ENDINGS = (".html", ".json", ".jsonl", ".npz", ".pt")
OWN_NAMES = (".lock", ".use", "figures", "report")
EARLIER, FORMAT = 2, 3  # the old format, which has no number in its files, and the present one
CHECKPOINT_KEYS = {"format", "config", "model", "optimizers", "position", "rng", "best"}

# Arrays that evaluation.npz always holds; it may hold `label`, `mse_per_column_pca` and walks.
EVALUATION_KEYS = (
    *("x", "recon", "low", "high", "mu", "kl_per_dim", "mse_per_column", "mse_per_column_mean"),
    *("columns", "kinds", "n_levels", "levels", "dates", "n_observed", "drawn_pixels"),
    *("points", "point_columns", "point_levels", "point_dates"),
    *("form", "shape", "epoch", "unit", "kl"),
)


class Run:
    """A run's folder and its files."""

    def __init__(self, path):
        self.path = Path(path)
        self.name = self.path.name
        self.checkpoint = self.path / "checkpoint.pt"
        self.log = self.path / "metrics.jsonl"
        self.metrics = self.path / "metrics.json"
        self.evaluation = self.path / "evaluation.npz"
        self.rows = self.path / "rows.npz"
        self.scores = self.path / "scores.npz"
        self.imputed = self.path / "imputed.npz"
        self.generated = self.path / "generated.npz"
        self.continued = self.path / "continued.npz"  # long series and futures
        self.figures = self.path / "figures"
        self.kept = self.path / "report"  # what each command keeps for report.html
        self.report = self.path / "report.html"

    def config(self):
        """The RunConfig in config.json."""
        return self._config_of(self._json(self.path / "config.json"), "config.json")

    def save_config(self, config):
        write_json(self.path / "config.json", config.to_dict(self.path))

    def _config_of(self, plain, name):
        from parts.runs.config import RunConfig

        self._refuse_version(plain, name)
        with stage(f"{self.path / name} is damaged", "train again"):
            return RunConfig.from_dict(plain, self.path)

    def _refuse_version(self, plain, name):
        """Raise UserError, with a command that trains again, for a run of another format."""
        found = plain.get("version", EARLIER) if isinstance(plain, dict) else None
        if found != FORMAT:
            again = shlex.join(["--config", str(self.path / "config.json"), "--run", "NEW"])
            raise UserError(
                f"{self.path / name} has format {found}, expected {FORMAT}: it was written by "
                f"another version; train again by: python train.py {again}"
            )

    def read_metrics(self):
        return self._json(self.metrics)

    def _json(self, path):
        if not path.is_file():
            raise UserError(f"{path} is missing: {self.path} is not a whole run")
        with stage(f"{path} is damaged: it is not JSON"):
            return json.loads(path.read_text(encoding="utf-8"))

    def keep(self, verb, facts, dated=True):
        """Keep what `verb` found and no other file holds, as plain values for report.html; and the
        epoch after which it was found, if it depends on that.
        """
        epoch = {"epoch": self.last_epoch} if dated else {}
        self.save_result(self.kept / f"{verb}.json", facts | epoch)

    @property
    def last_epoch(self):
        """The last epoch that is finished, 0 for none."""
        log = self.read_log()
        return log[-1]["epoch"] if log else 0

    def save_result(self, path, value):
        """Write a result of a verb, a dict of arrays (.npz) or plain values (.json), into the run.

        A run that this user may only read, such as a colleague's, is used all the same.
        """
        if not os.access(self.path, os.W_OK):
            print(f"Note: {self.path} cannot be written, so {path.name} is not kept")
            return
        path.parent.mkdir(exist_ok=True)
        (write_arrays if path.suffix == ".npz" else write_json)(path, value)

    def facts(self):
        """What commands wrote into the run as JSON, by name; {} for a file that is not there."""
        paths = {path.stem: path for path in self.path.glob("*.json")}
        paths |= {path.stem: path for path in self.kept.glob("*.json")}
        return defaultdict(dict) | {name: self._json(path) for name, path in paths.items()}

    def codec(self):
        """The codec in config.json, which is read without torch."""
        from parts.forms import codec_from

        plain = self._json(self.path / "config.json")
        self._refuse_version(plain, "config.json")
        with stage(f"{self.path / 'config.json'} is damaged", "train again"):
            return codec_from(plain["codec"])

    def read_rows(self, codec=None):
        """The training rows and the held-out rows that the run keeps, two References.

        UserError where their arrays do not fit a given codec.
        """
        from parts.forms.base import Reference

        again = "train the run again"
        if not self.rows.is_file():
            raise UserError(f"{self.rows} is missing: {again}")
        arrays = read_arrays(self.rows, again, ("x", "mask", "held_x", "held_mask"))
        rows = tuple(
            Reference(*(arrays.get(f"{prefix}{name}") for name in Reference._fields))
            for prefix in ("", "held_")
        )
        with stage(f"{self.rows} is damaged", again):
            for part in rows if codec is not None else ():
                part.check(codec)
        return rows

    def load(self, device="cpu"):
        """The Fitted of this run with its weights on `device`, and the epoch of the weights.

        The epoch is the best one if training had patience, and the last one otherwise.
        """
        from parts.model.build import Space, build_model, load_weights
        from parts.tasks.fit import Fitted

        checkpoint = self.load_checkpoint()
        with stage(f"run {self.path} cannot be used", "train again"):
            position, config = checkpoint["position"], checkpoint["config"]
            if not (position["epoch"] or position["row"]):
                raise UserError(f"{self.path} holds no training yet: resume it, or train another")
            model = build_model(config.asked.model, Space.of(config.codec))
            best = checkpoint["best"]
            load_weights(model, (best or checkpoint)["model"], self.checkpoint)
            epoch = best["epoch"] if best else position["epoch"]
            model = model.to(device).eval()
            train, held = self.read_rows(config.codec)
            parts = model, config.codec, config.asked, train, held, config.n_train, self.name
            fitted = Fitted(*parts)
            if position["streak"] >= fitted.steps_per_epoch or fitted.has_diverged():
                raise UserError(
                    f"run {self.path} has diverged: its last steps were skipped, or its own "
                    "training rows have no finite log p(x); train another, with a lower --lr"
                )
            return fitted, epoch

    def flags(self, runs_dir):
        """The flags by which scripts find this run, quoted for a shell."""
        if self.path != Path(runs_dir) / self.name or self.name.startswith("-"):
            return f"--run {as_argument(self.path)}"
        where = "" if str(runs_dir) == "runs" else f" --runs-dir {as_argument(runs_dir)}"
        return f"--run {shlex.quote(self.name)}{where}"

    def locked(self):
        """Lock the run against training by other processes; the lock ends with the process."""
        return locked(self.path, f"run {self.path} is being trained by another process")

    def in_use(self):
        """Keep the run from being replaced while a command reads it and writes its results.

        Several commands may use a run at once, even while it is trained: files are written whole.
        """
        busy = f"run {self.path} is being replaced by another process; try again when it is trained"
        return locked(self.path, busy, ".use", shared=True)

    @contextlib.contextmanager
    def replaceable(self):
        """Lock the run against training and against use by other processes."""
        busy = f"run {self.path} is in use by another process; wait for it, or choose another --run"
        with self.locked(), locked(self.path, busy, ".use"):
            yield

    def clear_leftovers(self):
        """Remove temporary files that a killed process left in the folder."""
        for name in ("checkpoint.pt", "config.json", "metrics.jsonl"):
            for path in self.path.glob(f".{name}.*"):
                path.unlink()

    def save_checkpoint(self, checkpoint):
        import torch

        small = checkpoint | {"config": checkpoint["config"].to_dict(self.path)}
        content = io.BytesIO()  # torch makes a RuntimeError of a full disk
        with without_interrupts():
            torch.save(small, content)
        write_atomic(self.checkpoint, lambda file: file.write(content.getbuffer()))

    def load_checkpoint(self):
        """The checkpoint on the CPU; UserError if it is missing, damaged or not of this project."""
        import torch

        path = self.checkpoint
        if not path.is_file():
            raise UserError(f"{path} is missing: {self.path} is not a whole run")
        try:
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()  # torch does not look at the checksums
            if damaged is not None:
                raise UserError(f"{path} is damaged: its checksum does not fit; train again")
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        except UserError:
            raise
        # torch raises many types of errors, such as those of pickle, for other files; weights_only
        # executes no code from the file.
        except Exception as error:
            raise UserError(
                f"{path} cannot be loaded: truncated, or not a checkpoint of tensors and plain "
                f"values ({type(error).__name__}); nothing in it was executed; train again"
            ) from error
        if not isinstance(checkpoint, dict) or "format" not in checkpoint:
            raise UserError(f"{path} is not a checkpoint of this project")
        self._refuse_version({"version": checkpoint["format"]}, path.name)
        missing = CHECKPOINT_KEYS - set(checkpoint)
        if missing:
            raise UserError(f"{path} lacks {sorted(missing)}; train again")
        return checkpoint | {"config": self._config_of(checkpoint["config"], path.name)}

    def append_log(self, record):
        """Append a line to the log by one write, so that a kill leaves no part of a line.

        What is not finite becomes null. A full disk leaves no part of a line either.
        """
        numbers = {n: v if v is None or math.isfinite(v) else None for n, v in record.items()}
        line = (json.dumps(numbers) + "\n").encode()
        with stage(f"{self.log} cannot be written"):
            handle = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                length = os.fstat(handle).st_size
                if os.write(handle, line) < len(line):
                    os.ftruncate(handle, length)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(handle)

    def read_log(self):
        if not self.log.exists():
            return []
        with stage(f"{self.log} is damaged: a line is not an epoch's JSON"):
            # Text after the last line break is incomplete: it is being written.
            lines = self.log.read_text(encoding="utf-8").split("\n")[:-1]
            records = [json.loads(line) for line in lines]
            for record in records:
                if type(record["epoch"]) is not int:
                    raise TypeError(f"its epoch is {record['epoch']!r:.60}")
                if wrong := [v for v in record.values() if not isinstance(v, int | float | None)]:
                    raise TypeError(f"it holds {wrong[0]!r:.60}")
        return records

    def trim_log(self, epoch):
        """Remove the lines after `epoch`, which a resumed run writes again."""
        kept = [json.dumps(record) + "\n" for record in self.read_log() if record["epoch"] <= epoch]
        write_atomic(self.log, lambda file: file.write("".join(kept).encode()))


def create_run(runs_dir, name, overwrite, config, checkpoint, rows=None, held=None):
    """Create a run whose folder appears with its config and first checkpoint.

    `rows` are two References, of training rows and of held-out rows, which the run keeps. The run's
    lock against other training is entered into the ExitStack `held` before the folder appears.
    """
    runs_dir = Path(runs_dir)
    refuse_name(runs_dir, name, overwrite)
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        staging = runs_dir / f".new-{secrets.token_hex(4)}"
        staging.mkdir()
    except OSError as error:
        raise UserError(f"--runs-dir {runs_dir}: cannot be written: {error.strerror}") from error
    try:
        run = Run(staging)
        if held is not None:
            held.enter_context(run.locked())
        run.figures.mkdir()
        run.save_config(config)
        run.save_checkpoint(checkpoint)
        if rows is not None:
            arrays = {
                f"{prefix}{name}": array
                for prefix, part in zip(("", "held_"), rows, strict=True)
                for name, array in part._asdict().items()
                if array is not None
            }
            write_arrays(run.rows, arrays)
        run.log.touch()
        return Run(_move_into_place(staging, runs_dir, name, overwrite))
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def refuse_name(runs_dir, name, overwrite):
    """Raise UserError for an invalid name, or for a run that must not be replaced."""
    if name is not None and not re.fullmatch(r"\w[\w.-]{0,99}", name):
        raise UserError(
            f"--run {name!r}, expected a name of letters, digits, '_', '-' and '.', 100 at most"
        )
    target = None if name is None else Path(runs_dir) / name
    if target and overwrite and target.exists():
        refuse_others_files(target)
    if target and not overwrite and target.exists():
        raise UserError(
            f"run {target} exists; choose another --run, add --overwrite to replace "
            f"it, or continue it with --resume {name}"
        )
    if target and target.exists():
        with Run(target).replaceable():  # raises UserError if the run is in training or in use
            return


def refuse_others_files(target):
    """Raise UserError unless all in a folder is what this program writes into a run."""
    if not all((target / name).is_file() for name in ("checkpoint.pt", "config.json")):
        raise UserError(f"{target} is not a run, so --overwrite leaves it; choose another --run")
    for path in target.iterdir():
        if path.suffix not in OWN_ENDINGS and path.name not in OWN_NAMES:
            raise UserError(
                f"{target} holds {path.name}, which is not of a run, so --overwrite leaves it; "
                "move it, or choose another --run"
            )


def _move_into_place(staging, runs_dir, name, overwrite):
    if name is None:
        taken = [int(p.name) for p in runs_dir.iterdir() if re.fullmatch(r"\d+", p.name)]
        number = max(taken, default=0) + 1
        while True:
            target = runs_dir / f"{number:04d}"
            try:
                os.rename(staging, target)  # fails if another process took the number
                return target
            except OSError:
                if not target.exists():
                    raise
                number += 1
    target = runs_dir / name
    refuse_name(runs_dir, name, overwrite)
    if target.exists():
        old = runs_dir / f".old-{secrets.token_hex(4)}"
        with Run(target).replaceable():
            os.rename(target, old)
            try:
                os.rename(staging, target)
            except BaseException:
                os.rename(old, target)
                raise
            shutil.rmtree(old)
    else:
        try:
            os.rename(staging, target)
        except OSError:
            refuse_name(runs_dir, name, overwrite)  # another process has taken the name
            raise
    return target


def find_run(runs_dir, name=None):
    """The run with this name or folder; without a name the newest run, which is printed."""
    runs_dir = Path(runs_dir)
    if name is not None:
        for path in (runs_dir / name, Path(name)):
            if (path / "config.json").is_file():
                return Run(path)
        known = sorted(p.parent.name for p in runs_dir.glob("[!.]*/config.json"))
        shown = ", ".join(known[:N_NAMED]) or "none"
        more = f" and {len(known) - N_NAMED} more" if len(known) > N_NAMED else ""
        raise UserError(f"{name}: no such run in {runs_dir}; there are: {shown}{more}")
    found = list(runs_dir.glob("[!.]*/checkpoint.pt"))
    if not found:
        raise UserError(f"no runs in {runs_dir}; make one with: python train.py")
    run = Run(max(found, key=lambda p: p.stat().st_mtime_ns).parent)
    print(f"Run: {run.path} (the newest)")
    return run


def versions():
    """The versions of Python, torch and NumPy, on which the bits of a run depend."""
    import torch

    packages = {"torch": str(torch.__version__), "numpy": np.__version__}
    return {"python": platform.python_version(), **packages}
