"""A row-wise function of any array library, run with chosen rows and a padded buffer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from causalsim.errors import InputError
from causalsim.verification.arrays import Adapted, Arrays, as_numpy, check_library, parts_of_value
from causalsim.verification.classes import bit_classes, first_element
from causalsim.verification.invariance_report import Axis, Series

# At least so many rows, since neighbours have to differ; so many at most are compared, each alone in all
# rows of a batch: where a row gives one number, every second of them may have its bits by luck.
LEAST, PROBES = 2, 8
ZEROS, OTHERS = "zeros", "other entries"

Kind = tuple[tuple[tuple[int, ...], str], ...]
"""Shape and dtype of a row's value, part by part."""


@dataclass
class Rowwise:
    """A function with example rows and the filled part of its buffer; counts batches, notes what changes."""

    function: Adapted
    rows: Arrays
    buffer: Arrays
    batches: int = 0
    kind: Kind | None = None
    unrepeated: list[Series] = field(default_factory=list)

    @classmethod
    def of(cls, function: Callable[..., Any], library: str, rows: Any, buffer: Any) -> Rowwise:
        """A function with checked examples."""
        adapted = Adapted(function, check_library(library))
        entries = () if buffer is None else _examples("entries of a buffer", buffer, 1)
        return cls(adapted, _examples("rows", rows, LEAST), entries)

    @property
    def filled(self) -> int:
        """How many entries of the buffer count."""
        return len(self.buffer[0]) if self.buffer else 0

    def run(self, rows: Arrays, extent: int, padding: str = ZEROS) -> Arrays:
        """What a batch of some rows gives, run twice; ``Shaped[ndarray, "rows ..."]`` each."""
        padded = [_padded(part, extent, padding) for part in self.buffer]
        given: tuple[np.ndarray | int, ...] = (*rows, *padded, *[self.filled] * bool(self.buffer))
        first, again = (self._checked(self.function(*given), len(rows[0])) for _ in range(2))
        self.batches += 2
        self._note(len(rows[0]), first, again)
        return first

    def copies(self, count: int, extent: int, padding: str = ZEROS) -> Arrays:
        """What each probe gives in all rows of a batch; ``Shaped[ndarray, "probes rows ..."]`` each."""
        probes = [
            self.run(tuple(np.repeat(part[[row]], count, axis=0) for part in self.rows), extent, padding)
            for row in range(min(PROBES, len(self.rows[0])))
        ]
        return tuple(map(np.stack, zip(*probes, strict=True)))

    def repetition(self) -> Axis:
        """The same batch again; series are kept only of batches that gave other bits then."""
        same = bit_classes({"first": (), "again": ()}, [])
        return Axis(
            "repetition",
            tuple(self.unrepeated) or (Series(f"{self.batches // 2:,} batches, each twice", same),),
        )

    def _note(self, rows: int, first: Arrays, again: Arrays) -> None:
        places = numbered("place", rows)
        if first_element(first, again, places) is not None:
            classes = bit_classes({"first": first, "again": again}, places)
            self.unrepeated.append(Series(f"the same batch of {rows_of(rows)}", classes))

    def _checked(self, values: Arrays, rows: int) -> Arrays:
        if not values or any(part.shape[:1] != (rows,) for part in values):
            raise InputError(
                "a row-wise function gives a value for each row",
                got=f"{' and '.join(f'shape {part.shape}' for part in values) or 'nothing'} for {rows} rows",
                expected=f"a first axis of {rows}",
            )
        kind = tuple((part.shape[1:], str(part.dtype)) for part in values)
        if self.kind is None:
            _check_telling(values)
            self.kind = kind
        if kind != self.kind:
            raise InputError(
                "a row's value has one shape and dtype in every batch",
                got=f"{_told(kind)} in a batch of {rows_of(rows)}",
                expected=f"{_told(self.kind)}, as in the first batch",
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
    """What an axis runs over, in words."""
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
