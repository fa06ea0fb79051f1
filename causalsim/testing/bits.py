"""Values compared in bits, element by element and event by event, or within a tolerance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from causalsim.errors import InputError
from causalsim.events import Event, EventGraph

Arrays = tuple[np.ndarray, ...]


class RecordedRun(Protocol):
    """A run as far as it is compared: its graph, and every event's value, as ``causalsim.Run`` has them."""

    @property
    def graph(self) -> EventGraph: ...
    @property
    def values(self) -> Mapping[Event, Any]: ...


@runtime_checkable
class _InLines(Protocol):
    """Values that lie in larger arrays, a row each."""

    @property
    def lines(self) -> Mapping[Any, Any]: ...
    def __len__(self) -> int: ...


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
        """The distance of its values, in words."""
        if self.error is not None and not np.isnan(self.error):
            return f"off by {self.error:.2g}"
        return "NaN on one side" if self.ulps is None else f"{self.ulps:,} ULP apart"


def first_divergence(reference: RecordedRun, other: RecordedRun) -> Divergence | None:
    """The causally first event at which two recorded runs differ in their bits.

    Args:
        reference: A run made with ``record=True``.
        other: Another one, over the same graph.

    Returns:
        The first event in canonical order whose values differ, or ``None``.

    Raises:
        InputError: If the runs are over different graphs, or values were not recorded.
    """
    if reference.graph != other.graph:
        raise InputError("runs are compared over one graph", got=other.graph, expected=reference.graph)
    return divergence(reference.values, other.values)


def divergence(reference: Mapping[Event, Any], other: Mapping[Event, Any]) -> Divergence | None:
    """The first event at which two sets of values, over events in canonical order, differ in their bits."""
    if _same_lines(reference, other):
        return None
    differing = [event for event in reference if not same_bits(reference[event], other[event])]
    if not differing:
        return None
    first = differing[0]
    return Divergence(first, ulps_apart(reference[first], other[first]), len(differing))


def _same_lines(reference: Any, other: Any) -> bool:
    """True if all values of both lie in the same arrays, by bits: quicker than event by event."""
    if not (isinstance(reference, _InLines) and isinstance(other, _InLines)):
        return False
    one, two = reference.lines, other.lines
    whole = sum(len(parts_of(line)[0]) for line in one.values()) == len(reference)
    return whole and one.keys() == two.keys() and all(same_bits(one[key], two[key]) for key in one)


@dataclass(frozen=True)
class ElementDivergence:
    """The first element, in C order, whose bits differ; what both sides have there, and how far apart.

    ``row`` says whose value it is, ``part`` which of several arrays that were returned. ``ulps``
    is the distance at this element in units in the last place, ``most_ulps`` the largest one;
    ``None`` where one side is NaN.
    """

    row: str
    part: int
    element: tuple[int, ...]
    expected: str
    found: str
    ulps: int | None
    most_ulps: int | None
    differing: int
    elements: int

    def __str__(self) -> str:
        part = f" of part {self.part}" * (self.part > 0)
        return (
            f"first at element {list(self.element)}{part} of {self.row}: {self.found} for {self.expected}, "
            f"{_ulps(self.ulps)}; {self.differing:,} of {self.elements:,} elements differ, "
            f"the most {_ulps(self.most_ulps)}"
        )


def first_element(reference: Arrays, value: Arrays, rows: Sequence[str]) -> ElementDivergence | None:
    """Return the first element at which two values of the same shapes differ in their bits, or ``None``.

    ``rows`` names what the first axis of the arrays runs over.
    """
    differing = [differing_elements(a, b) for a, b in zip(reference, value, strict=True)]
    if not any(each.any() for each in differing):
        return None
    part = next(number for number, each in enumerate(differing) if each.any())
    row, *element = (int(each[0]) for each in np.nonzero(differing[part]))
    expected, found = (side[part][row, *element] for side in (reference, value))
    return ElementDivergence(
        rows[row],
        part,
        tuple(element),
        str(expected),
        str(found),
        ulps_apart(expected, found),
        ulps_apart(reference, value),
        sum(int(each.sum()) for each in differing),
        sum(each.size for each in differing),
    )


def same_bits(a: Any, b: Any) -> bool:
    """Compare shape, type and bytes of two values: -0 differs from 0, a NaN equals itself.

    Args:
        a: An array, or a tuple of arrays such as K and V.
        b: Another one with as many parts.

    Returns:
        True if nothing differs.

    >>> same_bits(np.float32(0), np.float32(-0.0))
    False
    """
    pairs = zip(parts_of(a), parts_of(b), strict=True)
    return all(x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in pairs)


def ulps_apart(a: Any, b: Any) -> int | None:
    """The largest distance of two values in units in the last place: representable numbers of their type.

    Args:
        a: An array, or a tuple of arrays such as K and V.
        b: Another one of the same shapes.

    Returns:
        A count of units in the last place (ULP), or ``None`` if NaN meets a number, or one type another.

    >>> ulps_apart(np.float32([1, 2]), np.nextafter(np.float32([1, 2]), np.float32(9)))
    1
    """
    distances = [_distance(x, y) for x, y in zip(parts_of(a), parts_of(b), strict=True)]
    return None if None in distances else max(d for d in distances if d is not None)


def relative_error(reference: Any, value: Any) -> float:
    """The largest distance of two values, over the reference's largest magnitude where that is above 1.

    Args:
        reference: An array, or a tuple of arrays such as K and V.
        value: Another one of the same shapes.

    Returns:
        A number without unit; NaN if NaN meets a number.

    >>> relative_error(np.array([8.0, 0.0]), np.array([8.0, 0.5]))
    0.0625
    """
    pairs = zip(parts_of(reference), parts_of(value), strict=True)
    return float(np.max([_error(x.astype(np.float64), y.astype(np.float64)) for x, y in pairs]))


def parts_of(value: Any) -> Arrays:
    """The arrays of a value: K and V, or the only one."""
    return value if isinstance(value, tuple) else (np.asarray(value),)


def differing_elements(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A mask of the elements that differ in their bits."""
    raw = [np.ascontiguousarray(x).view(np.uint8).reshape(*x.shape, x.itemsize) for x in (a, b)]
    return np.asarray((raw[0] != raw[1]).any(axis=-1))


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


def _ulps(count: int | None) -> str:
    return "NaN on one side" if count is None else f"{count:,} ULP"
