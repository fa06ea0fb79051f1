"""Places of positions in memory: a token each, and whole pages of K/V."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from causalsim.kernels import PAGE

LEAST_TOKENS = 64


@dataclass(frozen=True)
class Layout:
    """Places of the positions of every request.

    Capacities are powers of two, so that texts of similar length share executables. Behind them lie one
    scratch token and one scratch page, where padding writes.

    Attributes:
        lengths: Positions of each request.
        spare: Pages that belong to no request: for private copies.
    """

    lengths: tuple[int, ...]
    spare: int = 0

    @property
    def tokens(self) -> int:
        """Room for positions, without the scratch token, whose index this is."""
        return _power_of_two(max(sum(self.lengths), LEAST_TOKENS))

    @property
    def pages(self) -> int:
        """Room for pages of K/V, without the scratch page, whose index this is."""
        return _power_of_two(sum(map(pages_of, self.lengths)) + self.spare)

    def first_tokens(self) -> Int[np.ndarray, " requests"]:
        """The index of each request's first token."""
        return np.concatenate([[0], np.cumsum(self.lengths)[:-1]]).astype(np.int32)

    def first_pages(self) -> Int[np.ndarray, " requests"]:
        """The number of each request's first page."""
        return np.concatenate([[0], np.cumsum([*map(pages_of, self.lengths)])[:-1]]).astype(np.int32)

    def spare_pages(self) -> range:
        """The numbers of the pages that belong to no request."""
        first = sum(map(pages_of, self.lengths))
        return range(first, first + self.spare)

    def tables(self) -> Int[np.ndarray, "requests entries"]:
        """The pages of every request, in rising order of position; scratch behind them."""
        tables = np.full((len(self.lengths), self.pages), self.pages, np.int32)
        for request, (first, length) in enumerate(zip(self.first_pages(), self.lengths, strict=True)):
            tables[request, : pages_of(length)] = np.arange(first, first + pages_of(length))
        return tables


def pages_of(length: int) -> int:
    """The number of pages that hold the K/V of a text."""
    return -(-length // PAGE)


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()
