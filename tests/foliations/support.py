"""Orders of any small graph as tests ask for them, and the plainest second opinion about them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from causalsim.events import Event, EventGraph
from causalsim.foliations import Foliation
from causalsim.testing.strategies import foliations, graphs, traces


def times_of(graph: EventGraph) -> st.SearchStrategy[list[int]]:
    """Any valid times from 0 on, with gaps, in canonical order."""

    def listed(trace: list[tuple[Event, int]]) -> list[int]:
        times = dict(trace)
        return [times[event] - trace[0][1] for event in graph]

    return traces(graph).map(listed)


def graphs_with_foliation(**sizes: int) -> st.SearchStrategy[Foliation]:
    return graphs(**sizes).flatmap(foliations)


@st.composite
def disturbed_times(draw: st.DrawFn, graph: EventGraph) -> list[int]:
    """Valid times with a few events moved anywhere: about as often broken as not."""
    times = draw(times_of(graph))
    for _ in range(draw(st.integers(0, 2))):
        times[draw(st.integers(0, len(graph) - 1))] = draw(st.integers(-2, max(times) + 2))
    return times


def backwards(graph: EventGraph, times) -> set[tuple[Event, Event]]:
    """All edges that times run against, one by one."""
    return {(a, b) for a, b, _ in graph.edges() if times[graph.index(a)] >= times[graph.index(b)]}


def height(graph: EventGraph, event: Event) -> int:
    """The heights that the design pins, written out."""
    n_layers, layer = graph.wiring.n_layers, event.layer
    if graph.granularity == "block":
        return layer
    step = 2 if graph.wiring.parallel_residual else 3
    mlp = 1 if graph.wiring.parallel_residual else 2
    return {
        "embed": -1, "kv": step * layer, "attn": step * layer + 1, "mlp": step * layer + mlp,
        "unembed": step * n_layers, "sample": step * n_layers + 1,
    }[event.kind]  # fmt: skip


def slanted(graph: EventGraph, velocity: Fraction) -> list[Fraction]:
    """Height + velocity * position of every event, exactly."""
    return [height(graph, event) + velocity * event.position for event in graph]


def dense(values) -> np.ndarray:
    """Ranks from 0, the plain way."""
    rank = {value: i for i, value in enumerate(sorted(set(values)))}
    return np.array([rank[value] for value in values])
