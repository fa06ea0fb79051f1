"""Exact counts of linear extensions for all down-sets at once, as arrays: one number codes a down-set.

A poset of width w falls into w chains (Dilworth 1950), and a down-set is how far it reaches up each of
them. Read as digits of mixed radix these heights are one machine integer, as long as it is wide enough;
counts are exact integers in digits of 48 bits, since they are only ever added.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt

from causalsim.posets.antichains import minimum_chain_cover
from causalsim.posets.growth import Budget
from causalsim.posets.relations import Predecessors, closure, covered
from causalsim.posets.sizes import LatticeCounts

DIGIT = np.uint64(48)
LOW = np.uint64((1 << 48) - 1)

# A least chain cover takes time that grows with the cube of the elements; this many take a second.
MOST_ELEMENTS = 512

# Sums of so many digits fit into a machine word.
WIDEST = 1 << 15

Codes = Int[np.ndarray, " states"]
Ways = UInt[np.ndarray, "states digits"]


class Level(NamedTuple):
    """The down-sets of one size, ascending by code, with the number of linear extensions of each.

    >>> Level(np.array([1]), np.array([[6]], np.uint64)).ways.tolist()
    [[6]]
    """

    codes: Codes
    ways: Ways


@dataclass(frozen=True)
class ChainTable:
    """The down-sets of a poset by size, coded by their heights over ``chains``, with ``strides`` as radix.

    >>> table = tabulate([(), (), (0,)], Budget(9))
    >>> table.chains, [len(level.codes) for level in table.levels]
    ([[0, 2], [1]], [1, 2, 2, 1])
    """

    chains: list[list[int]]
    strides: Int[np.ndarray, " chains"]
    levels: list[Level]
    edges: int

    def counts(self) -> LatticeCounts:
        """Return the counts that the table holds.

        >>> tabulate([(), (), (0,)], Budget(9)).counts().linear_extensions
        3
        """
        sizes = sum(len(level.codes) for level in self.levels)
        return LatticeCounts(len(self.levels) - 1, sizes, self.edges, _whole(self.levels[-1].ways[0]))

    def order(self, rank: int) -> list[int]:
        """Return the linear extension of one rank, a bijection from ``range(count)``.

        Maximal elements are taken off the whole poset, each owning as many ranks as there are ways
        without it (Nijenhuis and Wilf 1978).

        >>> [tabulate([(), (), (0,)], Budget(9)).order(rank) for rank in range(3)]
        [[1, 0, 2], [0, 1, 2], [0, 2, 1]]
        """
        code, order = self.levels[-1].codes[0], list[int]()
        heights = [len(chain) for chain in self.chains]
        for level in reversed(self.levels[:-1]):
            places = np.searchsorted(level.codes, code - self.strides)
            for k, place in enumerate(places.tolist()):
                if heights[k] and place < len(level.codes) and level.codes[place] == code - self.strides[k]:
                    ways = _whole(level.ways[place])
                    if rank < ways:
                        break
                    rank -= ways
            heights[k] -= 1
            code = code - self.strides[k]
            order.append(self.chains[k][heights[k]])
        return order[::-1]


def tabulate(predecessors: Predecessors, budget: Budget) -> ChainTable | None:
    """Return the table of a poset, or ``None`` where it has too many elements or too wide a code.

    All down-sets but the empty one are charged to the budget.

    >>> tabulate([(), (), (0,), (1,)], Budget(9)).counts()
    LatticeCounts(elements=4, down_sets=9, lattice_edges=12, linear_extensions=6)
    """
    if len(predecessors) > MOST_ELEMENTS:
        return None
    chains = minimum_chain_cover(predecessors)
    radix = [len(chain) + 1 for chain in chains]
    if prod(radix) >= 2**62 or len(chains) >= WIDEST:
        return None
    strides = np.array([prod(radix[:k]) for k in range(len(radix))], np.int64)
    needs = _needs(chains, closure(covered(predecessors)))
    heights, edges = np.zeros((1, len(chains)), np.int32), 0
    levels = [Level(np.zeros(1, np.int64), np.ones((1, 1), np.uint64))]
    for _ in range(len(predecessors)):
        heights, level, found = _next(heights, levels[-1], needs, strides, budget)
        levels.append(level)
        edges += found
    return ChainTable(chains, strides, levels, edges)


Heights = Int[np.ndarray, "states chains"]


def _needs(chains: list[list[int]], past: list[int]) -> list[Int[np.ndarray, "heights chains"]]:
    """For the next element of each chain at each height, the heights that its past takes."""
    masks = [sum(1 << i for i in chain) for chain in chains]
    top = [[len(past) + 1] * len(chains)]
    return [
        np.array([[(past[i] & mask).bit_count() for mask in masks] for i in chain] + top, np.int32)
        for chain in chains
    ]


def _next(
    heights: Heights,
    level: Level,
    needs: list[Int[np.ndarray, "heights chains"]],
    strides: Int[np.ndarray, " chains"],
    budget: Budget,
) -> tuple[Heights, Level, int]:
    grows = [np.flatnonzero((heights >= need[heights[:, k]]).all(axis=1)) for k, need in enumerate(needs)]
    source = np.concatenate(grows)
    chain = np.repeat(np.arange(len(grows)), [len(found) for found in grows])
    codes = level.codes[source] + strides[chain]
    order = np.argsort(codes)
    codes, source, chain = codes[order], source[order], chain[order]
    firsts = np.flatnonzero(np.diff(codes, prepend=-1))
    budget.spend(len(firsts))
    grown = heights[source[firsts]]
    grown[np.arange(len(firsts)), chain[firsts]] += 1
    ways = _carried(np.add.reduceat(level.ways[source], firsts, axis=0))
    return grown, Level(codes[firsts], ways), len(source)


def _carried(sums: Ways) -> Ways:
    for k in range(sums.shape[1] - 1):
        sums[:, k + 1] += sums[:, k] >> DIGIT
        sums[:, k] &= LOW
    if not (beyond := sums[:, -1:] >> DIGIT).any():
        return sums
    sums[:, -1] &= LOW
    return np.concatenate([sums, beyond], axis=1)


def _whole(digits: UInt[np.ndarray, " digits"]) -> int:
    return sum(digit << 48 * k for k, digit in enumerate(digits.tolist()))
