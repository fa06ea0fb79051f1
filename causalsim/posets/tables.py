"""The table of a poset's down-sets: as arrays where machine integers code them, else by bitmasks."""

from __future__ import annotations

from causalsim.posets.chaintable import ChainTable, tabulate
from causalsim.posets.downsets import ranks
from causalsim.posets.growth import Budget
from causalsim.posets.relations import Predecessors, elements
from causalsim.posets.sizes import LatticeCounts, tally


def table(predecessors: Predecessors, budget: Budget) -> Table:
    """Return a table of all down-sets, each charged to the budget but the empty one.

    >>> table([(), (), (0,), (1,)], Budget(9)).counts().linear_extensions
    6
    """
    return tabulate(predecessors, budget) or MaskTable(predecessors, budget)


class MaskTable:
    """The ways of every down-set, by size and bitmask: for what no machine integer codes.

    >>> table = MaskTable([(), (), (0,)], Budget(9))
    >>> table.order(0)
    [0, 2, 1]
    """

    def __init__(self, predecessors: Predecessors, budget: Budget) -> None:
        self._ways: list[dict[int, int]] = []
        self._counts = tally(ranks(predecessors, budget), lambda rank: self._ways.append(rank.ways))

    def counts(self) -> LatticeCounts:
        """Return the counts that the table holds.

        >>> MaskTable([(), (), (0,)], Budget(9)).counts()
        LatticeCounts(elements=3, down_sets=6, lattice_edges=7, linear_extensions=3)
        """
        return self._counts

    def order(self, rank: int) -> list[int]:
        """Return the linear extension of one rank: as `ChainTable.order`, in another bijection.

        >>> [MaskTable([(), (), (0,)], Budget(9)).order(rank) for rank in range(3)]
        [[0, 2, 1], [1, 0, 2], [0, 1, 2]]
        """
        mask, order = (1 << len(self._ways) - 1) - 1, []
        for ways in reversed(self._ways[:-1]):
            for i in elements(mask):
                count = ways.get(mask ^ 1 << i, 0)
                if rank < count:
                    break
                rank -= count
            mask ^= 1 << i
            order.append(i)
        return order[::-1]


Table = ChainTable | MaskTable
