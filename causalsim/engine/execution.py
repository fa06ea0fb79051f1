"""Execution: a program's launches, one after another, on a state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Int

from causalsim.engine.machine import Machine, Output
from causalsim.engine.program import MANY_LANES, Program, compile_together
from causalsim.engine.state import State, fresh_kv, poisoned_again
from causalsim.engine.tokens import check_length
from causalsim.errors import InputError
from causalsim.events import Event, EventGraph, Slot
from causalsim.kernels import CERTIFIED, Kernels
from causalsim.kernels.precision import from_memory

if TYPE_CHECKING:
    from causalsim.engine.model import Model


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
    machine = Machine(replace(state, keys=list(state.keys), values=list(state.values)), kernels, keep)
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
    machine = Machine(State.fresh(model, graph, _unknown(graph)), kernels, keep=True)
    poisoned_again(*fresh_kv(model, machine.state.layout))
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


def event_values(outputs: Iterable[Output]) -> Iterator[tuple[Slot, Int[np.ndarray, " events"], Any]]:
    """The values of events on the host: slot, canonical indices, and arrays with an event a row."""
    for output in outputs:
        events = output.launch.events
        if len(events):
            yield output.launch.slot, events, _first(len(events), jax.device_get(output.value))


def _first(count: int, value: Any) -> Any:
    return jax.tree.map(lambda array: from_memory(array[:count]), value)
