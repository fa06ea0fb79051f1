"""Largest bipartite matchings over bitmasks (Hopcroft and Karp 1973), with Konig's witness."""

from __future__ import annotations

from dataclasses import dataclass

from causalsim.posets.relations import elements, union


@dataclass(frozen=True)
class Matching:
    """A largest matching: ``right_of[i]`` is the partner of left vertex i, or -1.

    The reached vertices are those that alternating paths from unmatched left vertices reach.
    The left vertices that are not reached and the right ones that are form a smallest vertex cover.

    >>> match([0b1]).reached_left
    0
    """

    right_of: list[int]
    reached_left: int
    reached_right: int


def match(neighbours: list[int]) -> Matching:
    """Return a largest matching of n left and n right vertices; ``neighbours[i]`` is a bitmask.

    >>> match([0b011, 0b001, 0b001]).right_of
    [1, 0, -1]
    """
    right_of, left_of = [-1] * len(neighbours), [-1] * len(neighbours)
    while True:
        lefts, rights = _layers(neighbours, right_of, left_of)
        if not any(left_of[j] < 0 for j in elements(rights[-1])):
            return Matching(right_of, union(lefts), union(rights))
        for root in elements(lefts[0]):
            _augment(root, neighbours, rights, right_of, left_of)


def _layers(neighbours: list[int], right_of: list[int], left_of: list[int]) -> tuple[list[int], list[int]]:
    """Breadth first from the unmatched left vertices, to the first layer with an unmatched right one."""
    free = sum(1 << j for j, i in enumerate(left_of) if i < 0)
    lefts = [sum(1 << i for i, j in enumerate(right_of) if j < 0)]
    rights: list[int] = []
    unseen = (1 << len(neighbours)) - 1
    while True:
        rights.append(union(neighbours[i] for i in elements(lefts[-1])) & unseen)
        if rights[-1] & free or not rights[-1]:
            return lefts, rights
        unseen &= ~rights[-1]
        lefts.append(sum(1 << left_of[j] for j in elements(rights[-1])))


def _augment(
    root: int, neighbours: list[int], rights: list[int], right_of: list[int], left_of: list[int]
) -> None:
    """Depth first along the layers; a right vertex is used up when first visited, path or no path."""
    path, crossed = [root], [-1]
    while path:
        depth = len(path) - 1
        open_ = neighbours[path[-1]] & rights[depth]
        bit = open_ & -open_
        if not bit:
            path.pop()
            crossed.pop()
            continue
        rights[depth] ^= bit
        crossed[-1] = bit.bit_length() - 1
        owner = left_of[crossed[-1]]
        if owner < 0:
            _flip(path, crossed, right_of, left_of)
            return
        if depth + 1 < len(rights):
            path.append(owner)
            crossed.append(-1)


def _flip(path: list[int], crossed: list[int], right_of: list[int], left_of: list[int]) -> None:
    for i, j in zip(path, crossed, strict=True):
        right_of[i], left_of[j] = j, i
