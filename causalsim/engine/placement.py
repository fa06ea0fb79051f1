"""Placement of K/V: the pool of each layer, the place of each page in it, and what is recycled when.

Pools have one size, as many pages as all texts have, so that no order needs executables of its own. Layers
share a pool where the pages that they need at once fit into it, and take it over where others are done: a
prefill gets by with one pool, and a layer with a short window gets by with the pages that it can see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from jaxtyping import Int

from causalsim.engine.joining import Group
from causalsim.engine.layout import Layout
from causalsim.engine.program import Batch
from causalsim.events import KINDS, Wiring
from causalsim.kernels import PAGE

Pages = Int[np.ndarray, "layers pages"]
# A pool and a place in it.
Place = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Placement:
    """Places of each page of each layer; pages that nobody needs lie in scratch.

    Attributes:
        pool: The pool of each layer.
        place: The place in it of each page, ``Int[layers, pages]``.
        pools: How many pools there are.
        recycled: By the number of a group of batches, the places that serve another page from then on,
            and must be poison again.
    """

    pool: Int[np.ndarray, " layers"]
    place: Pages
    pools: int
    recycled: Mapping[int, tuple[Place, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def apart(cls, n_layers: int, layout: Layout) -> Placement:
        """Give every layer a pool of its own, where everything stays."""
        own = np.arange(layout.pages, dtype=np.int32)
        return cls(np.arange(n_layers), np.tile(own, (n_layers, 1)), n_layers)

    @classmethod
    def recycling(cls, groups: Sequence[Group], wiring: Wiring, layout: Layout) -> Placement:
        """Take as few pools as these batches need, by first fit; each page from its first use to its last."""
        first, last = live_ranges(groups, wiring, layout)
        used = np.flatnonzero((last >= 0).any(axis=1))
        pool, place = np.zeros(len(first), np.int64), np.full(first.shape, layout.pages, np.int32)
        pools: list[_Pool] = []
        for layer in used[np.argsort(first[used].min(axis=1), kind="stable")]:
            color = _colors(first[layer], last[layer])
            span = int(first[layer].min()), int(last[layer].max())
            pool[layer], places = _taken(pools, layout.pages, int(color.max()) + 1, span)
            place[layer, color >= 0] = places[color[color >= 0]]
        return cls(pool, place, len(pools), _recycled(pool, place, first, last))


class _Pool:
    """Until which group each place of a pool is held."""

    def __init__(self, pages: int) -> None:
        self.until = np.full(pages, -1, np.int64)

    def free(self, start: int) -> Int[np.ndarray, " places"]:
        return np.flatnonzero(self.until < start)


def _taken(
    pools: list[_Pool], pages: int, count: int, span: tuple[int, int]
) -> tuple[int, Int[np.ndarray, " places"]]:
    """The first pool with so many places free between two groups, and which; a new one if none has."""
    start, end = span
    number = next((i for i, pool in enumerate(pools) if len(pool.free(start)) >= count), len(pools))
    if number == len(pools):
        pools.append(_Pool(pages))
    places = pools[number].free(start)[:count]
    pools[number].until[places] = end
    return number, places


def _colors(first: Int[np.ndarray, " pages"], last: Int[np.ndarray, " pages"]) -> Int[np.ndarray, " pages"]:
    """A number for each page that no other page has at the same time; -1 for a page never used."""
    colors, until = np.full(len(first), -1, np.int64), list[int]()
    for page in np.argsort(first, kind="stable"):
        if last[page] < 0:
            continue
        color = next((color for color, end in enumerate(until) if end < first[page]), len(until))
        until[color:] = [last[page], *until[color + 1 :]]
        colors[page] = color
    return colors


def _recycled(
    pool: Int[np.ndarray, " layers"], place: Pages, first: Pages, last: Pages
) -> Mapping[int, tuple[Place, ...]]:
    """For each group the places that pages take over from others."""
    found: dict[int, list[Place]] = {}
    seen: set[Place] = set()
    for layer, page in sorted(zip(*np.nonzero(last >= 0), strict=True), key=lambda at: first[at]):
        here = int(pool[layer]), int(place[layer, page])
        if here in seen:
            found.setdefault(int(first[layer, page]), []).append(here)
        seen.add(here)
    return MappingProxyType({group: tuple(places) for group, places in found.items()})


def live_ranges(groups: Sequence[Group], wiring: Wiring, layout: Layout) -> tuple[Pages, Pages]:
    """Return the first and the last group that uses each page of each layer; -1 as the last for none.

    An attention uses the pages that its rows see, all positions of them.
    """
    first = np.full((wiring.n_layers, layout.pages), len(groups), np.int64)
    last = np.full(first.shape, -1, np.int64)
    for number, layer, page in _uses(groups, wiring, layout):
        np.minimum.at(first, (layer, page), number)
        np.maximum.at(last, (layer, page), number)
    return first, last


def _uses(
    groups: Sequence[Group], wiring: Wiring, layout: Layout
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Group, layer and page of every use: the first page that each row sees, its next, and so on."""
    using = [(number, batch) for number, group in enumerate(groups) for batch in group if _uses_kv(batch)]
    if not using:
        return
    sizes = [len(batch) for _, batch in using]
    number = np.repeat([number for number, _ in using], sizes)
    layer = np.repeat([batch.site.layer for _, batch in using], sizes)
    requests = np.concatenate([batch.requests for _, batch in using])
    positions = np.concatenate([batch.positions for _, batch in using]).astype(np.int64)
    window = np.repeat([_window(batch, wiring) for _, batch in using], sizes)
    start = layout.first_pages()[requests]
    page, last = start + np.maximum(positions - window + 1, 0) // PAGE, start + positions // PAGE
    while len(page):
        yield number, layer, page
        more = page < last
        number, layer, page, last = number[more], layer[more], page[more] + 1, last[more]


def _uses_kv(batch: Batch) -> bool:
    kind = KINDS[batch.site.kind]
    return kind.attends or kind.writes == "kv"


def _window(batch: Batch, wiring: Wiring) -> int:
    """The most positions that a row uses, its own counted."""
    if not KINDS[batch.site.kind].attends:
        return 1
    window = wiring.windows_by_layer[batch.site.layer]
    return int(batch.positions.max()) + 1 if window is None else window
