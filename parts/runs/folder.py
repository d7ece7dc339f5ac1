"""A run's folder: config.json, checkpoint.pt, metrics.jsonl, metrics.json; atomic and resumable.

Every file is written beside its place and renamed into it, so a reader sees all of it or none.
Imports torch only where tensors are saved or loaded: `plot_results.py` reads runs without it.
"""

import json
import os
import platform
import re
import shlex
import shutil
import tempfile
from pathlib import Path

import numpy as np

from parts.errors import UserError
from parts.files import locked, read_arrays, write_atomic, write_json
from parts.forms.pictures.shapes import packed, unpacked

N_NAMED = 20  # runs in a message
FORMAT = 2  # of checkpoint.pt; raised when a change makes old ones unreadable
CHECKPOINT_KEYS = {"format", "config", "model", "optimizers", "position", "rng", "best"}

# What plot_results.py finds in evaluation.npz; `label`, `mse_per_column_pca`, walks where there are
# any.
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
        self.figures = self.path / "figures"

    def config(self):
        return unpacked(self._json(self.path / "config.json"))

    def save_config(self, config):
        write_json(self.path / "config.json", packed(config))

    def read_metrics(self):
        return self._json(self.metrics)

    def _json(self, path):
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            raise UserError(f"{path} is missing: {self.path} is not a whole run") from None
        except ValueError:
            raise UserError(f"{path} is damaged: it is not JSON") from None

    def read_rows(self):
        """Training rows, their mask, held-out rows and theirs, [n, D] in model units."""
        again = "train the run again"
        if not self.rows.is_file():
            raise UserError(f"{self.rows} is missing: {again}")
        names = ("x", "mask", "held_x", "held_mask")
        arrays = read_arrays(self.rows, again, names)
        return [arrays[name] for name in names]

    def read_y(self):
        """The conditions of these training and held-out rows, [n, C]; None of a run without."""
        arrays = read_arrays(self.rows, "train the run again")
        return arrays.get("y"), arrays.get("held_y")

    def flags(self, runs_dir):
        """The flags by which a verb finds this run again, quoted for a shell."""
        if self.path != Path(runs_dir) / self.name:
            return f"--run {shlex.quote(str(self.path))}"
        where = "" if str(runs_dir) == "runs" else f" --runs-dir {shlex.quote(str(runs_dir))}"
        return f"--run {self.name}{where}"

    def locked(self):
        """Inside, no other process can train this run; the lock ends with the process."""
        return locked(self.path, f"run {self.path} is being trained by another process")

    def clear_leftovers(self):
        """Remove the temporary files of a process that was killed while training this run."""
        for name in ("checkpoint.pt", "config.json", "metrics.jsonl"):
            for path in self.path.glob(f".{name}.*"):
                path.unlink()

    def save_checkpoint(self, checkpoint):
        import torch

        small = checkpoint | {"config": packed(checkpoint["config"])}
        write_atomic(self.checkpoint, lambda file: torch.save(small, file))

    def load_checkpoint(self):
        """The checkpoint on the CPU; a UserError where it is absent, damaged or not ours."""
        import torch

        path = self.checkpoint
        if not path.is_file():
            raise UserError(f"{path} is missing: {self.path} is not a whole run")
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        # torch raises a dozen types, pickle's among them, for a file that is not a checkpoint;
        # weights_only has refused to run anything in it.
        except Exception as error:
            raise UserError(
                f"{path} cannot be loaded: truncated, or not a checkpoint of tensors and plain "
                f"values ({type(error).__name__}); nothing in it was executed; train again"
            ) from error
        if not isinstance(checkpoint, dict) or "format" not in checkpoint:
            raise UserError(f"{path} is not a checkpoint of this project")
        if checkpoint["format"] != FORMAT:
            raise UserError(
                f"{path} has format {checkpoint['format']}, expected {FORMAT}: it was written by "
                "another version; use that version, or train again"
            )
        missing = CHECKPOINT_KEYS - set(checkpoint)
        if missing:
            raise UserError(f"{path} lacks {sorted(missing)}; train again")
        return checkpoint | {"config": unpacked(checkpoint["config"])}

    def append_log(self, record):
        """One line, by one write: a kill leaves the whole line or none of it."""
        line = json.dumps(record) + "\n"
        handle = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)

    def read_log(self):
        if not self.log.exists():
            return []
        try:
            # What follows the last line break is a line that is being written, or a full disk cut.
            records = [json.loads(line) for line in self.log.read_text().split("\n")[:-1]]
            if not all(isinstance(r, dict) and isinstance(r.get("epoch"), int) for r in records):
                raise ValueError
        except ValueError:
            raise UserError(f"{self.log} is damaged: a line is not an epoch's JSON") from None
        return records

    def trim_log(self, epoch):
        """Drop the lines after `epoch`, which a resumed run writes again."""
        kept = [json.dumps(record) + "\n" for record in self.read_log() if record["epoch"] <= epoch]
        write_atomic(self.log, lambda file: file.write("".join(kept).encode()))


