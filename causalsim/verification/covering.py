"""Orders by which every form of dispatch occurs: executable, first layer, rows to spare, page tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from causalsim.engine import Dispatch, Plan, compile, plan
from causalsim.engine.program import MANY_ROWS
from causalsim.events import KINDS, EventGraph
from causalsim.foliations import Foliation, earliest, token_major
from causalsim.kernels import Buckets
from causalsim.verification.trials import Form, Row, forms

# When a dispatch runs. Where the same rows would go on together, the rest runs position by position.
WHEN = LATE, EARLY, APART = "late", "early", "late and the rest apart"


class Occurrence(NamedTuple):
    """A form of dispatch as it occurs in a plan.

    Attributes:
        kind: A kind, or ``"layers"``.
        layers: How many whole layers.
        rows: Rows, those of padding included.
        first: The first of several layers; 0 where it is one, which has the same executable everywhere.
        has_tables: True if each row has a table of its own.
        is_padded: True if rows are to spare.
    """

    kind: str
    layers: int
    rows: int
    first: int
    has_tables: bool
    is_padded: bool


def occurrences(made: Plan) -> frozenset[Occurrence]:
    """List the forms that the dispatches of a plan have."""
    return frozenset(map(_occurrence, made.dispatches))


def _occurrence(dispatch: Dispatch) -> Occurrence:
    table = dispatch.indices.table
    table = table[0] if isinstance(table, tuple) else table
    first = dispatch.site.layer if dispatch.layers > 1 else 0
    padded = len(dispatch.batches[0]) < dispatch.size
    return Occurrence(*dispatch.executable, first, table is not None and table.ndim == 2, padded)


def possible(graph: EventGraph, buckets: Buckets) -> Mapping[Occurrence, tuple[Form, tuple[Row, ...]]]:
    """List the forms that dispatches of a graph can have, with rows that give them."""
    found: dict[Occurrence, tuple[Form, tuple[Row, ...]]] = {}
    for form, there in forms(graph, buckets):
        attends = form.layers > 0 or KINDS[form.site.kind].attends
        group = _together(graph, form, {request for _, request in there}, attends)
        first = form.site.layer if form.layers > 1 else 0
        sizes = [n for n in range(1, len(group) + 1) if buckets.split(n) == [form.rows]]
        for count in {min(sizes, default=0), max(sizes, default=0)} - {0}:
            rows = _chosen(group, count)
            tables = attends and len(graph.lengths) > 1 and len({request for _, request in rows}) > 1
            key = Occurrence(*form.executable, first, tables, count < form.rows)
            # Of several layers the last: from there on too few are left for a dispatch of more.
            found[key] = form, rows
    return found


def _together(graph: EventGraph, form: Form, requests: Collection[int], attends: bool) -> list[Row]:
    """The most rows that do not wait for one another: those of the prompts, or the first behind each."""
    # Attentions of many rows go by request.
    most = MANY_ROWS - 1 if attends and len(requests) > 1 else None
    found = list[Row]()
    for request in sorted(requests):
        own = [(int(position), request) for position in graph.requests[request].positions(form.site)]
        found += ([row for row in own if row[0] < graph.prompts[request]] or own[:1])[:most]
    return found


def _chosen(group: Sequence[Row], count: int) -> tuple[Row, ...]:
    """So many rows, of all requests in turn where there are several."""
    requests = dict.fromkeys(request for _, request in group)
    each = [[row for row in group if row[1] == request] for request in requests]
    in_turn = [row for rows in zip_longest(*each) for row in rows if row]
    return tuple(sorted(in_turn[:count], key=lambda row: row[::-1]))


def covering(graph: EventGraph, buckets: Buckets) -> Iterator[tuple[str, Foliation]]:
    """Yield orders, by name, that have forms of dispatch which those before them had not."""
    if graph.granularity != "sublayer":
        return
    wanted, seen = possible(graph, buckets), set[Occurrence]()
    for key, (form, rows) in wanted.items():
        for when in WHEN:
            if key in seen:
                break
            order = _with(graph, form, rows, when)
            if new := occurrences(plan(compile(order), buckets)) - seen:
                seen |= new
                yield f"{form}, {len(rows)} of them filled, {when}", order


def _with(graph: EventGraph, form: Form, rows: Sequence[Row], when: str) -> Foliation:
    """The events of a dispatch, after all that does not wait for them, or after no more than they need."""
    carried = [[graph.index(event) for event in form.events(row)] for row in rows]
    each = [graph[index] for column in carried for index in column]
    is_late, reach = when != EARLY, graph.past if when == EARLY else graph.future
    phase, within = np.full(len(graph), 0 if is_late else 2, np.int64), earliest(graph).times.copy()
    for event in each:
        phase[[graph.index(other) for other in reach(event)]] = 2 if is_late else 0
    if when == APART:
        within = np.where(phase == 2, token_major(graph).times, within)
    for column in carried:
        phase[column], within[column] = 1, np.arange(len(column))
    return Foliation(graph, phase * (len(graph) + 1) + within)
