"""Schedules of serving engines: batches of requests that change step by step, and their logs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from hypothesis import event, note
from hypothesis import strategies as st

from causalsim.events import Event, EventGraph
from causalsim.foliations import Foliation
from causalsim.testing.steps import trace_of_steps
from causalsim.testing.strategies.bounds import check_graph
from causalsim.testing.strategies.orders import foliations


def batch_mixes(graph: EventGraph) -> st.SearchStrategy[list[dict[int, tuple[int, int]]]]:
    """Steps of a serving engine, ``{request: (already computed, scheduled now)}`` each.

    Requests arrive at any step, share it with any others, and are read in chunks of any sizes;
    positions that wait for a token go one a step. ``trace_of_steps`` gives the time of every
    event.
    ``pytest --hypothesis-show-statistics`` counts the mixed batches, split prompts, late arrivals and
    prompts beside decoding that a test was given.

    Args:
        graph: A graph of at most 1,000 events.

    Returns:
        A strategy that shrinks toward all requests at once, each with its whole prompt in the first step.

    Raises:
        LimitError: For a larger graph.

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
    for name in _exercised(graph, steps):
        event(f"batches: {name}")
    return steps


def _exercised(graph: EventGraph, steps: list[dict[int, tuple[int, int]]]) -> Iterator[str]:
    """Names of what happens in a batch and need not happen in every one."""
    begun = [{request: before for request, (before, _) in step.items()} for step in steps]
    reading = [{done < graph.prompts[request] for request, done in step.items()} for step in begun]
    found = {
        "requests share a step": any(len(step) > 1 for step in steps),
        "a prompt is split": any(0 < done < graph.prompts[r] for step in begun for r, done in step.items()),
        "a request comes late": len(steps[0]) < len(graph.lengths),
        "a prompt beside decoding": any(len(kinds) > 1 for kinds in reading),
    }
    return (name for name, happens in found.items() if happens)


def _ready(graph: EventGraph, request: int, done: int) -> int:
    """The number of positions of a request that could run at once."""
    prompt, length = graph.prompts[request], graph.lengths[request]
    return prompt - done if done < prompt else min(1, length - done)


@st.composite
def scheduled(draw: st.DrawFn, graph: EventGraph) -> Foliation:
    """The slices of a serving engine: site after site of each step of ``batch_mixes``."""
    steps = draw(_batch_mixes(graph))
    note(f"In steps of {{request: (already computed, scheduled now)}}: {steps}.")
    return Foliation(graph, trace_of_steps(graph, steps))


def traces(graph: EventGraph) -> st.SearchStrategy[list[tuple[Event, int]]]:
    """Events with their times as an engine might log them: in order of time, from any number, with gaps.

    The slices are those of ``foliations``, or of an engine's steps (``batch_mixes``).

    Args:
        graph: A graph of at most 1,000 events.

    Returns:
        A strategy that shrinks toward times 0, 1, 2, ... of ``earliest(graph)``.

    Raises:
        LimitError: For a larger graph.
    """
    check_graph(graph)
    return _traces(graph)


@st.composite
def _traces(draw: st.DrawFn, graph: EventGraph) -> list[tuple[Event, int]]:
    foliation = draw(foliations(graph) | scheduled(graph))
    first, more = draw(st.integers(-100, 100)), foliation.depth - 1
    gaps = draw(st.lists(st.integers(1, 5), min_size=more, max_size=more))
    times = accumulate(gaps, initial=first)
    return [(event, time) for events, time in zip(foliation.slices(), times, strict=True) for event in events]
