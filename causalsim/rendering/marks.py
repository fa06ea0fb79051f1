"""Marks that a scene is made of: nodes, texts and curves at coordinates, whatever program draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias


class Point(NamedTuple):
    """A place in points, x rightwards and y upwards."""

    x: float
    y: float


Controls: TypeAlias = "tuple[Point, ...]"
"""Bezier control points: two ends and, for every stretch, two points between."""


@dataclass(frozen=True)
class Node:
    """A filled shape of a fixed size in points, with a label inside. Colours are ``#rrggbb``."""

    name: str
    at: Point
    width: float
    height: float
    shape: str
    fill: str
    line: str
    css: str
    line_width: float | None = None
    label: str = ""
    label_size: float | None = None
    label_colour: str | None = None
    tooltip: str | None = None


@dataclass(frozen=True)
class Text:
    """A line of text that starts at a place."""

    name: str
    at: Point
    text: str
    size: float
    colour: str
    css: str
    bold: bool = False


@dataclass(frozen=True)
class Curve:
    """A free curve; with a ``tip`` it ends in an arrowhead there."""

    name: str
    controls: Controls
    colour: str
    width: float
    css: str
    tip: Point | None = None
    is_dotted: bool = False


@dataclass(frozen=True)
class Link:
    """A curve from node to node, straight where no ``controls`` are given.

    ``head`` is the size of the arrowhead, ``None`` where there is none; the colour may end in an opacity.
    """

    name: str
    source: str
    target: str
    colour: str
    width: float
    css: str
    head: float | None
    controls: Controls | None = None
    tip: Point | None = None


Mark: TypeAlias = "Node | Text | Curve | Link"


def between(a: Point, b: Point, share: float) -> Point:
    """Return the place ``share`` of the way from ``a`` to ``b``.

    >>> between(Point(0, 0), Point(4, 8), 0.25)
    Point(x=1.0, y=2.0)
    """
    return Point(a.x + (b.x - a.x) * share, a.y + (b.y - a.y) * share)


def straight(a: Point, b: Point) -> Controls:
    """Return a straight line as control points.

    >>> straight(Point(0, 0), Point(3, 0))[1]
    Point(x=1.0, y=0.0)
    """
    return a, between(a, b, 1 / 3), between(a, b, 2 / 3), b
