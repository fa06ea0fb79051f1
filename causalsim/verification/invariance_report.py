"""What was found about a function's rows: along which axis of a batch their bits fall into classes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from causalsim.verification.classes import BitClass, shown_members
from causalsim.verification.report import headline

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 3


@dataclass(frozen=True)
class Series:
    """One thing varied while the rest is held (``held``), and what that does to the bits of a row."""

    held: str
    classes: tuple[BitClass, ...]

    @property
    def holds(self) -> bool:
        """Whether all gave the same bits."""
        return len(self.classes) == 1


@dataclass(frozen=True)
class Axis:
    """One way in which a batch can differ around a row, tried in one series or in many."""

    name: str
    series: tuple[Series, ...]

    @property
    def holds(self) -> bool:
        """Whether it changes no bit."""
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

    Axes are ``repetition`` (the same batch again; the only one if that changes bits), ``row
    count``, ``place in the batch``, ``neighbours`` and, with a buffer, ``buffer length`` and ``padding``.
    """

    function: str
    axes: tuple[Axis, ...]
    batches: int
    environment: dict[str, str]

    @property
    def holds(self) -> bool:
        """Whether every axis has one class: the function keeps batch invariance where it was tried."""
        return all(axis.holds for axis in self.axes)

    @property
    def deterministic(self) -> bool:
        """Whether the same batch always gave the same bits; if not, nothing else is told."""
        return self["repetition"].holds

    def __getitem__(self, name: str) -> Axis:
        """An axis by its name."""
        return next(axis for axis in self.axes if axis.name == name)

    def to_json(self) -> str:
        """The whole report as a JSON object."""
        axes = {axis.name: {"holds": axis.holds, **_series(axis)} for axis in self.axes}
        head = {"holds": self.holds, "deterministic": self.deterministic, "function": self.function}
        tail = {"batches": self.batches, "environment": self.environment}
        return json.dumps({**head, "axes": axes, **tail}, indent=2)

    def __rich__(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        table = Table(show_lines=True)
        for heading in ("a row's bits and", "classes of equal bits"):
            table.add_column(heading, vertical="top")
        for axis in self.axes:
            table.add_row(headline(axis.name, axis.holds), Text("\n".join(_lines(axis))))
        return table


def _series(axis: Axis) -> dict[str, Any]:
    return {"series": [{"holds": series.holds, **asdict(series)} for series in axis.series]}


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
