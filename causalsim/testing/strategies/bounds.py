"""Bounds on what a strategy may draw: its arguments are checked when it is made, not when it draws."""

from __future__ import annotations

from hypothesis import strategies as st

from causalsim.arguments import check_limit, check_type, check_whole
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
        number = check_whole(name, bound, 1)
        if name in ONE_BY_ONE:
            rule = "a strategy makes a choice for every layer and for every request"
            check_limit(rule, number, MOST_EVENTS, got=f"{name}={number:,}")


def check_graph(graph: EventGraph) -> None:
    """Refuse a graph whose orders take more choices than hypothesis makes."""
    check_type("a graph", graph, EventGraph, "EventGraph(wiring, length) makes one; graphs() draws one.")
    rule = "a strategy makes a choice for every event of a graph"
    hint = "Draw a seed for random_foliation(graph, seed): it takes any size, but does not shrink."
    check_limit(rule, len(graph), MOST_EVENTS, got=f"{len(graph):,} events", hint=hint)
