"""All maximal antichains, one after another."""

from __future__ import annotations

from collections.abc import Iterator

from causalsim.posets.relations import Predecessors, closure, elements


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


def _incomparable(past: list[int]) -> list[int]:
    """For each element the others that are neither below nor above it, as bitmasks."""
    apart = [~mask & (1 << len(past)) - 1 & ~(1 << i) for i, mask in enumerate(past)]
    for i, mask in enumerate(past):
        for j in elements(mask):
            apart[j] &= ~(1 << i)
    return apart
