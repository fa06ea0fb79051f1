"""Reading pictures back: from the SVG that the program drew, and from the DOT that we wrote."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import graphviz
from hypothesis import strategies as st

from causalsim.events import EventGraph
from causalsim.foliations import Foliation
from causalsim.rendering import render
from causalsim.testing.strategies import foliations, linear_extensions

SVG = "{http://www.w3.org/2000/svg}"
TITLE = "{http://www.w3.org/1999/xlink}title"

GLASS = {"n_layers": 4, "length": 20}


@dataclass(frozen=True)
class Element:
    id: str
    classes: frozenset[str]
    texts: tuple[str, ...]
    tooltip: str | None
    colours: frozenset[str]


def elements(picture: graphviz.Digraph, folder: Path, *classes: str) -> list[Element]:
    """The elements of a rendered picture that have all of these classes."""
    root = ElementTree.parse(render(picture, folder / "picture.svg")).getroot()
    found = [_element(group) for group in root.iter(f"{SVG}g") if group.get("class")]
    return [element for element in found if element.classes >= set(classes)]


def _element(group: ElementTree.Element) -> Element:
    texts = tuple(text.text or "" for text in group.iter(f"{SVG}text"))
    tooltips = [link.get(TITLE) for link in group.iter(f"{SVG}a")]
    colours = {shape.get(paint) for shape in group.iter() for paint in ("fill", "stroke")}
    classes = frozenset(group.get("class", "").split())
    return Element(
        group.get("id", ""), classes, texts, next(iter(tooltips), None), frozenset(colours - {None})
    )


def legend(picture: graphviz.Digraph, folder: Path) -> str:
    return "\n".join(text for element in elements(picture, folder, "legend") for text in element.texts)


def places(picture: graphviz.Digraph) -> dict[str, tuple[float, float]]:
    """Coordinates of the nodes of events, by id, as written in the DOT."""
    found = {}
    for line in picture.body:
        if '"event ' in line or 'class="event' in line:
            name = re.match(r'\s*"?([\w-]+)"?', line)
            at = re.search(r'pos="(-?[\d.]+),(-?[\d.]+)!"', line)
            assert name is not None, line
            assert at is not None, line
            assert name[1] not in found, f"{name[1]} twice"
            found[name[1]] = float(at[1]), float(at[2])
    return found


def line_heights(picture: graphviz.Digraph) -> dict[str, list[float]]:
    """Heights of the control points of the slices' lines, by id."""
    found = {}
    for line in picture.body:
        if 'class="slice' in line:
            points = line.split('pos="')[1].split('"')[0].split()
            found[re.search(r'id="([\w-]+)"', line)[1]] = [float(point.split(",")[1]) for point in points]
    return found


def foliations_of(graph: EventGraph) -> st.SearchStrategy[Foliation]:
    """Foliations of every shape: one event a slice, and wide slices."""
    return foliations(graph) | linear_extensions(graph)
