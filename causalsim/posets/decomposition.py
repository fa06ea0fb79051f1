"""Series and parallel parts: where a poset falls apart, its counts are products."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from causalsim.posets.relations import Predecessors, closure, covered, elements, union

Kind = Literal["series", "parallel", "prime"]


@dataclass(frozen=True)
class Part:
    """A node of the decomposition tree.

    ``series``: each child is wholly below the next. ``parallel``: children are not comparable.
    ``prime``: neither, or one element; only then are ``predecessors`` given, renumbered from 0.
    ``children`` are places in the list of all parts, behind this one.

    >>> decompose([(), (0,)])[0].kind
    'series'
    """

    kind: Kind
    members: tuple[int, ...]
    children: range
    predecessors: tuple[tuple[int, ...], ...] = ()


def decompose(predecessors: Predecessors) -> list[Part]:
    """Return the series-parallel decomposition, the whole poset first, children after their parents.

    Series parts are the components of the incomparability graph, parallel parts those of the
    comparability graph (Moehring 1989). One pass of bitmasks over the elements for each level of the tree.

    >>> [(part.kind, part.members) for part in decompose([(), (), (0, 1)])]
    [('series', (0, 1, 2)), ('parallel', (0, 1)), ('prime', (2,)), ('prime', (0,)), ('prime', (1,))]
    """
    lower, past = covered(predecessors), closure(predecessors)
    linked = _neighbours(lower)
    parts: list[Part] = []
    masks = [(1 << len(past)) - 1]
    for mask in masks:  # grows while it is read, which is what puts children behind their parents
        kind, pieces = _split(mask, past, linked)
        members = tuple(elements(mask))
        inside = _renumbered(lower, members) if kind == "prime" else ()
        parts.append(Part(kind, members, range(len(masks), len(masks) + len(pieces)), inside))
        masks += pieces
    return parts


def _split(mask: int, past: list[int], linked: list[int]) -> tuple[Kind, list[int]]:
    blocks = _series(mask, past)
    if len(blocks) > 1:
        return "series", blocks
    components = list(_parallel(mask, linked))
    return ("parallel", components) if len(components) > 1 else ("prime", [])


def _series(mask: int, past: list[int]) -> list[int]:
    # A cut lies before i iff everything from i on is above everything earlier. All numberings
    # agree with the order, so no other cut is possible.
    blocks: list[int] = []
    block, first_missing = 0, mask
    for i in reversed(list(elements(mask))):
        missing = mask & ~past[i]
        first_missing = min(first_missing, missing & -missing)
        block |= 1 << i
        if first_missing == 1 << i:
            blocks.append(block)
            block = 0
    return blocks[::-1]


def _parallel(mask: int, linked: list[int]) -> Iterator[int]:
    while mask:
        component = fresh = mask & -mask
        while fresh:
            fresh = union(linked[i] for i in elements(fresh)) & mask & ~component
            component |= fresh
        mask ^= component
        yield component


def _neighbours(lower: list[tuple[int, ...]]) -> list[int]:
    # A part holds all that lies between two of its elements, so comparable ones meet by covers inside it.
    linked = [0] * len(lower)
    for i, below in enumerate(lower):
        for j in below:
            linked[i] |= 1 << j
            linked[j] |= 1 << i
    return linked


def _renumbered(lower: list[tuple[int, ...]], members: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    place = {i: k for k, i in enumerate(members)}
    return tuple(tuple(place[j] for j in lower[i] if j in place) for i in members)
