"""The lattice of down-sets of full attention in closed form, counted from column to column.

What later positions read of a column is which of its K/V exist, and they read those of the first
layers or none. So the columns before a position need to know one number of those behind it: up to
which layer K/V is read. Windows and feedback need more, and are left to tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

from causalsim import posets
from causalsim.arguments import check_whole
from causalsim.errors import LimitError
from causalsim.events.checks import checked_graph
from causalsim.events.limits import refuse_long
from causalsim.events.wiring import Wiring
from causalsim.posets.relations import elements

if TYPE_CHECKING:
    from causalsim.events.graph import EventGraph
    from causalsim.events.wiring import Granularity

Steps = Counter[tuple[int, int]]
"""How many parts of a column (or pairs of them one event apart) have so many K/V and read so many."""


def count_down_sets(graph: EventGraph, *, limit: int = posets.DEFAULT_LIMIT) -> int:
    """Number of sets of events that contain the past of each of their events, exactly.

    In closed form for full attention without feedback: the sum over what a column's part reads, column
    after column, of the ways of the columns before. Else from tables of at most ``limit`` down-sets
    (Stanley, Enumerative Combinatorics 1, section 3.5). Raises ``LimitError`` beyond it.

    >>> from causalsim.events import EventGraph, Wiring
    >>> count_down_sets(EventGraph(Wiring(1), 1)), count_down_sets(EventGraph(Wiring(3), 8))
    (6, 3633912)
    """
    return _counts(graph, limit)[0]


def count_lattice_edges(graph: EventGraph, *, limit: int = posets.DEFAULT_LIMIT) -> int:
    """Number of pairs of down-sets that differ by one event: the covers of their lattice, exactly.

    In closed form, or from tables, as for `count_down_sets`.

    >>> from causalsim.events import EventGraph, Wiring
    >>> count_lattice_edges(EventGraph(Wiring(1), 1)), count_lattice_edges(EventGraph(Wiring(1), 2))
    (5, 48)
    """
    return _counts(graph, limit)[1]


def refuse_large(graph: EventGraph, limit: int, *, whole: bool = False) -> None:
    """Raise ``LimitError`` at once if it is known that the tables of a graph hold more down-sets.

    Those of several texts are tabulated text by text, unless the lattice is asked for as a whole.

    >>> from causalsim.events import EventGraph, Wiring
    >>> refuse_large(EventGraph(Wiring(1), 1), limit=6)
    """
    limit = check_whole("a limit", limit, 1)
    each = [_at_least(graph, prompt, limit, whole) for prompt in graph.prompts]
    tabulated = prod(each) if whole else 1 + sum(count - 1 for count in each)
    if tabulated > limit:
        raise LimitError(
            "the down-sets are tabulated one by one",
            reached=tabulated,
            bound=limit,
            got=f"more than 2**{tabulated.bit_length() - 1}",
            hint="Raise the limit, or take a shorter text.",
        )


def _at_least(graph: EventGraph, prompt: int, limit: int, whole: bool) -> int:
    """Down-sets of a text that are tabulated at least, counted no further than a limit.

    A window lets go of edges, and what begins with the prompt is among all the rest; so full
    attention to the prompt alone, or to its first positions, has no more down-sets than the text.
    """
    wiring = Wiring(graph.wiring.n_layers, parallel_residual=graph.wiring.parallel_residual)
    if not _is_joined(graph, prompt):
        return _of_text(wiring, graph.granularity, 1)[0] ** min(prompt, limit.bit_length()) if whole else 1
    length = 2
    while (found := _of_text(wiring, graph.granularity, length)[0]) <= limit and length < prompt:
        length = min(2 * length, prompt)
    return found


def has_closed_form(graph: EventGraph) -> bool:
    """Whether no window and no feedback bounds what a position reads of the columns before.

    >>> from causalsim.events import EventGraph, Wiring
    >>> [has_closed_form(EventGraph(Wiring(1, windows=w), 2, granularity="block")) for w in (None, 1)]
    [True, False]
    """
    longest = max(graph.lengths)
    return not graph.has_feedback and all(
        window is None or window >= longest for window in graph.wiring.windows_by_layer
    )


def _is_joined(graph: EventGraph, prompt: int) -> bool:
    # One column is a stack, and columns that read nothing of each other lie side by side: the
    # tables of such parts are smaller than their lattice. Else the last event of the first
    # column and the first of the second keep the text from falling apart.
    read = graph.wiring.windows_by_layer[graph.granularity == "block" :]
    return prompt > 1 and any(window is None or window > 1 for window in read)


def _counts(graph: EventGraph, limit: int) -> tuple[int, int]:
    limit = check_whole("a limit", limit, 1)
    if not has_closed_form(checked_graph(graph)):
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
    """What is read before, and in how many ways, by the parts that have the K/V that is read behind."""
    return ((reads, n) for (has, reads), n in steps.items() if has >= read)


@lru_cache(maxsize=64)
def _column(wiring: Wiring, granularity: Granularity) -> tuple[Steps, Steps]:
    """The parts of one column, and the pairs of them one event apart, by the K/V of the lesser one."""
    from causalsim.events.graph import EventGraph

    column = EventGraph(wiring, 1, granularity=granularity)
    # A block makes K/V for the one above, which reads it and none of its own layer.
    has, reads = ("block", "block") if granularity == "block" else ("kv", "attn")
    makers, readers = _layers(column, has), _layers(column, reads)[granularity == "block" :]
    found = {
        mask: (_reached(mask, makers), _reached(mask, readers))
        for mask in posets.down_sets(column.explicit())
    }
    pairs = Counter(
        (found[lesser][0], reads)
        for mask, (_, reads) in found.items()
        for i in elements(mask)
        if (lesser := mask ^ 1 << i) in found
    )
    return Counter(found.values()), pairs


def _layers(column: EventGraph, kind: str) -> list[int]:
    return [1 << index for index, event in enumerate(column) if event.kind == kind]


def _reached(mask: int, bits: list[int]) -> int:
    return sum(mask & bit > 0 for bit in bits)
