"""Execution: a program's launches, one after another, on a state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from causalsim.engine.forms import form
from causalsim.engine.program import MANY_LANES, Launch, Program, compile_together
from causalsim.engine.state import State, fresh_kv, poisoned_again
from causalsim.engine.tokens import check_length
from causalsim.errors import InputError
from causalsim.events import Event, EventGraph, Slot
from causalsim.kernels import CERTIFIED, PAGE, Kernels

if TYPE_CHECKING:
    from causalsim.engine.model import Model

# A window that no position can exceed, for layers that see everything.
UNBOUNDED = 2**30
# The kinds of launches that one call can carry, where their lanes are the same.
LAYER = ("kv", "attn", "mlp")
TOUCHING = ("kv", "attn", "block")


@dataclass(frozen=True)
class Output:
    """A launch as it was executed, and the values of its lanes, of which the first belong to events."""

    launch: Launch
    value: Any


def execute(
    program: Program,
    state: State,
    kernels: Kernels = CERTIFIED,
    *,
    keep: bool = True,
    release: bool = False,
) -> tuple[State, list[Output]]:
    """Run a program on a state, which it consumes; the state after it and what was launched.

    Runs anything: programs that break causality read poison, kernels may be any substitutes.
    Without ``keep`` the values are dropped at once. With ``release`` a layer's K/V is given
    up after the last launch that touches it, and its memory, poisoned again, serves the next.
    """
    _check_graph(program.graph, state)
    machine = _Machine(replace(state, keys=list(state.keys), values=list(state.values)), kernels, keep)
    if release:
        machine.release_behind(program.launches)
    outputs = list(machine.run_all(program.launches))
    return machine.state, outputs


def as_run(graph: EventGraph, outputs: Iterable[Output]) -> Program:
    """The program that was executed, launch by launch, whatever was asked for."""
    return Program(graph, tuple(output.launch for output in outputs))


def step(state: State, events: Iterable[Event], kernels: Kernels = CERTIFIED) -> tuple[State, list[Output]]:
    """Run chosen events on a state, which it consumes: those of one slot together, in canonical order.

    For sublayer graphs; a block is a step of its kv, attn and mlp.
    """
    if state.graph.granularity != "sublayer":
        raise InputError("steps run events of sublayer graphs", got=f"a {state.graph.granularity} graph")
    return execute(compile_together(state.graph, events), state, kernels)


def warm(model: Model, length: int | Sequence[int], kernels: Kernels) -> None:
    """Run every form at every lane count on scratch cells, so that each is compiled."""
    graph = EventGraph(model.config, length)
    for number, positions in enumerate(graph.lengths):
        check_length(model, number, positions)
    machine = _Machine(State.fresh(model, graph, _unknown(graph)), kernels, keep=True)
    poisoned_again(*fresh_kv(machine.config, machine.state.layout))
    *inner, unembed, sample = graph.slots
    layer, together = inner[1].layer, sum(graph.lengths)
    for slot in (*inner[:4], unembed, Slot("layer", layer), Slot("block", layer)):
        for lanes in kernels.lanes.up_to(together):
            machine.run_scratch(slot, lanes)
    # What only one lane of each request can join: samples, and short attentions of several.
    company = len(graph.lengths)
    for lanes in kernels.lanes.up_to(company):
        machine.run_scratch(sample, lanes)
    for lanes in kernels.lanes.up_to(company * (MANY_LANES - 1)) if company > 1 else ():
        for kind in ("attn", "layer"):
            machine.run_scratch(Slot(kind, layer), lanes, several=True)


def _unknown(graph: EventGraph) -> list[np.ndarray]:
    return [np.zeros(length, np.int32) for length in graph.lengths]


def _check_graph(graph: EventGraph, state: State) -> None:
    if state.graph != graph:
        raise InputError("a program runs on a state of its own graph", got=state.graph, expected=graph)


class _Machine:
    """A state with the forms that act on it; each call consumes cells and puts the new ones back."""

    def __init__(self, state: State, kernels: Kernels, keep: bool) -> None:
        model = state.model
        self.config, self.state, self.kernels, self.keep = model.config, state, kernels, keep
        self.weights = model.weights(kernels)
        layout = state.layout
        self.rows, self.pages, self.tables = layout.first_rows(), layout.first_pages(), layout.tables()
        self.table_of = [jnp.asarray(table) for table in self.tables]
        self.forms: dict[str, Callable[..., Any]] = {}
        self.left: Counter[int] = Counter()
        self.spare: list[tuple[Any, Any]] = []
        reaches = self.config.wiring.reaches
        self.reaches = [_scalar(UNBOUNDED if reach is None else reach) for reach in reaches]

    def release_behind(self, launches: Sequence[Launch]) -> None:
        """Count the launches that touch each layer's K/V, so that the last of them is known."""
        self.left.update(launch.slot.layer for launch in launches if launch.slot.kind in TOUCHING)

    def _reserve(self, layer: int) -> None:
        state = self.state
        if state.keys[layer] is None:
            state.reserved += not self.spare
            pair = poisoned_again(*self.spare.pop()) if self.spare else fresh_kv(self.config, state.layout)
            state.keys[layer], state.values[layer] = pair

    def _release(self, launch: Launch) -> None:
        layer = launch.slot.layer
        if launch.slot.kind in TOUCHING and layer in self.left:
            self.left[layer] -= 1
            if not self.left[layer]:
                self.spare.append((self.state.keys[layer], self.state.values[layer]))
                self.state.keys[layer] = self.state.values[layer] = None

    def run_all(self, launches: Sequence[Launch]) -> Iterator[Output]:
        """Every launch in turn; a layer's three of the same lanes in one call."""
        waiting = list(reversed(launches))
        while waiting:
            three = waiting[: -len(LAYER) - 1 : -1]
            if _is_layer(three) and self.kernels.lanes.is_one_call(len(three[0])):
                del waiting[-len(LAYER) :]
                yield from self._run_layer(three)
            else:
                del three[1:]
                yield from self._run(waiting.pop())
            for launch in three:
                self._release(launch)

    def _run(self, launch: Launch) -> Iterator[Output]:
        """A launch in as many calls as its lanes need."""
        start, counts = 0, self.kernels.lanes.split(len(launch))
        for lanes in counts:
            part = launch if len(counts) == 1 else launch.restricted(slice(start, start + lanes))
            start += lanes
            value = self._call(part.slot, self._packed(part, lanes), self._table(part, lanes))
            yield Output(part, value if self.keep else None)

    def _run_layer(self, three: Sequence[Launch]) -> Iterator[Output]:
        first = three[0]
        (lanes,) = self.kernels.lanes.split(len(first))
        slot = Slot("layer", first.slot.layer)
        values = self._call(slot, self._packed(first, lanes), self._table(three[1], lanes))
        for launch, value in zip(three, values, strict=True):
            parts = launch.slot, launch.requests, launch.positions, launch.events
            yield Output(Launch(*parts, joined=launch is not first), value if self.keep else None)

    def run_scratch(self, slot: Slot, lanes: int, several: bool = False) -> None:
        nothing = np.empty(0, np.int32)
        launch = Launch(slot, nothing, nothing)
        table = self._tables_of_lanes(launch, lanes) if several else self.table_of[0]
        self._call(slot, self._packed(launch, lanes), table)

    def _packed(self, launch: Launch, lanes: int) -> Int[np.ndarray, "3 lanes"]:
        """Indices of a launch's cells; lanes beyond its events write to scratch, at a position of theirs."""
        layout, count = self.state.layout, len(launch)
        packed = np.empty((3, lanes), np.int32)
        packed[0, :count] = self.rows[launch.requests] + launch.positions
        packed[1, :count] = launch.positions
        packed[2, :count] = self.pages[launch.requests] + launch.positions // PAGE
        packed[0, count:], packed[2, count:] = layout.rows, layout.pages
        packed[1, count:] = launch.positions[0] if count else 0
        return packed

    def _table(self, launch: Launch, lanes: int) -> Any:
        """The pages that an attention reads: of its request, or of each lane's own."""
        if launch.slot.kind not in ("attn", "block"):
            return None
        first = launch.requests[0]
        if (launch.requests == first).all():
            return self.table_of[first]
        return self._tables_of_lanes(launch, lanes)

    def _tables_of_lanes(self, launch: Launch, lanes: int) -> Int[np.ndarray, "lanes entries"]:
        tables = np.full((lanes, self.tables.shape[1]), self.state.layout.pages, np.int32)
        tables[: len(launch)] = self.tables[launch.requests]
        return tables

    def _call(self, slot: Slot, packed: Int[np.ndarray, "3 lanes"], table: Any) -> Any:
        if slot.kind == "block":
            self._attn(slot.layer, packed, table)
            left = self._mlp(slot.layer, packed, table)
            return self._stream(slot.layer + 1, packed) if self.config.parallel_residual else left
        return getattr(self, f"_{slot.kind}")(slot.layer, packed, table)

    def _form(self, kind: str) -> Callable[..., Any]:
        # Looked up once: comparing configurations takes longer than a small launch.
        if kind not in self.forms:
            self.forms[kind] = form(self.config, self.kernels, kind)
        return self.forms[kind]

    def _stream(self, layer: int, packed: Any) -> Any:
        """The residual that a layer reads, where no single event leaves it."""
        return self._form("stream")(self.state.residual, packed, _scalar(layer))

    def _embed(self, layer: int, packed: Any, table: Any) -> Any:
        state = self.state
        state.residual, value = self._form("embed")(
            self.weights["embed"], state.residual, state.tokens, packed
        )
        return value

    def _kv(self, layer: int, packed: Any, table: Any) -> Any:
        state = self.state
        self._reserve(layer)
        state.keys[layer], state.values[layer], value = self._form("kv")(
            self.weights["layers"][layer]["kv"],
            state.keys[layer],
            state.values[layer],
            state.residual,
            packed,
            _scalar(layer),
        )
        return value

    def _attn(self, layer: int, packed: Any, table: Any) -> Any:
        state = self.state
        self._reserve(layer)
        state.residual, value = self._form("attn")(
            self.weights["layers"][layer]["attn"],
            state.residual,
            state.keys[layer],
            state.values[layer],
            packed,
            _scalar(layer),
            table,
            self.reaches[layer],
        )
        return value

    def _mlp(self, layer: int, packed: Any, table: Any) -> Any:
        state = self.state
        state.residual, value = self._form("mlp")(
            self.weights["layers"][layer]["mlp"], state.residual, packed, _scalar(layer)
        )
        return value

    def _layer(self, layer: int, packed: Any, table: Any) -> Any:
        state = self.state
        self._reserve(layer)
        state.residual, state.keys[layer], state.values[layer], values = self._form("layer")(
            self.weights["layers"][layer],
            state.residual,
            state.keys[layer],
            state.values[layer],
            packed,
            _scalar(layer),
            table,
            self.reaches[layer],
        )
        return values

    def _unembed(self, layer: int, packed: Any, table: Any) -> Any:
        state = self.state
        state.logits = self._form("unembed")(self.weights["unembed"], state.logits, state.residual, packed)
        # A copy of so many numbers is made only for those who keep it.
        return self._form("logits")(state.logits, packed) if self.keep else None

    def _sample(self, layer: int, packed: Any, table: Any) -> Any:
        state = self.state
        scratch = state.layout.rows
        target = np.where(packed[0] == scratch, scratch, packed[0] + 1).astype(np.int32)
        state.tokens, value = self._form("sample")(
            state.tokens,
            state.logits,
            packed,
            target,
            state.sampling.given[target],
            np.float32(state.sampling.temperature),
            np.int32(state.sampling.seed),
        )
        return value


def _is_layer(launches: Sequence[Launch]) -> bool:
    """Whether these are kv, attn and mlp of one layer for the same lanes."""
    if tuple(launch.slot.kind for launch in launches) != LAYER:
        return False
    first, *others = launches
    return all(
        other.slot.layer == first.slot.layer
        and len(other) == len(first)
        and (other.positions == first.positions).all()
        and (other.requests == first.requests).all()
        for other in others
    )


@lru_cache(maxsize=4096)
def _scalar(number: int) -> Any:
    """A number that lies on the device already."""
    return jnp.asarray(number, jnp.int32)


def event_values(outputs: Iterable[Output]) -> Iterator[tuple[Slot, Int[np.ndarray, " events"], Any]]:
    """The values of events on the host: slot, canonical indices, and arrays with an event a row."""
    for output in outputs:
        events = output.launch.events
        if len(events):
            yield output.launch.slot, events, _first(len(events), jax.device_get(output.value))


def _first(count: int, value: Any) -> Any:
    return jax.tree.map(lambda array: array[:count], value)