def create_run(runs_dir, name, overwrite, config, checkpoint, rows=None):
    """A new run that holds its config and first checkpoint from the moment it can be seen.

    `rows`, where given, are the arrays of rows.npz: a sample to compare other rows with.
    """
    runs_dir = Path(runs_dir)
    refuse_name(runs_dir, name, overwrite)
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=runs_dir, prefix=".new-"))
    except OSError as error:
        raise UserError(f"--runs-dir {runs_dir}: cannot be written: {error.strerror}") from error
    try:
        staging.chmod(0o755)
        run = Run(staging)
        run.figures.mkdir()
        run.save_config(config)
        run.save_checkpoint(checkpoint)
        if rows is not None:
            write_atomic(run.rows, lambda file: np.savez_compressed(file, **rows))
        run.log.touch()
        return Run(_move_into_place(staging, runs_dir, name, overwrite))
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def refuse_name(runs_dir, name, overwrite):
    """Before any work: a name that is none, or that of a run that may not be replaced."""
    if name is not None and not re.fullmatch(r"\w[\w.-]{0,99}", name):
        raise UserError(
            f"--run {name!r}, expected a name of letters, digits, '_', '-' and '.', 100 at most"
        )
    target = None if name is None else Path(runs_dir) / name
    if target and overwrite and target.exists() and not (target / "config.json").is_file():
        raise UserError(f"{target} is not a run, so --overwrite leaves it; choose another --run")
    if target and not overwrite and target.exists():
        raise UserError(
            f"run {target} exists; choose another --run, add --overwrite to replace "
            f"it, or continue it with --resume {name}"
        )


def _move_into_place(staging, runs_dir, name, overwrite):
    if name is None:
        taken = [int(p.name) for p in runs_dir.iterdir() if re.fullmatch(r"\d+", p.name)]
        number = max(taken, default=0) + 1
        while True:
            target = runs_dir / f"{number:04d}"
            try:
                os.rename(staging, target)  # fails where another process took the number
                return target
            except OSError:
                if not target.exists():
                    raise
                number += 1
    target = runs_dir / name
    refuse_name(runs_dir, name, overwrite)
    if target.exists():
        old = Path(tempfile.mkdtemp(dir=runs_dir, prefix=".old-"))
        os.rename(target, old / name)
        try:
            os.rename(staging, target)
        except BaseException:
            os.rename(old / name, target)
            old.rmdir()
            raise
        shutil.rmtree(old)
    else:
        os.rename(staging, target)
    return target


def find_run(runs_dir, name=None):
    """The run of that name or folder, or the one trained last; says which, where none was named."""
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
    """What else decides a run's bits."""
    import torch

    packages = {"torch": str(torch.__version__), "numpy": np.__version__}
    return {"python": platform.python_version(), **packages}
