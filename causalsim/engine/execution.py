"""Execution: a program's batches, one after another, on a state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Int

from causalsim.engine.dispatches import Dispatch, deepest, dispatches_of
from causalsim.engine.kept import kernels_for
from causalsim.engine.machine import Machine, Output
from causalsim.engine.placement import Placement
from causalsim.engine.program import MANY_ROWS, Program, compile_together
from causalsim.engine.state import State, fresh_kv
from causalsim.engine.tokens import check_length
from causalsim.errors import InputError
from causalsim.events import Event, EventGraph, Site
from causalsim.kernels import Kernels
from causalsim.kernels.precision import from_storage

if TYPE_CHECKING:
    from causalsim.engine.model import Model


def execute(
    program: Program, state: State, kernels: Kernels | None = None, *, keep: bool = True
) -> tuple[State, list[Output]]:
    """Run a program on a state, which it consumes; the state after it and what was run.

    Runs anything: programs that break causality read poison, kernels may be any substitutes.
    Without ``keep`` the values are dropped at once. On a bare state K/V is given up, page by
    page, after the last batch that touches it, and is poison again for what lies there next.
    """
    _check_graph(program.graph, state)
    chosen = kernels_for(state.model, kernels)
    dispatches = tuple(dispatches_of(program.batches, chosen.buckets, state.model.config.n_layers))
    placement = _placement(dispatches, state)
    machine = Machine(_with_kv(state, placement), placement, chosen, keep)
    outputs = list(machine.run_all(dispatches))
    return replace(machine.state, keys=[], values=[]) if state.is_bare else machine.state, outputs


def _placement(dispatches: Sequence[Dispatch], state: State) -> Placement:
    """Where the K/V of dispatches lies: fitted to them in a bare state, where it lies already in others."""
    if state.is_bare:
        return Placement.fitted(dispatches, state.graph.wiring, state.layout)
    return Placement.apart(state.model.config.n_layers, state.layout)


def _with_kv(state: State, placement: Placement) -> State:
    """The state to run on, with lists of its own: a machine puts new arrays into them."""
    if not state.is_bare:
        return replace(state, keys=list(state.keys), values=list(state.values))
    keys, values = fresh_kv(state.model, state.layout, placement.banks)
    return replace(state, keys=keys, values=values, banks=max(state.banks, placement.banks))


def as_run(graph: EventGraph, outputs: Iterable[Output]) -> Program:
    """The program that was executed, batch by batch, whatever was asked for."""
    return Program(graph, tuple(output.batch for output in outputs))


def step(state: State, events: Iterable[Event], kernels: Kernels | None = None) -> tuple[State, list[Output]]:
    """Run chosen events on a state, which it consumes: those of one site together, in canonical order.

    For sublayer graphs; a block is a step of its kv, attn and mlp.
    """
    if state.graph.granularity != "sublayer":
        raise InputError("steps run events of sublayer graphs", got=f"a {state.graph.granularity} graph")
    return execute(compile_together(state.graph, events), state, kernels)


def warm(model: Model, length: int | Sequence[int], kernels: Kernels | None) -> None:
    """Run every form at every batch size on scratch cells, so that each is compiled."""
    graph = EventGraph(model.config, length)
    for number, positions in enumerate(graph.lengths):
        check_length(model, number, positions)
    state, kernels = State.fresh(model, graph, _unknown(graph)), kernels_for(model, kernels)
    machine = Machine(state, Placement.apart(model.config.n_layers, state.layout), kernels, keep=True)
    machine.poison([(0, 0)])
    *inner, unembed, sample = graph.sites
    layer, together = inner[1].layer, sum(graph.lengths)
    for rows in kernels.buckets.up_to(together):
        for site in (*inner[:4], unembed, Site("block", layer)):
            machine.run_scratch(site, rows)
        for layers in {1, deepest(model.config.n_layers) if rows == 1 else 1}:
            machine.run_scratch_layers(layers, rows)
    # What only one row of each request can join: samples, and short attentions of several.
    company = len(graph.lengths)
    for rows in kernels.buckets.up_to(company):
        machine.run_scratch(sample, rows)
    for rows in kernels.buckets.up_to(company * (MANY_ROWS - 1)) if company > 1 else ():
        machine.run_scratch(Site("attn", layer), rows, several=True)
        machine.run_scratch_layers(1, rows, several=True)


def _unknown(graph: EventGraph) -> list[np.ndarray]:
    return [np.zeros(length, np.int32) for length in graph.lengths]


def _check_graph(graph: EventGraph, state: State) -> None:
    if state.graph != graph:
        raise InputError("a program runs on a state of its own graph", got=state.graph, expected=graph)


def event_values(outputs: Iterable[Output]) -> Iterator[tuple[Site, Int[np.ndarray, " events"], Any]]:
    """The values of events on the host: site, canonical indices, and arrays with an event a row."""
    for output in outputs:
        events = output.batch.events
        if len(events):
            yield output.batch.site, events, _first(len(events), jax.device_get(output.value))


def _first(count: int, value: Any) -> Any:
    return jax.tree.map(lambda array: from_storage(array[:count]), value)
