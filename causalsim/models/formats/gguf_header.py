"""The container of a GGUF file: metadata and where the tensors lie, read in one bounded pass.

Every count and length is held against the bytes that are left before anything is made of it,
so that time and memory are bounded by the file's size, whatever the file says. gguf's own
reader believes it, and takes seconds for the lists of tokens.
Source: the GGUF specification, version 3, in ggml's ``docs/gguf.md``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from causalsim.errors import CheckpointError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Metadata = Mapping[str, Any]

MAGIC = b"GGUF"
VERSIONS = (2, 3)
FETCH_ANEW = "Get the file anew: it is damaged, or not what it says."

_ALIGNMENT, _ALIGNMENT_KEY = 32, "general.alignment"
_MOST_DIMENSIONS = 4
# Codes of struct and numpy alike.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
# The fewest bytes that an entry can take: lengths, types, numbers, and nothing else.
_LEAST_STRING, _LEAST_PAIR, _LEAST_TENSOR = 8, 13, 24


def refused(path: Path, rule: str, got: object, expected: object = None, **more: str) -> CheckpointError:
    """The error about a file; it says to get it anew where ``more`` has no other hint."""
    return CheckpointError(f"{path}: {rule}", got=got, expected=expected, **{"hint": FETCH_ANEW, **more})


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Entry of a tensor in the header: ``shape`` is outermost first, ``start`` counts from byte 0."""

    shape: tuple[int, ...]
    kind: int
    start: int


@dataclass(frozen=True, slots=True)
class Header:
    """Metadata and tensors of a file of ``size`` bytes, whose numbers begin at byte ``data_start``."""

    metadata: Metadata
    tensors: Mapping[str, TensorEntry]
    data_start: int
    size: int


def read_header(path: Path, file: BinaryIO, size: int) -> Header:
    """Read all that stands before the numbers; ``CheckpointError`` names the byte where that fails."""
    cursor = _Cursor(path, file, size)
    _check_start(cursor)
    n_tensors, n_pairs = cursor.number("Q", "the number of tensors"), cursor.number("Q", "of metadata")
    cursor.room(n_pairs, _LEAST_PAIR, "metadata")
    metadata = _entries(cursor, n_pairs, _metadata_value)
    cursor.room(n_tensors, _LEAST_TENSOR, "tensors")
    entries = _entries(cursor, n_tensors, _tensor_entry)
    alignment = _alignment(cursor, metadata)
    start = -(-cursor.at // alignment) * alignment
    tensors = {name: _placed(path, name, entry, start, alignment) for name, entry in entries.items()}
    return Header(metadata, tensors, start, size)


class _Cursor:
    """A place in a file, which never asks for more bytes than the file has."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self._path, self._file, self._size = path, file, size
        self.at = 0

    def take(self, count: int, what: str) -> bytes:
        self.room(count, 1, what)
        taken = self._file.read(count)
        if len(taken) != count:  # Someone shortened the file meanwhile.
            raise self.refusal("the file keeps its size", f"{len(taken)} bytes", f"{count} for {what}")
        self.at += count
        return taken

    def room(self, count: int, each: int, what: str) -> None:
        """Refuse so many entries of at least so many bytes if the rest of the file cannot hold them."""
        left = self._size - self.at
        if count * each > left:
            got = f"{what} of at least {count * each:,} bytes"
            raise self.refusal("what a file announces is in it", got, f"at most {left:,}, which are left")

    def number(self, code: str, what: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(code), what))[0]

    def text(self, what: str) -> str:
        taken = self.take(self.number("Q", f"the length of {what}"), what)
        try:
            return taken.decode()
        except UnicodeDecodeError as error:
            raise self.refusal("texts are UTF-8", f"{what} that is not ({error})", "UTF-8") from None

    def refusal(self, rule: str, got: object, expected: object) -> CheckpointError:
        return refused(self._path, f"byte {self.at:,}: {rule}", got, expected)


def _check_start(cursor: _Cursor) -> None:
    magic = cursor.take(len(MAGIC), "the first four letters")
    if magic != MAGIC:
        raise cursor.refusal("a GGUF file begins with its name", repr(magic), repr(MAGIC))
    version = cursor.number("I", "the version")
    if version not in VERSIONS:
        swapped = " (or a file for big-endian machines)" * (version % 65536 == 0)
        known = " or ".join(map(str, VERSIONS))
        raise cursor.refusal("the version of the format is known", f"{version}{swapped}", known)


def _entries(cursor: _Cursor, count: int, read: Callable[[_Cursor, str], Any]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for _ in range(count):
        name = cursor.text("a name")
        if name in entries:
            raise cursor.refusal("no name stands twice", repr(name), "another")
        entries[name] = read(cursor, name)
    return entries


def _metadata_value(cursor: _Cursor, name: str) -> Any:
    kind = cursor.number("I", f"the type of {name}")
    if kind == _STRING:
        return cursor.text(name)
    return _array(cursor, name) if kind == _ARRAY else cursor.number(_code(cursor, kind, name), name)


def _array(cursor: _Cursor, name: str) -> list[str] | NDArray[Any]:
    kind, count = cursor.number("I", f"the type in {name}"), cursor.number("Q", f"the length of {name}")
    if kind == _STRING:
        cursor.room(count, _LEAST_STRING, name)
        return [cursor.text(name) for _ in range(count)]
    code = _code(cursor, kind, name)
    return np.frombuffer(cursor.take(count * struct.calcsize(code), name), np.dtype(code).newbyteorder("<"))


def _code(cursor: _Cursor, kind: int, name: str) -> str:
    if kind not in _SCALARS:
        raise cursor.refusal(
            "values are of a known type", f"{name} of type {kind}", "0 to 12, no nested arrays"
        )
    return _SCALARS[kind]


def _tensor_entry(cursor: _Cursor, name: str) -> TensorEntry:
    count = cursor.number("I", f"the dimensions of {name}")
    if not 1 <= count <= _MOST_DIMENSIONS:
        raise cursor.refusal("a tensor has dimensions", f"{name} with {count}", f"1 to {_MOST_DIMENSIONS}")
    sizes = tuple(cursor.number("Q", f"the shape of {name}") for _ in range(count))
    if 0 in sizes:
        raise cursor.refusal("a tensor has numbers", f"{name} of shape {sizes[::-1]}", "sizes of at least 1")
    kind, offset = cursor.number("I", f"the type of {name}"), cursor.number("Q", f"the offset of {name}")
    # The file counts from the innermost dimension, and from where the numbers begin.
    return TensorEntry(sizes[::-1], kind, offset)


def _alignment(cursor: _Cursor, metadata: Metadata) -> int:
    alignment = metadata.get(_ALIGNMENT_KEY, _ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise cursor.refusal(f"{_ALIGNMENT_KEY} is a power of two", repr(alignment), "for example 32")
    return alignment


def _placed(path: Path, name: str, entry: TensorEntry, start: int, alignment: int) -> TensorEntry:
    if entry.start % alignment:
        rule, got = f"{name}: numbers begin at multiples of {_ALIGNMENT_KEY}", f"offset {entry.start:,}"
        raise refused(path, rule, got, f"a multiple of {alignment}", tensor=name)
    return TensorEntry(entry.shape, entry.kind, start + entry.start)
