"""One harness for "the same bits in every batch": rows, run in batches that differ around them.

Who knows how to run rows in a batch (an engine's events, somebody's function) gives ``Rows``; sizes,
places, neighbours and garbage are varied here, and bits compared here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Int

from causalsim.errors import InputError
from causalsim.testing.arrays import Adapted, as_numpy, check_library, parts_of_value
from causalsim.testing.bits import Arrays, differing_elements, first_element
from causalsim.testing.classes import Axis, Series, bit_classes

# At least so many rows, since neighbours have to differ; so many at most are compared, each alone in all
# rows of a batch: where a row gives one number, every second of them may have its bits by luck.
LEAST, PROBES = 2, 8
ZEROS, OTHERS = "zeros", "other entries"

Kind = tuple[tuple[tuple[int, ...], str], ...]
"""Shape and dtype of a row's value, part by part."""
Chosen = Int[np.ndarray, " places"]
Mask = Bool[np.ndarray, " places"]


class Rows(Protocol):
    """Rows by number, each of which can stand at any place of a batch."""

    def __len__(self) -> int: ...

    def run(self, rows: Chosen, garbage: Mask) -> Arrays:
        """The values of some rows in one batch, ``Shaped[ndarray, "places ..."]`` each.

        At places of ``garbage`` the inputs hold what must not matter to the others; nobody looks at the
        values there.
        """


class RowDivergence(NamedTuple):
    """A row whose bits were others at some place of a batch of some size."""

    row: int
    place: int
    size: int


@dataclass
class BatchTrials:
    """Batches of some rows, compared with a ``reference``, ``Shaped[ndarray, "rows ..."]`` each.

    Counts the rows ``compared`` and keeps the ``sizes`` of batches and the first ``divergence``.
    """

    rows: Rows
    reference: Arrays
    compared: int = 0
    sizes: set[int] = field(default_factory=set)
    divergence: RowDivergence | None = None

    @classmethod
    def of(cls, rows: Rows) -> BatchTrials:
        """Trials against one batch of all rows in order."""
        every = np.arange(len(rows))
        return cls(rows, rows.run(every, np.zeros(len(rows), bool)))

    def at_random(self, size: int, draws: int, rng: np.random.Generator) -> None:
        """Batches of random rows at random places, every second time with garbage in every second one."""
        self.sizes.add(size)
        for draw in range(draws):
            chosen = rng.permutation(len(self.rows))[:size]
            self.compare(chosen, (np.arange(len(chosen)) % 2 == 1) & (draw % 2 == 1))

    def evenly(self, size: int, steps: Iterable[int]) -> None:
        """Batches of rows at equal distances from one another, from the first on."""
        for step in steps:
            chosen = np.arange(0, len(self.rows), step)[:size]
            self.compare(chosen, np.zeros(len(chosen), bool))

    def alone(self, most: int, rng: np.random.Generator) -> None:
        """At most so many random rows, each by itself."""
        for row in rng.permutation(len(self.rows))[:most]:
            self.compare(np.array([row]), np.zeros(1, bool))

    def compare(self, rows: Chosen, garbage: Mask) -> None:
        """Run one batch and compare the rows beside the garbage."""
        pairs = zip(self.reference, self.rows.run(rows, garbage), strict=True)
        differing = [differing_elements(expected[rows], found) for expected, found in pairs]
        other = np.any([each.reshape(len(rows), -1).any(axis=1) for each in differing], axis=0) & ~garbage
        self.compared += int((~garbage).sum())
        if self.divergence is None and other.any():
            place = int(other.argmax())
            self.divergence = RowDivergence(int(rows[place]), place, len(rows))


# -- functions of any array library -----------------------------------------------------------------


@dataclass
class Seen:
    """The record of all batches of a function: their number, a value's kind, what did not repeat."""

    batches: int = 0
    kind: Kind | None = None
    unrepeated: list[Series] = field(default_factory=list)


