"""Exactly uniform linear extensions, by rank in a table of down-sets."""

from __future__ import annotations

from math import factorial, prod

import numpy as np

from causalsim.posets.decomposition import Part, decompose
from causalsim.posets.growth import DEFAULT_LIMIT, Budget
from causalsim.posets.randomness import checked_rank, draw_below
from causalsim.posets.relations import Predecessors
from causalsim.posets.sizes import LatticeCounts, evaluate
from causalsim.posets.tables import Table, table


class UniformSampler:
    """Draws linear extensions, each with probability exactly 1 / count.

    The table of down-sets is built once; a draw is one exact random integer below ``count`` and the
    linear extension that has it as its rank (Nijenhuis and Wilf 1978). ``limit`` bounds the down-sets
    that are tabulated, in all series and parallel parts together; raises LimitError beyond it.

    Args:
        predecessors: For each element the elements below it, all numbered smaller.
        limit: The most down-sets that are tabulated.

    Raises:
        InputError: No elements numbered along a linear extension.
        LimitError: The tables hold more down-sets.

    >>> sampler = UniformSampler([(), (), (0,), (1,)])
    >>> sampler.count
    6
    >>> sorted(sampler.sample(np.random.default_rng(0)))
    [0, 1, 2, 3]
    """

    def __init__(self, predecessors: Predecessors, *, limit: int = DEFAULT_LIMIT) -> None:
        budget = Budget(limit)
        self._parts = decompose(predecessors)
        self._tables: dict[tuple[int, ...], Table] = {}
        self._counts = evaluate(self._parts, lambda part: self._tabulate(part, budget))

    @property
    def count(self) -> int:
        """The exact number of linear extensions.

        >>> UniformSampler([(), (), (0,)]).count
        3
        """
        return self._counts[0].linear_extensions

    def sample(self, rng: np.random.Generator) -> list[int]:
        """Return a uniform linear extension; the same state of ``rng`` gives the same one everywhere.

        Args:
            rng: A NumPy generator.

        Returns:
            All elements in such an order.

        Raises:
            InputError: No generator.

        >>> UniformSampler([(), (0,)]).sample(np.random.default_rng(0))
        [0, 1]
        """
        return self.unrank(draw_below(self.count, rng))

    def unrank(self, rank: int) -> list[int]:
        """Return the linear extension of one rank in ``range(count)``: a bijection, in no stated order.

        Args:
            rank: A number below ``count``.

        Returns:
            All elements in such an order.

        Raises:
            InputError: No such rank.

        >>> sampler = UniformSampler([(), (), (0,)])
        >>> sorted(sampler.unrank(rank) for rank in range(sampler.count))
        [[0, 1, 2], [0, 2, 1], [1, 0, 2]]
        """
        rank = checked_rank("a linear extension", rank, self.count)
        ranks_, orders = self._share(rank), dict[int, list[int]]()
        for k in reversed(range(len(self._parts))):
            part = self._parts[k]
            orders[k] = self._order(part, ranks_[k], [orders.pop(child) for child in part.children])
        return orders[0]

    def _tabulate(self, part: Part, budget: Budget) -> LatticeCounts:
        self._tables[part.members] = table(part.predecessors, budget)
        return self._tables[part.members].counts()

    def _share(self, rank: int) -> list[int]:
        """Split the rank over the parts as mixed-radix digits; what remains is the part's own."""
        digits = [rank] + [0] * (len(self._parts) - 1)
        for k, part in enumerate(self._parts):
            for child in part.children:
                digits[k], digits[child] = divmod(digits[k], self._counts[child].linear_extensions)
        return digits

    def _order(self, part: Part, rank: int, orders: list[list[int]]) -> list[int]:
        if part.kind == "prime":
            return [part.members[i] for i in self._tables[part.members].order(rank)]
        if part.kind == "series":
            return [i for order in orders for i in order]
        return _interleave(orders, rank)


def _interleave(orders: list[list[int]], rank: int) -> list[int]:
    """Merge sequences by the rank of the merge; a sequence comes next in proportion to what is left of it."""
    left = [len(order) for order in orders]
    merges = factorial(sum(left)) // prod(map(factorial, left))
    merged = []
    for total in range(sum(left), 0, -1):
        for k, size in enumerate(left):
            share = merges * size // total
            if rank < share:
                merged.append(orders[k][-size])
                merges, left[k] = share, size - 1
                break
            rank -= share
    return merged
