"""The rules of a wiring over whole lines of positions: the vectorised twins of ``predecessors``.

A line is one slot of one request along its positions. A rule relates two lines, so a
check or a longest chain over a graph costs a few array passes a rule, whatever the
number of edges. Tests hold these equal to ``EventGraph.predecessors``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from causalsim.events.columns import Columns
from causalsim.events.wiring import Rule, Slot

if TYPE_CHECKING:
    from causalsim.events.graph import EventGraph

Line = Int[np.ndarray, " positions"]

ABSENT = -1


def count_pairs(sources: range, targets: range, rule: Rule) -> int:
    """Edges of one rule between the positions of its source and of its target."""
    beyond = 0 if rule.last is None else _count_apart(sources, targets, rule.last + 1)
    return _count_apart(sources, targets, rule.first) - beyond


def _count_apart(sources: range, targets: range, distance: int) -> int:
    """Pairs in which the source lies at least so far before the target."""
    first = targets.start - distance - sources.start
    return _ramp(first + len(targets), len(sources)) - _ramp(first, len(sources))


def _ramp(stop: int, top: int) -> int:
    """1 + 2 + 3 + ... over so many terms, none above ``top``."""
    rising = min(max(stop, 0), top)
    return rising * (rising + 1) // 2 + max(stop - top, 0) * top


def spread(columns: Columns, slot: Slot, values: Int[np.ndarray, " events"]) -> Line:
    """The values of one slot along all positions, ``ABSENT`` where it is absent."""
    held = columns.positions(slot)
    if len(held) == columns.length and not columns.n_samples:
        # Without feedback a line is a strided view: checking a long graph copies nothing.
        return values[columns.index(slot, 0) : columns.start + len(columns) : columns.height]
    line = np.full(columns.length, ABSENT, values.dtype)
    line[held.start : held.stop] = values[columns.line(slot)]
    return line


def latest_source(line: Line, first: int, last: int | None) -> Line:
    """At every position q the greatest entry at q - last .. q - first, ``ABSENT`` without any."""
    best = np.maximum.accumulate(line) if last is None else _trailing_maximum(line, last - first + 1)
    if first == 0:
        return best
    return np.concatenate([np.full(first, ABSENT, line.dtype), best])[: len(line)]


def latest_reader(line: Line, first: int, last: int | None) -> Line:
    """At every position p the greatest entry at p + first .. p + last: the mirror of ``latest_source``."""
    return latest_source(line[::-1], first, last)[::-1]


def _trailing_maximum(line: Line, reach: int) -> Line:
    best, span = line, 1
    while span < min(reach, len(line)):
        step = min(span, reach - span)
        best = np.concatenate([best[:step], np.maximum(best[step:], best[:-step])])
        span += step
    return best


def levels(columns: Columns, rules: Sequence[Rule]) -> dict[Slot, Line]:
    """Length of the longest chain that ends at each event, from 0, as one line a slot."""
    prompt, length = columns.prompt, columns.length
    blocks = [(0, prompt), *((position, position + 1) for position in range(prompt, length))]
    held = {slot: columns.positions(slot) for slot in columns.slots}
    return _longest_chains(length, blocks, rules, held)


def colevels(columns: Columns, rules: Sequence[Rule]) -> dict[Slot, Line]:
    """Length of the longest chain that starts at each event: ``levels`` of the mirrored columns."""
    prompt, length = columns.prompt, columns.length
    blocks = [*((position, position + 1) for position in range(length - prompt)), (length - prompt, length)]
    held = {slot: _mirror(columns.positions(slot), length) for slot in columns.slots}
    mirrored = [rule._replace(source=rule.target, target=rule.source) for rule in rules]
    mirrored.sort(key=lambda rule: -columns.rank[rule.target])
    lines = _longest_chains(length, blocks, mirrored, held)
    return {slot: line[::-1] for slot, line in lines.items()}


def _mirror(held: range, length: int) -> range:
    return range(length - held.stop, length - held.start)


def _longest_chains(
    length: int, blocks: Iterable[tuple[int, int]], rules: Sequence[Rule], held: dict[Slot, range]
) -> dict[Slot, Line]:
    """Rules come by target in an order that never reads a line of the same block too early."""
    lines = {slot: np.full(length, ABSENT, np.int64) for slot in held}
    for slot, present in held.items():
        lines[slot][present.start : present.stop] = 0
    for start, stop in blocks:
        for rule in rules:
            present = held[rule.target]
            low, high = max(start, present.start), min(stop, present.stop)
            if low < high:
                target = lines[rule.target][low:high]
                np.maximum(target, _sources(lines[rule.source], rule, low, high) + 1, out=target)
    return lines


def _sources(line: Line, rule: Rule, low: int, high: int) -> Line:
    if high - low > 1:
        return latest_source(line[:high], rule.first, rule.last)[low:]
    start = 0 if rule.last is None else max(0, low - rule.last)
    return line[start : low - rule.first + 1].max(initial=ABSENT, keepdims=True)


def first_violation(
    columns: Columns, rules: Sequence[Rule], times: Int[np.ndarray, " events"]
) -> tuple[Rule, int, int] | None:
    """The first rule, and in it the first source and target position, that times run against.

    ``times`` are non-negative; an edge is respected if its target is strictly later.
    """
    for rule in rules:
        source, target = spread(columns, rule.source, times), spread(columns, rule.target, times)
        broken = (latest_source(source, rule.first, rule.last) >= target) & (target != ABSENT)
        if broken.any():
            position = int(broken.argmax())
            start = 0 if rule.last is None else max(0, position - rule.last)
            late = source[start : position - rule.first + 1] >= target[position]
            return rule, start + int(late.argmax()), position
    return None


def gather(columns: Columns, lines: dict[Slot, Line], out: Int[np.ndarray, " events"]) -> None:
    """Write lines back into an array over events in canonical order."""
    for slot, line in lines.items():
        held = columns.positions(slot)
        out[columns.line(slot)] = line[held.start : held.stop]


def latest_predecessors(graph: EventGraph, times: Int[np.ndarray, " events"]) -> Int[np.ndarray, " events"]:
    """The greatest time among the direct predecessors of every event, ``ABSENT`` without any."""
    out = np.full(len(graph), ABSENT, np.int64)
    for columns in graph.requests:
        lines = {slot: np.full(columns.length, ABSENT, np.int64) for slot in columns.slots}
        for rule in graph.rules:
            source = latest_source(spread(columns, rule.source, times), rule.first, rule.last)
            np.maximum(lines[rule.target], source, out=lines[rule.target])
        gather(columns, lines, out)
    return out


def latest_successors(graph: EventGraph, times: Int[np.ndarray, " events"]) -> Int[np.ndarray, " events"]:
    """The greatest time among the direct successors of every event, ``ABSENT`` without any."""
    out = np.full(len(graph), ABSENT, np.int64)
    for columns in graph.requests:
        lines = {slot: np.full(columns.length, ABSENT, np.int64) for slot in columns.slots}
        for rule in graph.rules:
            reader = latest_reader(spread(columns, rule.target, times), rule.first, rule.last)
            np.maximum(lines[rule.source], reader, out=lines[rule.source])
        gather(columns, lines, out)
    return out
