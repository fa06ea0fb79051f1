"""Trials: an event in a dispatch, on memory that holds its direct predecessors' values, else garbage.

In every dispatch that the planner can make of it (each kind alone, whole layers, several of them; every
batch size) an event must leave its own bits in its own cells, and every other cell as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from math import gcd

import numpy as np

from causalsim.engine.joining import deepest
from causalsim.engine.program import MANY_ROWS
from causalsim.events import KINDS, Event, EventGraph, Site
from causalsim.events.kinds import SUBLAYERS
from causalsim.kernels import Buckets
from causalsim.verification.memory import GARBAGE

# Position and request: where in a batch's site a row works.
Row = tuple[int, int]
# Positions from a row of a batch to the next, and rows of which one is tried, in rotation.
STEPS, APART = (1, 2, 3, 5), 8
# What a dispatch takes: a kind, how many whole layers of it, and how many rows.
Executable = tuple[str, int, int]


@dataclass(frozen=True)
class Form:
    """The load of a dispatch: a site, or so many whole layers from its layer on; and its batch size."""

    site: Site
    rows: int
    layers: int = 0
    sublayers: tuple[str, ...] = SUBLAYERS

    @property
    def kind(self) -> str:
        return "layers" if self.layers else self.site.kind

    @property
    def executable(self) -> Executable:
        return self.kind, self.layers, self.rows

    @property
    def sites(self) -> tuple[Site, ...]:
        if not self.layers:
            return (self.site,)
        layers = range(self.site.layer, self.site.layer + self.layers)
        return tuple(Site(kind, layer) for layer in layers for kind in self.sublayers)

    def events(self, row: Row) -> tuple[Event, ...]:
        """The events that it runs in a row."""
        return tuple(Event(kind, layer, *row) for kind, layer in self.sites)

    def __str__(self) -> str:
        what = f"{self.layers} whole layers" if self.layers else f"{self.site.kind} alone"
        return f"{what} in {self.rows} row{'s' * (self.rows > 1)}"


@dataclass(frozen=True)
class Trial:
    """A dispatch over some rows, of which those ``tested`` are compared, beside one kind of garbage."""

    form: Form
    rows: tuple[Row, ...]
    tested: tuple[Row, ...]
    garbage: str

    @property
    def event(self) -> Event:
        """The last of the first tested row."""
        return self.form.events(self.tested[0])[-1]

    def __str__(self) -> str:
        more = f" and {len(self.tested) - 1} more" * (len(self.tested) > 1)
        return f"{self.event}{more} in a dispatch of {self.form}, beside {self.garbage} garbage"


def forms(graph: EventGraph, buckets: Buckets) -> Iterator[tuple[Form, tuple[Row, ...]]]:
    """Every form that the planner can make of a graph's events, and the rows that its dispatches may have."""
    for site in graph.sites:
        kinds = [(site, 0)]
        if site.kind == graph.wiring.sublayers[0]:
            kinds += [(site, 1), (site, deepest(graph.wiring.n_layers))]
        for first, layers in dict.fromkeys(kinds):
            if first.layer + layers <= graph.wiring.n_layers or not layers:
                for group in _groups(graph, first, is_attending=KINDS[site.kind].attends or layers > 0):
                    for number in buckets.up_to(len(group)):
                        if layers < 2 or number == 1:
                            yield Form(first, number, layers, graph.wiring.sublayers), group


def _groups(graph: EventGraph, site: Site, is_attending: bool) -> Iterator[tuple[Row, ...]]:
    """Rows that may stand in one batch: of all requests, but attentions of many only of one."""
    each = [
        [(position, request) for position in columns.positions(site)]
        for request, columns in enumerate(graph.requests)
    ]
    each = [own for own in each if own]
    if not each:
        return
    if not is_attending or len(each) == 1:
        yield tuple(row for own in each for row in own)
        return
    yield from (tuple(own) for own in each)
    yield tuple(row for own in each for row in own[-MANY_ROWS + 1 :])


def everywhere(form: Form, group: tuple[Row, ...], turn: int) -> Iterator[Trial]:
    """All that ``in_rotation`` has, and each event first, last, in between and alone, with all garbage."""
    # In between, beside rows drawn at random: the events of a site come to every place of a dispatch.
    yield from in_rotation(form, group, turn)
    size, rng = min(len(group), form.rows), np.random.default_rng([turn, form.rows, form.layers])
    for at, row in enumerate(group):
        others = (group[at + 1 :] + group[:at])[: size - 1]
        drawn = [group[(at + int(n)) % len(group)] for n in 1 + rng.permutation(len(group) - 1)[: size - 1]]
        drawn.insert((at + turn) % size, row)
        for garbage in GARBAGE:
            for rows in dict.fromkeys([(row, *others), (*others, row), (row,), tuple(drawn)]):
                yield Trial(form, rows, (row,), garbage)


def in_rotation(form: Form, group: tuple[Row, ...], turn: int) -> Iterator[Trial]:
    """Yield each event once, half of a dispatch's rows at a time; places and garbage change with the turn.

    Every second turn one half stands without the other, in a dispatch with rows to spare. Rows stand side by
    side in the text, or some positions apart. Several layers are tried from every layer on; from one where
    the planner of a whole column begins none, with every eighth row.
    """
    if form.layers > 1 and form.site.layer % form.layers:
        group = group[turn % APART :: APART] or group[:1]
    size = min(len(group), form.rows)
    step = next(each for each in (*STEPS[turn % len(STEPS) :], 1) if gcd(each, len(group)) == 1)
    turned = tuple(group[(turn + step * at) % len(group)] for at in range(len(group) + size - 1))
    kinds = cycle(GARBAGE[turn % len(GARBAGE) :] + GARBAGE[: turn % len(GARBAGE)])
    for start in range(0, len(group), size):
        rows = turned[start : start + size]
        yield Trial(form, rows, rows[::2], next(kinds))
        if tested := rows[1::2]:
            yield Trial(form, rows if turn % 2 else tested, tested, next(kinds))
