"""Places of events: position across, layer up, the same in every picture of a graph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from causalsim.events import KINDS, Event, EventGraph, Site
from causalsim.events.kinds import SAMPLED
from causalsim.rendering.marks import Point
from causalsim.rendering.style import Style


class Row(NamedTuple):
    """A heading at the left: what stands at this height."""

    text: str
    y: float


@dataclass(frozen=True)
class Layout:
    """The coordinates of a graph's events, computed and not stored."""

    graph: EventGraph
    style: Style

    @property
    def pitch(self) -> float:
        """Distance between neighbouring positions."""
        return self.style.column + self._beside

    @property
    def _beside(self) -> float:
        """The room of what stands beside a column, because neither waits for the other."""
        return self._aside * len(self.graph.strands[1:])

    @property
    def _aside(self) -> float:
        return self.style.box_width + 8

    @cached_property
    def starts(self) -> tuple[float, ...]:
        """The x of the first position of every request."""
        starts = [0.0]
        for length in self.graph.lengths[:-1]:
            starts.append(starts[-1] + length * self.pitch + self.style.request_gap)
        return tuple(starts)

    @cached_property
    def heights(self) -> dict[Site, float]:
        """The y of every site of the column."""
        heights = {self.graph.sites[0]: 0.0}
        for below, site in pairwise(self.graph.sites):
            heights[site] = heights[below] + self._above(site, below)
        return heights

    def _above(self, site: Site, below: Site) -> float:
        """The distance of a site from the one before it in the column: attention has room for its fan."""
        kind = KINDS[site.kind]
        if kind.place != "layer" or site.layer != below.layer:
            return self.style.gap + (self.style.rise / 2 if kind.attends else 0)
        if kind.attends:
            return self.style.rise
        return 0.0 if site.kind in self.graph.strands[1:] else self.style.step

    def place(self, event: Event) -> Point:
        """The centre of an event's node."""
        x = self.starts[event.request] + event.position * self.pitch
        return Point(x + self._sideways(event.kind), self.heights[Site(event.kind, event.layer)])

    def _sideways(self, kind: str) -> float:
        if kind in self.graph.strands:
            return self._aside * self.graph.strands.index(kind)
        return self._left_of_stream if KINDS[kind].writes == "kv" else 0.0

    @property
    def _left_of_stream(self) -> float:
        """Left of the residual stream, so that the fan of K/V edges never runs along it."""
        return -(self.style.box_width + self.style.circle) / 2 + 3

    def strands(self, event: Event) -> list[tuple[float, Point]]:
        """Return the chains of events that an event is a link of: x of each, and where it stands in it.

        A column is one chain. What stands beside it makes others, between the same ends.
        """
        x, here = self.starts[event.request] + event.position * self.pitch, self.place(event)
        beside = {kind: x + self._sideways(kind) for kind in self.graph.strands[1:]}
        if event.kind in beside:
            return [(here.x, here)]
        ends = beside.values() if KINDS[event.kind].place != "layer" else ()
        return [(x, here), *((across, Point(across, here.y)) for across in ends)]

    def gutter(self, request: int, position: int) -> float:
        """The x of the free strip to the left of a position."""
        here = self.starts[request] + position * self.pitch
        right_of_last = here - self.pitch + self.style.box_width / 2 + self._beside
        return (right_of_last + here + self.left) / 2

    def rows(self) -> list[Row]:
        """Headings of the heights: one row a layer, and the rows below and above all layers."""
        rows: dict[str, list[float]] = {}
        for site, y in self._shown:
            inside = 0 <= site.layer < self.graph.wiring.n_layers
            rows.setdefault(f"layer {site.layer}" if inside else site.kind, []).append(y)
        return [Row(name, (min(ys) + max(ys)) / 2) for name, ys in rows.items()]

    @property
    def left(self) -> float:
        return self._left_of_stream - self.style.circle / 2

    @property
    def right(self) -> float:
        last = self.starts[-1] + (self.graph.lengths[-1] - 1) * self.pitch
        return last + self.style.box_width / 2 + self._beside

    @property
    def top(self) -> float:
        """The height of the highest event."""
        return max(y for _, y in self._shown)

    @property
    def _shown(self) -> list[tuple[Site, float]]:
        """The sites that have events, and their heights."""
        waits = self.graph.has_feedback
        return [(site, y) for site, y in self.heights.items() if waits or site.kind not in SAMPLED]
