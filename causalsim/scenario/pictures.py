"""The pictures of a scenario: what each shows, and the file that it goes to."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from causalsim.events import Event, EventGraph
from causalsim.foliations import Foliation
from causalsim.scenario.experiment import Experiment, RouteEntry

if TYPE_CHECKING:
    from graphviz import Digraph


@dataclass(frozen=True)
class Figure:
    """A picture still to be drawn: the stem and endings of its files, what it shows, how to draw it."""

    stem: str
    formats: tuple[str, ...]
    caption: str
    draw: Callable[[], Digraph]

    @property
    def names(self) -> list[str]:
        """The names of its files."""
        return [f"{self.stem}.{ending}" for ending in self.formats]

    def write(self, folder: Path) -> None:
        """Draw it and write every format, making the folder."""
        from causalsim.rendering import render

        drawn = self.draw()
        folder.mkdir(parents=True, exist_ok=True)
        for name in self.names:
            render(drawn, folder / name)


def figures(ready: Experiment) -> tuple[Figure, ...]:
    """All pictures that a scenario asks for.

    Args:
        ready: The scenario, made ready.

    Returns:
        Pictures still to be drawn, each with the names of its files.
    """
    return (*_of_graph(ready), *_of_foliations(ready), *_of_routes(ready))


def write(figures: Iterable[Figure], folder: Path) -> None:
    """Write pictures, as many at once as there are processors: each is drawn by a program of its own."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda figure: figure.write(folder), figures))


def _of_graph(ready: Experiment) -> Iterator[Figure]:
    if ready.scenario.pictures.graph:
        draw = partial(_drawn, ready, ready.graph, "The causal graph")
        yield Figure("graph", _formats(ready), "the causal graph", draw)


def _of_foliations(ready: Experiment) -> Iterator[Figure]:
    for number, entry in enumerate(ready.foliations if ready.scenario.pictures.foliations else (), 1):
        if entry.foliation is not None:
            draw = partial(_drawn, ready, entry.foliation, entry.name)
            # The number keeps apart names that differ only in what a file name cannot hold.
            shape = f"{entry.foliation.depth:,} slices, widest {entry.foliation.width:,}"
            yield Figure(_stem(f"{number}-{entry.name}"), _formats(ready), shape, draw)


def _of_routes(ready: Experiment) -> Iterator[Figure]:
    for place, entry in enumerate(ready.routes, 1):
        stem = f"routes-{place}"
        words = f"from {entry.source} to {entry.target}"
        routes = list(ready.graph.routes(entry.source, entry.target)) if entry.table.draw else []
        if entry.table.draw == "together":
            draw = partial(_routes_drawn, ready, entry, routes, f"The {len(routes)} routes {words}")
            yield Figure(stem, _formats(ready), f"the {len(routes)} routes {words}", draw)
        for number, route in enumerate(routes, 1) if entry.table.draw == "each" else ():
            caption = f"route {number} of {len(routes)} {words}: up at position {', '.join(map(str, route))}"
            draw = partial(_routes_drawn, ready, entry, [route], caption)
            yield Figure(f"{stem}-{number}", _formats(ready), caption, draw)


def _routes_drawn(ready: Experiment, entry: RouteEntry, routes: list[tuple[int, ...]], title: str) -> Digraph:
    from causalsim.rendering import route_edges

    edges = [route_edges(ready.graph, entry.source, entry.target, route) for route in routes]
    ends = {entry.source: "A", entry.target: "B"}
    return _drawn(ready, ready.graph, title, highlight=edges, more=ends)


def _drawn(
    ready: Experiment,
    target: EventGraph | Foliation,
    title: str,
    highlight: Any = None,
    more: Mapping[Event, str] = MappingProxyType({}),
) -> Digraph:
    from causalsim.rendering import to_graphviz

    return to_graphviz(target, highlight=highlight, labels={**_words(ready), **more}, title=title)


def _words(ready: Experiment) -> dict[Event, str]:
    """The tokens that are read, in their embed events."""
    if ready.model is None or ready.model.tokenizer is None or ready.graph.granularity == "block":
        return {}
    return {
        Event("embed", -1, position, request): ready.model.decode([int(token)]).strip() or "·"
        for request, ids in enumerate(ready.ids)
        for position, token in enumerate(ids)
    }


def _formats(ready: Experiment) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ready.scenario.pictures.format))


def _stem(name: str) -> str:
    """Return a name as a file's: letters, digits, and dashes for the rest.

    >>> _stem("tilted(velocity=-1/7)")
    'tilted-velocity--1-7'
    """
    return re.sub(r"[^A-Za-z0-9-]+", "-", name).strip("-")
