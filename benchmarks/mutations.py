"""Break files as chance does: bytes, cells, trees of JSON, arrays, archives.

Every function takes a NumPy generator first and returns new content; the same generator gives the
same content.
"""

import io
import json
import zipfile

import numpy as np

# What stands in cells and flags of broken files.
TOKENS = (
    *(b'"', b"'", b",", b";", b"\t", b"\n", b"\r", b"\r\n", b"\0", b"\xff\xfe", b"\xef\xbb\xbf"),
    *(b"nan", b"NaN", b"inf", b"-inf", b"1e999", b"-1e308", b"1e-320", b"0x1F", b"1_000", b"--5"),
    *(b"9" * 400, b"0.1", b"-0", b"+", b"%", b"1,5", b"1.234.567,8", b"$", b"NA", b"null", b"None"),
    *(b"2024-02-30", b"9999-12-31", b"0001-01-01", b"12:99", b"true", b"=1+1", b"#N/A", b"sep=,"),
    *("é".encode(), "\u202e".encode(), "\u00a0".encode(), "\ud7ff".encode(), b"\xc3\x28"),
    *(b" " * 3000, b"," * 300, b"a" * 5000, b'"' * 201, b"(" * 500, b"-" * 500, b"1 " * 1000),
)
ODD_VALUES = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**40, 0.5, -0.0, 1e308, 1e-320),
    *(float("nan"), float("inf"), "", "x", "nan", "\0", "\ud800", "../..", "a" * 3000),
    *([], {}, [[]], [None], ["a", "a"], {"a": {}}, [1, "a", None], {"": 0}),
)
ODD_DTYPES = ("?", "i1", "u1", "i8", "f2", "f4", "f8", "c16", "S3", "U5", "M8[D]", "m8[s]")
SOME = 6  # most changes of one file


def choice(rng, options):
    return options[int(rng.integers(len(options)))]


def several(rng):
    """A number of changes, mostly one."""
    return 1 + min(SOME, int(rng.geometric(0.5)) - 1)


def mutated_bytes(rng, content):
    """Content in which some bytes are changed, cut, doubled, moved or replaced by a token."""
    content = bytearray(content)
    for _ in range(several(rng)):
        at, other = (int(rng.integers(len(content) + 1)) for _ in range(2))
        low, high = sorted((at, other))
        near = low + min(high - low, int(rng.integers(1, 64)))
        kind = int(rng.integers(8))
        if kind == 0 and at < len(content):
            content[at] ^= 1 << int(rng.integers(8))
        elif kind == 1 and at < len(content):
            content[at] = int(rng.integers(256))
        elif kind == 2:
            del content[low:near]
        elif kind == 3:
            content[at:at] = content[low:near]
        elif kind == 4:
            content[at:at] = choice(rng, TOKENS)
        elif kind == 5:
            content[low:near] = choice(rng, TOKENS)
        elif kind == 6:
            content[at:at] = rng.bytes(int(rng.integers(1, 40)))
        else:
            del content[at:]
    return bytes(content)


def mutated_text(rng, content):
    """A text table in which some cells or lines are replaced, doubled, moved or lost."""
    if rng.random() < 0.3:
        return mutated_bytes(rng, content)
    delimiter = b"\t" if b"\t" in content.split(b"\n", 1)[0] else b","
    rows = [line.split(delimiter) for line in content.split(b"\n")]
    for _ in range(several(rng)):
        i = int(rng.integers(len(rows)))
        j = int(rng.integers(len(rows[i])))
        kind = int(rng.integers(8))
        if kind < 3:
            rows[i][j] = choice(rng, TOKENS)
        elif kind == 3:
            rows[i][j] += choice(rng, TOKENS)
        elif kind == 4:
            rows.insert(int(rng.integers(len(rows))), list(rows[i]))
        elif kind == 5:
            del rows[i][j]
            rows[i] = rows[i] or [b""]
        elif kind == 6:  # a whole column
            token = choice(rng, TOKENS)
            rows[1:] = [[*row[:j], token, *row[j + 1 :]] for row in rows[1:]]
        else:
            rows = rows[: i + 1]
    return b"\n".join(delimiter.join(row) for row in rows)


