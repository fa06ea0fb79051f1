"""Highlights of a picture: the light cones of one event, chosen events, chosen edges and paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

from causalsim.errors import InputError
from causalsim.events import KINDS, Edge, Event, EventGraph, Site

Highlight: TypeAlias = "Event | Edge | Iterable[Highlight]"


@dataclass(frozen=True)
class Roles:
    """The part that events and edges play in a picture; those without one stand as they are.

    An event is ``focus``, ``past``, ``future``, ``spacelike``, ``marked`` or ``faded``.
    """

    graph: EventGraph
    events: dict[Event, str] = field(default_factory=dict)
    marked: frozenset[Edge] = frozenset()

    def of_edge(self, edge: Edge) -> str | None:
        """``marked``; ``past`` or ``future`` inside a cone; ``faded`` beside what is shown."""
        if edge in self.marked:
            return "marked"
        ends = {self.events.get(edge.source), self.events.get(edge.target)}
        if ends <= {"marked", None}:
            return None
        inside = ends - {"focus"}
        return inside.pop() if len(inside) == 1 and inside <= {"past", "future"} else "faded"

    def touches_focus(self, edge: Edge) -> bool:
        return "focus" in (self.events.get(edge.source), self.events.get(edge.target))

    def having(self, role: str) -> list[Event]:
        return [event for event, found in self.events.items() if found == role]


def roles(graph: EventGraph, highlight: Highlight | None) -> Roles:
    """Return the parts of events and edges in a highlight; ``InputError`` for what is not of the graph.

    One ``Event``: itself in focus, its past and its future coloured, what is spacelike to it
    faded. Else an iterable: ``Event``s in it stand out and the other events fade; ``Edge``s
    in it are drawn as routes. An iterable inside it is a path: the edges along its events,
    or the edges that it lists.
    """
    if highlight is None:
        return Roles(graph)
    if isinstance(highlight, Event):
        return _cones(graph, highlight)
    marks = list(_marks(graph, _iterable(highlight)))
    chosen = {mark for mark in marks if isinstance(mark, Event)}
    edges = frozenset(mark for mark in marks if isinstance(mark, Edge))
    ends = {end for edge in edges for end in (edge.source, edge.target)}
    if not chosen:
        return Roles(graph, dict.fromkeys(ends, "marked"), edges)
    shown = chosen | ends
    return Roles(graph, {event: "marked" if event in shown else "faded" for event in graph}, edges)


def route_edges(graph: EventGraph, a: Event, b: Event, rises: Sequence[int]) -> list[Edge]:
    """The edges of one of ``graph.routes(a, b)``: right over K/V, up through the layer, and so on.

    Args:
        graph: An event graph.
        a: A K/V event.
        b: An attention.
        rises: The positions at which the route rises, one a layer.

    Returns:
        The edges, each from where the one before ends.

    Raises:
        InputError: The rise positions are no route of the graph.

    >>> from causalsim.events import Wiring
    >>> graph = EventGraph(Wiring(2), 3)
    >>> a, b = Event("kv", 0, 0), Event("attn", 1, 2)
    >>> for edge in route_edges(graph, a, b, next(graph.routes(a, b))):
    ...     print(edge)
    kv(0,0) -> attn(0,0) [kv]
    attn(0,0) -> mlp(0,0) [residual]
    mlp(0,0) -> kv(1,0) [residual]
    kv(1,0) -> attn(1,2) [kv]
    """
    graph.check(a)
    graph.check(b)
    is_route = KINDS[a.kind].writes == "kv" and KINDS[b.kind].attends
    if not is_route or a.request != b.request or len(rises) != b.layer - a.layer:
        raise InputError(
            "a route leads from a kv event to an attn event and rises once a layer",
            got=f"{a} to {b} with rises {tuple(rises)}",
            expected="one of graph.routes(a, b)",
        )
    edges, here = [], a
    for rise in rises:
        above = Event(a.kind, here.layer + 1, rise, a.request)
        steps = [here, *_up(graph, here, above), above]
        edges += [_edge(graph, source, target) for source, target in pairwise(steps)]
        here = above
    return [*edges, _edge(graph, here, b)]


def _up(graph: EventGraph, kv: Event, above: Event) -> Iterator[Event]:
    """Yield the events between K/V and that of the next layer at its position, what attends first.

    With a parallel residual that is all, else everything that stands between the two.
    """
    low, high = (graph.sites.index(Site(event.kind, event.layer)) for event in (kv, above))
    for site in graph.sites[low + 1 : low + 2 if graph.strands else high]:
        yield Event(*site, above.position, above.request)


def _cones(graph: EventGraph, focus: Event) -> Roles:
    past, future = graph.past(focus), graph.future(focus)
    events = dict.fromkeys(graph, "spacelike")
    events |= dict.fromkeys(past, "past") | dict.fromkeys(future, "future") | {focus: "focus"}
    return Roles(graph, events)


def _marks(graph: EventGraph, items: Iterable[Any]) -> Iterator[Event | Edge]:
    for item in items:
        if isinstance(item, Edge):
            yield _edge(graph, item.source, item.target, item.stream)
        elif isinstance(item, Event):
            graph.check(item)
            yield item
        else:
            yield from _path(graph, list(_iterable(item)))


def _path(graph: EventGraph, steps: list[Any]) -> Iterator[Event | Edge]:
    if steps and all(isinstance(step, Event) for step in steps):
        yield from (_edge(graph, source, target) for source, target in pairwise(steps))
    else:
        yield from _marks(graph, steps)


def _edge(graph: EventGraph, source: Event, target: Event, stream: str | None = None) -> Edge:
    graph.check(source)
    for edge in graph.edges_into(target):
        if edge.source == source and stream in (None, edge.stream):
            return edge
    raise InputError(
        "a highlighted edge is an edge of the graph",
        got=f"{source} -> {target}" + (f" [{stream}]" if stream else ""),
        hint="graph.edges() lists the edges; a path names every event that it passes.",
    )


def _iterable(item: Any) -> Iterable[Any]:
    if isinstance(item, str) or not isinstance(item, Iterable):
        raise InputError("a highlight is an Event, or an iterable of Events, Edges and paths", got=repr(item))
    return item
