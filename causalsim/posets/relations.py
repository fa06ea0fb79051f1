"""The order that a list of predecessors generates: its closure and its Hasse diagram."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import index, or_

import numpy as np

from causalsim.arguments import shown
from causalsim.errors import InputError

Predecessors = Sequence[Sequence[int]]
"""``predecessors[i]`` lists elements below ``i``, all numbered smaller; their closure is the order."""


def closure(predecessors: Predecessors) -> list[int]:
    """Return the strict past of each element, as a bitmask.

    Bit ``j`` of ``closure(predecessors)[i]`` is set iff ``j < i`` in the poset, the smallest
    transitive relation that holds the given edges. n elements take up to n**2 / 2 bits.

    Args:
        predecessors: For each element the elements below it, all numbered smaller.

    Returns:
        Bitmasks of elements.

    Raises:
        InputError: A predecessor of element i is not an integer in ``range(i)``.

    >>> closure([(), (0,), (1,), ()])
    [0, 1, 3, 0]
    """
    past: list[int] = []
    for below in checked(predecessors):
        past.append(union(past[j] | 1 << j for j in below))
    return past


def covers(predecessors: Predecessors) -> list[tuple[int, int]]:
    """Return the Hasse diagram: all ``(i, j)`` with i < j and nothing between, sorted.

    The unique smallest set of edges with the given closure (Aho, Garey and Ullman 1972).

    Args:
        predecessors: For each element the elements below it, all numbered smaller.

    Returns:
        Pairs of an element and one that covers it, ascending.

    Raises:
        InputError: No elements numbered along a linear extension.

    >>> covers([(), (0,), (0, 1)])
    [(0, 1), (1, 2)]
    """
    reduced = enumerate(covered(predecessors))
    return sorted((i, j) for j, below in reduced for i in below)


def covered(predecessors: Predecessors) -> list[tuple[int, ...]]:
    """Return for each element those that it covers, ascending: the leanest predecessors of one order.

    >>> covered([(), (0,), (0, 1)])
    [(), (0,), (1,)]
    """
    past = closure(predecessors)
    return [tuple(elements(_maximal(below, past))) for below in predecessors]


def checked(predecessors: Predecessors) -> list[tuple[int, ...]]:
    """Return the predecessors as Python integers, or raise InputError where the numbering is not one.

    >>> checked([(), (1,)])
    Traceback (most recent call last):
        ...
    causalsim.errors.InputError: elements are numbered along a linear extension: got 1 as a \
predecessor of 1, expected integers in range(1). Number every element after all its predecessors.
    """  # noqa: DOC501
    if not isinstance(predecessors, Sequence | np.ndarray):
        raise _no_poset(predecessors)
    # Machine integers of NumPy would overflow in shifts, so everything becomes a Python int here.
    return [
        tuple(_smaller(j, i) for j in _listed(below, predecessors)) for i, below in enumerate(predecessors)
    ]


def successors(predecessors: Sequence[Iterable[int]]) -> list[list[int]]:
    """Return the opposite lists: for each element those that name it as a predecessor, ascending.

    >>> successors([(), (0,), (0, 1)])
    [[1, 2], [2], []]
    """
    above: list[list[int]] = [[] for _ in predecessors]
    for i, below in enumerate(predecessors):
        for j in below:
            above[j].append(i)
    return above


def elements(mask: int) -> Iterator[int]:
    """Yield the elements of a bitmask, ascending.

    >>> list(elements(0b1101))
    [0, 2, 3]
    """
    while mask:
        bit = mask & -mask
        yield bit.bit_length() - 1
        mask ^= bit


def union(masks: Iterable[int]) -> int:
    """Return the mask of all that some masks hold.

    >>> union([0b001, 0b101])
    5
    """
    return reduce(or_, masks, 0)


def _listed(below: object, predecessors: object) -> Iterable[object]:
    if not isinstance(below, Iterable) or isinstance(below, str | Mapping):
        raise _no_poset(predecessors)
    return below


def _no_poset(given: object) -> InputError:
    return InputError(
        "a poset is given by the predecessors of each of its elements",
        got=shown(given),
        expected="for example [(), (0,), (0,)], in which 0 lies below 1 and 2",
        hint="graph.explicit() lists those of an event graph.",
    )


def _maximal(below: Sequence[int], past: list[int]) -> int:
    return union(1 << index(j) for j in below) & ~union(past[j] for j in below)


def _smaller(j: object, i: int) -> int:
    try:
        number = index(j)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if 0 <= number < i:
        return number
    raise InputError(
        "elements are numbered along a linear extension",
        got=f"{j!r} as a predecessor of {i}",
        expected=f"integers in range({i})",
        hint="Number every element after all its predecessors.",
    )
