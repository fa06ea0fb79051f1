"""Where every event stands: position across, layer up, the same in every picture of a graph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from causalsim.events import Event, EventGraph, Site
from causalsim.rendering.style import Style


class Point(NamedTuple):
    """A place in points, x rightwards and y upwards."""

    x: float
    y: float


def between(a: Point, b: Point, share: float) -> Point:
    """The place ``share`` of the way from ``a`` to ``b``."""
    return Point(a.x + (b.x - a.x) * share, a.y + (b.y - a.y) * share)


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
    def splits_mlp(self) -> bool:
        """Whether the MLP stands beside its attention, because neither waits for the other."""
        return self.graph.wiring.parallel_residual and self.graph.granularity == "sublayer"

    @property
    def pitch(self) -> float:
        """Distance between neighbouring positions."""
        return self.style.column + (self._aside if self.splits_mlp else 0)

    @property
    def _aside(self) -> float:
        return self.style.box_width + 8

    @cached_property
    def starts(self) -> tuple[float, ...]:
        """Where the first position of every request stands across."""
        starts = [0.0]
        for length in self.graph.lengths[:-1]:
            starts.append(starts[-1] + length * self.pitch + self.style.request_gap)
        return tuple(starts)

    @cached_property
    def heights(self) -> dict[Site, float]:
        """How high every site of the column stands."""
        heights: dict[Site, float] = {}
        top = 0.0
        for site in self.graph.sites:
            top += self._above(site) if heights else 0.0
            heights[site] = top
        return heights

    def _above(self, site: Site) -> float:
        """How far a site stands above the one before it in the column."""
        if site.kind == "attn":
            return self.style.rise
        if site.kind == "mlp":
            return 0.0 if self.splits_mlp else self.style.step
        return self.style.gap + (self.style.rise / 2 if site.kind == "block" else 0)

    def place(self, event: Event) -> Point:
        """The centre of an event's node."""
        x = self.starts[event.request] + event.position * self.pitch
        return Point(x + self._sideways(event.kind), self.heights[Site(event.kind, event.layer)])

    def _sideways(self, kind: str) -> float:
        if kind == "kv":
            # Left of the residual stream, so that the fan of K/V edges never runs along it.
            return -(self.style.box_width + self.style.circle) / 2 + 3
        return self._aside if kind == "mlp" and self.splits_mlp else 0.0

    def strands(self, event: Event) -> list[tuple[float, Point]]:
        """The chains of events that an event is a link of: x of each, and where it stands in it.

        A column is one chain. Parallel MLPs make another beside it, between the same ends.
        """
        x = self.starts[event.request] + event.position * self.pitch
        here, beside = (x, self.place(event)), x + self._aside
        if not self.splits_mlp or event.kind in ("kv", "attn"):
            return [here]
        echo = (beside, Point(beside, self.place(event).y))
        return [echo] if event.kind == "mlp" else [here, echo]

    def gutter(self, request: int, position: int) -> float:
        """Where the free strip to the left of a position is."""
        here = self.starts[request] + position * self.pitch
        right_of_last = here - self.pitch + self.style.box_width / 2 + (self._aside if self.splits_mlp else 0)
        return (right_of_last + here + self._sideways("kv") - self.style.circle / 2) / 2

    def rows(self) -> list[Row]:
        """What the heights mean: one row a layer, and the rows below and above all layers."""
        rows: dict[str, list[float]] = {}
        for site, y in self.heights.items():
            if site.kind != "sample" or self.graph.has_feedback:
                name = site.kind if site.kind in ("embed", "unembed", "sample") else f"layer {site.layer}"
                rows.setdefault(name, []).append(y)
        return [Row(name, (min(ys) + max(ys)) / 2) for name, ys in rows.items()]

    @property
    def left(self) -> float:
        return self._sideways("kv") - self.style.circle / 2

    @property
    def right(self) -> float:
        last = self.starts[-1] + (self.graph.lengths[-1] - 1) * self.pitch
        return last + self.style.box_width / 2 + (self._aside if self.splits_mlp else 0)

    @property
    def top(self) -> float:
        """The height of the highest event."""
        return max(y for site, y in self.heights.items() if site.kind != "sample" or self.graph.has_feedback)
