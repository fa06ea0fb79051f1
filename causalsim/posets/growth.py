"""Growth of down-sets: the elements that are enabled, and a budget of down-sets that are tabulated."""

from __future__ import annotations

from causalsim.arguments import check_whole
from causalsim.errors import LimitError
from causalsim.posets.relations import Predecessors, checked, successors, union

DEFAULT_LIMIT = 4_000_000
"""Down-sets in a table: some hundreds of megabytes and some ten seconds."""


class Growth:
    """Masks of enabled elements (the minimal ones outside a down-set), updated by one element at a time.

    >>> bin(Growth([(), (), (0,)]).minimal)
    '0b11'
    """

    def __init__(self, predecessors: Predecessors) -> None:
        lower = checked(predecessors)
        needs = [union(1 << j for j in below) for below in lower]
        self._unlocks = [[(1 << j, needs[j]) for j in above] for above in successors(lower)]
        self.minimal = union(1 << i for i, below in enumerate(lower) if not below)

    def enabled(self, before: int, bit: int, grown: int) -> int:
        """Return what is enabled after the element of ``bit`` made the down-set ``grown``.

        ``before`` is what was enabled without it.

        >>> bin(Growth([(), (), (0,)]).enabled(0b011, 0b001, 0b001))
        '0b110'
        """
        enabled = before ^ bit
        for unlocked, needs in self._unlocks[bit.bit_length() - 1]:
            if needs & grown == needs:
                enabled |= unlocked
        return enabled


class Budget:
    """A budget of down-sets to tabulate; the empty one, which every poset has, is spent at once.

    A poset with at most ``bound`` down-sets never exceeds it. One that falls into parts may have
    far more, because only the down-sets of its parts are tabulated.

    >>> budget = Budget(3)
    >>> budget.spend(2)
    """

    def __init__(self, bound: int) -> None:
        self.bound, self._spent = check_whole("a limit", bound, 1, "The empty down-set needs room."), 1

    def spend(self, count: int = 1) -> None:
        """Count more down-sets, or raise LimitError if they are too many.

        Raises:
            LimitError: They are too many.

        >>> Budget(1).spend()
        Traceback (most recent call last):
            ...
        causalsim.errors.LimitError: the down-sets are tabulated one by one: got at least 2, \
expected at most 1. Raise the limit, or take a smaller or more constrained poset.
        """
        self._spent += count
        if self._spent > self.bound:
            raise LimitError(
                "the down-sets are tabulated one by one",
                reached=self.bound + 1,
                bound=self.bound,
                hint="Raise the limit, or take a smaller or more constrained poset.",
            )
