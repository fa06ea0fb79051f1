"""Step records of a serving engine, read as a trace of events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from causalsim.arguments import as_int, check_type
from causalsim.errors import InputError
from causalsim.events import Event, EventGraph
from causalsim.foliations.families import coordinates

Step = Mapping[int, tuple[int, int]]


def trace_of_steps(graph: EventGraph, steps: Iterable[Step]) -> dict[Event, int]:
    """The time of every event that a serving engine's steps run, site after site within a step.

    Args:
        graph: The graph of all requests.
        steps: For each step the requests, numbered as in the graph, with (positions computed before it,
            positions scheduled in it): vLLM's scheduler calls these num_computed_tokens and
            num_scheduled_tokens. A token that is sampled last and never read is no position of the graph.

    Returns:
        Times from 0, in canonical order; events of requests that are not finished are left out.

    Raises:
        InputError: Naming the step, for a request that the graph lacks, and for positions left out,
            computed again or beyond the text.

    >>> from causalsim.events import Wiring
    >>> graph = EventGraph(Wiring(1), [2, 1], granularity="block")
    >>> for event, time in trace_of_steps(graph, [{0: (0, 1)}, {0: (1, 1), 1: (0, 1)}]).items():
    ...     print(event, time)
    block(0,0) 0
    block(0,1) 1
    block(0,0)@1 1
    """
    check_type("a graph", graph, EventGraph)
    check_type("the steps", steps, Iterable, "Give a list of {request: (already computed, scheduled now)}.")
    step_of = [np.full(length, -1, np.int64) for length in graph.lengths]
    done = [0] * len(graph.lengths)
    for number, step in enumerate(steps):
        for request, before, now in _read(graph, number, step):
            _check_goes_on(number, request, before, done[request])
            done[request] = before + now
            step_of[request][before : done[request]] = number
    heights, positions = coordinates(graph)
    first = np.cumsum([0, *graph.lengths])[graph.codes()[2]]
    ran = np.concatenate(step_of)[first + positions]
    times = ran * (int(heights.max()) + 1) + heights
    return {graph[index]: int(times[index]) for index in np.flatnonzero(ran >= 0).tolist()}


def _read(graph: EventGraph, number: int, step: Step) -> Iterator[tuple[int, int, int]]:
    check_type(f"step {number}", step, Mapping, "Give {request: (already computed, scheduled now)}.")
    for request, counts in step.items():
        known = as_int(request)
        if known is None or not 0 <= known < len(graph.lengths):
            expected = f"0..{len(graph.lengths) - 1}"
            raise _refused(number, "schedules requests of the graph", f"request {request!r}", expected)
        before, now = _counts(number, known, counts)
        if before + now > graph.lengths[known]:
            got, expected = f"{now} positions after {before}", f"at most {graph.lengths[known]} in all"
            raise _refused(number, f"stays within the text of request {known}", got, expected)
        yield known, before, now


def _counts(number: int, request: int, given: object) -> tuple[int, int]:
    counts = [as_int(count) for count in given] if isinstance(given, tuple | list) else []
    whole = [count for count in counts if count is not None and count >= 0]
    if len(counts) != 2 or len(whole) != 2:
        expected = "(already computed, scheduled now), whole numbers from 0"
        raise _refused(number, f"gives two counts for request {request}", repr(given), expected)
    return whole[0], whole[1]


def _check_goes_on(number: int, request: int, before: int, done: int) -> None:
    if before != done:
        rule = "leaves no position out" if before > done else "computes no position again"
        got, expected = f"request {request} with {before} already computed", f"{done} computed by then"
        raise _refused(number, rule, got, expected)


def _refused(number: int, rule: str, got: str, expected: str) -> InputError:
    return InputError(f"step {number} {rule}", got=got, expected=expected)