def mutated_plain(rng, value):
    """A tree of plain values in which one node is another, is gone, or is doubled."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = choice(rng, list(value))
        kind, changed = rng.random(), dict(value)
        if kind < 0.1:
            del changed[key]
        elif kind < 0.2:
            changed[choice(rng, ["", "x", "kind", "run", "file", key + " "])] = changed.pop(key)
        else:
            changed[key] = mutated_plain(rng, value[key])
        return changed
    if isinstance(value, list) and value and rng.random() < 0.9:
        at, kind = int(rng.integers(len(value))), rng.random()
        if kind < 0.1:
            return value[:at] + value[at + 1 :]
        if kind < 0.2:
            return value[:at] + value[at : at + 1] + value[at:]
        return [*value[:at], mutated_plain(rng, value[at]), *value[at + 1 :]]
    if isinstance(value, np.ndarray):
        return mutated_array(rng, value)
    return choice(rng, ODD_VALUES)


def mutated_json(rng, content):
    """JSON with a changed node, or with changed bytes, or nested very deeply."""
    kind = rng.random()
    if kind < 0.2:
        return mutated_bytes(rng, content)
    if kind < 0.22:
        return choice(rng, (b"[", b'{"a":', b'{"data": [')) * 100_000
    value = json.loads(content)
    for _ in range(several(rng)):
        value = mutated_plain(rng, value)
    return json.dumps(value).encode("utf-8", "surrogatepass")


def mutated_array(rng, array):
    """An array of another shape or type, or with odd cells."""
    kind = int(rng.integers(6))
    if kind == 0:
        with np.errstate(all="ignore"):
            return array.astype(choice(rng, ODD_DTYPES)) if array.dtype.kind in "biuf" else array
    if kind == 1:
        flat = array.reshape(-1)
        return choice(rng, (array[None], array[..., None], flat[:0], array.T, flat[:1]))
    if kind == 2:
        return np.array(choice(rng, (0.0, "x", True)))
    if kind == 3:
        return array[: int(rng.integers(1 + len(array)))] if array.ndim else array[None]
    array = np.array(array)
    if array.dtype.kind == "f" and array.size:
        odd = choice(rng, (np.nan, np.inf, -np.inf, 1e300, -1e30, 1e-320, 7.0))
        with np.errstate(over="ignore"):
            array.flat[rng.integers(array.size, size=1 + int(rng.integers(array.size)))] = odd
    elif array.dtype.kind in "iu" and array.size:
        array.flat[int(rng.integers(array.size))] = choice(rng, (0, 1, 100))
    return array


def npy(array):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    return file.getvalue()


def mutated_npy(rng, content):
    """An .npy file with another array, another header, or changed bytes."""
    kind = rng.random()
    if kind < 0.4:
        return npy(mutated_array(rng, np.load(io.BytesIO(content), allow_pickle=False)))
    if kind < 0.8:  # within the header
        return mutated_bytes(rng, content[:128]) + content[128:]
    return mutated_bytes(rng, content)


def mutated_npz(rng, content):
    """An .npz file with another array, name or archive, or with changed bytes."""
    kind = rng.random()
    if kind < 0.25:
        return mutated_bytes(rng, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = choice(rng, list(members))
    if kind < 0.75:
        members[name] = mutated_npy(rng, members[name])
    elif kind < 0.85:
        del members[name]
    else:
        members[choice(rng, ("", "file.npy", "x", "../a.npy", "y.npy"))] = members.pop(name)
    file = io.BytesIO()
    method = choice(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(file, "w", method) as archive:
        for each, data in members.items():
            archive.writestr(each or "empty", data)
    return file.getvalue()


def mutated_parquet(rng, content):
    """A Parquet file with a column of another type, other metadata, or changed bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if rng.random() < 0.5:
        return mutated_bytes(rng, content)
    table = pq.read_table(io.BytesIO(content))
    at = int(rng.integers(table.num_columns))
    n = table.num_rows
    columns = (
        pa.nulls(n),
        pa.array([[1, None]] * n),
        pa.array([{"a": 1}] * n),
        pa.array([b"\xff"] * n),
        pa.array([2**63] * n, pa.uint64()),
        pa.array(["x"] * n).dictionary_encode(),
        pa.array([None] * n, pa.timestamp("ns", "Europe/Bern")),
        pa.array([10**15] * n, pa.duration("ms")),
        pa.array([float("nan")] * n),
        pa.array([True, None] * (n // 2) + [False] * (n % 2)),
    )
    if rng.random() < 0.6:
        name = choice(rng, (table.column_names[at], "", "label", "anomaly_score"))
        table = table.set_column(at, name, choice(rng, columns))
    else:
        pandas = mutated_json(rng, (table.schema.metadata or {}).get(b"pandas", b"{}"))
        table = table.replace_schema_metadata({b"pandas": pandas})
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def mutated_checkpoint(rng, content):
    """A checkpoint with other values and right checksums, or with changed bytes."""
    import torch

    if rng.random() < 0.4:
        return mutated_bytes(rng, content)
    plain = torch.load(io.BytesIO(content), weights_only=True)
    plain = mutated_tensors(rng, plain)
    file = io.BytesIO()
    torch.save(plain, file)
    return file.getvalue()


def mutated_tensors(rng, value):
    """A tree like those of `mutated_plain`, with tensors."""
    import torch

    if isinstance(value, dict) and value and rng.random() < 0.95:
        key = choice(rng, list(value))
        if rng.random() < 0.1:
            return {name: one for name, one in value.items() if name != key}
        return value | {key: mutated_tensors(rng, value[key])}
    if isinstance(value, torch.Tensor):
        odd = (value[None], value.flatten()[:0], value.double(), value * torch.nan, value + 1e20)
        return choice(rng, (*odd, value.to(torch.bool), 0, None))
    return mutated_plain(rng, value)


# Ending of a file -> how its content is broken.
MUTATIONS = {
    ".csv": mutated_text,
    ".tsv": mutated_text,
    ".json": mutated_json,
    ".jsonl": mutated_bytes,
    ".npy": mutated_npy,
    ".npz": mutated_npz,
    ".parquet": mutated_parquet,
    ".png": mutated_bytes,
    ".pt": mutated_checkpoint,
}
