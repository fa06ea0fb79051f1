"""Named families of foliations: functions from a graph to a foliation.

All of them add a multiple of one height a site (pinned so that it rises by one along a column)
and a shift of the position, so that one sum serves every granularity, several requests and
feedback. Requests advance together: batching is what the same heights and positions in one slice are.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int

from causalsim.arguments import check_whole
from causalsim.errors import CausalityError, InputError
from causalsim.events import KINDS, EventGraph, Site
from causalsim.events.graph import checked_graph
from causalsim.events.vectorised import colevels, gather, levels
from causalsim.foliations.dense_times import narrow
from causalsim.foliations.foliation import Foliation

Velocity = SupportsIndex | float | str | Fraction | np.floating

MOST_DIGITS = 1000


def layer_major(graph: EventGraph) -> Foliation:
    """Prefill: every position of a layer before the next layer, ``tilted`` with velocity 0.

    Args:
        graph: The graph.

    Returns:
        A foliation.

    Raises:
        CausalityError: Positions wait for tokens; ``edge`` is one that would run backwards.

    >>> from causalsim.events import Wiring
    >>> layer_major(EventGraph(Wiring(1), 2)).slice_sizes.tolist()
    [2, 2, 2, 2, 2]
    """
    return _columns_shifted(graph, 1, lambda position, _: 0)


def token_major(graph: EventGraph) -> Foliation:
    """Decode: every layer of a position before the next position; requests in step.

    Args:
        graph: The graph.

    Returns:
        A foliation.

    >>> from causalsim.events import Wiring
    >>> token_major(EventGraph(Wiring(1), 2)).depth
    10
    """
    column = _column(graph)
    return _columns_shifted(graph, 1, lambda position, _: position * column)


def chunked(graph: EventGraph, size: SupportsIndex) -> Foliation:
    """Chunked prefill: layer-major inside chunks of ``size`` positions, chunk after chunk.

    Positions that wait for a token are decoded one by one after the prompt's chunks.
    Source: Agrawal et al. 2023, Sarathi (arXiv 2308.16369).

    Args:
        graph: The graph.
        size: Positions in a chunk.

    Returns:
        A foliation.

    Raises:
        InputError: The size is no whole number of at least 1.

    >>> from causalsim.events import Wiring
    >>> chunked(EventGraph(Wiring(1), 3, granularity="block"), 2).times.tolist()
    [0, 0, 1]
    """
    column, chunk = _column(graph), min(check_whole("the size of a chunk", size, 1), max(graph.lengths))

    def shift(position: int, prompt: int) -> int:
        decoded = -(-prompt // chunk) + position - prompt
        return column * (position // chunk if position < prompt else decoded)

    return _columns_shifted(graph, 1, shift)


def wavefront(graph: EventGraph) -> Foliation:
    """Diagonals: one layer up costs as much time as one position right, ``tilted`` with velocity 1.

    The hyperplane method (Lamport 1974).

    Args:
        graph: The graph.

    Returns:
        A foliation.

    Raises:
        CausalityError: Positions wait for tokens; ``edge`` is one that would run backwards.

    >>> from causalsim.events import Wiring
    >>> wavefront(EventGraph(Wiring(2), 2, granularity="block")).times.tolist()
    [0, 1, 1, 2]
    """
    return tilted(graph, 1)


def tilted(graph: EventGraph, velocity: Velocity) -> Foliation:
    """Slices of constant height + velocity * position.

    Valid for velocities above ``tilt_bound(graph)``.

    Args:
        graph: The graph.
        velocity: Heights a position, taken as an exact fraction (``Fraction(str(v))`` for a float).

    Returns:
        A foliation.

    Raises:
        CausalityError: The velocity is not above the bound; ``edge`` is one that would run backwards.
        InputError: The velocity is no finite number.

    >>> from causalsim.events import Wiring
    >>> graph = EventGraph(Wiring(4), 32)
    >>> tilted(graph, 0.1).depth, tilted(graph, 1).depth, tilted(graph, 0).depth
    (162, 45, 14)
    """
    exact = as_velocity(velocity)
    up, right = exact.denominator, exact.numerator
    try:
        return _columns_shifted(graph, up, lambda position, _: position * right)
    except CausalityError as error:
        raise CausalityError(
            "tilted slices respect causality only above a bound on their velocity",
            edge=error.edge,
            got=f"velocity {exact}, at which {error.edge} runs backwards",
            expected=f"velocity > {tilt_bound(graph)}",
            hint="Take a greater velocity; earliest(graph) has the fewest slices whatever the graph.",
        ) from None


def tilt_bound(graph: EventGraph) -> Fraction | float:
    """The velocity that tilted slices must exceed; ``-inf`` where every velocity is valid.

    Every family of edges bounds it by how far it rises and how many positions it spans: -1/(m-1) with m
    the largest number of positions that an attention spans, and, where tokens are fed back, the height of
    a whole column.

    Args:
        graph: The graph.

    Returns:
        The bound, in heights a position.

    >>> from causalsim.events import Wiring
    >>> tilt_bound(EventGraph(Wiring(2), 2, granularity="block")), tilt_bound(EventGraph(Wiring(1), 1))
    (Fraction(-1, 1), -inf)
    """
    heights, longest = _heights(checked_graph(graph)), max(graph.lengths) - 1
    bounds: list[Fraction | float] = []
    for family in graph.edge_families:
        apart = longest if family.last is None else min(longest, family.last)
        fed_back = KINDS[family.source.kind].place == "feedback"
        if apart > 0 and (graph.has_feedback or not fed_back):
            bounds.append(Fraction(heights[family.source] - heights[family.target], apart))
    return max(bounds, default=float("-inf"))


def earliest(graph: EventGraph) -> Foliation:
    """Every event as early as the graph allows: its longest chain from below.

    As soon as possible: the canonical partition into antichains (Mirsky 1971).

    Args:
        graph: The graph.

    Returns:
        A foliation.

    >>> from causalsim.events import Wiring
    >>> earliest(EventGraph(Wiring(2), 2, granularity="block")).times.tolist()
    [0, 1, 0, 1]
    """
    times = np.empty(len(checked_graph(graph)), np.int32)
    for columns in graph.requests:
        gather(columns, levels(columns, graph.edge_families), times)
    return Foliation(graph, times)


def latest(graph: EventGraph) -> Foliation:
    """Every event as late as the graph's depth allows: its longest chain from above.

    Args:
        graph: The graph.

    Returns:
        A foliation.

    >>> from causalsim.events import Wiring
    >>> latest(EventGraph(Wiring(1), 1)).times.tolist()
    [0, 1, 2, 3, 4]
    """
    times = np.empty(len(checked_graph(graph)), np.int32)
    for columns in graph.requests:
        gather(columns, colevels(columns, graph.edge_families), times)
    return Foliation(graph, times.max() - times)


def as_velocity(velocity: Velocity) -> Fraction:
    """Return a velocity as an exact fraction: 0.1 is one tenth.

    Raises:
        InputError: It is no finite number.

    >>> as_velocity(0.1), as_velocity("-1/7")
    (Fraction(1, 10), Fraction(-1, 7))
    """
    text = str(velocity)
    with suppress(TypeError, ValueError, ZeroDivisionError):
        # A power of ten that no text is long enough for would only fill the memory with digits.
        if abs(int(text.lower().partition("e")[2] or 0)) <= MOST_DIGITS:
            return Fraction(text)
    raise InputError(
        "a velocity is a finite number",
        got=repr(velocity),
        expected="for example 1, 0.1, '-1/7' or a Fraction",
    )


def _heights(graph: EventGraph) -> dict[Site, int]:
    """The height of each site, from -1 in a sublayer graph: the embeddings lie below layer 0."""
    lowest = 0 if checked_graph(graph).granularity == "block" else -1
    return {site: height + lowest for site, height in graph.wiring.heights(graph.granularity).items()}


def coordinates(graph: EventGraph) -> tuple[Int[np.ndarray, " events"], Int[np.ndarray, " events"]]:
    """Return the height of every event, from 0, and its position, in canonical order.

    >>> from causalsim.events import Wiring
    >>> [line.tolist() for line in coordinates(EventGraph(Wiring(2), 2, granularity="block"))]
    [[0, 1, 0, 1], [0, 0, 1, 1]]
    """
    heights = _heights(graph)
    ranks, positions, _ = graph.codes()
    rises = np.array([heights[site] for site in graph.sites], np.int64)
    return rises[ranks] - rises.min(), positions.astype(np.int64)


def _column(graph: EventGraph) -> int:
    """The heights of a column from its lowest site to above its highest."""
    heights = _heights(graph).values()
    return max(heights) - min(heights) + 1


def _columns_shifted(graph: EventGraph, stretch: int, shift: Callable[[int, int], int]) -> Foliation:
    """Slices of constant stretch * height + shift(position, length of the prompt)."""
    rises = [stretch * height for height in _heights(graph).values()]
    graph.check_arrays()
    texts = zip(graph.lengths, graph.prompts, strict=True)
    shifts = [[shift(position, prompt) for position in range(length)] for length, prompt in texts]
    most = max(map(abs, rises)) + max(abs(entry) for text in shifts for entry in text)
    # Python's integers where no machine's hold them: exact, and for small graphs.
    kind = narrow(most) if most < 2**62 else object
    times = np.empty(len(graph), kind)
    for columns, text in zip(graph.requests, shifts, strict=True):
        for held, sheet in columns.sheets(times):
            right = np.array(text[held.start : held.stop], kind)
            np.add.outer(right, np.array(rises[: sheet.shape[1]], kind), out=sheet)
    return Foliation(graph, np.unique(times, return_inverse=True)[1] if kind is object else times)
