"""Kernels as a value: which functions an engine calls, and how it may group their lanes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from causalsim.kernels import kinds
from causalsim.kernels.certified import PANELLED
from causalsim.kernels.kinds import Arithmetic
from causalsim.kernels.stock import PLAIN

OVER_ARITHMETIC = ("prepare", "kv", "attn", "mlp", "unembed")

# Keeps XLA's CPU backend from handing products to a library whose loops depend on the number of rows.
LIBRARY_OFF: Mapping[str, str] = {"xla_cpu_experimental_ynn_fusion_type": ""}


@dataclass(frozen=True)
class Lanes:
    """Lane counts that launches may have; fewer events are padded, more are split.

    An empty ``counts`` takes every count as it comes.

    >>> CERTIFIED_LANES.split(300)
    [256, 64]
    """

    counts: tuple[int, ...] = ()

    def split(self, events: int) -> list[int]:
        """Lane counts of the launches that carry so many events."""
        if not self.counts:
            return [events]
        full, rest = divmod(events, self.counts[-1])
        return [self.counts[-1]] * full + [next(count for count in self.counts if count >= rest)] * (rest > 0)

    def up_to(self, events: int) -> list[int]:
        """All lane counts that launches of at most so many events can have."""
        if not self.counts:
            return list(range(1, events + 1))
        return [count for i, count in enumerate(self.counts) if i == 0 or self.counts[i - 1] < events]


# Two to seven rows take other loops than one or eight and more where products run on several threads.
CERTIFIED_LANES = Lanes((1, 8, 16, 32, 64, 128, 256))
FIXED_LANES = Lanes((16,))


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
    lanes: Lanes
    compiler_options: tuple[tuple[str, str], ...]


def kernels_of(
    name: str,
    arithmetic: Arithmetic,
    lanes: Lanes,
    compiler_options: Mapping[str, str] = MappingProxyType({}),
) -> Kernels:
    """The kernels of all kinds over one arithmetic."""
    over = {kind: partial(getattr(kinds, kind), arithmetic) for kind in OVER_ARITHMETIC}
    return Kernels(
        name=name,
        embed=kinds.embed,
        sample=kinds.sample,
        lanes=lanes,
        compiler_options=tuple(compiler_options.items()),
        **over,
    )


CERTIFIED = kernels_of("certified", PANELLED, CERTIFIED_LANES, LIBRARY_OFF)
# Every launch of one size: slower, but it needs no two loops of the backend to agree.
FIXED = replace(CERTIFIED, name="certified, fixed lanes", lanes=FIXED_LANES)
STOCK = kernels_of("stock", PLAIN, Lanes())
