"""Bisection: the step of a path at which something changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Place = TypeVar("Place")
Seen = TypeVar("Seen")


def first_change(
    path: Sequence[Place], look: Callable[[Place], Seen | None], last: Seen
) -> tuple[Place, Place, Seen]:
    """Two neighbours on a path of which only the second shows something, and what it shows.

    Args:
        path: At least two places, of which the first is known to show nothing.
        look: What a place shows, or ``None``.
        last: What the last place is known to show.

    Returns:
        The last place that shows nothing, the next one, and what that shows; found by as many looks as
        the number of steps has binary digits.

    >>> first_change(range(100), lambda n: n if n * n > 50 else None, 99)
    (7, 8, 8)
    """
    before, after = 0, len(path) - 1
    while after - before > 1:
        middle = (before + after) // 2
        seen = look(path[middle])
        before, after, last = (middle, after, last) if seen is None else (before, middle, seen)
    return path[before], path[after], last
