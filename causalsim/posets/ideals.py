"""Exactly uniform down-sets, by rank in tables of the prime parts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from causalsim.posets.decomposition import Part, decompose
from causalsim.posets.downsets import ranks
from causalsim.posets.growth import DEFAULT_LIMIT, Budget
from causalsim.posets.randomness import checked_rank, draw_below
from causalsim.posets.relations import Predecessors, elements
from causalsim.posets.sizes import LatticeCounts, evaluate, tally


class DownSetSampler:
    """Draws down-sets (order ideals), each with probability exactly 1 / count.

    The down-sets of prime parts are tabulated once, the empty one first and the whole part last;
    those of parallel parts are all combinations, those of series parts fill one part after another.
    ``limit`` bounds the tables together; raises LimitError beyond it.

    Args:
        predecessors: For each element the elements below it, all numbered smaller.
        limit: The most down-sets that are tabulated.

    Raises:
        InputError: No elements numbered along a linear extension.
        LimitError: The tables hold more down-sets.

    >>> sampler = DownSetSampler([(), (), (0,)])
    >>> [f"{sampler.unrank(rank):03b}" for rank in range(sampler.count)]
    ['000', '001', '101', '010', '011', '111']
    """

    def __init__(self, predecessors: Predecessors, *, limit: int = DEFAULT_LIMIT) -> None:
        budget = Budget(limit)
        self._parts = decompose(predecessors)
        self._tables: dict[tuple[int, ...], list[int]] = {}
        self._counts = evaluate(self._parts, lambda part: self._tabulate(part, budget))

    @property
    def count(self) -> int:
        """The exact number of down-sets.

        >>> DownSetSampler([(), (), (0,)]).count
        6
        """
        return self._counts[0].down_sets

    def sample(self, rng: np.random.Generator) -> int:
        """Return a uniform down-set as a bitmask; the same state of ``rng`` gives the same one everywhere.

        Args:
            rng: A NumPy generator.

        Returns:
            The bitmask of a down-set.

        Raises:
            InputError: No generator.

        >>> bin(DownSetSampler([(), (0,)]).sample(np.random.default_rng(0)))
        '0b1'
        """
        return self.unrank(draw_below(self.count, rng))

    def unrank(self, rank: int) -> int:
        """Return the down-set of one rank in ``range(count)``, as a bitmask: a bijection.

        Args:
            rank: A number below ``count``.

        Returns:
            The bitmask of a down-set.

        Raises:
            InputError: No such rank.

        >>> [DownSetSampler([(), (0,)]).unrank(rank) for rank in range(3)]
        [0, 1, 3]
        """
        rank = checked_rank("a down-set", rank, self.count)
        mask, shares = 0, [(0, rank)]
        while shares:
            k, rank = shares.pop()
            part = self._parts[k]
            if part.kind == "prime":
                inside = self._tables[part.members][rank]
                mask |= sum(1 << part.members[i] for i in elements(inside))
            else:
                share = self._filled if part.kind == "series" else self._combined
                shares += share(part, rank)
        return mask

    def _tabulate(self, part: Part, budget: Budget) -> LatticeCounts:
        table = self._tables[part.members] = list[int]()
        return tally(ranks(part.predecessors, budget), lambda rank: table.extend(rank.ways))

    def _combined(self, part: Part, rank: int) -> Iterator[tuple[int, int]]:
        for child in part.children:
            rank, digit = divmod(rank, self._counts[child].down_sets)
            yield child, digit

    def _filled(self, part: Part, rank: int) -> Iterator[tuple[int, int]]:
        for child in part.children:
            whole = self._counts[child].down_sets - 1
            yield child, min(rank, whole)
            rank -= whole
            if rank < 0:
                return
