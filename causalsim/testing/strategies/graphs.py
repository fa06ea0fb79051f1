"""Graphs of every shape: wirings, and requests of ragged lengths with their prompts."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from hypothesis import strategies as st

from causalsim.arguments import check_type
from causalsim.events import EventGraph, Granularity, Wiring
from causalsim.events.inputs import HasWiring
from causalsim.testing.strategies.bounds import check_bounds, sizes

WIDEST_WINDOW = 4


class Requests(NamedTuple):
    """Ragged texts: positions of each, and how many of them are given; the rest wait for samples."""

    lengths: tuple[int, ...]
    prompts: tuple[int, ...]


def windows(n_layers: int) -> st.SearchStrategy[int | list[int | None] | None]:
    """Every way to say how far attention reaches: nothing, one number, one a layer."""
    window = st.none() | st.integers(1, WIDEST_WINDOW)
    return window | st.lists(window, min_size=n_layers, max_size=n_layers)


def wirings(*, max_layers: int = 3) -> st.SearchStrategy[Wiring]:
    """Wirings with and without windows and a parallel residual.

    Args:
        max_layers: The most layers.

    Returns:
        A strategy that shrinks to one plain layer.
    """
    check_bounds(max_layers=max_layers)
    return _wirings(max_layers)


@st.composite
def _wirings(draw: st.DrawFn, max_layers: int) -> Wiring:
    n_layers = draw(sizes(max_layers))
    return Wiring(n_layers, windows=draw(windows(n_layers)), parallel_residual=draw(st.booleans()))


def requests(
    *, max_requests: int = 2, max_length: int = 5, max_positions: int | None = None, feedback: bool = True
) -> st.SearchStrategy[Requests]:
    """Texts of ragged lengths.

    Args:
        max_requests: The most texts.
        max_length: The most positions of a text.
        max_positions: The most positions of all texts together, hence rows of a batch.
        feedback: Whether some may have to wait for their own tokens.

    Returns:
        A strategy that shrinks to one text of one position, all of it given.
    """
    most = max_requests * max_length if max_positions is None else max_positions
    check_bounds(max_requests=max_requests, max_length=max_length, max_positions=most)
    check_type("feedback", feedback, bool)
    return _requests(max_requests, max_length, most, feedback)


@st.composite
def _requests(
    draw: st.DrawFn, max_requests: int, max_length: int, max_positions: int, feedback: bool
) -> Requests:
    count = draw(sizes(min(max_requests, max_positions)))
    lengths: list[int] = []
    for behind in reversed(range(count)):
        # Each text behind this one needs a position of its own.
        left = max_positions - sum(lengths) - behind
        lengths.append(draw(sizes(min(max_length, left))))
    if not (feedback and draw(st.booleans())):
        return Requests(tuple(lengths), tuple(lengths))
    return Requests(tuple(lengths), tuple(length - draw(st.integers(0, length - 1)) for length in lengths))


def graphs(
    config_or_wiring: HasWiring | Wiring | None = None,
    *,
    granularity: Granularity | None = None,
    max_layers: int = 3,
    max_requests: int = 2,
    max_length: int = 5,
    max_positions: int | None = None,
    feedback: bool = True,
) -> st.SearchStrategy[EventGraph]:
    """Event graphs of a configuration or wiring, or of any, at both granularities or at one.

    Args:
        config_or_wiring: By default any of ``wirings``.
        granularity: By default both; block graphs have no feedback.
        max_layers: As for ``wirings``.
        max_requests: As for ``requests``, like the rest.
        max_length: The most positions of a text.
        max_positions: The most positions of all texts together.
        feedback: Whether some texts may have to wait for their own tokens.

    Returns:
        A strategy that shrinks to one layer and one position at sublayer granularity.
    """
    drawn = wirings(max_layers=max_layers)
    # Refuses what is no wiring, or no granularity.
    least = EventGraph(config_or_wiring or Wiring(1), 1, granularity=granularity or "sublayer")
    bounds: dict[str, Any] = {
        "max_requests": max_requests,
        "max_length": max_length,
        "max_positions": max_positions,
    }
    shapes = {"sublayer": requests(**bounds, feedback=feedback), "block": requests(**bounds, feedback=False)}
    return _graphs(
        drawn if config_or_wiring is None else st.just(least.wiring),
        shapes if granularity is None else {granularity: shapes[granularity]},
    )


@st.composite
def _graphs(
    draw: st.DrawFn, wirings: st.SearchStrategy[Wiring], shapes: dict[str, st.SearchStrategy[Requests]]
) -> EventGraph:
    wiring, granularity = draw(wirings), draw(st.sampled_from(list(shapes)))
    lengths, prompts = draw(shapes[granularity])
    return EventGraph(wiring, lengths, prompt=prompts, granularity=cast("Granularity", granularity))
