"""The orders and the down-sets of a graph: counted and listed.

The lattice of full attention is counted in closed form, from column to column. What later positions
read of a column is which of its K/V exist, and they read those of the first layers or none. So the
columns before a position need to know one number of those behind it: up to which layer K/V is read.
Windows and feedback need more, and are left to tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from math import prod

from causalsim import posets
from causalsim.arguments import check_limit, check_whole
from causalsim.events.event import Event
from causalsim.events.limits import refuse_long
from causalsim.events.structure import CausalStructure
from causalsim.events.wiring import Granularity, Wiring
from causalsim.posets.relations import elements

Steps = Counter[tuple[int, int]]
"""The number of parts of a column (or of pairs one event apart) that have so many K/V and read so many."""


def count_down_sets(graph: CausalStructure, *, limit: int = posets.DEFAULT_LIMIT) -> int:
    """Number of sets of events that contain the past of each of their events, exactly.

    The size of the lattice J(P) (Birkhoff 1937). In closed form for full attention without feedback: the
    sum over what a column's part reads, column after column, of the ways of the columns before. Else from
    tables of at most ``limit`` down-sets (Stanley, Enumerative Combinatorics 1, section 3.5).

    Args:
        graph: An event graph.
        limit: The most down-sets that are tabulated.

    Returns:
        The number.

    Raises:
        LimitError: There is no closed form, and the tables hold more down-sets.

    >>> from causalsim.events import EventGraph, Wiring
    >>> EventGraph(Wiring(1), 1).count_down_sets(), EventGraph(Wiring(3), 8).count_down_sets()
    (6, 3633912)
    """
    return lattice_counts(graph, limit)[0]


def count_linear_extensions(graph: CausalStructure, *, limit: int = posets.DEFAULT_LIMIT) -> int:
    """Number of orders in which the events can be run one by one, exactly.

    #P-complete in general (Brightwell and Winkler 1991).

    Args:
        graph: An event graph.
        limit: The most down-sets that are tabulated.

    Returns:
        The number.

    Raises:
        LimitError: The tables hold more down-sets.

    >>> from causalsim.events import EventGraph, Wiring
    >>> EventGraph(Wiring(2), 2, granularity="block").count_linear_extensions()
    5
    """
    refuse_large(graph, limit)
    return posets.count_linear_extensions(graph.explicit(), limit=limit)


def linear_extensions(graph: CausalStructure) -> Iterator[tuple[Event, ...]]:
    """All orders of the events, lexicographically by canonical index.

    Args:
        graph: An event graph.

    Yields:
        The events in such an order.

    Raises:
        LimitError: The graph has too many edges to list.

    >>> from causalsim.events import EventGraph, Wiring
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> [[graph.index(event) for event in order] for order in graph.linear_extensions()]
    [[0, 1, 2, 3], [0, 2, 1, 3], [0, 2, 3, 1], [2, 0, 1, 3], [2, 0, 3, 1]]
    """
    sources, events = graph.explicit(), list(graph)
    for order in posets.linear_extensions(sources):
        yield tuple(events[index] for index in order)


def down_sets(graph: CausalStructure) -> Iterator[frozenset[Event]]:
    """All down-sets, by size.

    Args:
        graph: An event graph.

    Yields:
        Events that hold the past of each of them.

    Raises:
        LimitError: The graph has too many edges to list.

    >>> from causalsim.events import EventGraph, Wiring
    >>> [len(events) for events in EventGraph(Wiring(1), 1).down_sets()]
    [0, 1, 2, 3, 4, 5]
    """
    sources, events = graph.explicit(), list(graph)
    for mask in posets.down_sets(sources):
        yield frozenset(events[index] for index in elements(mask))


def refuse_large(graph: CausalStructure, limit: int, *, whole: bool = False) -> None:
    """Raise ``LimitError`` at once if it is known that the tables of a graph hold more down-sets.

    Those of several texts are tabulated text by text, unless the lattice is asked for as a whole.

    Raises:
        LimitError: It is so.

    >>> from causalsim.events import EventGraph, Wiring
    >>> refuse_large(EventGraph(Wiring(1), 1), limit=6)
    """
    limit = check_whole("a limit", limit, 1)
    each = [_at_least(graph, prompt, limit, whole) for prompt in graph.prompts]
    tabulated = prod(each) if whole else 1 + sum(count - 1 for count in each)
    rule = "the down-sets are tabulated one by one"
    hint = "Raise the limit, or take a shorter text."
    check_limit(rule, tabulated, limit, got=f"more than 2**{tabulated.bit_length() - 1}", hint=hint)


def _at_least(graph: CausalStructure, prompt: int, limit: int, whole: bool) -> int:
    """Return how many down-sets of a text are tabulated at least, counted no further than a limit.

    A window lets go of edges, and what begins with the prompt is among all the rest; so full
    attention to the prompt alone, or to its first positions, has no more down-sets than the text.
    """
    wiring = replace(graph.wiring, windows=None)
    if not _is_joined(graph, prompt):
        return _of_text(wiring, graph.granularity, 1)[0] ** min(prompt, limit.bit_length()) if whole else 1
    length = 2
    while (found := _of_text(wiring, graph.granularity, length)[0]) <= limit and length < prompt:
        length = min(2 * length, prompt)
    return found


def has_closed_form(graph: CausalStructure) -> bool:
    """Return True if no window and no feedback bounds what a position reads of the columns before.

    >>> from causalsim.events import EventGraph, Wiring
    >>> [has_closed_form(EventGraph(Wiring(1, windows=w), 2, granularity="block")) for w in (None, 1)]
    [True, False]
    """
    longest = max(graph.lengths)
    return not graph.has_feedback and all(
        window is None or window >= longest for window in graph.wiring.windows_by_layer
    )


def _is_joined(graph: CausalStructure, prompt: int) -> bool:
    # One column is a stack, and columns that read nothing of each other lie side by side: the
    # tables of such parts are smaller than their lattice. Else the last event of the first
    # column and the first of the second keep the text from falling apart.
    read = graph.wiring.windows_by_layer[graph.granularity == "block" :]
    return prompt > 1 and any(window is None or window > 1 for window in read)


def lattice_counts(graph: CausalStructure, limit: int) -> tuple[int, int]:
    """Return the numbers of down-sets of a graph, and of pairs of them that differ by one event.

    >>> from causalsim.events import EventGraph, Wiring
    >>> lattice_counts(EventGraph(Wiring(1), 2), 1)
    (30, 48)
    """
    limit = check_whole("a limit", limit, 1)
    if not has_closed_form(graph):
        refuse_large(graph, limit)
        found = posets.lattice_counts(graph.explicit(), limit=limit)
        return found.down_sets, found.lattice_edges
    sets, edges = 1, 0
    for length in graph.lengths:
        more, joined = _of_text(graph.wiring, graph.granularity, length)
        sets, edges = sets * more, edges * more + sets * joined
    return sets, edges


@lru_cache(maxsize=256)
def _of_text(wiring: Wiring, granularity: Granularity, length: int) -> tuple[int, int]:
    parts, pairs = _column(wiring, granularity)
    refuse_long("a count of down-sets sums over layers and positions", length * len(parts) * wiring.n_layers)
    sets, edges = [1] * (wiring.n_layers + 1), [0] * (wiring.n_layers + 1)
    for _ in range(length):
        edges = [
            sum(n * edges[max(read, reads)] for reads, n in _having(parts, read))
            + sum(n * sets[max(read, reads)] for reads, n in _having(pairs, read))
            for read in range(len(sets))
        ]
        sets = [
            sum(n * sets[max(read, reads)] for reads, n in _having(parts, read)) for read in range(len(sets))
        ]
    return sets[0], edges[0]


def _having(steps: Steps, read: int) -> Iterable[tuple[int, int]]:
    """K/V that is read before, and in how many ways, by the parts that have the K/V that is read behind."""
    return ((reads, n) for (has, reads), n in steps.items() if has >= read)


@lru_cache(maxsize=64)
def _column(wiring: Wiring, granularity: Granularity) -> tuple[Steps, Steps]:
    """The parts of one column, and the pairs of them one event apart, by the K/V of the lesser one."""
    rank = {site: rank for rank, site in enumerate(wiring.sites(granularity))}
    readers: dict[int, int] = {}
    for family in wiring.edge_families(granularity):
        if family.stream == "kv":
            bit = 1 << rank[family.source]
            readers[bit] = readers.get(bit, 0) | 1 << rank[family.target]
    found = {
        mask: (_reached(mask, readers.keys()), _reached(mask, readers.values()))
        for mask in posets.down_sets(CausalStructure(wiring, 1, granularity=granularity).explicit())
    }
    pairs = Counter(
        (found[lesser][0], reads)
        for mask, (_, reads) in found.items()
        for i in elements(mask)
        if (lesser := mask ^ 1 << i) in found
    )
    return Counter(found.values()), pairs


def _reached(mask: int, layers: Iterable[int]) -> int:
    """The number of layers of which some event is in the part."""
    return sum(mask & layer > 0 for layer in layers)
