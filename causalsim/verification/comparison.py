"""Comparing two runs event by event, in bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from causalsim.engine import Run
from causalsim.errors import InputError
from causalsim.events import Event


@dataclass(frozen=True)
class Departure:
    """The causally first event whose bits differ: all that it reads still agreed.

    ``ulps`` is the largest distance of its elements in units in the last place; ``None`` where
    one side is NaN.
    """

    event: Event
    ulps: int | None
    events: int

    def __str__(self) -> str:
        distance = "NaN on one side" if self.ulps is None else f"{self.ulps:,} ULP apart"
        return f"{self.event}, {distance}; {self.events:,} events differ in all"


def first_departure(reference: Run, other: Run) -> Departure | None:
    """Where two recorded runs over one graph first differ, in canonical order; ``None`` if nowhere."""
    if reference.graph != other.graph:
        raise InputError("runs are compared over one graph", got=other.graph, expected=reference.graph)
    return departure(reference.values, other.values)


def departure(reference: Mapping[Event, Any], other: Mapping[Event, Any]) -> Departure | None:
    """Where two sets of values, over events in canonical order, first differ."""
    differing = [event for event in reference if not same_bits(reference[event], other[event])]
    if not differing:
        return None
    first = differing[0]
    return Departure(first, ulps_apart(reference[first], other[first]), len(differing))


def same_bits(a: Any, b: Any) -> bool:
    """Whether two values are the same shape, type and bytes: -0 differs from 0, a NaN equals itself."""
    pairs = zip(_parts(a), _parts(b), strict=True)
    return all(x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in pairs)


def ulps_apart(a: Any, b: Any) -> int | None:
    """The largest distance of two values in numbers of their type; ``None`` if NaN meets a number.

    >>> ulps_apart(np.float32([1, 2]), np.nextafter(np.float32([1, 2]), np.float32(9)))
    1
    """
    distances = [_distance(x, y) for x, y in zip(_parts(a), _parts(b), strict=True)]
    return None if None in distances else max(d for d in distances if d is not None)


def _distance(a: np.ndarray, b: np.ndarray) -> int | None:
    if not jnp.issubdtype(a.dtype, jnp.floating):  # NumPy's own does not know bfloat16.
        return int(np.abs(a.astype(np.int64) - b.astype(np.int64)).max())
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return None
    number = ~np.isnan(a)
    return int(np.abs(_ordered(a[number]) - _ordered(b[number])).max(initial=0))


def _ordered(x: np.ndarray) -> np.ndarray:
    """Floats as integers in the same order, consecutive where floats are."""
    whole = np.dtype(f"i{x.itemsize}")
    bits = np.ascontiguousarray(x).view(whole).astype(np.int64)
    return np.where(bits < 0, -(bits & np.iinfo(whole).max), bits)


def _parts(value: Any) -> tuple[np.ndarray, ...]:
    return value if isinstance(value, tuple) else (np.asarray(value),)
