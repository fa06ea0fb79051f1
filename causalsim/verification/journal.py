"""The file that a campaign is kept in: what it is, and a line for each chunk of orders that is done.

Only whole lines count. A line is added at once and brought to the disk before the next chunk is
said to be done, so that whatever ends the process leaves at most one line torn: the last, which
is cut off and whose orders are run again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from causalsim.errors import InputError
from causalsim.verification.provenance import Difference

FORMAT = "causalsim.campaign/1"
SHOWN = 4
# Which model it is its digest says, wherever its file lies.
BY_THE_WAY = {"model.name"}


@dataclass(frozen=True)
class Chunk:
    """What came of ``count`` orders from number ``start`` on.

    ``digests`` counts the orders by what all their values came to, ``failed`` lists those that gave
    other bits than the reference order or ran in another order than asked for; the first of them
    has a ``token``.
    """

    start: int
    count: int
    digests: Mapping[str, int]
    failed: tuple[int, ...] = ()
    token: str | None = None

    def to_line(self) -> str:
        """One line of JSON, without its end."""
        return _line(asdict(self))

    @classmethod
    def from_line(cls, line: str | bytes) -> Chunk:
        """Read what ``to_line`` wrote; ``ValueError`` for anything else."""
        try:
            data = json.loads(line)
            found = cls(**{**data, "failed": tuple(data["failed"])})
            numbers = (found.start, found.count, *found.digests.values(), *found.failed)
            sound = all(type(number) is int for number in numbers) and type(found.token) in (str, type(None))
        except (TypeError, LookupError, AttributeError, RecursionError) as error:
            raise ValueError(f"no chunk: {error}") from error
        members = range(found.start, found.start + found.count) if sound else range(0)
        if not set(found.failed) <= {*members} or sum(found.digests.values()) != len(members):
            raise ValueError("no chunk: it does not add up")
        return found


class Journal:
    """An open campaign file. ``chunks`` are those that were in it."""

    def __init__(self, file: int, chunks: list[Chunk]) -> None:
        self._file, self.chunks = file, chunks

    def add(self, chunk: Chunk) -> None:
        """Append a finished chunk; it is on the disk when this returns."""
        _append(self._file, chunk.to_line())


@contextmanager
def opened(path: Path, header: Mapping[str, Any]) -> Iterator[Journal]:
    """A new campaign's file, or one to go on with.

    Raises ``InputError`` for a file that holds something else or another campaign, whose differing
    facts it names, for one with a damaged line before its last, and while another process has it.
    """
    if path.exists() and not path.is_file():
        # A device may never come to its end.
        raise InputError("a campaign is kept in a file", got=f"{path}, a folder, device or pipe")
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
    try:
        _lock(path, file)
        yield Journal(file, _read(path, file, header))
    finally:
        os.close(file)


def _read(path: Path, file: int, header: Mapping[str, Any]) -> list[Chunk]:
    content, first = _content(file), f"{_line(header)}\n".encode()
    if first.startswith(content) and content != first:
        # A new file, or one whose first line was torn.
        os.ftruncate(file, 0)
        _append(file, _line(header))
        _sync_folder(path.absolute().parent)
        return []
    *whole, torn = content.split(b"\n")
    _check_header(path, whole[0] if whole else torn, header)
    found = list(_chunks(path, whole[1:], header))
    # Only now is it sure that this is a campaign's file and ours.
    os.ftruncate(file, len(content) - len(torn))
    return found


def _check_header(path: Path, head: bytes, header: Mapping[str, Any]) -> None:
    try:
        found = json.loads(head)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError(
            "a campaign is kept in a file of its own",
            got=f"{path}, which holds something else",
            hint="Give another name.",
        )
    there, here = dict(_flat(found)), dict(_flat(json.loads(_line(header))))
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    differing = [
        str(Difference(name, there.get(name, ""), here.get(name, "")))
        for name in names
        if name not in BY_THE_WAY
    ]
    if differing:
        more = [f"and {len(differing) - SHOWN} more"] * (len(differing) > SHOWN)
        raise InputError(
            "a campaign goes on as it began",
            got=f"{path} of another one ({'; '.join([*differing[:SHOWN], *more])})",
            hint="Run it as it was begun, or give another name.",
        )


def _chunks(path: Path, lines: Iterable[bytes], header: Mapping[str, Any]) -> Iterator[Chunk]:
    spans, seen = Spans(header["orders"], header["chunk"]), set[int]()
    for number, line in enumerate(lines, 2):
        chunk = None
        with suppress(ValueError):
            chunk = Chunk.from_line(line)
        if chunk is None or chunk.start in seen or range(chunk.start, chunk.start + chunk.count) not in spans:
            raise InputError(
                "a line of a campaign is a chunk of its orders, each once",
                got=f"line {number} of {path}, which is damaged",
                hint="Delete the line: its orders are run again.",
            )
        seen.add(chunk.start)
        yield chunk


@dataclass(frozen=True)
class Spans(Collection[range]):
    """The chunks of a campaign as ranges of order numbers, rising."""

    orders: int
    size: int

    def __iter__(self) -> Iterator[range]:
        return (self._from(start) for start in range(0, self.orders, self.size))

    def __len__(self) -> int:
        return -(-self.orders // self.size)

    def __contains__(self, span: object) -> bool:
        if not isinstance(span, range) or span.start not in range(0, self.orders, self.size):
            return False
        return span == self._from(span.start)

    def _from(self, start: int) -> range:
        return range(start, min(start + self.size, self.orders))


def _flat(data: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every fact of nested data by its dotted name, as text."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _flat(value, f"{name}.{key}" if name else key)
    else:
        yield name, data if isinstance(data, str) else json.dumps(data)


def _line(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"))


def _content(file: int) -> bytes:
    with os.fdopen(os.dup(file), "rb") as reader:
        reader.seek(0)
        return reader.read()


def _append(file: int, line: str) -> None:
    rest = f"{line}\n".encode()
    while rest:
        rest = rest[os.write(file, rest) :]
    os.fsync(file)


def _sync_folder(folder: Path) -> None:
    """Bring the name of a new file to the disk, where the system has a way."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _lock(path: Path, file: int) -> None:
    """Keep others out for as long as the file is open, which a killed process leaves at once."""
    try:
        import fcntl
    except ImportError:  # Not every system has it.
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            "a campaign is run by one command at a time",
            got=f"{path}, which another one is writing",
            hint="Wait for it, or give another name.",
        ) from None
