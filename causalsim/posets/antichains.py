"""Antichains: all maximal ones, and a largest one with as many chains that cover everything (Dilworth)."""

from __future__ import annotations

from collections.abc import Iterator

from causalsim.posets.matching import Matching, match
from causalsim.posets.relations import Predecessors, checked, closure, elements


def width(predecessors: Predecessors) -> int:
    """Return the size of a largest antichain, which is the least number of chains that cover (Dilworth 1950).

    Args:
        predecessors: For each element the elements below it, all numbered smaller.

    Returns:
        The number.

    Raises:
        InputError: No elements numbered along a linear extension.

    >>> width([(), (0,), (0,), (1, 2)])
    2
    """
    return len(maximum_antichain(predecessors))


def maximum_antichain(predecessors: Predecessors) -> list[int]:
    """Return the highest of the largest antichains, ascending by number.

    Highest: every element of any other largest antichain is below or in this one. By Konig's theorem
    it is what a smallest vertex cover leaves of the comparable pairs (Fulkerson 1956).

    Args:
        predecessors: For each element the elements below it, all numbered smaller.

    Returns:
        Its elements.

    Raises:
        InputError: No elements numbered along a linear extension.

    >>> maximum_antichain([(), (), (0,), (1,), (2, 3)])
    [2, 3]
    """
    matching = _comparable_pairs(predecessors)
    # Neither copy of these elements is in Konig's cover, so no pair among them is comparable.
    return list(elements(matching.reached_left & ~matching.reached_right))


def minimum_chain_cover(predecessors: Predecessors) -> list[list[int]]:
    """Return a partition of the elements into the least number of chains, by least element.

    Neighbours in a chain are comparable, not necessarily a cover apart. From a largest matching
    between elements and elements above them (Fulkerson 1956).

    Args:
        predecessors: For each element the elements below it, all numbered smaller.

    Returns:
        Chains, each ascending.

    Raises:
        InputError: No elements numbered along a linear extension.

    >>> minimum_chain_cover([(), (), (0,), (1,), (2, 3)])
    [[0, 2, 4], [1, 3]]
    """
    above = _comparable_pairs(predecessors).right_of
    inner = set(above)
    return [_follow(above, i) for i in range(len(above)) if i not in inner]


def maximal_antichains(predecessors: Predecessors) -> Iterator[list[int]]:
    """Yield the antichains that no element can join, each ascending, in lexicographic order.

    The maximal cliques of the incomparability graph (Bron and Kerbosch 1973), tried in ascending
    order; a branch ends where an element that was passed over could join whatever follows.

    Args:
        predecessors: For each element the elements below it, all numbered smaller.

    Yields:
        The elements of one.

    Raises:
        InputError: No elements numbered along a linear extension.

    >>> list(maximal_antichains([(), (), (0,), (1,)]))
    [[0, 1], [0, 3], [1, 2], [2, 3]]
    """
    apart = _incomparable(closure(predecessors))
    # Of each branch: what is chosen, what may still join, and what may join but was passed over.
    branches = [(0, (1 << len(apart)) - 1, 0)]
    while branches:
        chosen, open_, passed = branches.pop()
        if any(not open_ & ~apart[i] for i in elements(passed)):
            continue
        if not open_:
            yield list(elements(chosen))
            continue
        grown = []
        for i in elements(open_):
            bit = 1 << i
            open_ ^= bit
            grown.append((chosen | bit, open_ & apart[i], passed & apart[i]))
            passed |= bit
        branches += reversed(grown)


def _comparable_pairs(predecessors: Predecessors) -> Matching:
    lower = checked(predecessors)
    future = [0] * len(lower)
    for i in reversed(range(len(lower))):
        for j in lower[i]:
            future[j] |= future[i] | 1 << i
    return match(future)


def _follow(above: list[int], i: int) -> list[int]:
    chain = [i]
    while above[chain[-1]] >= 0:
        chain.append(above[chain[-1]])
    return chain


def _incomparable(past: list[int]) -> list[int]:
    """For each element the others that are neither below nor above it, as bitmasks."""
    apart = [~mask & (1 << len(past)) - 1 & ~(1 << i) for i, mask in enumerate(past)]
    for i, mask in enumerate(past):
        for j in elements(mask):
            apart[j] &= ~(1 << i)
    return apart
