"""What serving engines do with a graph: batches of requests that change step by step."""

from __future__ import annotations

from hypothesis import note
from hypothesis import strategies as st

from causalsim.events import EventGraph
from causalsim.foliations import Foliation
from causalsim.verification.steps import trace_of_steps
from causalsim.verification.strategies.bounds import check_graph


def batch_mixes(graph: EventGraph) -> st.SearchStrategy[list[dict[int, tuple[int, int]]]]:
    """Steps of a serving engine, ``{request: (already computed, scheduled now)}`` each.

    Requests arrive at any step, share it with any others, and are read in chunks of any sizes;
    positions that wait for a token go one a step. ``trace_of_steps`` gives the time of every
    event. Shrinks toward all requests at once, each with its whole prompt in the first step.

    >>> from hypothesis import find
    >>> from causalsim.events import Wiring
    >>> find(batch_mixes(EventGraph(Wiring(1), [3, 2], prompt=2)), lambda steps: True)
    [{0: (0, 2), 1: (0, 2)}, {0: (2, 1)}]
    """
    check_graph(graph)
    return _batch_mixes(graph)


@st.composite
def _batch_mixes(draw: st.DrawFn, graph: EventGraph) -> list[dict[int, tuple[int, int]]]:
    steps, done = [], [0] * len(graph.lengths)
    while done != list(graph.lengths):
        waiting = {request: _ready(graph, request, before) for request, before in enumerate(done)}
        held_back = {request: draw(st.integers(0, ready)) for request, ready in waiting.items() if ready}
        if all(held_back[request] == waiting[request] for request in held_back):
            # A step runs something, or there would be no end.
            held_back[min(held_back)] = 0
        step = {request: waiting[request] - back for request, back in held_back.items()}
        steps.append({request: (done[request], now) for request, now in step.items() if now})
        done = [before + step.get(request, 0) for request, before in enumerate(done)]
    return steps


def _ready(graph: EventGraph, request: int, done: int) -> int:
    """How many positions of a request could run at once."""
    prompt, length = graph.prompts[request], graph.lengths[request]
    return prompt - done if done < prompt else min(1, length - done)


@st.composite
def scheduled(draw: st.DrawFn, graph: EventGraph) -> Foliation:
    """The slices of a serving engine: slot after slot of each step of ``batch_mixes``."""
    steps = draw(_batch_mixes(graph))
    note(f"In steps of {{request: (already computed, scheduled now)}}: {steps}.")
    return Foliation(graph, trace_of_steps(graph, steps))
