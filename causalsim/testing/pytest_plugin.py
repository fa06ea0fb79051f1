"""The pytest plugin: the fixture ``every_order``, the marker ``causalsim``, and a line about what was tried.

It is loaded in every test run where causalsim is installed, so it imports nothing before a test asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from causalsim.events import EventGraph
    from causalsim.testing.order_check import Engine, OrdersCheck

MARKER = "causalsim"
OPTIONS = ("orders", "seed", "exhaustive")


@dataclass
class Tally:
    """Orders that were run, and the graphs they are of: whether all orders of one were among them."""

    orders: int = 0
    graphs: dict[str, bool] = field(default_factory=dict)

    def add(self, orders: int, graphs: dict[str, bool]) -> None:
        """Count more of them: of one check, or of another process."""
        self.orders += orders
        for graph, whole in graphs.items():
            self.graphs[graph] = whole or self.graphs.get(graph, False)

    def __str__(self) -> str:
        from causalsim.testing.order_check import counted

        whole = sum(self.graphs.values()) or "none"
        tried = f"{counted(self.orders, 'order')} over {counted(len(self.graphs), 'graph')}"
        return f"causalsim: {tried}; all orders of {whole} of them"


TALLY = pytest.StashKey[Tally]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Long campaigns without another marker."""
    parser.getgroup(MARKER).addoption(
        "--causalsim-orders", type=int, metavar="N", help="random orders of a graph, whatever markers say"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known and begin to count."""
    config.addinivalue_line(
        "markers",
        "causalsim(orders=100, seed=0, exhaustive=1000): what the fixture every_order tries: all linear "
        "extensions of a graph that has at most so many, else random orders.",
    )
    config.stash[TALLY] = Tally()


@pytest.fixture
def every_order(request: pytest.FixtureRequest) -> Callable[[EventGraph, Engine], OrdersCheck]:
    """Return a function ``every_order(graph, engine)`` that runs an engine in many orders of a graph.

    ``engine(foliation)`` returns what it computed, as for ``causalsim.testing.check_orders``. The
    test fails with the two orders and the first element at which two results differ in their bits.
    """
    from causalsim.testing import check_orders

    options = _options(request)

    def run(graph: EventGraph, engine: Engine) -> OrdersCheck:
        __tracebackhide__ = True
        check = check_orders(graph, engine, **options)
        request.config.stash[TALLY].add(check.orders, {repr(graph): check.extensions is not None})
        if not check.holds:
            pytest.fail(str(check))
        return check

    return run


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Tell what was tried, if anything was."""
    if config.stash[TALLY].orders:
        terminalreporter.write_line(str(config.stash[TALLY]))


# -- pytest-xdist: workers count, and the controller adds ------------------------------------------


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker, send its counts home."""
    tally, output = session.config.stash[TALLY], getattr(session.config, "workeroutput", None)
    if output is not None:
        output[MARKER] = {"orders": tally.orders, "graphs": tally.graphs}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:  # noqa: ARG001  the hook's own arguments
    """In the controller, add what a worker counted; one that crashed has told nothing."""
    counts = getattr(node, "workeroutput", {}).get(MARKER)
    if counts is not None:
        node.config.stash[TALLY].add(**counts)


# -- inside ----------------------------------------------------------------------------------------


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of the nearest marker, and the command line over it."""
    from causalsim.errors import InputError

    marker = request.node.get_closest_marker(MARKER)
    options = dict(marker.kwargs) if marker else {}
    if marker and (marker.args or not options.keys() <= {*OPTIONS}):
        got = ", ".join([*map(repr, marker.args), *options])
        expected = f"of {', '.join(OPTIONS)}, by name"
        raise InputError("the marker causalsim says how many orders to try", got=got, expected=expected)
    orders = request.config.getoption("--causalsim-orders")
    return options if orders is None else {**options, "orders": orders}
