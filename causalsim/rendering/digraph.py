"""A scene as a graphviz.Digraph on which everything has its place: Graphviz only draws."""

from __future__ import annotations

from collections.abc import Mapping

import graphviz

from causalsim.events import Event, EventGraph
from causalsim.foliations import Foliation
from causalsim.rendering.highlight import Highlight
from causalsim.rendering.marks import Controls, Curve, Link, Mark, Node, Point, Text
from causalsim.rendering.scene import Scene, compose
from causalsim.rendering.style import Style
from causalsim.rendering.text import text_width

# The arrowheads of links that say nothing else.
HEAD = 0.55


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

    Nodes and edges carry ``id`` (``attn-3-7-0``: kind, layer, position, request) and
    ``class`` (``event attn layer-3 position-7 request-0 slice-4``), which SVG keeps.

    A legend says what the colours mean and what was left out.

    Args:
        graph_or_foliation: A graph, or a foliation of one.
        style: Colours, lengths in points, and the numbers above which a picture says less.
        highlight: One event (its past and future are coloured, spacelike events fade), or an iterable of
            events (the others fade), of edges (drawn as routes) and of paths (tuples of events, or lists
            of edges as ``route_edges`` makes them).
        labels: The words in some events, instead of their kind or time.
        title: A heading.

    Returns:
        A picture, every node pinned.

    Raises:
        LimitError: The graph is too large to look at.
        InputError: A highlight or a label that is not of the graph.

    >>> from causalsim.events import Wiring
    >>> picture = to_graphviz(EventGraph(Wiring(1), 2), title="Two positions")
    >>> picture.engine, 'id="attn-0-1-0"' in picture.source
    ('neato', True)
    """
    return digraph_of(compose(graph_or_foliation, style or Style(), highlight, labels or {}, title))


def digraph_of(scene: Scene) -> graphviz.Digraph:
    """Return a scene in Graphviz's language, every node pinned.

    >>> from causalsim.events import Wiring
    >>> scene = compose(EventGraph(Wiring(1), 1), Style(), None, {}, None)
    >>> digraph_of(scene).engine
    'neato'
    """
    style = scene.style
    font = {"fontname": style.fontname, "fontsize": f"{style.fontsize:g}"}
    # inputscale makes plain neato read the coordinates in points, as neato -n2 does.
    frame = {"inputscale": "72", "outputorder": "edgesfirst", "splines": "line"}
    digraph = graphviz.Digraph(
        "causalsim",
        engine="neato",
        graph_attr={**frame, **font, "bgcolor": "white", "pad": "0.2", "dpi": f"{scene.dpi:.4g}"},
        node_attr={"shape": "box", "style": "filled,rounded", "fontcolor": style.text, **font},
        edge_attr={"arrowsize": f"{HEAD:g}"},
    )
    for mark in scene.marks:
        _draw(digraph, style, mark)
    return digraph


def _draw(digraph: graphviz.Digraph, style: Style, mark: Mark) -> None:
    match mark:
        case Node():
            _node(digraph, mark)
        case Text():
            _text(digraph, style, mark)
        case Curve():
            _curve(digraph, mark)
        case Link():
            _link(digraph, mark)


def _node(digraph: graphviz.Digraph, node: Node) -> None:
    optional = {
        "penwidth": None if node.line_width is None else f"{node.line_width:g}",
        "fontsize": None if node.label_size is None else f"{node.label_size:.3g}",
        "fontcolor": node.label_colour,
        # Graphviz reads the escapes of a tooltip twice.
        "tooltip": None if node.tooltip is None else quoted(node.tooltip.replace("\\", "\\\\")),
    }
    digraph.node(
        node.name,
        label=quoted(node.label),
        pos=pinned(node.at),
        width=inches(node.width),
        height=inches(node.height),
        fixedsize="true",
        shape=node.shape,
        style="filled" if node.shape == "circle" else "filled,rounded",
        fillcolor=node.fill,
        color=node.line,
        id=node.name,
        **{name: value for name, value in optional.items() if value is not None},
        **{"class": node.css},
    )


def _text(digraph: graphviz.Digraph, style: Style, text: Text) -> None:
    width = text_width(text.text, text.size)
    digraph.node(
        text.name,
        # Flush left whatever the drawing program thinks the text measures.
        label=graphviz.nohtml(quoted(text.text) + "\\l"),
        pos=pinned(Point(text.at.x + width / 2, text.at.y)),
        shape="plaintext",
        style="",
        margin="0",
        width=inches(width),
        height=inches(text.size),
        fontsize=number(text.size),
        fontcolor=text.colour,
        fontname=style.fontname + ("-Bold" if text.bold else ""),
        id=text.name,
        **{"class": text.css},
    )


def _curve(digraph: graphviz.Digraph, curve: Curve) -> None:
    """A free curve between two invisible nodes of its own."""
    tail, head = f"{curve.name}-tail", f"{curve.name}-head"
    for name, at in ((tail, curve.controls[0]), (head, curve.tip or curve.controls[-1])):
        digraph.node(name, pos=pinned(at), shape="point", style="invis", width="0.01", height="0.01")
    dots = {"style": "dotted"} if curve.is_dotted else {}
    heads = {} if curve.tip else {"arrowhead": "none"}
    digraph.edge(
        tail,
        head,
        pos=path(curve.controls, curve.tip),
        id=curve.name,
        color=curve.colour,
        penwidth=f"{curve.width:g}",
        **dots,
        **heads,
        **{"class": curve.css},
    )


def _link(digraph: graphviz.Digraph, link: Link) -> None:
    heads = {"arrowhead": "none"} if link.head is None else {"arrowsize": f"{link.head:g}"}
    digraph.edge(
        link.source,
        link.target,
        id=link.name,
        color=link.colour,
        penwidth=f"{link.width:g}",
        **heads,
        **({} if link.controls is None else {"pos": path(link.controls, link.tip)}),
        **{"class": link.css},
    )


def quoted(text: str) -> str:
    """A text that Graphviz shows as it is: no HTML, no escapes, no entities, nothing unprintable."""
    seen = "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text)
    escaped = graphviz.escape(seen.replace("&", "&amp;")).replace("\n", "\\n")
    shown: str = graphviz.nohtml(escaped)
    return shown


def pinned(at: Point) -> str:
    return f"{number(at.x)},{number(at.y)}!"


def path(controls: Controls, tip: Point | None) -> str:
    """A curve, whose arrowhead ends at ``tip`` where there is one."""
    spline = " ".join(f"{number(x)},{number(y)}" for x, y in controls)
    return spline if tip is None else f"e,{number(tip.x)},{number(tip.y)} {spline}"


def inches(points: float) -> str:
    return f"{points / 72:.4g}"


def number(value: float) -> str:
    return f"{round(value, 2):g}" if abs(value) < 1e5 else f"{value:.1f}"
