"""A graph or a foliation as a graphviz.Digraph, laid out by us: Graphviz only draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot

import graphviz

from causalsim.errors import InputError
from causalsim.events import Edge, Event, EventGraph
from causalsim.foliations import Foliation
from causalsim.rendering.canvas import Canvas, arrow, fitted, quoted, spline, straight, text_width
from causalsim.rendering.highlight import Highlight, Roles, roles
from causalsim.rendering.layout import Layout, Point, between
from causalsim.rendering.legend import Legend, draw_legend
from causalsim.rendering.names import edge_id, event_class, event_id, slice_id
from causalsim.rendering.slices import slice_lines, smooth
from causalsim.rendering.style import Style, along, mix, readable_on, tint
from causalsim.rendering.thinning import Drawn, check_drawable, thin

WORDS = {"kv": "K/V", "attn": "attn", "mlp": "MLP"}

MARGIN = 44.0
# Length of an arrowhead, in points.
HEAD = 5.5


def to_graphviz(
    graph_or_foliation: EventGraph | Foliation,
    *,
    style: Style | None = None,
    highlight: Highlight | None = None,
    labels: Mapping[Event, object] | None = None,
    title: str | None = None,
) -> graphviz.Digraph:
    """A picture: position across, layer up, every node pinned; ``render`` writes it to a file.

    A graph shows its streams. A foliation shows its slices on the same layout: as the number
    in each event, and as dotted lines where they are few and join events; where they are many,
    or hold one event each, time is the colour of the events and only some have a line.

    ``labels`` replaces the words in some events. ``highlight`` is one event (its past and
    future are coloured, spacelike events fade), or an iterable of events (the others fade), of
    edges (drawn as routes) and of paths (tuples of events, or lists of edges as
    ``route_edges`` makes them). A legend says what the colours mean and what was left out.

    Nodes and edges carry ``id`` (``attn-3-7-0``: kind, layer, position, request) and
    ``class`` (``event attn layer-3 position-7 request-0 slice-4``), which SVG keeps.

    Raises ``LimitError`` for a graph that is too large to look at, ``InputError`` for a
    highlight or a label that is not of the graph.

    >>> from causalsim.events import Wiring
    >>> picture = to_graphviz(EventGraph(Wiring(1), 2), title="Two positions")
    >>> picture.engine, 'id="attn-0-1-0"' in picture.source
    ('neato', True)
    """
    scene = _scene(graph_or_foliation, style or Style(), highlight, labels or {})
    _draw_events(scene)
    _draw_edges(scene)
    _draw_slices(scene)
    _draw_furniture(scene, title)
    return scene.canvas.digraph


@dataclass(frozen=True)
class Scene:
    """Everything that is known before the first stroke."""

    graph: EventGraph
    foliation: Foliation | None
    roles: Roles
    drawn: Drawn
    legend: Legend
    labels: dict[Event, str]
    layout: Layout
    canvas: Canvas

    @property
    def style(self) -> Style:
        return self.canvas.style

    @property
    def is_heat_map(self) -> bool:
        return self.legend.step > 1

    def time(self, event: Event) -> int | None:
        return None if self.foliation is None else self.foliation.time(event)


def _scene(
    given: EventGraph | Foliation, style: Style, highlight: Highlight | None, labels: Mapping[Event, object]
) -> Scene:
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
    layout = Layout(graph, style)
    texts = {event: str(label) for event, label in labels.items()}
    canvas = Canvas(_digraph(layout), style)
    return Scene(graph, foliation, shown, drawn, legend, texts, layout, canvas)


def _digraph(layout: Layout) -> graphviz.Digraph:
    style = layout.style
    extent = max(layout.right - layout.left, layout.top) + 4 * MARGIN
    dpi = min(style.dpi, style.max_pixels * 72 / extent)
    font = {"fontname": style.fontname, "fontsize": f"{style.fontsize:g}"}
    # inputscale makes plain neato read the coordinates in points, as neato -n2 does.
    frame = {"inputscale": "72", "outputorder": "edgesfirst", "splines": "line"}
    return graphviz.Digraph(
        "causalsim",
        engine="neato",
        graph_attr={**frame, **font, "bgcolor": "white", "pad": "0.2", "dpi": f"{dpi:.4g}"},
        node_attr={"shape": "box", "style": "filled,rounded", "fontcolor": style.text, **font},
        edge_attr={"arrowsize": "0.55"},
    )


# -- events ------------------------------------------------------------------------------------


def _draw_events(scene: Scene) -> None:
    for event in scene.graph:
        is_circle = event.kind == "kv"
        width = scene.style.circle if is_circle else scene.style.box_width
        scene.canvas.node(
            event_id(event),
            scene.layout.place(event),
            width,
            width if is_circle else scene.style.box_height,
            shape="circle" if is_circle else "box",
            style="filled" if is_circle else "filled,rounded",
            id=event_id(event),
            tooltip=_tooltip(scene, event),
            **_words(scene, event, width - 5),
            **_colours(scene, event),
            **{"class": event_class(event, scene.time(event), scene.roles.events.get(event))},
        )


def _words(scene: Scene, event: Event, room: float) -> dict[str, str]:
    text, size = fitted(_label(scene, event), room, scene.style.fontsize)
    return {"label": quoted(text), "fontsize": f"{size:.3g}"}


def _label(scene: Scene, event: Event) -> str:
    if event in scene.labels:
        return scene.labels[event]
    time = scene.time(event)
    return WORDS.get(event.kind, event.kind) if time is None else str(time)


def _tooltip(scene: Scene, event: Event) -> str:
    time, label = scene.time(event), scene.labels.get(event)
    parts = [str(event), *([] if time is None else [f"slice {time}"]), *([label] if label else [])]
    # Graphviz reads the escapes of a tooltip twice.
    return quoted(", ".join(parts).replace("\\", "\\\\"))


def _colours(scene: Scene, event: Event) -> dict[str, str]:
    style, role = scene.style, scene.roles.events.get(event)
    line = style.kinds[event.kind]
    if role in ("spacelike", "faded"):
        return _paint("#ffffff", style.faded, mix(style.faded, style.quiet, 0.35))
    if role == "focus":
        return _paint(style.focus, style.focus, readable_on(style.focus), penwidth="2.2")
    if role in ("past", "future"):
        return _paint(tint(getattr(style, role), 0.45), line, style.text)
    fill = _heat(scene, event) if scene.is_heat_map else tint(line)
    text = readable_on(fill) if scene.is_heat_map else style.text
    if role == "marked":
        return _paint(fill, style.route, text, penwidth="2.2")
    return _paint(fill, line, text, penwidth="1.8" if scene.is_heat_map else "1")


def _heat(scene: Scene, event: Event) -> str:
    assert scene.foliation is not None
    return along(scene.style.ramp, scene.foliation.time(event) / max(scene.foliation.depth - 1, 1))


def _paint(fill: str, line: str, text: str, **more: str) -> dict[str, str]:
    return {"fillcolor": fill, "color": line, "fontcolor": text, **more}


# -- edges -------------------------------------------------------------------------------------


def _draw_edges(scene: Scene) -> None:
    for edge in scene.drawn.edges:
        role = scene.roles.of_edge(edge)
        stroke = _stroke(scene, edge, role)
        words = [edge.stream, role, "faint" if edge in scene.drawn.faint else None]
        scene.canvas.digraph.edge(
            event_id(edge.source),
            event_id(edge.target),
            id=edge_id(edge),
            **stroke,
            **_bend(scene, edge, has_head="arrowhead" not in stroke),
            **{"class": " ".join(filter(None, words))},
        )


def _stroke(scene: Scene, edge: Edge, role: str | None) -> dict[str, str]:
    style = scene.style
    if role == "marked":
        return {"color": style.route, "penwidth": "2.6", "arrowsize": "0.7"}
    if role == "faded":
        veil = _veil(scene, 0.6) if edge in scene.drawn.faint else "b0"
        return {"color": style.faded + veil, "penwidth": "0.5", "arrowhead": "none"}
    colour = getattr(style, role) if role in ("past", "future") else style.streams[edge.stream]
    if edge in scene.drawn.faint:
        return {"color": colour + _veil(scene, 1.0), "penwidth": "0.5", "arrowhead": "none"}
    return {"color": colour, "penwidth": "1.2" if edge.stream == "residual" else "0.9"}


def _veil(scene: Scene, share: float) -> str:
    """The opacity of faint edges: what many of them add up to stays light."""
    opacity = min(max(100 / len(scene.drawn.faint), 0.08), 0.5)
    return f"{round(255 * opacity * share):02x}"


def _bend(scene: Scene, edge: Edge, *, has_head: bool) -> dict[str, str]:
    """Residual edges are left to Graphviz: straight from node to node."""
    if edge.source.kind == "sample":
        return {"pos": _down_the_gutter(scene.layout, edge)}
    if edge.stream == "kv":
        return {"pos": _under_the_boxes(scene.layout, edge, has_head)}
    return {}


def _under_the_boxes(layout: Layout, edge: Edge, has_head: bool) -> str:
    """Straight to the underside of the reader, so that a far K/V edge passes below the boxes on its way."""
    source, target = layout.place(edge.source), layout.place(edge.target)
    aside = layout.style.box_width * 0.34
    tip = Point(target.x - aside, target.y - layout.style.box_height / 2)
    if edge.source.kind == "block" and edge.source.position == edge.target.position:
        source = Point(tip.x, source.y)
    # It starts under the node, which is drawn over it.
    if not has_head:
        return spline(straight(source, tip))
    length = hypot(tip.x - source.x, tip.y - source.y)
    end = between(source, tip, 1 - HEAD / max(length, 2 * HEAD))
    return arrow(straight(source, end), tip)


def _down_the_gutter(layout: Layout, edge: Edge) -> str:
    source, target = layout.place(edge.source), layout.place(edge.target)
    half, turn = layout.style.box_width / 2, 14.0
    x = layout.gutter(edge.target.request, edge.target.position)
    start, tip = Point(source.x + half, source.y), Point(target.x - half, target.y)
    down, up = Point(x, source.y - turn), Point(x, target.y + turn)
    end = Point(tip.x - HEAD, tip.y)
    corner = [start, Point(x, source.y), Point(x, source.y), down]
    return arrow([*corner, down, up, up, Point(x, target.y), Point(x, target.y), end], tip)


# -- slices and furniture ----------------------------------------------------------------------


def _draw_slices(scene: Scene) -> None:
    if scene.foliation is None:
        return
    for line in slice_lines(scene.foliation, scene.layout, step=scene.legend.step):
        scene.canvas.curve(
            slice_id(line.time, line.request),
            smooth(line.points),
            color=scene.style.slice_line,
            style="dotted",
            penwidth="2",
            arrowhead="none",
            css=f"slice slice-{line.time}",
        )


def _draw_furniture(scene: Scene, title: str | None) -> None:
    layout, left = scene.layout, _draw_rows(scene)
    _draw_positions(scene)
    top = layout.top + MARGIN
    if len(scene.graph.lengths) > 1:
        _draw_headings(scene, top)
        top += 20
    if title:
        _write(scene, "title", Point(left, top), title, size=scene.style.fontsize + 4, bold=True)
    draw_legend(scene.canvas, scene.legend, Point(left, -2 * MARGIN), max(layout.right - left, 460))


def _draw_rows(scene: Scene) -> float:
    """Layers named at the left; gives the x where their names start."""
    size, rows = scene.style.fontsize - 1, scene.layout.rows()
    x = scene.layout.left - MARGIN - max(text_width(row.text, size) for row in rows)
    for row in rows:
        _write(scene, f"row-{row.text.replace(' ', '-')}", Point(x, row.y), row.text, size=size)
    return x


def _draw_positions(scene: Scene) -> None:
    size = scene.style.fontsize - 1
    for request, length in enumerate(scene.graph.lengths):
        for position in range(length):
            text = str(position)
            x = scene.layout.starts[request] + position * scene.layout.pitch - text_width(text, size) / 2
            _write(scene, f"position-{position}-{request}", Point(x, -MARGIN), text, size=size)


def _draw_headings(scene: Scene, y: float) -> None:
    for request, start in enumerate(scene.layout.starts):
        at = Point(start - scene.style.box_width / 2, y)
        size = scene.style.fontsize + 1
        _write(scene, f"request-{request}", at, f"request {request}", size=size, bold=True)


def _write(scene: Scene, name: str, at: Point, text: str, *, size: float, bold: bool = False) -> None:
    colour = scene.style.text if bold else scene.style.quiet
    scene.canvas.text(name, at, text, size=size, colour=colour, css="heading", bold=bold)
