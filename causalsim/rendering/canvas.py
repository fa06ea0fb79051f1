"""A graphviz.Digraph on which everything has a place: nodes, texts and curves at coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import graphviz

from causalsim.rendering.layout import Point, between
from causalsim.rendering.style import Style

# Helvetica's advance widths in ems, by classes of letters and a little on the generous side.
NARROW, WIDE = "ijlftrI.,:;'|! ()[]/-", "mwMW%@"
SMALLEST_FONT = 5.0


@dataclass(frozen=True)
class Canvas:
    digraph: graphviz.Digraph
    style: Style

    def node(self, name: str, at: Point, width: float, height: float, **attributes: str) -> None:
        """A shape of a fixed size in points."""
        size = {"width": inches(width), "height": inches(height), "fixedsize": "true"}
        self.digraph.node(name, pos=pinned(at), **size, **attributes)

    def text(
        self, name: str, at: Point, text: str, *, size: float, colour: str, css: str, bold: bool = False
    ) -> None:
        """A line of text that starts at ``at``."""
        width = text_width(text, size)
        self.digraph.node(
            name,
            # Flush left whatever the drawing program thinks the text measures.
            label=graphviz.nohtml(quoted(text) + "\\l"),
            pos=pinned(Point(at.x + width / 2, at.y)),
            shape="plaintext",
            style="",
            margin="0",
            width=inches(width),
            height=inches(size),
            fontsize=number(size),
            fontcolor=colour,
            fontname=self.style.fontname + ("-Bold" if bold else ""),
            id=name,
            **{"class": css},
        )

    def anchor(self, name: str, at: Point) -> None:
        """An invisible end for a curve."""
        self.digraph.node(name, pos=pinned(at), shape="point", style="invis", width="0.01", height="0.01")

    def curve(
        self, name: str, controls: Sequence[Point], *, css: str, tip: Point | None = None, **attributes: str
    ) -> None:
        """A free curve with Bezier control points, between two anchors of its own."""
        tail, head = f"{name}-tail", f"{name}-head"
        self.anchor(tail, controls[0])
        self.anchor(head, tip or controls[-1])
        path = spline(controls) if tip is None else arrow(controls, tip)
        self.digraph.edge(tail, head, pos=path, id=name, **attributes, **{"class": css})


def quoted(text: str) -> str:
    """A text that Graphviz shows as it is: no HTML, no escapes, no entities, nothing unprintable."""
    seen = "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text)
    escaped = graphviz.escape(seen.replace("&", "&amp;")).replace("\n", "\\n")
    shown: str = graphviz.nohtml(escaped)
    return shown


def pinned(at: Point) -> str:
    return f"{number(at.x)},{number(at.y)}!"


def spline(controls: Sequence[Point]) -> str:
    return " ".join(f"{number(x)},{number(y)}" for x, y in controls)


def straight(a: Point, b: Point) -> list[Point]:
    """A straight line as control points."""
    return [a, between(a, b, 1 / 3), between(a, b, 2 / 3), b]


def arrow(controls: Sequence[Point], tip: Point) -> str:
    """A curve whose arrowhead ends at ``tip``."""
    return f"e,{number(tip.x)},{number(tip.y)} {spline(controls)}"


def inches(points: float) -> str:
    return f"{points / 72:.4g}"


def number(value: float) -> str:
    return f"{round(value, 2):g}" if abs(value) < 1e5 else f"{value:.1f}"


def text_width(text: str, size: float) -> float:
    """Estimated width in points of the widest line of a text."""
    return size * max(sum(map(_advance, line)) for line in text.split("\n"))


def _advance(letter: str) -> float:
    if letter in NARROW:
        return 0.3
    return 0.84 if letter in WIDE else 0.7 if letter.isupper() else 0.56


def fitted(text: str, width: float, size: float) -> tuple[str, float]:
    """A label and its font size such that it fits a width, cut short where it would be too small."""
    fitting = size * min(1.0, width / max(text_width(text, size), 1.0))
    if fitting >= SMALLEST_FONT:
        return text, fitting
    return "\n".join(_cut(line, width) for line in text.split("\n")), SMALLEST_FONT


def _cut(line: str, width: float) -> str:
    if text_width(line, SMALLEST_FONT) <= width:
        return line
    while line and text_width(line + "..", SMALLEST_FONT) > width:
        line = line[:-1]
    return line + ".."
