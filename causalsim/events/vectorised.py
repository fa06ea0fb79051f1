"""The families of a wiring over whole lines of positions: the vectorised twins of ``predecessors``.

A line is one site of one request along its positions. A family relates two lines, so a
check or a longest chain over a graph costs a few array passes a family, whatever the
number of edges. Tests hold these equal to ``EventGraph.predecessors``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Int

from causalsim.events.columns import Columns
from causalsim.events.wiring import EdgeFamily, Site

Line = Int[np.ndarray, " positions"]

ABSENT = -1

# Sites of a band: what a line of cache holds of a row. Edge families join sites of one or two bands.
BAND, KEPT_BANDS = 16, 3


def count_pairs(sources: range, targets: range, family: EdgeFamily) -> int:
    """Return how many edges of one family lie between the positions of its source and of its target.

    >>> family = EdgeFamily("kv", Site("kv", 0), Site("attn", 0), first=0, last=1)
    >>> count_pairs(range(3), range(3), family)
    5
    """
    beyond = 0 if family.last is None else _count_apart(sources, targets, family.last + 1)
    return _count_apart(sources, targets, family.first) - beyond


def _count_apart(sources: range, targets: range, distance: int) -> int:
    """Pairs in which the source lies at least so far before the target."""
    first = targets.start - distance - sources.start
    return _ramp(first + len(targets), len(sources)) - _ramp(first, len(sources))


def _ramp(stop: int, top: int) -> int:
    """1 + 2 + 3 + ... over so many terms, none above ``top``."""
    rising = min(max(stop, 0), top)
    return rising * (rising + 1) // 2 + max(stop - top, 0) * top


class Lines:
    """An array over events as the lines of one request, ``ABSENT`` where a site is absent.

    Canonical order puts the events of a line far apart. A band of neighbouring sites is copied
    at a time, which reads memory in order and holds a small part of it.

    >>> from causalsim.events import EventGraph, Wiring
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> Lines(graph.requests[0], np.arange(4))[Site("block", 1)].tolist()
    [1, 3]
    """

    def __init__(self, columns: Columns, values: Int[np.ndarray, " events"]) -> None:
        self.columns, self._values = columns, values
        self._bands: dict[int, Int[np.ndarray, "sites positions"]] = {}

    def __getitem__(self, site: Site) -> Line:
        number, row = divmod(self.columns.rank[site], BAND)
        if number not in self._bands:
            if len(self._bands) == KEPT_BANDS:
                del self._bands[next(iter(self._bands))]
            self._bands[number] = self._band(number * BAND)
        return self._bands[number][row]

    def _band(self, first: int) -> Int[np.ndarray, "sites positions"]:
        sites = min(BAND, len(self.columns.sites) - first)
        band = np.full((sites, self.columns.length), ABSENT, self._values.dtype)
        for held, sheet in self.columns.sheets(self._values):
            rows = sheet[:, first : first + BAND].T
            band[: len(rows), held.start : held.stop] = rows
        return band


def latest_source(line: Line, first: int, last: int | None) -> Line:
    """Return at every position q the greatest entry at q - last .. q - first, ``ABSENT`` without any.

    >>> line = np.array([3, 1, 2])
    >>> latest_source(line, 0, None).tolist(), latest_source(line, 1, 1).tolist()
    ([3, 3, 3], [-1, 3, 1])
    """
    best = _trailing(np.maximum, line, None if last is None else last - first + 1)
    if first == 0:
        return best
    return np.concatenate([np.full(first, ABSENT, line.dtype), best])[: len(line)]


def latest_reader(line: Line, first: int, last: int | None) -> Line:
    """Return at every position p the greatest entry at p + first .. p + last, as ``latest_source`` mirrored.

    >>> line = np.array([3, 1, 2])
    >>> latest_reader(line, 0, None).tolist(), latest_reader(line, 1, 1).tolist()
    ([3, 2, 2], [1, 2, -1])
    """
    return latest_source(line[::-1], first, last)[::-1]


def earliest_reader(line: Line, last: int | None) -> Line:
    """Return at every position p the least entry at p .. p + last, of a line that is absent nowhere.

    >>> earliest_reader(np.array([3, 1, 2]), None).tolist(), earliest_reader(np.array([3, 1, 2]), 1).tolist()
    ([1, 1, 2], [1, 1, 2])
    """
    return _trailing(np.minimum, line[::-1], None if last is None else last + 1)[::-1]


def _trailing(extreme: np.ufunc, line: Line, window: int | None) -> Line:
    """The extreme of so many entries up to each one, ``None`` for all."""
    if window is None:
        return extreme.accumulate(line)
    best, span = line, 1
    while span < min(window, len(line)):
        step = min(span, window - span)
        best = np.concatenate([best[:step], extreme(best[step:], best[:-step])])
        span += step
    return best


def levels(columns: Columns, families: Sequence[EdgeFamily]) -> dict[Site, Line]:
    """Return the length of the longest chain that ends at each event, from 0, as one line a site.

    Their level sets are a least partition into antichains (Mirsky 1971).

    >>> from causalsim.events import EventGraph, Wiring
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> [line.tolist() for line in levels(graph.requests[0], graph.edge_families).values()]
    [[0, 0], [1, 1]]
    """
    prompt, length = columns.prompt, columns.length
    blocks = [(0, prompt), *((position, position + 1) for position in range(prompt, length))]
    held = {site: columns.positions(site) for site in columns.sites}
    return _longest_chains(length, blocks, families, held)


def colevels(columns: Columns, families: Sequence[EdgeFamily]) -> dict[Site, Line]:
    """Return the length of the longest chain that starts at each event: ``levels`` of the mirrored columns.

    >>> from causalsim.events import EventGraph, Wiring
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> [line.tolist() for line in colevels(graph.requests[0], graph.edge_families).values()]
    [[1, 1], [0, 0]]
    """
    prompt, length = columns.prompt, columns.length
    blocks = [*((position, position + 1) for position in range(length - prompt)), (length - prompt, length)]
    spans = {site: columns.positions(site) for site in columns.sites}
    held = {site: range(length - span.stop, length - span.start) for site, span in spans.items()}
    mirrored = [family._replace(source=family.target, target=family.source) for family in families]
    mirrored.sort(key=lambda family: -columns.rank[family.target])
    lines = _longest_chains(length, blocks, mirrored, held)
    return {site: line[::-1] for site, line in lines.items()}


def _longest_chains(
    length: int, blocks: Iterable[tuple[int, int]], families: Sequence[EdgeFamily], held: dict[Site, range]
) -> dict[Site, Line]:
    """Families come by target in an order that never reads a line of the same block too early."""
    lines = {site: np.full(length, ABSENT, np.int32) for site in held}
    for site, present in held.items():
        lines[site][present.start : present.stop] = 0
    for start, stop in blocks:
        for family in families:
            present = held[family.target]
            low, high = max(start, present.start), min(stop, present.stop)
            if low < high:
                target = lines[family.target][low:high]
                np.maximum(target, _sources(lines[family.source], family, low, high) + 1, out=target)
    return lines


def _sources(line: Line, family: EdgeFamily, low: int, high: int) -> Line:
    if high - low > 1:
        return latest_source(line[:high], family.first, family.last)[low:]
    read = family.sources(low, range(len(line)))
    return line[read.start : read.stop].max(initial=ABSENT, keepdims=True)


def first_violation(
    columns: Columns, families: Sequence[EdgeFamily], times: Int[np.ndarray, " events"]
) -> tuple[EdgeFamily, int, int] | None:
    """Return the first family, and in it the first source and target position, that times run against.

    ``times`` are non-negative; an edge is respected if its target is strictly later.

    >>> from causalsim.events import EventGraph, Wiring
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> family, p, q = first_violation(graph.requests[0], graph.edge_families, np.array([1, 2, 2, 2]))
    >>> family.stream, p, q
    ('residual', 1, 1)
    """
    lines = Lines(columns, times)
    for family in families:
        source, target = lines[family.source], lines[family.target]
        broken = (latest_source(source, family.first, family.last) >= target) & (target != ABSENT)
        if broken.any():
            position = int(broken.argmax())
            read = family.sources(position, range(len(source)))
            late = source[read.start : read.stop] >= target[position]
            return family, read.start + int(late.argmax()), position
    return None


def gather(columns: Columns, lines: Mapping[Site, Line], out: Int[np.ndarray, " events"]) -> None:
    """Write lines back into an array over events in canonical order.

    >>> from causalsim.events import EventGraph, Wiring
    >>> graph, out = EventGraph(Wiring(2), 2, granularity="block"), np.empty(4, int)
    >>> gather(graph.requests[0], {site: np.array([site.layer, 9]) for site in graph.sites}, out)
    >>> out.tolist()
    [0, 1, 9, 9]
    """
    for held, sheet in columns.sheets(out):
        for first in range(0, sheet.shape[1], BAND):
            rows = sheet[:, first : first + BAND]
            sites = columns.sites[first : first + rows.shape[1]]
            rows[:] = np.stack([lines[site][held.start : held.stop] for site in sites], axis=1)


def latest_predecessors(
    families_into: Mapping[Site, Sequence[EdgeFamily]], lines: Lines
) -> Iterator[tuple[Site, Line]]:
    """Yield the greatest time among each event's direct predecessors by site, ``ABSENT`` without any.

    >>> from causalsim.events import EventGraph, Wiring
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> lines = Lines(graph.requests[0], np.array([0, 3, 1, 4]))
    >>> [latest.tolist() for _, latest in latest_predecessors(graph.families_into, lines)]
    [[-1, -1], [0, 1]]
    """
    for site, families in families_into.items():
        latest = np.full_like(lines[site], ABSENT)
        for family in families:
            np.maximum(latest, latest_source(lines[family.source], family.first, family.last), out=latest)
        yield site, latest
