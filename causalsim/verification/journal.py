"""The file that a campaign is kept in: what it is, and a line for each chunk of orders that is done.

Only whole lines count. A line is added at once and brought to the disk before the next chunk is
said to be done, so that whatever ends the process leaves at most one line torn: the last, which
is cut off and whose orders are run again.

Every line has a checksum, that of a chunk over the first line too. A line that was altered, or that
is of another campaign, counts as none, so that its orders are run again. It is told until a campaign
that noticed it has come to its end; then blanks are written over it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from causalsim.arguments import shown
from causalsim.errors import InputError
from causalsim.sealed import checksum, from_line, to_line
from causalsim.verification.chunks import Chunk, Spans
from causalsim.verification.provenance import Difference

FAMILY = "causalsim.campaign"
FORMAT = f"{FAMILY}/2"
SHOWN = 4
# Which model it is its digest says, wherever its file lies.
BY_THE_WAY = {"model.name"}


class Journal:
    """An open campaign file.

    ``chunks`` are those that were in it, ``damaged`` the numbers of lines that are none of this
    campaign's: altered, or written for another one. They stay until they are struck out.
    """

    def __init__(self, path: Path, file: int, seal: str, found: _Lines) -> None:
        self._path, self._file, self._seal, self._found = path, file, seal, found

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        return tuple(self._found.chunks)

    @property
    def damaged(self) -> tuple[int, ...]:
        return tuple(line.number for line in self._found.damaged)

    def add(self, chunk: Chunk) -> None:
        """Append a finished chunk; it is on the disk when this returns."""
        _append(self._file, chunk.to_line(self._seal))

    def strike_out(self) -> None:
        """Write blanks over the damaged lines; killed in the middle, what is left of one is still damaged."""
        if not self._found.damaged:
            return
        # Where a file is open for appending, all that is written goes to its end.
        with self._path.open("r+b") as file:
            if not os.path.samestat(os.fstat(self._file), os.fstat(file.fileno())):
                return  # Another file has this name by now.
            for line in self._found.damaged:
                file.seek(line.start)
                file.write(b" " * line.length)
            file.flush()
            os.fsync(file.fileno())


class _Line(NamedTuple):
    """A line by its number, counted from one, and the bytes that it takes, without its end."""

    number: int
    start: int
    length: int


class _Lines(NamedTuple):
    """The records of a file, and the lines that hold none."""

    chunks: list[Chunk]
    damaged: list[_Line]


@contextmanager
def opened(path: Path, header: Mapping[str, Any]) -> Iterator[Journal]:
    """Yield a new campaign's file, or one to go on with.

    Raises:
        InputError: The file holds something else, an older format or another campaign, whose differing
            facts it names; its first line is damaged; or another process has it.
    """
    if path.exists() and not path.is_file():
        # A device may never come to its end.
        raise InputError("a campaign is kept in a file", got=f"{path}, a folder, device or pipe")
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
    try:
        _lock(path, file)
        yield _read(path, file, header)
    finally:
        os.close(file)


def _read(path: Path, file: int, header: Mapping[str, Any]) -> Journal:
    content, first = _content(file), to_line(header).encode()
    if first.startswith(content):
        # A new file, or one whose first line was torn.
        os.ftruncate(file, 0)
        _append(file, first.decode())
        _sync_folder(path.absolute().parent)
        return Journal(path, file, checksum(first.decode()), _Lines([], []))
    *whole, torn = content.split(b"\n")
    head, *rest = whole or [torn]
    _check_header(path, head, header)
    seal = checksum(head.decode())
    found = _lines(rest, len(head) + 1, seal, Spans(header["orders"], header["chunk"]))
    # Only now is it sure that this is a campaign's file and ours.
    os.ftruncate(file, len(content) - len(torn))
    return Journal(path, file, seal, found)


def _lines(lines: Iterable[bytes], start: int, seal: str, spans: Spans) -> _Lines:
    """Return the records of lines that begin at the second one, at byte ``start``.

    The same record twice is one; two that contradict each other are both kept, and told by the verdict.
    """
    chunks, damaged = dict[Chunk, None](), list[_Line]()
    for number, line in enumerate(lines, 2):
        try:
            # Blank is what was struck out.
            if line.strip(b" "):
                chunks[_chunk(line, seal, spans)] = None
        except ValueError:
            damaged.append(_Line(number, start, len(line)))
        start += len(line) + 1
    return _Lines(list(chunks), damaged)


def _chunk(line: bytes, seal: str, spans: Spans) -> Chunk:
    found = Chunk.from_line(line, seal)
    if found.span not in spans:
        raise ValueError("no chunk of this campaign")
    return found


def _check_header(path: Path, head: bytes, header: Mapping[str, Any]) -> None:
    _check_format(path, head)
    try:
        found = from_line(head)
    except ValueError:
        raise InputError(
            "the first line of a campaign's file says what it is a campaign of",
            got=f"{path}, whose first line is damaged",
            hint="Give another name: without it nobody knows what the other lines are results of.",
        ) from None
    _check_same(path, dict(_flat(found)), dict(_flat(json.loads(json.dumps(header)))))


def _check_format(path: Path, head: bytes) -> None:
    try:
        found = json.loads(head)
    except (ValueError, RecursionError):
        found = None
    name = str(found.get("format")) if isinstance(found, dict) else ""
    if not name.startswith(f"{FAMILY}/"):
        raise InputError(
            "a campaign is kept in a file of its own",
            got=f"{path}, which holds something else",
            hint="Give another name.",
        )
    if name != FORMAT:
        raise InputError(
            "a campaign's file is of this format",
            got=f"{path} of format {shown(name)}",
            expected=FORMAT,
            hint="Give another name: its orders are run again.",
        )


def _check_same(path: Path, there: Mapping[str, str], here: Mapping[str, str]) -> None:
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


def _flat(data: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every fact of nested data by its dotted name, as text."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _flat(value, f"{name}.{key}" if name else key)
    else:
        yield name, data if isinstance(data, str) else json.dumps(data)


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
