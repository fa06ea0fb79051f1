"""Bounds on what a strategy may draw: its arguments are checked when it is made, not when it draws."""

from __future__ import annotations

from hypothesis import strategies as st

from causalsim.arguments import as_int, check_type
from causalsim.errors import InputError, LimitError
from causalsim.events import EventGraph

# Hypothesis gives up on examples of more than 8,192 bytes, and a drawn order takes a choice an event.
MOST_EVENTS = 1000
ONE_BY_ONE = ("max_layers", "max_requests")


def sizes(most: int) -> st.SearchStrategy[int]:
    """Return 1 to so many, counted from 0 for hypothesis: it lowers such choices and draws the rest anew.

    What follows has another shape in a smaller graph, and would seldom fail there as it is.
    """
    return st.integers(0, most - 1).map(lambda less: less + 1)


def check_bounds(**bounds: object) -> None:
    """Refuse bounds that are no whole numbers of at least 1, and more than can be drawn one by one."""
    for name, bound in bounds.items():
        number = as_int(bound)
        if number is None or number < 1:
            raise InputError(f"{name} is a whole number of at least 1", got=repr(bound))
        if name in ONE_BY_ONE and number > MOST_EVENTS:
            raise LimitError(
                "a strategy makes a choice for every layer and for every request",
                reached=number,
                bound=MOST_EVENTS,
                got=f"{name}={number:,}",
            )


def check_graph(graph: EventGraph) -> None:
    """Refuse a graph whose orders take more choices than hypothesis makes."""
    check_type("a graph", graph, EventGraph, "EventGraph(wiring, length) makes one; graphs() draws one.")
    if len(graph) > MOST_EVENTS:
        raise LimitError(
            "a strategy makes a choice for every event of a graph",
            reached=len(graph),
            bound=MOST_EVENTS,
            got=f"{len(graph):,} events",
            hint="Draw a seed for random_foliation(graph, seed): it takes any size, but does not shrink.",
        )
