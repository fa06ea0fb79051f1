"""Slices as lines: the level sets of time, drawn across the columns like contours on a map.

A column is a chain, so time rises along it and can be read between its events as well. A
slice's line passes through its own events and, where it has none in a column, between the
last event before and the first one after it: at no column below the line of an earlier
slice. Where all columns further on are past, or all are future, it ends in a bend.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from causalsim.events import Event
from causalsim.foliations import Foliation
from causalsim.rendering.layout import Layout
from causalsim.rendering.marks import Controls, Point, between

# How far a line reaches beyond the first and the last event of a column.
OVERHANG = 30.0


@dataclass(frozen=True)
class SliceLine:
    """The line of slice ``time`` across one request, as points of rising x."""

    time: int
    request: int
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Strand:
    """One chain of a column: times that rise strictly, and where their events stand.

    ``floor`` and ``ceiling`` are the heights of all that is future and of all that is past.
    """

    x: float
    times: list[int]
    points: list[Point]
    floor: float
    ceiling: float

    def at(self, time: int) -> Point:
        """The place at which a slice passes this chain."""
        after = bisect_left(self.times, time)
        if after == len(self.times):
            return Point(self.x, self.ceiling)
        if self.times[after] == time:
            return self.points[after]
        if after == 0:
            return Point(self.x, self.floor)
        early, late = self.times[after - 1], self.times[after]
        return between(self.points[after - 1], self.points[after], (time - early) / (late - early))

    def spans(self, time: int) -> bool:
        return self.times[0] <= time <= self.times[-1]


def joins_events(foliation: Foliation) -> bool:
    """True if some slice has two events of one text, so that its line has something to join."""
    pairs = [(time, event.request) for event, time in _timed(foliation)]
    return len(set(pairs)) < len(pairs)


def slice_lines(foliation: Foliation, layout: Layout, *, step: int = 1) -> Iterator[SliceLine]:
    """Yield a line for every ``step``-th slice across each request that has events in it.

    All slices end in short bends, which do not run together; only some go all the way.
    """
    bend = OVERHANG if step == 1 else float("inf")
    strands = _strands(foliation, layout)
    for time, request in sorted({(time, event.request) for event, time in _timed(foliation)}):
        if step == 1 or (time and time % step == 0):
            yield SliceLine(time, request, _trace(strands[request], time, layout.style.column / 2, bend))


def _timed(foliation: Foliation) -> Iterator[tuple[Event, int]]:
    return zip(foliation.graph, foliation.times.tolist(), strict=True)


def _strands(foliation: Foliation, layout: Layout) -> list[list[Strand]]:
    """The chains of every request, from left to right."""
    chains: list[dict[float, list[tuple[int, Point]]]] = [{} for _ in foliation.graph.lengths]
    for event, time in _timed(foliation):
        for x, point in layout.strands(event):
            chains[event.request].setdefault(x, []).append((time, point))
    floor, ceiling = -OVERHANG, layout.top + OVERHANG
    return [[_strand(x, chain, floor, ceiling) for x, chain in sorted(found.items())] for found in chains]


def _strand(x: float, chain: list[tuple[int, Point]], floor: float, ceiling: float) -> Strand:
    # Events come in canonical order, which goes up every chain.
    times, points = zip(*chain, strict=True)
    return Strand(x, list(times), list(points), floor, ceiling)


def _trace(strands: list[Strand], time: int, past_end: float, bend: float) -> tuple[Point, ...]:
    """The line through the chains that a slice is inside of, and a little to either side."""
    inside = [number for number, strand in enumerate(strands) if strand.spans(time)]
    first, last = inside[0], inside[-1]
    middle = [strand.at(time) for strand in strands[first : last + 1]]
    left, right = (
        Point(strands[first].x - past_end, middle[0].y),
        Point(strands[last].x + past_end, middle[-1].y),
    )
    if first > 0:
        left = _towards(middle[0], strands[first], strands[first - 1], time, bend)
    if last + 1 < len(strands):
        right = _towards(middle[-1], strands[last], strands[last + 1], time, bend)
    return (left, *middle, right)


def _towards(here: Point, strand: Strand, beside: Strand, time: int, bend: float) -> Point:
    """Half way to a chain that is all past or all future, and at most ``bend`` up or down."""
    change = beside.at(time).y - here.y
    return Point((strand.x + beside.x) / 2, here.y + max(-bend, min(bend, change)))


def smooth(points: tuple[Point, ...]) -> Controls:
    """Return Bezier control points of a curve through points of rising x that never overshoots.

    Slopes at the points are harmonic means (Fritsch and Butland 1984), hence monotone in between.
    """
    slopes = _slopes(points)
    controls = [points[0]]
    for (a, b), (m, n) in zip(pairwise(points), pairwise(slopes), strict=True):
        third = (b.x - a.x) / 3
        controls += [Point(a.x + third, a.y + m * third), Point(b.x - third, b.y - n * third), b]
    return tuple(controls)


def _slopes(points: tuple[Point, ...]) -> list[float]:
    steps = [(b.y - a.y) / (b.x - a.x) for a, b in pairwise(points)]
    inner = [2 * m * n / (m + n) if m * n > 0 else 0.0 for m, n in pairwise(steps)]
    return [steps[0], *inner, steps[-1]]
