"""Files that are written whole or not at all, read with one line on what is wrong, and locked."""

import contextlib
import functools
import json
import os
import secrets
import shlex
import signal
import stat
import threading
import warnings
import zipfile
from pathlib import Path

import numpy as np

from parts.errors import UserError, stage

MOST_JSON = 2**26  # bytes of a JSON file that a user gives


def write_atomic(path, write):
    """Call `write(file)` on a binary file that has no name yet, then give it the name `path`.

    A process that is killed leaves no part of a file, nor a file beside it where the system knows
    files without a name. A file that is replaced passes its mode on, and a link is followed.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:50]}.{secrets.token_hex(4)}")
    with stage(f"{path} cannot be written"):
        try:
            with os.fdopen(open_new(temporary), "wb") as file:
                write(file)
                file.flush()
                if target.exists():
                    os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
                os.fsync(file.fileno())
                if not temporary.exists():
                    give_name(file.fileno(), temporary)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def open_new(path):
    """The descriptor of a new file for writing in the folder of `path`, with the user's umask.

    It has no name where the system can give it one later, else the name `path`.
    """
    if can_name_later(path.parent):
        return os.open(path.parent, os.O_WRONLY | os.O_TMPFILE, 0o666)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def give_name(handle, path):
    """Give an open file without a name the name `path`, which must be new."""
    # With a descriptor of a folder Python follows the link in /proc.
    os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=handle, follow_symlinks=True)


@functools.cache
def can_name_later(folder):
    """Whether files in this folder can be made without a name and get one; some systems cannot."""
    if not hasattr(os, "O_TMPFILE"):
        return False
    trial = folder / f".{secrets.token_hex(8)}"
    try:
        handle = os.open(folder, os.O_WRONLY | os.O_TMPFILE, 0o666)
    except OSError:
        return False
    try:
        give_name(handle, trial)
        os.unlink(trial)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


@contextlib.contextmanager
def without_interrupts():
    """A context in which Ctrl-C waits for the end; torch makes other errors of it while it saves.

    It does nothing in a thread, which gets no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted = []
    old = signal.signal(signal.SIGINT, lambda *arguments: noted.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, old)
    if noted and callable(old):
        old(*noted[0])


def write_json(path, value):
    """Write plain values as JSON; UserError for NaN and infinity, which JSON does not know."""

    def write(file):
        file.write((json.dumps(value, indent=2, allow_nan=False) + "\n").encode())

    write_atomic(path, write)


def write_arrays(path, arrays):
    """Write a dict of arrays as a compressed .npz file."""
    write_atomic(path, functools.partial(write_npz, arrays=arrays))


def write_npz(file, arrays):
    """Write arrays of any names to an open file; np.savez_compressed takes none named "file"."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def read_arrays(path, again, needed=()):
    """The arrays of an .npz file of ours, as a dict; a damaged file says what to do `again`."""
    with stage(f"{path} is damaged", again), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, which parses the headers
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            archive.testzip()
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        if missing := [name for name in needed if name not in arrays]:
            raise ValueError(f"it has no {missing}")
    return arrays


def read_json(path):
    """What a user's JSON file holds."""
    refuse_no_file(path)
    if Path(path).stat().st_size > MOST_JSON:
        raise UserError(f"{path} has more than {MOST_JSON} bytes, expected a small JSON file")
    with stage(f"{path} is not JSON"):
        value = json.loads(Path(path).read_text(encoding="utf-8"))
        json.dumps(value, ensure_ascii=False).encode()  # half a letter can be escaped in JSON
        return value


def refuse_no_file(path, expected="a file"):
    """Raise UserError unless `path` is a file with a size: no folder, pipe or device."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path} is a folder, expected {expected}")
    if not path.is_file():
        raise UserError(f"{path} is a pipe or a device, which has no size; expected {expected}")


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


def as_argument(path):
    """A path as one word of a command that a message suggests, whatever letters it has."""
    text = str(path)
    if text == STANDARD:
        return text
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


# Names of files

STANDARD = "-"  # standard input, or standard output
PACKED = (".gz", ".zst")  # endings of compressed files, behind another one


def shown_path(path, output=False):
    """A path in a sentence: that of standard input or output in words."""
    words = "standard output" if output else "standard input"
    return words if str(path) == STANDARD else str(path)


def wrote(path):
    """A line that says where an output is."""
    return "Wrote to standard output" if str(path) == STANDARD else f"Wrote {path}"


def ending(path):
    """The ending of a path in lower case: `.csv`, `.csv.gz`, or `-` for standard input or output.

    Only the ending of a compressed file has two parts.
    """
    path = Path(path)
    if str(path) == STANDARD:
        return STANDARD
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() + last if last in PACKED else last


def output_of(path, word, new=None):
    """`orders.csv` -> `orders.scored.csv`, beside it; with `new` it gets that ending.

    What comes from standard input goes to standard output.
    """
    if str(path) == STANDARD:
        return Path(STANDARD)
    path = Path(path) if Path(path).name else Path(path).resolve()
    own = len(path.name) - len(ending(path))
    return path.with_name(f"{path.name[:own]}.{word}{new or path.name[own:]}")


# Outputs


def refuse_output(path, overwrite, source=None, endings=None):
    """Before any work: an output that exists, cannot be written, or would replace its source."""
    path = Path(path)
    if endings is not None and ending(path) not in endings:
        plain = [one for one in endings if not one.endswith(PACKED)]
        raise UserError(f"--out {path}: expected a name ending in one of {plain}")
    if str(path) == STANDARD:
        return
    if not path.parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}")
    if (path.parent / "checkpoint.pt").exists():
        raise UserError(f"--out {path}: {path.parent} is a run, whose files are its own")
    if path.is_dir():
        raise UserError(f"--out {path} is a folder, expected the name of a file")
    is_file = source is not None and str(source) != STANDARD
    if is_file and path.exists() and path.samefile(source):
        raise UserError(f"--out {path} is the file that is read; choose another name")
    if path.exists() and not overwrite:
        raise UserError(
            f"{path} exists; add --overwrite to replace it, or name another output by --out"
        )
    refuse_unwritable(path)


def refuse_unwritable(path):
    """Raise UserError if `path` cannot be written, by opening a new file beside it."""
    if path.exists() and not (path.is_file() and os.access(path, os.W_OK)):
        raise UserError(f"{path} cannot be replaced: it is write-protected, or no plain file")
    target = Path(os.path.realpath(path))
    trial = target.with_name(f".{target.name[:50]}.{secrets.token_hex(4)}")
    with stage(f"{path} cannot be written"):
        os.close(open_new(trial))
        trial.unlink(missing_ok=True)
