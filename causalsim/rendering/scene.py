"""A graph or a foliation as a scene: what stands where, in which colours, whatever program draws it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import hypot

from causalsim.errors import InputError
from causalsim.events import KINDS, Edge, Event, EventGraph
from causalsim.events.kinds import SAMPLED
from causalsim.foliations import Foliation
from causalsim.rendering.highlight import Highlight, Roles, roles
from causalsim.rendering.layout import Layout
from causalsim.rendering.legend import Legend, legend_marks
from causalsim.rendering.marks import Controls, Curve, Link, Mark, Node, Point, Text, between, straight
from causalsim.rendering.names import edge_id, event_class, event_id, slice_id
from causalsim.rendering.slices import slice_lines, smooth
from causalsim.rendering.style import Style, along, mix, readable_on, tint
from causalsim.rendering.text import fitted, text_width
from causalsim.rendering.thinning import Drawn, check_drawable, thin

MARGIN = 44.0
# Length of an arrowhead in points, and the sizes that arrowheads come in.
HEAD, PLAIN, BOLD = 5.5, 0.55, 0.7


@dataclass(frozen=True)
class Scene:
    """Marks in the order in which they are drawn, and the resolution of a picture of pixels."""

    style: Style
    dpi: float
    marks: tuple[Mark, ...]


def compose(
    given: EventGraph | Foliation,
    style: Style,
    highlight: Highlight | None,
    labels: Mapping[Event, object],
    title: str | None,
) -> Scene:
    """Return the scene of a graph or a foliation.

    >>> from causalsim.events import Wiring
    >>> scene = compose(EventGraph(Wiring(1), 1), Style(), None, {}, None)
    >>> scene.marks[0].name, scene.marks[0].at
    ('embed--1-0-0', Point(x=0.0, y=0.0))
    """
    drawing = _drawing(given, style, highlight, labels)
    marks = (*_nodes(drawing), *_links(drawing), *_slices(drawing), *_furniture(drawing, title))
    layout = drawing.layout
    extent = max(layout.right - layout.left, layout.top) + 4 * MARGIN
    return Scene(style, min(style.dpi, style.max_pixels * 72 / extent), marks)


@dataclass(frozen=True)
class _Drawing:
    """Everything that is known before the first mark."""

    graph: EventGraph
    foliation: Foliation | None
    roles: Roles
    drawn: Drawn
    legend: Legend
    labels: dict[Event, str]
    layout: Layout
    style: Style

    @property
    def is_heat_map(self) -> bool:
        return self.legend.step > 1

    def time(self, event: Event) -> int | None:
        return None if self.foliation is None else self.foliation.time(event)


def _drawing(
    given: EventGraph | Foliation, style: Style, highlight: Highlight | None, labels: Mapping[Event, object]
) -> _Drawing:
    if not isinstance(given, EventGraph | Foliation):
        raise InputError("a picture shows an EventGraph or a Foliation", got=repr(given))
    graph = given if isinstance(given, EventGraph) else given.graph
    foliation = given if isinstance(given, Foliation) else None
    check_drawable(graph, style)
    for event in labels:
        graph.check(event)
    shown = roles(graph, highlight)
    drawn = thin(graph, shown, style)
    legend = Legend(graph, foliation, shown, drawn, style)
    texts = {event: str(label) for event, label in labels.items()}
    return _Drawing(graph, foliation, shown, drawn, legend, texts, Layout(graph, style), style)


# -- events ------------------------------------------------------------------------------------


def _nodes(scene: _Drawing) -> Iterator[Node]:
    for event in scene.graph:
        shape, style = KINDS[event.kind].shape, scene.style
        width = style.circle if shape == "circle" else style.box_width
        height = width if shape == "circle" else style.box_height
        label, size = fitted(_label(scene, event), width - 5, style.fontsize)
        paint = _paint(scene, event)
        yield paint(
            name=event_id(event),
            at=scene.layout.place(event),
            width=width,
            height=height,
            shape=shape,
            css=event_class(event, scene.time(event), scene.roles.events.get(event)),
            label=label,
            label_size=size,
            tooltip=_tooltip(scene, event),
        )


def _label(scene: _Drawing, event: Event) -> str:
    if event in scene.labels:
        return scene.labels[event]
    time = scene.time(event)
    return KINDS[event.kind].label or event.kind if time is None else str(time)


def _tooltip(scene: _Drawing, event: Event) -> str:
    time, label = scene.time(event), scene.labels.get(event)
    return ", ".join([str(event), *([] if time is None else [f"slice {time}"]), *([label] if label else [])])


def _paint(scene: _Drawing, event: Event) -> partial[Node]:
    """A node in its colours and line."""
    style, role = scene.style, scene.roles.events.get(event)
    line = style.kinds[event.kind]
    if role in ("spacelike", "faded"):
        return _painted("#ffffff", style.faded, mix(style.faded, style.quiet, 0.35))
    if role == "focus":
        return _painted(style.focus, style.focus, readable_on(style.focus), 2.2)
    if role in ("past", "future"):
        return _painted(tint(getattr(style, role), 0.45), line, style.text)
    fill = _heat(scene, event) if scene.is_heat_map else tint(line)
    text = readable_on(fill) if scene.is_heat_map else style.text
    if role == "marked":
        return _painted(fill, style.route, text, 2.2)
    return _painted(fill, line, text, 1.8 if scene.is_heat_map else 1)


def _painted(fill: str, line: str, text: str, width: float | None = None) -> partial[Node]:
    return partial(Node, fill=fill, line=line, label_colour=text, line_width=width)


def _heat(scene: _Drawing, event: Event) -> str:
    assert scene.foliation is not None
    return along(scene.style.ramp, scene.foliation.time(event) / max(scene.foliation.depth - 1, 1))


# -- edges -------------------------------------------------------------------------------------


def _links(scene: _Drawing) -> Iterator[Link]:
    for edge in scene.drawn.edges:
        role = scene.roles.of_edge(edge)
        colour, width, head = _stroke(scene, edge, role)
        controls, tip = _bend(scene.layout, edge, has_head=head is not None)
        words = [edge.stream, role, "faint" if edge in scene.drawn.faint else None]
        css, ends = " ".join(filter(None, words)), (event_id(edge.source), event_id(edge.target))
        yield Link(edge_id(edge), *ends, colour, width, css, head, controls, tip)


def _stroke(scene: _Drawing, edge: Edge, role: str | None) -> tuple[str, float, float | None]:
    """The colour and the width of an edge, and the size of its arrowhead."""
    style = scene.style
    if role == "marked":
        return style.route, 2.6, BOLD
    if role == "faded":
        veil = _veil(scene, 0.6) if edge in scene.drawn.faint else "b0"
        return style.faded + veil, 0.5, None
    colour = getattr(style, role) if role in ("past", "future") else style.streams[edge.stream]
    if edge in scene.drawn.faint:
        return colour + _veil(scene, 1.0), 0.5, None
    return colour, 1.2 if edge.stream == "residual" else 0.9, PLAIN


def _veil(scene: _Drawing, share: float) -> str:
    """The opacity of faint edges: what many of them add up to stays light."""
    opacity = min(max(100 / len(scene.drawn.faint), 0.08), 0.5)
    return f"{round(255 * opacity * share):02x}"


def _bend(layout: Layout, edge: Edge, *, has_head: bool) -> tuple[Controls | None, Point | None]:
    """The way of an edge, and where its arrowhead ends: of the residual stream straight from node to node."""
    if edge.source.kind in SAMPLED:
        return _down_the_gutter(layout, edge)
    return _under_the_boxes(layout, edge, has_head) if edge.stream == "kv" else (None, None)


def _under_the_boxes(layout: Layout, edge: Edge, has_head: bool) -> tuple[Controls, Point | None]:
    """Straight to the underside of the reader, so that a far K/V edge passes below the boxes on its way."""
    source, target = layout.place(edge.source), layout.place(edge.target)
    aside = layout.style.box_width * 0.34
    tip = Point(target.x - aside, target.y - layout.style.box_height / 2)
    if KINDS[edge.source.kind].place == "block" and edge.source.position == edge.target.position:
        source = Point(tip.x, source.y)
    # It starts under the node, which is drawn over it.
    if not has_head:
        return straight(source, tip), None
    length = hypot(tip.x - source.x, tip.y - source.y)
    return straight(source, between(source, tip, 1 - HEAD / max(length, 2 * HEAD))), tip


def _down_the_gutter(layout: Layout, edge: Edge) -> tuple[Controls, Point]:
    source, target = layout.place(edge.source), layout.place(edge.target)
    half, turn = layout.style.box_width / 2, 14.0
    x = layout.gutter(edge.target.request, edge.target.position)
    start, tip = Point(source.x + half, source.y), Point(target.x - half, target.y)
    down, up = Point(x, source.y - turn), Point(x, target.y + turn)
    above, below, end = Point(x, source.y), Point(x, target.y), Point(tip.x - HEAD, tip.y)
    return (start, above, above, down, down, up, up, below, below, end), tip


# -- slices and furniture ----------------------------------------------------------------------


def _slices(scene: _Drawing) -> Iterator[Curve]:
    if scene.foliation is None:
        return
    for line in slice_lines(scene.foliation, scene.layout, step=scene.legend.step):
        name, css = slice_id(line.time, line.request), f"slice slice-{line.time}"
        yield Curve(name, smooth(line.points), scene.style.slice_line, 2, css, is_dotted=True)


def _furniture(scene: _Drawing, title: str | None) -> Iterator[Mark]:
    """Names of layers and positions, headings, the title and the legend."""
    layout, size, rows = scene.layout, scene.style.fontsize - 1, scene.layout.rows()
    left = layout.left - MARGIN - max(text_width(row.text, size) for row in rows)
    for row in rows:
        yield _words(scene, f"row-{row.text.replace(' ', '-')}", Point(left, row.y), row.text, size)
    yield from _positions(scene, size)
    top = layout.top + MARGIN
    if len(scene.graph.lengths) > 1:
        yield from _headings(scene, top)
        top += 20
    if title:
        yield _words(scene, "title", Point(left, top), title, scene.style.fontsize + 4, bold=True)
    yield from legend_marks(scene.legend, Point(left, -2 * MARGIN), max(layout.right - left, 460))


def _positions(scene: _Drawing, size: float) -> Iterator[Text]:
    for request, length in enumerate(scene.graph.lengths):
        for position in range(length):
            text = str(position)
            x = scene.layout.starts[request] + position * scene.layout.pitch - text_width(text, size) / 2
            yield _words(scene, f"position-{position}-{request}", Point(x, -MARGIN), text, size)


def _headings(scene: _Drawing, y: float) -> Iterator[Text]:
    for request, start in enumerate(scene.layout.starts):
        at, size = Point(start - scene.style.box_width / 2, y), scene.style.fontsize + 1
        yield _words(scene, f"request-{request}", at, f"request {request}", size, bold=True)


def _words(scene: _Drawing, name: str, at: Point, text: str, size: float, *, bold: bool = False) -> Text:
    colour = scene.style.text if bold else scene.style.quiet
    return Text(name, at, text, size, colour, "heading", bold)
