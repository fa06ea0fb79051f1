"""Trials: an event in a call, on memory that holds its direct predecessors' values and litter elsewhere.

In every call that the planner can make of it (each kind alone, whole layers, several of them; every
lane count) an event must leave its own bits in its own cells, and every other cell as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

from causalsim.engine import Program
from causalsim.engine.calls import LAYER, calls_of, deepest
from causalsim.engine.program import MANY_LANES
from causalsim.events import Event, EventGraph, Slot
from causalsim.kernels import Lanes
from causalsim.verification.memory import FILLS

# Position and request: where in a launch's slot a lane works.
Lane = tuple[int, int]
# What a call takes: a kind, how many whole layers of it, and how many lanes.
Executable = tuple[str, int, int]


@dataclass(frozen=True)
class Form:
    """What a call carries: a slot, or so many whole layers from its layer on; and its lane count."""

    slot: Slot
    lanes: int
    layers: int = 0

    @property
    def kind(self) -> str:
        return "layers" if self.layers else self.slot.kind

    @property
    def executable(self) -> Executable:
        return self.kind, self.layers, self.lanes

    @property
    def slots(self) -> tuple[Slot, ...]:
        if not self.layers:
            return (self.slot,)
        layers = range(self.slot.layer, self.slot.layer + self.layers)
        return tuple(Slot(kind, layer) for layer in layers for kind in LAYER)

    def events(self, lane: Lane) -> tuple[Event, ...]:
        """What it runs in a lane."""
        return tuple(Event(kind, layer, *lane) for kind, layer in self.slots)

    def __str__(self) -> str:
        what = f"{self.layers} whole layers" if self.layers else f"{self.slot.kind} alone"
        return f"{what} in {self.lanes} lane{'s' * (self.lanes > 1)}"


@dataclass(frozen=True)
class Trial:
    """A call over some lanes, of which those ``tested`` are compared, on memory filled in one way."""

    form: Form
    lanes: tuple[Lane, ...]
    tested: tuple[Lane, ...]
    fill: str

    def __str__(self) -> str:
        first = self.form.events(self.tested[0])[-1]
        more = f" and {len(self.tested) - 1} more" * (len(self.tested) > 1)
        return f"{first}{more} in a call of {self.form}, with {self.fill} cells around what it reads"


def forms(graph: EventGraph, lanes: Lanes) -> Iterator[tuple[Form, tuple[Lane, ...]]]:
    """Every form that the planner can make of a graph's events, and the lanes that calls of it may have."""
    for slot in graph.slots:
        kinds = [(slot, 0)]
        if slot.kind == "kv":
            kinds += [(slot, 1), (slot, deepest(graph.wiring.n_layers))]
        for first, layers in dict.fromkeys(kinds):
            if not layers or (first.layer % layers == 0 and first.layer + layers <= graph.wiring.n_layers):
                for group in _groups(graph, first, is_attending=slot.kind == "attn" or layers > 0):
                    for number in lanes.up_to(len(group)):
                        if layers < 2 or number == 1:
                            yield Form(first, number, layers), group


def _groups(graph: EventGraph, slot: Slot, is_attending: bool) -> Iterator[tuple[Lane, ...]]:
    """Lanes that may stand in one launch: of all requests, but attentions of many only of one."""
    each = [
        [(position, request) for position in columns.positions(slot)]
        for request, columns in enumerate(graph.requests)
    ]
    each = [own for own in each if own]
    if not each:
        return
    if not is_attending or len(each) == 1:
        yield tuple(lane for own in each for lane in own)
        return
    yield from (tuple(own) for own in each)
    yield tuple(lane for own in each for lane in own[-MANY_LANES + 1 :])


def executables(program: Program, lanes: Lanes) -> Iterator[Executable]:
    """What the calls of a program take."""
    for call in calls_of(program.launches, lanes, program.graph.wiring.n_layers):
        layers = len(call) // len(LAYER)
        for number in lanes.split(len(call[0])):
            yield "layers" if layers else call[0].slot.kind, layers, number


def every_place(form: Form, group: tuple[Lane, ...]) -> Iterator[Trial]:
    """Each event first and last in a call, and alone in it, with every fill."""
    size = min(len(group), form.lanes)
    for at, lane in enumerate(group):
        others = (group[at + 1 :] + group[:at])[: size - 1]
        for fill in FILLS:
            for lanes in dict.fromkeys([(lane, *others), (*others, lane), (lane,)]):
                yield Trial(form, lanes, (lane,), fill)


def in_rotation(form: Form, group: tuple[Lane, ...], turn: int) -> Iterator[Trial]:
    """Each event once, half of a call's lanes at a time; places and fills change with the turn.

    Every second turn one half stands without the other, in a call with lanes to spare.
    """
    size = min(len(group), form.lanes)
    turned = tuple(group[(turn + at) % len(group)] for at in range(len(group) + size - 1))
    fills = cycle(FILLS[turn % len(FILLS) :] + FILLS[: turn % len(FILLS)])
    for start in range(0, len(group), size):
        lanes = turned[start : start + size]
        yield Trial(form, lanes, lanes[::2], next(fills))
        if tested := lanes[1::2]:
            yield Trial(form, lanes if turn % 2 else tested, tested, next(fills))
