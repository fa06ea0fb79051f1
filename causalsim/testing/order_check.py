"""The values of somebody else's engine, compared over many orders of a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

import numpy as np

from causalsim import posets
from causalsim.arguments import check_type, check_whole, shown
from causalsim.errors import InputError, LimitError
from causalsim.events import EventGraph
from causalsim.foliations import Foliation, distance, swap_path
from causalsim.progress import Progress, silent
from causalsim.testing.arrays import as_numpy
from causalsim.testing.bisection import first_change
from causalsim.testing.bits import first_element
from causalsim.testing.suite import named_foliations, random_orders

Engine = Callable[[Foliation], Any]
Leaf = np.ndarray | str | bytes

# Beyond it two orders are told as they are, not brought one swap apart.
MOST_SWAPS = 5_000
PASTEABLE = 500


@dataclass(frozen=True)
class OrderDivergence:
    """Two orders of one graph after which an engine gave different values, and where these first differ.

    Where the engine runs linear extensions alike, they are one adjacent swap apart.
    """

    expected_in: str
    found_in: str
    where: str
    orders: tuple[Foliation, Foliation]

    def __str__(self) -> str:
        told = [f"{self.found_in} gives other values than {self.expected_in}: {self.where}"]
        if len(self.orders[0].times) <= PASTEABLE:
            told += [f"  {_pasted(order)}" for order in self.orders]
        return "\n".join(told)


@dataclass(frozen=True)
class OrdersCheck:
    """The number of orders of a graph in which an engine was run, and the first that changed its values.

    ``extensions`` is the number of the graph's linear extensions if all of them were tried.
    """

    graph: EventGraph
    orders: int
    extensions: int | None
    divergence: OrderDivergence | None = None

    @property
    def holds(self) -> bool:
        """True if all orders gave the same bits."""
        return self.divergence is None

    def __str__(self) -> str:
        n = self.extensions
        every = "" if n is None else f", all of its {counted(n, 'linear extension')} among them"
        found = "all gave the same bits" if self.holds else f"but {self.divergence}"
        return f"{counted(self.orders, 'order')} of {len(self.graph):,} events{every}: {found}"


def check_orders(
    graph: EventGraph,
    engine: Engine,
    *,
    orders: int = 100,
    seed: int = 0,
    exhaustive: int = 1000,
    progress: Progress = silent,
) -> OrdersCheck:
    """Run an engine in many orders of a graph and compare what it returns, in bits.

    Tried are the named families that the graph allows; all linear extensions where there are few
    enough; else random foliations and linear extensions in turn. The first one runs twice.

    Args:
        graph: The graph that the engine runs.
        engine: ``engine(foliation)`` returns whatever it computed: ``{event: array}``, arrays (of any
            library) in tuples, lists and mappings, or a digest.
        orders: The number of random orders.
        seed: What they are drawn from.
        exhaustive: The most linear extensions of which all are tried.
        progress: ``progress(stage, done, total)`` is called as work goes on.

    Returns:
        The number of orders, and the first that changed the values, brought down to one swap.

    Raises:
        InputError: For what is no engine, no count, or no values. What the engine raises passes
            through, with a note of the order.

    >>> from causalsim.events import Wiring
    >>> print(check_orders(EventGraph(Wiring(1), 1), lambda foliation: len(foliation.times)))
    1 order of 5 events, all of its 1 linear extension among them: all gave the same bits
    """
    check_type("a graph", graph, EventGraph)
    if not callable(engine):
        raise InputError("an engine is a function of a foliation", got=shown(engine))
    for name, count in {"orders": orders, "seed": seed, "exhaustive": exhaustive}.items():
        check_whole(name, count, 0)
    extensions = countable(graph, exhaustive)
    drawn = random_orders(graph, orders, seed) if extensions is None else _extensions(graph)
    chosen = _distinct(chain(named_foliations(graph).items(), drawn))
    name, order = next(chosen)
    first = _First(graph, engine, name, order, _values(graph, engine, name, order))
    divergence = first.divergence(f"{name}, run again,", order)
    tried = 1
    for name, order in chosen if divergence is None else ():
        progress("orders", tried, orders if extensions is None else extensions)
        divergence, tried = first.divergence(name, order), tried + 1
        if divergence is not None:
            break
    return OrdersCheck(graph, tried, extensions if divergence is None else None, divergence)


def _pasted(order: Foliation) -> str:
    return f"cs.Foliation(graph, {order.times.tolist()})"


def counted(count: int, name: str) -> str:
    """Return a number of things in words.

    >>> counted(1, "order"), counted(1200, "order")
    ('1 order', '1,200 orders')
    """
    return f"{count:,} {name}{'' if count == 1 else 's'}"


# -- orders --------------------------------------------------------------------------------------


def countable(graph: EventGraph, most: int) -> int | None:
    """The number of linear extensions of a graph, if no more than so many."""
    try:
        # Each down-set, its events and then the others both in canonical order, is another order, unless
        # it is the beginning of that order: there are at most len(graph) more of them than of orders.
        found = graph.count_linear_extensions(limit=most + len(graph))
    except LimitError:
        return None
    return found if found <= most else None


def _extensions(graph: EventGraph) -> Iterator[tuple[str, Foliation]]:
    for number, order in enumerate(posets.linear_extensions(graph.explicit())):
        yield f"linear extension {number}", Foliation(graph, np.argsort(order))


def _distinct(orders: Iterable[tuple[str, Foliation]]) -> Iterator[tuple[str, Foliation]]:
    seen = set()
    for name, order in orders:
        if (times := order.times.tobytes()) not in seen:
            seen.add(times)
            yield name, order


# -- values --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _First:
    """The order that others are compared with, and what the engine gave in it."""

    graph: EventGraph
    engine: Engine
    name: str
    order: Foliation
    values: dict[str, Leaf]

    def divergence(self, name: str, order: Foliation) -> OrderDivergence | None:
        """Two orders that give other values, brought down to one swap of neighbours where possible."""
        where = self._where(name, order)
        if where is None:
            return None
        if order == self.order or (swap := self._swap(name, order)) is None:
            return OrderDivergence(self.name, name, where, (self.order, order))
        names = (f"on the way from {self.name} to {name}, an order", "the next one, an adjacent swap away,")
        before, after, where = swap
        return OrderDivergence(*names, where, (before, after))

    def _where(self, name: str, order: Foliation) -> str | None:
        return _difference(self.values, _values(self.graph, self.engine, name, order))

    def _swap(self, name: str, order: Foliation) -> tuple[Foliation, Foliation, str] | None:
        """Two neighbours on the way from the first order to another, of which one has its values alone."""
        ends = self.order.refine(), order.refine()
        if distance(*ends) > MOST_SWAPS:
            return None
        path = list(swap_path(*ends))
        last = self._where(name, path[-1])
        if last is None or self._where(name, path[0]) is not None:
            return None
        return first_change(path, lambda order: self._where(name, order), last)


def _values(graph: EventGraph, engine: Engine, name: str, order: Foliation) -> dict[str, Leaf]:
    try:
        returned = engine(order)
    except BaseException as error:
        words = _pasted(order) if len(order.times) <= PASTEABLE else repr(order)
        error.add_note(f"causalsim: in the order {name}: {words}")
        raise
    found = dict(_leaves(graph, "the result", returned))
    # What has no bits has the same ones in every order.
    told = any(leaf.size if isinstance(leaf, np.ndarray) else leaf for leaf in found.values())
    return found if told else _nothing("arrays without elements" if found else "nothing")


def _nothing(got: str) -> NoReturn:
    hint = "Return {event: array}, arrays, or a digest."
    raise InputError("an engine returns what it computed", got=got, hint=hint)


def _leaves(graph: EventGraph, name: str, value: Any) -> Iterator[tuple[str, Leaf]]:
    """Arrays and words by name; values of events causally first."""
    if isinstance(value, Mapping):
        of_events = all(key in graph for key in value)
        for key in sorted(value, key=graph.index) if of_events else value:
            yield from _leaves(graph, str(key), value[key])
    elif isinstance(value, tuple | list):
        for number, part in enumerate(value):
            yield from _leaves(graph, f"part {number} of {name}", part)
    elif value is None:
        _nothing(f"None for {name}")
    else:
        yield name, value if isinstance(value, str | bytes) else as_numpy("results", value)


def _difference(expected: Mapping[str, Leaf], found: Mapping[str, Leaf]) -> str | None:
    if unmatched := sorted(expected.keys() ^ found.keys()):
        return f"{unmatched[0]} has a value in one of them only"
    told = (_unlike(name, value, found[name]) for name, value in expected.items())
    return next((words for words in told if words is not None), None)


def _unlike(name: str, expected: Leaf, found: Leaf) -> str | None:
    if not (isinstance(expected, np.ndarray) and isinstance(found, np.ndarray)):
        return None if expected == found else f"{name} is {found!r} and not {expected!r}"
    if (expected.shape, expected.dtype) != (found.shape, found.dtype):
        kinds = [f"{each.dtype} of shape {each.shape}" for each in (found, expected)]
        return f"{name} is {' and not '.join(kinds)}"
    divergence = first_element((expected[None],), (found[None],), [name])
    return None if divergence is None else str(divergence)
