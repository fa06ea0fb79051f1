"""Dilworth's theorem with both witnesses: a largest antichain and as many chains that cover everything."""

from __future__ import annotations

from causalsim.posets.matching import Matching, match
from causalsim.posets.relations import Predecessors, checked, elements


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
