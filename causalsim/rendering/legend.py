"""The legend: the meaning of colours, the figures of the picture, and what was left out of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from causalsim.events import KINDS, STREAMS, EventGraph
from causalsim.foliations import Foliation
from causalsim.rendering.highlight import Roles
from causalsim.rendering.marks import Curve, Mark, Node, Point, Text, straight
from causalsim.rendering.style import Style, along, tint
from causalsim.rendering.text import text_width
from causalsim.rendering.thinning import Drawn, slice_step

FONT = 9.0
LINE = 17.0
SWATCH = 22.0


@dataclass(frozen=True)
class Entry:
    """A swatch and what it means: a shape with its fill and outline, or a stroke."""

    text: str
    colour: str
    shape: str = "box"
    fill: str | None = None


@dataclass(frozen=True)
class Legend:
    """Everything that a legend can speak of."""

    graph: EventGraph
    foliation: Foliation | None
    roles: Roles
    drawn: Drawn
    style: Style

    @cached_property
    def step(self) -> int:
        """One slice in so many is drawn as a line; above 1, time is the colour of the events."""
        return 0 if self.foliation is None else slice_step(self.foliation, self.style)

    def entries(self) -> list[Entry]:
        return [*self._kinds(), *self._streams(), *self._slices(), *self._roles()]

    def _kinds(self) -> Iterator[Entry]:
        for kind in dict.fromkeys(event.kind for event in self.graph):
            colour = self.style.kinds[kind]
            fill = "#ffffff" if self.step > 1 else tint(colour)
            yield Entry(KINDS[kind].title, colour, KINDS[kind].shape, fill)

    def _streams(self) -> Iterator[Entry]:
        present = {edge.stream for edge in self.drawn.edges}
        for name, stream in STREAMS.items():
            if name in present:
                yield Entry(stream.title, self.style.streams[name], "arrow")

    def _slices(self) -> Iterator[Entry]:
        if self.foliation is None:
            return
        last = self.foliation.depth - 1
        if self.step == 1:
            yield Entry("slice", self.style.slice_line, "dotted")
            return
        if contours := range(self.step, last + 1, self.step):
            listed = ", ".join(map(str, contours[:2])) + ", .." * (len(contours) > 2)
            yield Entry(f"slice{'s' * (len(contours) > 1)} {listed}", self.style.slice_line, "dotted")
        for time in sorted({last * quarter // 4 for quarter in range(5)}):
            colour = along(self.style.ramp, time / max(last, 1))
            yield Entry(f"slice {time}", colour, "box", colour)

    def _roles(self) -> Iterator[Entry]:
        for focus in self.roles.having("focus"):
            yield Entry(str(focus), self.style.focus, "box", self.style.focus)
        for role in ("past", "future"):
            if count := len(self.roles.having(role)):
                colour = getattr(self.style, role)
                yield Entry(f"{role} ({count:,})", colour, "box", tint(colour, 0.45))
        if count := len(self.roles.having("spacelike")):
            yield Entry(f"spacelike ({count:,})", self.style.faded, "box", "#ffffff")
        if self.roles.marked:
            yield Entry("route", self.style.route, "arrow")
        elif self.roles.having("marked"):
            yield Entry("highlighted", self.style.route, "box", "#ffffff")

    def notes(self) -> list[str]:
        """The figures, and a line for what is faint or left out."""
        return [self._figures(), *self._thinned()]

    def _figures(self) -> str:
        counts = f"{_count(len(self.graph), 'event')}, {_count(self.drawn.total, 'edge')}"
        if self.foliation is None:
            return counts
        widest = _count(self.foliation.width, "event")
        return f"{_count(self.foliation.depth, 'slice')}, widest {widest}  ({counts})"

    def _thinned(self) -> Iterator[str]:
        over = "K/V edges over more than one position"
        if self.drawn.left_out:
            yield f"left out: {self.drawn.left_out:,} {over}, of {self.drawn.total_kv:,} K/V edges"
        if self.drawn.faint:
            yield f"faint: {len(self.drawn.faint):,} {over}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + "s" * (number != 1)


def legend_marks(legend: Legend, corner: Point, width: float) -> Iterator[Mark]:
    """Entries in lines of at most a width, notes below, from the top left corner down."""
    x, y = corner
    colour = legend.style.text
    for index, entry in enumerate(legend.entries()):
        wide = SWATCH + 6 + text_width(entry.text, FONT) + 14
        if x > corner.x and x + wide > corner.x + width:
            x, y = corner.x, y - LINE
        name = f"legend-{index}"
        yield _swatch(f"{name}-swatch", entry, Point(x, y))
        yield Text(name, Point(x + SWATCH + 6, y), entry.text, FONT, colour, "legend")
        x += wide
    for index, note in enumerate(legend.notes()):
        y -= LINE
        yield Text(f"legend-note-{index}", Point(corner.x, y), note, FONT, colour, "legend note")


def _swatch(name: str, entry: Entry, at: Point) -> Mark:
    if entry.shape in ("arrow", "dotted"):
        return _stroke(name, entry, at)
    width, centre = 11 if entry.shape == "circle" else 18, Point(at.x + SWATCH / 2, at.y)
    fill = entry.fill or "#ffffff"
    return Node(name, centre, width, 11, entry.shape, fill, entry.colour, "legend")


def _stroke(name: str, entry: Entry, at: Point) -> Curve:
    is_arrow, tip = entry.shape == "arrow", Point(at.x + SWATCH, at.y)
    controls = straight(at, Point(tip.x - 5.5, at.y) if is_arrow else tip)
    end = tip if is_arrow else None
    return Curve(name, controls, entry.colour, 1.5, "legend", tip=end, is_dotted=not is_arrow)
