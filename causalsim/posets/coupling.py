"""Exactly uniform linear extensions by coupling from the past, where no table of down-sets fits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int

from causalsim.arguments import check_limit, check_whole
from causalsim.posets.randomness import checked_generator
from causalsim.posets.relations import Predecessors, checked, closure, elements

DEFAULT_STEPS = 100_000_000
"""Moves of a pair of neighbours, for one draw: some ten seconds, and enough for some 200 elements."""

# Coins are tossed for so many sweeps at a time.
TOSSED = 256

Order = Int[np.ndarray, " elements"]
Coins = Bool[np.ndarray, " pairs"]


class CoupledSampler:
    """Draws linear extensions, each with probability exactly 1 / count, without counting them.

    A chain swaps neighbours that are not comparable, each pair by a coin of its own, in sweeps of
    alternate pairs (Karzanov and Khachiyan 1991). A second one starts with unknown entries and holds
    above where each element can stand, whatever the first began with; once it knows all, the first
    has forgotten its beginning, and coupling from the past makes its state a uniform draw (Huber 2006,
    "Fast perfect sampling from linear extensions"; Propp and Wilson 1996). The expected number of
    moves is O(n**3 log n). Raises LimitError where a draw would take more than ``steps`` moves, at
    once where n**3 / 2 is more already. An error is no draw: to try again until one comes would favour
    the orders that are found fast.

    Args:
        predecessors: For each element the elements below it, all numbered smaller.
        steps: The most moves of a pair of neighbours, for one draw.

    Raises:
        InputError: No elements numbered along a linear extension.
        LimitError: A draw would take more moves.

    >>> sampler = CoupledSampler([(), (), (0,), (1,)])
    >>> sorted(sampler.sample(np.random.default_rng(0)))
    [0, 1, 2, 3]
    """

    def __init__(self, predecessors: Predecessors, *, steps: int = DEFAULT_STEPS) -> None:
        self._size, self._steps = len(checked(predecessors)), check_whole("a number of steps", steps, 0)
        self._charge(self._moves(self._size**2))
        self._free = _incomparable(closure(predecessors))

    def sample(self, rng: np.random.Generator) -> list[int]:
        """Return a uniform linear extension; the same state of ``rng`` gives the same one everywhere.

        Args:
            rng: A NumPy generator.

        Returns:
            All elements in such an order.

        Raises:
            InputError: No generator.
            LimitError: The draw takes more moves than it may.

        >>> CoupledSampler([(), (0,)]).sample(np.random.default_rng(0))
        [0, 1]
        """
        rng = checked_generator(rng)
        blocks, sweeps, spent = list[tuple[int, int]](), self._size**2, 0
        while True:
            self._charge(spent := spent + self._moves(sweeps))
            seed = int(rng.integers(2**63))
            if (order := self.bounds(sweeps, seed)) is not None:
                break
            # What came of nothing becomes the last part of a longer past, with the same coins.
            blocks.append((sweeps, seed))
            sweeps *= 2
        for block in reversed(blocks):
            self.replay(order, *block)
        return [int(i) for i in order]

    def _moves(self, sweeps: int) -> int:
        return sweeps * self._size // 2

    def _charge(self, moves: int) -> None:
        rule = "a uniform order is found by a number of moves that is known only afterwards"
        hint = "Raise the steps, or take a smaller poset."
        check_limit(rule, moves, self._steps, hint=hint)

    def bounds(self, sweeps: int, seed: int) -> Order | None:
        """The bounds after some sweeps from nothing known, ``None`` if not all is known then."""
        bounds = self._nothing_known()
        for first, coins in sweeps_of(self._size, sweeps, seed):
            self._swap(bounds, first, coins)
            _learn(bounds)
        return bounds if bounds.max(initial=0) < max(self._size, 1) else None

    def replay(self, order: Order, sweeps: int, seed: int) -> None:
        """Move an order in place by the coins of one block."""
        bounds = self._nothing_known()
        for first, coins in sweeps_of(self._size, sweeps, seed):
            # Where the lower entry is the bound's upper one it moves up if the bound does not
            # move down: so no element ever passes its bound.
            met = order[first:-1:2] == bounds[first + 1 :: 2]
            self._swap(order, first, coins ^ met)
            self._swap(bounds, first, coins)
            _learn(bounds)

    def _nothing_known(self) -> Order:
        bounds = np.full(self._size, self._size)
        bounds[-1:] = 0
        return bounds

    def _swap(self, order: Order, first: int, coins: Coins) -> None:
        lower, upper = order[first:-1:2], order[first + 1 :: 2]
        change = (upper - lower) * (coins & self._free[lower, upper])
        lower += change
        upper -= change


def sweeps_of(size: int, sweeps: int, seed: int) -> Iterator[tuple[int, Coins]]:
    """The first pair of each sweep, and its coins; the same seed gives the same ones."""
    rng = np.random.default_rng(seed)
    for start in range(0, sweeps, TOSSED):
        coins = rng.integers(0, 2, (TOSSED, size // 2), np.uint8).astype(bool)
        for k in range(min(TOSSED, sweeps - start)):
            yield k % 2, coins[k, : (size - k % 2) // 2]


def _learn(bounds: Order) -> None:
    """Whatever stands anywhere stands at the last place at most: room there is taken by the next element."""
    size = len(bounds)
    if size and bounds[-1] == size:
        known = bounds[bounds < size]
        bounds[-1] = len(known)


def _incomparable(past: list[int]) -> Bool[np.ndarray, "one other"]:
    """Pairs that may change places; the last row and column stand for what is not known."""
    free = np.ones((len(past) + 1, len(past) + 1), bool)
    for i, mask in enumerate(past):
        free[list(elements(mask)), i] = False
    return free
