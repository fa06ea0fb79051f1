"""Kernels as a value: which functions an engine calls, and how it may group their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import accumulate
from math import inf
from types import MappingProxyType
from typing import Any

from causalsim.errors import InputError
from causalsim.kernels import kinds
from causalsim.kernels.certified import K_BLOCKED
from causalsim.kernels.kinds import Arithmetic
from causalsim.kernels.stock import PLAIN

OVER_ARITHMETIC = ("prepare", "kv", "attn", "mlp", "unembed")

# Keeps XLA's CPU backend from handing products to a library whose loops depend on the number of rows.
LIBRARY_OFF: Mapping[str, str] = {"xla_cpu_experimental_ynn_fusion_type": ""}


# A batch of fewer rows than these costs as much: its time goes into reading weights.
CHEAPEST = 24


@dataclass(frozen=True)
class Buckets:
    """Batch sizes that batches may have; fewer events are padded, more are split.

    ``costs`` says what a batch of each count takes, in any unit; by default a guess. An empty
    ``sizes`` takes every count as it comes.

    >>> CERTIFIED_BUCKETS.split(300), CERTIFIED_BUCKETS.split(7)
    ([256, 32, 16], [8])
    >>> Buckets((1, 8), costs=(2.0, 5.0)).split(10)
    [8, 1, 1]
    """

    sizes: tuple[int, ...] = ()
    costs: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.sizes != tuple(sorted({*self.sizes})) or min(self.sizes, default=1) < 1:
            raise InputError("batch sizes rise from at least 1", got=self.sizes)
        fit = len(self.costs) in (0, len(self.sizes)) and all(0 < cost < inf for cost in self.costs)
        if not fit:
            raise InputError("every batch size has a cost above 0", got=self.costs, expected=self.sizes)

    def split(self, events: int) -> list[int]:
        """Batch sizes of the batches that carry so many events at the least cost."""
        return list(_split(self, events)) if self.sizes else [events]

    def up_to(self, events: int) -> list[int]:
        """All batch sizes that batches of at most so many events can have."""
        if not self.sizes:
            return list(range(1, events + 1))
        return [count for i, count in enumerate(self.sizes) if i == 0 or self.sizes[i - 1] < events]

    @property
    def prices(self) -> dict[int, float]:
        """Costs of a batch of each count, measured or guessed; one of more rows never takes less."""
        guess = (float(max(count, CHEAPEST)) for count in self.sizes)
        return dict(zip(self.sizes, accumulate(self.costs or guess, max), strict=True))


@lru_cache(maxsize=4096)
def _split(buckets: Buckets, events: int) -> tuple[int, ...]:
    """As many batches of the most efficient count as needed, then the cheapest ones for the rest."""
    bulk = min(buckets.sizes, key=lambda count: (buckets.prices[count] / count, -count))
    full = max(0, -(-(events - buckets.sizes[-1]) // bulk))
    return (bulk,) * full + _covers(buckets)[events - full * bulk]


@lru_cache(maxsize=64)
def _covers(buckets: Buckets) -> tuple[tuple[int, ...], ...]:
    """For every number of events up to the largest count: the cheapest batch sizes, the largest first."""
    price, totals = buckets.prices, [0.0]
    covers: list[tuple[int, ...]] = [()]
    for events in range(1, buckets.sizes[-1] + 1):
        rests = {count: max(events - count, 0) for count in buckets.up_to(events)}
        # Of equal costs the one with the largest batch: there are fewer of them.
        best = min(rests, key=lambda count: (price[count] + totals[rests[count]], -count))
        totals.append(price[best] + totals[rests[best]])
        covers.append(tuple(sorted((best, *covers[rests[best]]), reverse=True)))
    return tuple(covers)


# Two to seven rows take other loops than one or eight and more where products run on several threads.
CERTIFIED_BUCKETS = Buckets((1, 8, 16, 32, 64, 128, 256))
FIXED_BUCKETS = Buckets((16,))


@dataclass(frozen=True)
class Kernels:
    """One pure function per kind of event, with the layout and the options that they rely on."""

    name: str
    prepare: Callable[..., dict[str, Any]]
    embed: Callable[..., Any]
    kv: Callable[..., Any]
    attn: Callable[..., Any]
    mlp: Callable[..., Any]
    unembed: Callable[..., Any]
    sample: Callable[..., Any]
    buckets: Buckets
    compiler_options: tuple[tuple[str, str], ...]
    # Which calibration chose the batch sizes.
    calibration: str = "none"
    # Of kinds that no standard model has.
    more: tuple[tuple[str, Callable[..., Any]], ...] = ()

    def of(self, kind: str) -> Callable[..., Any]:
        """The kernel of a kind of event."""
        return dict(self.more).get(kind) or getattr(self, kind)

    def replaced(self, name: str, **functions: Callable[..., Any]) -> Kernels:
        """Give kernels of another name, in which other functions serve some kinds of events."""
        changes: dict[str, Any] = {
            kind: function for kind, function in functions.items() if hasattr(self, kind)
        }
        more = {**dict(self.more), **{kind: f for kind, f in functions.items() if kind not in changes}}
        return replace(self, name=name, more=tuple(more.items()), **changes)


def kernels_of(
    name: str,
    arithmetic: Arithmetic,
    buckets: Buckets,
    compiler_options: Mapping[str, str] = MappingProxyType({}),
) -> Kernels:
    """The kernels of all kinds over one arithmetic."""
    over: dict[str, Any] = {kind: partial(getattr(kinds, kind), arithmetic) for kind in OVER_ARITHMETIC}
    return Kernels(
        name=name,
        embed=kinds.embed,
        sample=kinds.sample,
        buckets=buckets,
        compiler_options=tuple(compiler_options.items()),
        **over,
    )


CERTIFIED = kernels_of("certified", K_BLOCKED, CERTIFIED_BUCKETS, LIBRARY_OFF)
# Every batch of one size: slower, but it needs no two loops of the backend to agree.
FIXED = replace(CERTIFIED, name="certified, fixed rows", buckets=FIXED_BUCKETS)
STOCK = kernels_of("stock", PLAIN, Buckets())