@dataclass(frozen=True)
class FunctionRows:
    """The rows of a row-wise function: examples, the filled part of its buffer, how that is padded.

    ``content`` is what stands in places of garbage, repeated as often as it takes.
    """

    function: Adapted
    rows: Arrays
    buffer: Arrays
    extent: int = 0
    padding: str = ZEROS
    content: Arrays = ()
    seen: Seen = field(default_factory=Seen)

    @classmethod
    def of(cls, function: Callable[..., Any], library: str, rows: Any, buffer: Any) -> FunctionRows:
        """A function with checked examples."""
        adapted = Adapted(function, check_library(library))
        entries = () if buffer is None else _examples("entries of a buffer", buffer, 1)
        return cls(adapted, _examples("rows", rows, LEAST), entries)

    def __len__(self) -> int:
        return len(self.rows[0])

    @property
    def filled(self) -> int:
        """The number of entries of the buffer that count."""
        return len(self.buffer[0]) if self.buffer else 0

    def run(self, rows: Chosen, garbage: Mask) -> Arrays:
        """The values of some rows in one batch, which is run twice."""
        given = tuple(part[rows] for part in self.rows)
        for part, content in zip(given, self.content, strict=False):
            part[garbage] = np.resize(content, part.shape)[garbage]
        padded = [_padded(part, self.extent, self.padding) for part in self.buffer]
        arguments: tuple[np.ndarray | int, ...] = (*given, *padded, *[self.filled] * bool(self.buffer))
        first, again = (self._checked(self.function(*arguments), len(rows)) for _ in range(2))
        self.seen.batches += 2
        self._note(len(rows), first, again)
        return first

    def copies(self, count: int) -> Arrays:
        """The values of each probe in all rows of a batch; ``Shaped[ndarray, "probes rows ..."]`` each."""
        clean = np.zeros(count, bool)
        probes = [self.run(np.full(count, row), clean) for row in range(min(PROBES, len(self)))]
        return tuple(map(np.stack, zip(*probes, strict=True)))

    def repetition(self) -> Axis:
        """The same batch again; series are kept only of batches that gave other bits then."""
        same = bit_classes({"first": (), "again": ()}, [])
        every = Series(f"{self.seen.batches // 2:,} batches, each twice", same)
        return Axis("repetition", tuple(self.seen.unrepeated) or (every,))

    def _note(self, rows: int, first: Arrays, again: Arrays) -> None:
        places = numbered("place", rows)
        if first_element(first, again, places) is not None:
            classes = bit_classes({"first": first, "again": again}, places)
            self.seen.unrepeated.append(Series(f"the same batch of {rows_of(rows)}", classes))

    def _checked(self, values: Arrays, rows: int) -> Arrays:
        if not values or any(part.shape[:1] != (rows,) for part in values):
            raise InputError(
                "a row-wise function gives a value for each row",
                got=f"{' and '.join(f'shape {part.shape}' for part in values) or 'nothing'} for {rows} rows",
                expected=f"a first axis of {rows}",
            )
        kind = tuple((part.shape[1:], str(part.dtype)) for part in values)
        if self.seen.kind is None:
            _check_telling(values)
            self.seen.kind = kind
        if kind != self.seen.kind:
            raise InputError(
                "a row's value has one shape and dtype in every batch",
                got=f"{_told(kind)} in a batch of {rows_of(rows)}",
                expected=f"{_told(self.seen.kind)}, as in the first batch",
            )
        return values


def _check_telling(values: Arrays) -> None:
    """Refuse what agrees whatever the function does; later batches that give it differ from the first."""
    # Not all types have isnan; NaN alone is not equal to itself.
    if not any((part == part).any() for part in values):
        size = sum(part.size for part in values)
        raise InputError(
            "a row's value holds a number, whose bits can differ",
            got="NaN alone" if size else "no elements",
            hint="Give other rows, or a function of them that shows its work.",
        )


def numbered(name: str, count: int) -> list[str]:
    """Names for what an axis runs over."""
    return [f"{name} {number}" for number in range(count)]


def rows_of(count: int) -> str:
    """A number of rows, in words."""
    return "1 row" if count == 1 else f"{count} rows"


def _examples(name: str, given: Any, least: int) -> Arrays:
    parts = tuple(as_numpy(name, part) for part in parts_of_value(given))
    sizes = {len(part) if part.ndim else 0 for part in parts}
    if len(sizes) != 1 or min(sizes) < least:
        raise InputError(
            f"{name} stand along the first axis, at least {least} of them, as many in every array",
            got=" and ".join(f"shape {part.shape}" for part in parts) or "no array",
        )
    return parts


def _padded(entries: np.ndarray, extent: int, padding: str) -> np.ndarray:
    missing = (extent - len(entries), *entries.shape[1:])
    others = np.resize(entries[::-1], missing) if padding == OTHERS else np.zeros(missing)
    return np.concatenate([entries, others.astype(entries.dtype)])


def _told(kind: Kind) -> str:
    return " and ".join(f"shape {shape} of {dtype}" for shape, dtype in kind)
