"""Directed paths of the event graph: how many lead from one event to another, and which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from causalsim.arguments import check_type
from causalsim.events.checks import checked_graph
from causalsim.events.cones import Cone
from causalsim.events.event import Event
from causalsim.events.limits import refuse_long
from causalsim.events.wiring import Rule, Slot

if TYPE_CHECKING:
    from causalsim.events.graph import EventGraph

# For each rule at each position: one comes into view, one goes, and what is in view counts.
SUMS = 3


def count_paths(graph: EventGraph, a: Event, b: Event, bypass: bool = False) -> int:
    """Number of directed paths from ``a`` to ``b``, as sequences of events, exactly.

    With ``bypass`` a residual edge into an attention or an MLP counts twice, once through the
    computation and once past it (with a parallel residual the MLP's value is its increment
    alone, and an edge into it counts once). A path from an event to itself is the empty one.

    Counted from position to position and up each column, with a sliding sum for each family of
    edges; ``LimitError`` at once where that would take minutes.

    >>> from causalsim.events import Event, EventGraph, Wiring
    >>> graph = EventGraph(Wiring(1), 1)
    >>> ends = Event("embed", -1, 0), Event("unembed", 1, 0)
    >>> count_paths(graph, *ends), count_paths(graph, *ends, bypass=True)
    (2, 6)
    """
    graph.check(a)
    graph.check(b)
    check_type("bypass", bypass, (bool, np.bool_), "Give True or False.")
    if a == b:
        return 1
    if a.request != b.request or a.position > b.position:
        return 0
    slots = _slots_between(graph, a, b)
    weights = _weights(graph, slots, bypass)
    refuse_long(
        "a count of paths sums over kinds of edges and positions",
        SUMS * (b.position - a.position + 1) * len(weights),
    )
    return _swept(graph, a, b, slots, weights) if slots else 0


def paths(graph: EventGraph, a: Event, b: Event) -> Iterator[tuple[Event, ...]]:
    """The directed paths from ``a`` to ``b``, both ends included, in the order of ``graph.edges_from``.

    Depth first inside the past of ``b``, so that no step leads astray.

    >>> from causalsim.events import Event, EventGraph, Wiring
    >>> graph = EventGraph(Wiring(1), 1)
    >>> for path in paths(graph, Event("embed", -1, 0), Event("attn", 0, 0)):
    ...     print(*path)
    embed(0) kv(0,0) attn(0,0)
    embed(0) attn(0,0)
    """
    checked_graph(graph).check(a)
    inside = graph.past(b)
    path, steps = [a], [_steps(graph, a, b, inside)]
    if a == b:
        yield (a,)
    while steps:
        step = next(steps[-1], None)
        if step is None:
            steps.pop()
            path.pop()
        elif step == b:
            yield (*path, b)
        else:
            path.append(step)
            steps.append(_steps(graph, step, b, inside))


def _steps(graph: EventGraph, event: Event, goal: Event, inside: Cone) -> Iterator[Event]:
    """The events that read this one and lead to the goal, each once."""
    seen = set()
    for edge in graph.edges_from(event):
        if edge.target not in seen and (edge.target == goal or edge.target in inside):
            seen.add(edge.target)
            yield edge.target


def _swept(graph: EventGraph, a: Event, b: Event, slots: list[Slot], weights: dict[Rule, int]) -> int:
    columns = graph.requests[a.request]
    into = {slot: [rule for rule in weights if rule.target == slot] for slot in slots}
    ways: dict[Slot, list[int]] = {slot: [] for slot in slots}
    # Of each rule, the paths to the sources that it has in view, which slide along with the position.
    sums, sights = dict.fromkeys(weights, 0), {slot: _sight(weights, slot) for slot in slots}
    for place, position in enumerate(range(a.position, b.position + 1)):
        for slot in slots:
            for rule in into[slot]:
                sums[rule] += _slid(ways[rule.source], rule, place)
            found = sum(weights[rule] * sums[rule] for rule in into[slot])
            starts = place == 0 and slot == (a.kind, a.layer)
            ways[slot].append(1 if starts else found if position in columns.positions(slot) else 0)
            if place >= sights[slot]:  # Where tokens are fed back, old numbers are long.
                ways[slot][place - sights[slot]] = 0
    return ways[Slot(b.kind, b.layer)][-1]


def _slid(line: list[int], rule: Rule, place: int) -> int:
    """What comes into view of a rule at a place, less what goes out of it."""
    comes, goes = place - rule.first, -1 if rule.last is None else place - rule.last - 1
    return (line[comes] if comes >= 0 else 0) - (line[goes] if goes >= 0 else 0)


def _sight(rules: Iterable[Rule], slot: Slot) -> int:
    """How far back some rule looks for a slot's events, once it has counted them."""
    own = (rule for rule in rules if rule.source == slot)
    return max((rule.first if rule.last is None else rule.last + 1 for rule in own), default=0) + 1


def _slots_between(graph: EventGraph, a: Event, b: Event) -> list[Slot]:
    """The slots that paths may pass: all of them where tokens lead back down, else those between."""
    if graph.has_feedback:
        return list(graph.slots)
    low, high = (graph.slots.index(Slot(event.kind, event.layer)) for event in (a, b))
    return list(graph.slots[low : high + 1])


def _weights(graph: EventGraph, slots: list[Slot], bypass: bool) -> dict[Rule, int]:
    """How often an edge of each rule counts; of two rules that join the same events, the wider."""
    among = [rule for rule in graph.rules if rule.source in slots and rule.target in slots]
    wider = {rule[1:3]: rule for rule in sorted(among, key=_reach)}
    return {rule: 2 if bypass and _is_bypassed(graph, rule) else 1 for rule in wider.values()}


def _reach(rule: Rule) -> float:
    return inf if rule.last is None else rule.last


def _is_bypassed(graph: EventGraph, rule: Rule) -> bool:
    skipped = ("attn",) if graph.wiring.parallel_residual else ("attn", "mlp")
    return rule.stream == "residual" and rule.target.kind in skipped
