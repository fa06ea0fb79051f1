"""Execution: a program's launches, one after another, on a state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Int

from causalsim.engine.forms import Lane, form
from causalsim.engine.program import Launch, Program, compile_together
from causalsim.engine.state import State
from causalsim.engine.tokens import check_length
from causalsim.errors import InputError
from causalsim.events import Event, EventGraph, Slot
from causalsim.kernels import CERTIFIED, PAGE, Kernels

if TYPE_CHECKING:
    from causalsim.engine.model import Model

# A window that no position can exceed, for layers that see everything.
UNBOUNDED = np.int32(2**30)


@dataclass(frozen=True)
class Output:
    """A launch as it was executed, and the values of its lanes, of which the first belong to events."""

    launch: Launch
    value: Any


def execute(
    program: Program, state: State, kernels: Kernels = CERTIFIED, *, keep: bool = True
) -> tuple[State, list[Output]]:
    """Run a program on a state, which it consumes; the state after it and what was launched.

    Runs anything: programs that break causality read poison, kernels may be any substitutes.
    Without ``keep`` the values are dropped at once.
    """
    _check_graph(program.graph, state)
    machine = _Machine(replace(state, keys=list(state.keys), values=list(state.values)), kernels)
    outputs = [
        output if keep else Output(output.launch, None)
        for launch in program.launches
        for output in machine.run(launch)
    ]
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
    machine = _Machine(State.fresh(model, graph, _unknown(graph)), kernels)
    *inner, unembed, sample = graph.slots
    for slot in (*inner[:4], unembed, sample):
        # Samples of one text wait for each other, so a slice holds at most one a request.
        together = len(graph.lengths) if slot is sample else sum(graph.lengths)
        for lanes in kernels.lanes.up_to(together):
            machine.run_scratch(slot, lanes)
    if model.config.parallel_residual:
        for lanes in kernels.lanes.up_to(sum(graph.lengths)):
            machine.run_scratch(Slot("block", 0), lanes)


def _unknown(graph: EventGraph) -> list[np.ndarray]:
    return [np.zeros(length, np.int32) for length in graph.lengths]


def _check_graph(graph: EventGraph, state: State) -> None:
    if state.graph != graph:
        raise InputError("a program runs on a state of its own graph", got=state.graph, expected=graph)


class _Machine:
    """A state with the forms that act on it; each method consumes cells and puts the new ones back."""

    def __init__(self, state: State, kernels: Kernels) -> None:
        model = state.model
        self.config, self.state, self.kernels = model.config, state, kernels
        self.weights = model.weights(kernels)
        layout = state.layout
        self.rows, self.pages, self.tables = layout.first_rows(), layout.first_pages(), layout.tables()

    def run(self, launch: Launch) -> Iterator[Output]:
        """A launch in as many calls as its lanes need."""
        start = 0
        for lanes in self.kernels.lanes.split(len(launch)):
            part = launch.restricted(slice(start, start + lanes))
            start += lanes
            yield Output(part, self._call(part.slot, self._lane(part, lanes), int(part.requests[0])))

    def run_scratch(self, slot: Slot, lanes: int) -> None:
        nothing = np.empty(0, np.int32)
        self._call(slot, self._lane(Launch(slot, nothing, nothing), lanes), 0)

    def _form(self, kind: str) -> Callable[..., Any]:
        return form(self.config, self.kernels, kind)

    def _lane(self, launch: Launch, lanes: int) -> Lane:
        """Indices of a launch's cells; lanes beyond its events write to scratch, at a position of theirs."""
        spare = lanes - len(launch)
        rows = self.rows[launch.requests] + launch.positions
        pages = self.pages[launch.requests] + launch.positions // PAGE
        position = launch.positions[:1] if len(launch) else np.zeros(1, np.int32)
        return Lane(
            np.concatenate([rows, np.full(spare, self.state.layout.rows, np.int32)]),
            np.concatenate([launch.positions, np.repeat(position, spare)]),
            np.concatenate([pages, np.full(spare, self.state.layout.pages, np.int32)]),
        )

    def _call(self, slot: Slot, lane: Lane, request: int) -> Any:
        if slot.kind == "block":
            self._attn(slot.layer, lane, request)
            left = self._mlp(slot.layer, lane, request)
            return self._stream(slot.layer + 1, lane) if self.config.parallel_residual else left
        return getattr(self, f"_{slot.kind}")(slot.layer, lane, request)

    def _stream(self, layer: int, lane: Lane) -> Any:
        """The residual that a layer reads, where no single event leaves it."""
        return self._form("stream")(self.state.residual, lane, np.int32(layer))

    def _embed(self, layer: int, lane: Lane, request: int) -> Any:
        state = self.state
        state.residual, value = self._form("embed")(self.weights["embed"], state.residual, state.tokens, lane)
        return value

    def _kv(self, layer: int, lane: Lane, request: int) -> Any:
        state = self.state
        state.keys[layer], state.values[layer], value = self._form("kv")(
            self.weights["layers"][layer]["kv"],
            state.keys[layer],
            state.values[layer],
            state.residual,
            lane,
            np.int32(layer),
        )
        return value

    def _attn(self, layer: int, lane: Lane, request: int) -> Any:
        state = self.state
        reach = self.config.wiring.reaches[layer]
        state.residual, value = self._form("attn")(
            self.weights["layers"][layer]["attn"],
            state.residual,
            state.keys[layer],
            state.values[layer],
            lane,
            np.int32(layer),
            self.tables[request],
            UNBOUNDED if reach is None else np.int32(reach),
        )
        return value

    def _mlp(self, layer: int, lane: Lane, request: int) -> Any:
        state = self.state
        state.residual, value = self._form("mlp")(
            self.weights["layers"][layer]["mlp"], state.residual, lane, np.int32(layer)
        )
        return value

    def _unembed(self, layer: int, lane: Lane, request: int) -> Any:
        state = self.state
        state.logits, value = self._form("unembed")(
            self.weights["unembed"], state.logits, state.residual, lane
        )
        return value

    def _sample(self, layer: int, lane: Lane, request: int) -> Any:
        state = self.state
        scratch = state.layout.rows
        target = np.where(lane.row == scratch, scratch, lane.row + 1).astype(np.int32)
        state.tokens, value = self._form("sample")(
            state.tokens,
            state.logits,
            lane,
            target,
            state.sampling.given[target],
            np.float32(state.sampling.temperature),
            np.int32(state.sampling.seed),
        )
        return value


def event_values(outputs: Iterable[Output]) -> Iterator[tuple[Slot, Int[np.ndarray, " events"], Any]]:
    """The values of events on the host: slot, canonical indices, and arrays with an event a row."""
    for output in outputs:
        events = output.launch.events
        if len(events):
            yield output.launch.slot, events, _first(len(events), jax.device_get(output.value))


def _first(count: int, value: Any) -> Any:
    return jax.tree.map(lambda array: array[:count], value)
