"""Classes of equal bits: what gave the same bits along each axis of a batch, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from causalsim.testing.bits import Arrays, ElementDivergence, first_element, same_bits
from causalsim.testing.findings import headline, plain, table

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 3

Member = int | str


@dataclass(frozen=True)
class BitClass:
    """Members that gave the same bits; ``divergence`` is from the first class, which has none."""

    members: tuple[Member, ...]
    divergence: ElementDivergence | None = None


@dataclass(frozen=True)
class Series:
    """One thing varied while the rest is held (``held``), and what that does to the bits of a row."""

    held: str
    classes: tuple[BitClass, ...]

    @property
    def holds(self) -> bool:
        """True if all gave the same bits."""
        return len(self.classes) == 1

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"holds": self.holds, "held": self.held, "classes": plain(self.classes)}


@dataclass(frozen=True)
class Axis:
    """One way in which a batch can differ around a row, tried in one series or in many."""

    name: str
    series: tuple[Series, ...]

    @property
    def holds(self) -> bool:
        """True if it changes no bit."""
        return not self.diverging

    @property
    def diverging(self) -> tuple[Series, ...]:
        """The series with more than one class."""
        return tuple(series for series in self.series if not series.holds)

    @property
    def classes(self) -> tuple[BitClass, ...]:
        """Those of the first series with more than one class, else of the last."""
        return (*self.diverging, self.series[-1])[0].classes


@dataclass(frozen=True)
class InvarianceClasses:
    """The classes of equal bits of a function's rows along each axis of its batches.

    Axes are ``repetition`` (the same batch again; the only one if that changes bits), ``batch
    size``, ``place in the batch``, ``neighbours`` and, with a buffer, ``buffer length`` and ``padding``.
    """

    function: str
    axes: tuple[Axis, ...]
    batches: int
    environment: dict[str, str]

    @property
    def holds(self) -> bool:
        """True if every axis has one class: the function keeps batch invariance where it was tried."""
        return all(axis.holds for axis in self.axes)

    @property
    def deterministic(self) -> bool:
        """True if the same batch always gave the same bits; if not, nothing else is told."""
        return self["repetition"].holds

    def __getitem__(self, name: str) -> Axis:
        """An axis by its name."""
        return next(axis for axis in self.axes if axis.name == name)

    def to_json(self) -> str:
        """The whole report as a JSON object."""
        axes = {axis.name: {"holds": axis.holds, "series": plain(axis.series)} for axis in self.axes}
        head = {"holds": self.holds, "deterministic": self.deterministic, "function": self.function}
        tail = {"batches": self.batches, "environment": self.environment}
        return json.dumps({**head, "axes": axes, **tail}, indent=2)

    def __rich__(self) -> RenderableType:
        rows = [(headline(axis.name, axis.holds), "\n".join(_lines(axis))) for axis in self.axes]
        return table(("a row's bits and", "classes of equal bits"), rows)


def bit_classes(values: Mapping[Any, Arrays], rows: Sequence[str]) -> tuple[BitClass, ...]:
    """Return classes of equal bits, in the order of their first members.

    Each value is a tuple of arrays, ``Shaped[ndarray, "rows ..."]``; ``rows`` names what their
    first axis runs over.

    >>> import numpy as np
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


def shown_members(classes: Iterable[BitClass]) -> Iterator[str]:
    """Yield the members of each class in words; numbers next to each other, of those tried, as a range.

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


def _lines(axis: Axis) -> list[str]:
    if axis.holds:
        tried = f"{len(axis.series):,} series, the last with " * (len(axis.series) > 1)
        return [f"one class: {tried}{axis.series[-1].held}: {_members(axis.series[-1])}"]
    first = axis.diverging[0]
    lines = [f"{first.held}: {_members(first)}"]
    lines += [f"{name}: {each.divergence}" for name, each in _diverging(first)[:SHOWN]]
    if (more := len(first.classes) - 1 - SHOWN) > 0:
        lines.append(f"and {more:,} more {'class' if more == 1 else 'classes'}")
    if len(axis.series) > 1:
        lines.append(f"Several classes in {len(axis.diverging):,} of {len(axis.series):,} series.")
    return lines


def _members(series: Series) -> str:
    names = list(shown_members(series.classes))
    more = f" | and {len(names) - 2 * SHOWN:,} more" * (len(names) > 2 * SHOWN)
    return " | ".join(names[: 2 * SHOWN]) + more


def _diverging(series: Series) -> list[tuple[str, BitClass]]:
    named = zip(shown_members(series.classes), series.classes, strict=True)
    return [(name, each) for name, each in named if each.divergence is not None]
