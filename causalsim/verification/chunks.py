"""Chunks of a campaign's orders: which there are, and the record of one that is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from causalsim.sealed import from_line, to_line

Stretch = tuple[str, int]


@dataclass(frozen=True)
class Chunk:
    """The results of consecutive orders from number ``start`` on, and nothing that could contradict them.

    ``digests`` has the digest of all values of each order, as stretches of orders that share one.
    ``astray`` are the numbers of those that ran in another order than asked for, rising. ``token``
    runs the first of the orders that failed again, if one did.
    """

    start: int
    digests: tuple[Stretch, ...]
    astray: tuple[int, ...] = ()
    token: str | None = None

    @classmethod
    def of(cls, start: int, digests: Iterable[str], astray: Iterable[int], token: str | None) -> Chunk:
        """A record of one digest an order."""
        stretches = tuple((digest, len(list(same))) for digest, same in groupby(digests))
        return cls(start, stretches, tuple(astray), token)

    @property
    def span(self) -> range:
        """The numbers of its orders."""
        return range(self.start, self.start + sum(count for _, count in self.digests))

    @property
    def counts(self) -> Counter[str]:
        """The number of orders by their digest."""
        found = Counter[str]()
        for digest, count in self.digests:
            found[digest] += count
        return found

    def failed(self, reference: str) -> tuple[int, ...]:
        """The orders that gave another digest than the ``reference`` or ran astray, rising."""
        found, start = {*self.astray}, self.start
        for digest, count in self.digests:
            if digest != reference:
                found.update(range(start, start + count))
            start += count
        return tuple(sorted(found))

    def to_line(self, of: str = "") -> str:
        """One line of JSON, without its end, sealed as a part of the campaign whose checksum is given."""
        return to_line(asdict(self), of)

    @classmethod
    def from_line(cls, line: str | bytes, of: str = "") -> Chunk:
        """Read what ``to_line`` wrote for the same campaign; ``ValueError`` for anything else."""
        try:
            return cls._from_record(**from_line(line, of))
        except (TypeError, AttributeError) as error:
            raise ValueError(f"no chunk: {error}") from error

    @classmethod
    def _from_record(cls, start: Any, digests: Any, astray: Any, token: Any) -> Chunk:
        found = cls(start, tuple((digest, count) for digest, count in digests), tuple(astray), token)
        numbers = (start, *(count for _, count in found.digests), *found.astray)
        words = [digest for digest, _ in found.digests] + [token] * (token is not None)
        if {*map(type, numbers)} != {int} or not {*map(type, words)} <= {str}:
            raise ValueError("no chunk: it counts with whole numbers")
        if any(count < 1 for _, count in found.digests) or not all(each in found.span for each in astray):
            raise ValueError("no chunk: it does not add up")
        return found


@dataclass(frozen=True)
class Spans(Collection[range]):
    """The chunks of a campaign as ranges of order numbers, rising."""

    orders: int
    size: int

    def __iter__(self) -> Iterator[range]:
        return (self._from(start) for start in range(0, self.orders, self.size))

    def __len__(self) -> int:
        return -(-self.orders // self.size)

    def __contains__(self, span: object) -> bool:
        if not isinstance(span, range) or span.start not in range(0, self.orders, self.size):
            return False
        return span == self._from(span.start)

    def _from(self, start: int) -> range:
        return range(start, min(start + self.size, self.orders))
