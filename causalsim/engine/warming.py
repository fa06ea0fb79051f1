"""Warming: every executable that texts of some lengths can need, run once on scratch cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from causalsim.engine.executor import Computation, run_dispatch
from causalsim.engine.flags import debugging_off
from causalsim.engine.joining import deepest
from causalsim.engine.layout import Layout
from causalsim.engine.placement import Placement
from causalsim.engine.planning import Dispatch, Planner
from causalsim.engine.program import MANY_ROWS
from causalsim.engine.state import State
from causalsim.errors import InputError
from causalsim.events import KINDS, EventGraph, Site
from causalsim.kernels import longest_text
from causalsim.models import ModelConfig


@debugging_off()
def warm(computation: Computation, dtype: str, length: int | Sequence[int]) -> None:
    """Run every executable at every batch size, so that each is compiled.

    Args:
        computation: What computes.
        dtype: What values are kept in.
        length: Positions of a text, or of each request of several.

    Raises:
        InputError: A text is longer than the model's context.
    """
    config = computation.config
    graph = EventGraph(config, length)
    for number, positions in enumerate(graph.lengths):
        check_room(config, number, positions)
    unknown = [np.zeros(positions, np.int32) for positions in graph.lengths]
    state, layout = State.fresh(config, dtype, graph, unknown), Layout(graph.lengths)
    placement = Placement.apart(config.n_layers, layout)
    planner = Planner(config.wiring, layout, placement, computation.kernels.buckets)
    recycled: tuple[tuple[int, int], ...] = ((0, 0),)
    for dispatch in _dispatches(planner, graph):
        state, _ = run_dispatch(replace(dispatch, recycled=recycled), state, computation)
        recycled = ()


def _dispatches(planner: Planner, graph: EventGraph) -> Iterator[Dispatch]:
    wiring, buckets = graph.wiring, planner.buckets
    last = wiring.n_layers - 1
    inner = [*graph.sites[: 1 + len(wiring.sublayers)], Site("block", last)]
    above = [site for site in graph.sites if KINDS[site.kind].place == "above"]
    for size in buckets.up_to(sum(graph.lengths)):
        for site in (*inner, *above):
            yield planner.scratch(site, size)
        for layers in {1, deepest(wiring.n_layers) if size == 1 else 1}:
            yield planner.scratch(Site(wiring.sublayers[0], 0), size, layers=layers)
    # What only one row of each request can join: samples, and short attentions of several.
    together = len(graph.lengths)
    for size in buckets.up_to(together):
        yield planner.scratch(graph.sites[-1], size)
    for size in buckets.up_to(together * (MANY_ROWS - 1)) if together > 1 else ():
        for kind in wiring.sublayers:
            if KINDS[kind].attends:
                yield planner.scratch(Site(kind, last), size, several=True)
        yield planner.scratch(Site(wiring.sublayers[0], 0), size, layers=1, several=True)


def check_room(config: ModelConfig, number: int, length: int) -> None:
    """Refuse what is longer than the context that a model was made for.

    Args:
        config: The model's configuration.
        number: The request.
        length: Its positions.

    Raises:
        InputError: It is longer.
    """
    most = longest_text(config)
    if length > most:
        raise InputError(
            "a text fits into the model's context",
            got=f"{length} tokens (request {number})",
            expected=f"at most {most:,}",
            hint="Shorten the text, or ask for fewer tokens.",
        )
