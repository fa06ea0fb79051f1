"""Levels and longest chains, in time linear in the edges."""

from __future__ import annotations

from causalsim.posets.relations import Predecessors, checked


def levels(predecessors: Predecessors) -> list[int]:
    """Return each element's level: the covers on the longest chain that ends there, from 0.

    Level sets are antichains, and no partition into antichains has fewer (Mirsky 1971).

    Args:
        predecessors: For each element the elements below it, all numbered smaller.

    Returns:
        The level of each element.

    Raises:
        InputError: No elements numbered along a linear extension.

    >>> levels([(), (), (0, 1), (1,), (2,)])
    [0, 0, 1, 1, 2]
    """
    height: list[int] = []
    for below in checked(predecessors):
        height.append(1 + max((height[j] for j in below), default=-1))
    return height


def longest_chain(predecessors: Predecessors) -> list[int]:
    """Return a longest chain, ascending; among several, the one with the smallest elements from the top.

    Its length is the number of levels.

    Args:
        predecessors: For each element the elements below it, all numbered smaller.

    Returns:
        Its elements; none of an empty poset.

    Raises:
        InputError: No elements numbered along a linear extension.

    >>> longest_chain([(), (), (0, 1), (1,), (2,)])
    [0, 2, 4]
    """
    lower = checked(predecessors)
    height = levels(lower)
    if not height:
        return []
    chain = [height.index(max(height))]
    while height[chain[-1]]:
        chain.append(min(j for j in lower[chain[-1]] if height[j] == height[chain[-1]] - 1))
    return chain[::-1]
