"""The lattice of down-sets, one size at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from causalsim.posets.growth import Budget, Growth
from causalsim.posets.relations import Predecessors, covered


@dataclass(frozen=True)
class Rank:
    """All down-sets of one size, as keys of two tables.

    ``ways``: the number of linear extensions of the down-set.
    ``enabled``: the bitmask of the minimal elements outside, each of which may come next.

    >>> Rank(ways={0b01: 1, 0b10: 1}, enabled={0b01: 0b10, 0b10: 0b01}).count_edges()
    2
    """

    ways: dict[int, int]
    enabled: dict[int, int]

    def count_edges(self) -> int:
        """Return how many pairs there are of a down-set here and one of the next size that holds it.

        >>> Rank({0: 1}, {0: 0b11}).count_edges()
        2
        """
        return sum(mask.bit_count() for mask in self.enabled.values())


def down_sets(predecessors: Predecessors) -> Iterator[int]:
    """Return all down-sets as bitmasks, by size, then by integer value.

    A down-set (order ideal) holds with each element all elements below it. Only two sizes are in
    memory at a time, and a size is computed when its first down-set is asked for.

    Args:
        predecessors: For each element the elements below it, all numbered smaller.

    Returns:
        An iterator of bitmasks of elements.

    Raises:
        InputError: No elements numbered along a linear extension.

    >>> [f"{mask:03b}" for mask in down_sets([(), (), (0,)])]
    ['000', '001', '010', '011', '101', '111']
    """
    return (mask for rank in ranks(predecessors) for mask in sorted(rank.ways))


def ranks(predecessors: Predecessors, budget: Budget | None = None) -> Iterator[Rank]:
    """Return the down-sets of size 0, 1, ..., n, each with its number of linear extensions.

    The ways of a down-set are the sum, over its maximal elements, of the ways without that element
    (Stanley, Enumerative Combinatorics 1, section 3.5). All down-sets are charged to the budget;
    without one there is no bound.

    >>> [rank.ways for rank in ranks([(), (), (0,)])]
    [{0: 1}, {1: 1, 2: 1}, {3: 2, 5: 1}, {7: 3}]
    """
    lower = covered(predecessors)
    return _ranks(len(lower), Growth(lower), budget or Budget(sys.maxsize))


def _ranks(size: int, growth: Growth, budget: Budget) -> Iterator[Rank]:
    rank = Rank({0: 1}, {0: growth.minimal})
    yield rank
    for _ in range(size):
        rank = _next(rank, growth, budget)
        yield rank


def _next(rank: Rank, growth: Growth, budget: Budget) -> Rank:
    ways: dict[int, int] = {}
    enabled: dict[int, int] = {}
    for mask, count in rank.ways.items():
        before = untried = rank.enabled[mask]
        while untried:
            bit = untried & -untried
            untried ^= bit
            grown = mask | bit
            if grown in ways:
                ways[grown] += count
            else:
                budget.spend()
                ways[grown] = count
                enabled[grown] = growth.enabled(before, bit, grown)
    return Rank(ways, enabled)
