"""The bytes of files: decompressed, of standard input, to standard output, and never too many."""

import functools
import io
import os
import sys
from pathlib import Path

from parts import memory
from parts.errors import UserError
from parts.files import STANDARD, ending, refuse_no_file

MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}  # first bytes -> codec of pyarrow
CODECS = {".gz": "gzip", ".zst": "zstd"}  # last ending of an output -> codec
# A table is seldom compressed to less than a hundredth; a file that grows more is made to harm.
MOST_GROWTH, SMALL = 200, 2**26  # times, looked at beyond so many bytes
BLOCK = 2**20  # bytes that are read at a time
N_COPIES = 6  # memory that reading a table takes, in sizes of its text


def read_bytes(path):
    """All bytes of a file, or of standard input for "-"; decompressed where the bytes say so."""
    if str(path) == STANDARD:
        content = _standard_input()
    else:
        refuse_no_file(path, "a file, or - for standard input")
        refuse_larger(os.stat(path).st_size, path)
        content = Path(path).read_bytes()
    codec = next((codec for magic, codec in MAGIC.items() if content.startswith(magic)), None)
    return content if codec is None else _decompressed(content, codec, path)


@functools.cache  # a command may read its input twice, and a stream gives its bytes once
def _standard_input():
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError("standard input is no file: send a table, as in python detect.py - < FILE")
    return _all_of(sys.stdin.buffer, "standard input")


def _all_of(stream, path, is_bomb=lambda n: False):
    """The bytes of a stream, which is left as soon as they are too many."""
    blocks, n = [], 0
    while block := stream.read(BLOCK):
        blocks.append(block)
        n += len(block)
        refuse_larger(n, path)
        if n > SMALL and is_bomb(n):
            raise UserError(
                f"{path} grows to more than {MOST_GROWTH} times its size when it is decompressed, "
                "as hardly any table does; decompress it yourself if it is one"
            )
    return b"".join(blocks)


def _decompressed(content, codec, path):
    import pyarrow as pa

    packed = io.BytesIO(content)
    with pa.CompressedInputStream(pa.PythonFile(packed, "r"), codec) as stream:
        return _all_of(stream, path, lambda n: n > MOST_GROWTH * packed.tell())


def refuse_larger(n_bytes, path):
    """Raise UserError if a table of so many bytes does not fit in the memory that is free."""
    memory.refuse_beyond_memory(f"{path} with its {n_bytes} bytes", n_bytes, N_COPIES, "bytes")


def packed_as(content, path):
    """The bytes as a file of that name holds them: compressed if it ends in .gz or .zst."""
    import pyarrow as pa

    codec = CODECS.get("." + ending(path).rpartition(".")[2])
    if codec is None:
        return content
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def write_standard_output(content):
    """Write bytes to the standard output of the process, also while prints go elsewhere."""
    sys.__stdout__.buffer.write(content)
    sys.__stdout__.buffer.flush()
