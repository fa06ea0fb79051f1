"""Values in classes of equal bits, and the first element at which one class diverges from another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from causalsim.verification.arrays import Arrays
from causalsim.verification.comparison import same_bits, ulps_apart

Member = int | str


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


@dataclass(frozen=True)
class BitClass:
    """What gave the same bits; ``divergence`` is from the first class, which has none."""

    members: tuple[Member, ...]
    divergence: ElementDivergence | None = None


def bit_classes(values: Mapping[Any, Arrays], rows: Sequence[str]) -> tuple[BitClass, ...]:
    """Sort values into classes of equal bits, in the order of their first members.

    Each value is a tuple of arrays, ``Shaped[ndarray, "rows ..."]``; ``rows`` names what their
    first axis runs over.

    >>> half, whole = (np.float32([[0.5]]),), (np.float32([[1]]),)
    >>> [each.members for each in bit_classes({1: half, 2: whole, 3: half}, ["row 0"])]
    [(1, 3), (2,)]
    """
    found: list[tuple[Arrays, list[Member]]] = []
    for member, value in values.items():
        same = next((members for first, members in found if same_bits(first, value)), None)
        if same is None:
            found.append((value, [member]))
        else:
            same.append(member)
    reference = found[0][0]
    divergences = [None, *(first_element(reference, value, rows) for value, _ in found[1:])]
    return tuple(
        BitClass(tuple(members), divergence)
        for (_, members), divergence in zip(found, divergences, strict=True)
    )


def first_element(reference: Arrays, value: Arrays, rows: Sequence[str]) -> ElementDivergence | None:
    """Where two values of the same shapes first differ in their bits; ``None`` if nowhere."""
    differing = [_unlike(a, b) for a, b in zip(reference, value, strict=True)]
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


def shown_members(classes: Iterable[BitClass]) -> Iterator[str]:
    """The members of each class in words; numbers next to each other, of those tried, as a range.

    >>> list(shown_members([BitClass((1,)), BitClass((2, 8, 16)), BitClass((32, 64))]))
    ['1', '2 .. 16', '32, 64']
    """
    classes = list(classes)
    tried = sorted(n for each in classes for n in each.members if isinstance(n, int))
    place: dict[Member, int] = {number: place for place, number in enumerate(tried)}
    for each in classes:
        runs: list[list[Member]] = []
        for member in each.members:
            if runs and member in place and place[member] == place[runs[-1][-1]] + 1:
                runs[-1].append(member)
            else:
                runs.append([member])
        yield ", ".join(map(_run, runs))


def _run(run: list[Member]) -> str:
    return f"{run[0]} .. {run[-1]}" if len(run) > 2 else ", ".join(map(str, run))


def _unlike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Which elements differ in their bits."""
    raw = [np.ascontiguousarray(x).view(np.uint8).reshape(*x.shape, x.itemsize) for x in (a, b)]
    return np.asarray((raw[0] != raw[1]).any(axis=-1))


def _ulps(count: int | None) -> str:
    return "NaN on one side" if count is None else f"{count:,} ULP"
