"""Files that are written whole or not at all, read with one line on what is wrong, and locked."""

import contextlib
import json
import os
import secrets
import zipfile
import zlib
from pathlib import Path

import numpy as np

from parts.errors import UserError


def write_atomic(path, write):
    """Call `write(file)` on a temporary binary file, then rename it to `path`."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # less the umask
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_json(path, value):
    text = json.dumps(value, indent=2) + "\n"
    write_atomic(path, lambda file: file.write(text.encode()))


def write_arrays(path, arrays):
    """Write a dict of arrays as a compressed .npz file."""
    write_atomic(path, lambda file: np.savez_compressed(file, **arrays))


def read_arrays(path, again, needed=()):
    """The arrays of an .npz file of ours, as a dict; a damaged file says what to do `again`."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            archive.testzip()
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        missing = [name for name in needed if name not in arrays]
        if missing:
            raise ValueError(f"no {missing}")
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged: {again}") from error
    return arrays


def read_json(path):
    """What a user's JSON file holds."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None


@contextlib.contextmanager
def locked(folder, busy, name=".lock", shared=False):
    """Hold the lock `name` of a folder; a UserError says `busy` while another process holds it.

    Several processes may hold it `shared`, but none beside one that holds it alone. The lock ends
    with the process.
    """
    try:
        import fcntl
    except ImportError:  # Windows: unprotected
        yield
        return
    path = Path(folder) / name
    if shared and not os.access(folder, os.W_OK):  # what cannot be written is only read
        yield
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(busy) from None
        # The folder may have been replaced between the opening of the file and its lock.
        if not path.exists() or not os.path.samestat(os.fstat(handle), path.stat()):
            raise UserError(busy)
        yield
    finally:
        os.close(handle)


# Outputs


def refuse_output(path, overwrite, source=None, endings=None):
    """Before any work: an output that exists, cannot be written, or would replace its source."""
    path = Path(path)
    if endings is not None and path.suffix.lower() not in endings:
        raise UserError(f"--out {path}: expected a name ending in one of {list(endings)}")
    if not path.parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UserError(f"--out {path} is a folder, expected the name of a file")
    if source is not None and path.exists() and path.samefile(source):
        raise UserError(f"--out {path} is the file that is read; choose another name")
    refuse_existing(path, overwrite)


def refuse_existing(path, overwrite, sheet_beside=None):
    """Raise UserError if `path` exists, which may be a sheet of pictures beside the output."""
    if path.exists() and not overwrite:
        where = f", where the sheet of pictures beside {sheet_beside} goes" if sheet_beside else ""
        raise UserError(
            f"{path} exists{where}; add --overwrite to replace it, or name another output by --out"
        )


def output_of(path, word, ending=None):
    """`orders.csv` -> `orders.scored.csv`, beside it."""
    path = Path(path) if Path(path).name else Path(path).resolve()
    return path.with_name(f"{path.stem}.{word}{ending or path.suffix}")
