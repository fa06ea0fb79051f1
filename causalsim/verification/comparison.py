"""Comparing two runs event by event, in bits, or within a tolerance where two implementations meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from causalsim.errors import InputError
from causalsim.events import Event

if TYPE_CHECKING:
    from causalsim.engine import Run


@dataclass(frozen=True)
class Divergence:
    """The causally first event whose values differ: all that it reads still agreed.

    ``ulps`` is the largest distance of its elements in units in the last place; ``None`` where
    one side is NaN, or the sides are of different types. ``error`` is the ``relative_error``
    where values were compared within a tolerance.
    """

    event: Event
    ulps: int | None
    events: int
    error: float | None = None

    def __str__(self) -> str:
        return f"{self.event}, {self.distance}; {self.events:,} events differ in all"

    @property
    def distance(self) -> str:
        """How far its values are apart, in words."""
        if self.error is not None and not np.isnan(self.error):
            return f"off by {self.error:.2g}"
        return "NaN on one side" if self.ulps is None else f"{self.ulps:,} ULP apart"


def first_divergence(reference: Run, other: Run) -> Divergence | None:
    """Where two recorded runs over one graph first differ, in canonical order; ``None`` if nowhere."""
    if reference.graph != other.graph:
        raise InputError("runs are compared over one graph", got=other.graph, expected=reference.graph)
    return divergence(reference.values, other.values)


def divergence(reference: Mapping[Event, Any], other: Mapping[Event, Any]) -> Divergence | None:
    """Where two sets of values, over events in canonical order, first differ."""
    differing = [event for event in reference if not same_bits(reference[event], other[event])]
    if not differing:
        return None
    first = differing[0]
    return Divergence(first, ulps_apart(reference[first], other[first]), len(differing))


def same_bits(a: Any, b: Any) -> bool:
    """Whether two values are the same shape, type and bytes: -0 differs from 0, a NaN equals itself."""
    pairs = zip(parts_of(a), parts_of(b), strict=True)
    return all(x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in pairs)


def ulps_apart(a: Any, b: Any) -> int | None:
    """The largest distance of two values in representable numbers of their type.

    ``None`` if NaN meets a number, or one type another.

    >>> ulps_apart(np.float32([1, 2]), np.nextafter(np.float32([1, 2]), np.float32(9)))
    1
    """
    distances = [_distance(x, y) for x, y in zip(parts_of(a), parts_of(b), strict=True)]
    return None if None in distances else max(d for d in distances if d is not None)


def relative_error(reference: Any, value: Any) -> float:
    """The largest distance of two values, over the reference's largest magnitude where that is above 1.

    NaN if NaN meets a number.

    >>> relative_error(np.array([8.0, 0.0]), np.array([8.0, 0.5]))
    0.0625
    """
    pairs = zip(parts_of(reference), parts_of(value), strict=True)
    return float(np.max([_error(x.astype(np.float64), y.astype(np.float64)) for x, y in pairs]))


def parts_of(value: Any) -> tuple[np.ndarray, ...]:
    """The arrays of a value: K and V, or the only one."""
    return value if isinstance(value, tuple) else (np.asarray(value),)


def _error(a: np.ndarray, b: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        # Equal infinities are no distance apart.
        apart = np.abs(np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, a - b))
    greatest = np.abs(a[np.isfinite(a)]).max(initial=1)
    return float(apart.max(initial=0) / greatest)


def _distance(a: np.ndarray, b: np.ndarray) -> int | None:
    if a.dtype != b.dtype:
        return None
    if np.issubdtype(a.dtype, np.integer):
        return int(np.abs(a.astype(np.int64) - b.astype(np.int64)).max(initial=0))
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return None
    number = ~np.isnan(a)
    return int(np.abs(_ordered(a[number]) - _ordered(b[number])).max(initial=0))


def _ordered(x: np.ndarray) -> np.ndarray:
    """Floats as integers in the same order, consecutive where floats are."""
    size = x.dtype.itemsize
    bits = np.ascontiguousarray(x).view(f"i{size}").astype(np.int64)
    # Distances of doubles may pass 64 bits.
    wide = bits.astype(object) if size == 8 else bits
    return np.where(bits < 0, -(wide & (2 ** (8 * size - 1) - 1)), wide)
