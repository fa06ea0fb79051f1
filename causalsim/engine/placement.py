"""Placement: where each page of K/V lies, and which places serve another page when its last reader has run.

K/V lies in banks of one size, as many pages as all texts have, so that no order needs
executables of its own. Layers share a bank where the pages that they need at once fit into it,
and take it over where others are done: a prefill gets by with one bank, and a layer with a short
window gets by with the pages that it can see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from jaxtyping import Int

from causalsim.engine.dispatches import Dispatch
from causalsim.engine.program import Batch
from causalsim.engine.state import Layout
from causalsim.events import Wiring
from causalsim.kernels import PAGE

# Where an attention finds K/V, and where it is put.
TOUCHING = ("kv", "attn", "block")

Pages = Int[np.ndarray, "layers pages"]


@dataclass(frozen=True, eq=False)
class Placement:
    """The bank of each layer, and the place in it of each page; pages that nobody needs lie in scratch.

    ``reused`` tells, by the number of a dispatch, which places of which banks serve another page
    from then on, and must be poison again.
    """

    bank: Int[np.ndarray, " layers"]
    place: Pages
    banks: int
    reused: Mapping[int, tuple[tuple[int, int], ...]] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def apart(cls, n_layers: int, layout: Layout) -> Placement:
        """Every layer in a bank of its own, where everything stays."""
        own = np.arange(layout.pages, dtype=np.int32)
        return cls(np.arange(n_layers), np.tile(own, (n_layers, 1)), n_layers)

    @classmethod
    def fitted(cls, dispatches: Sequence[Dispatch], wiring: Wiring, layout: Layout) -> Placement:
        """As few banks as these dispatches need, by first fit; each page from its first touch to its last."""
        birth, death = lifetimes(dispatches, wiring, layout)
        used = np.flatnonzero((death >= 0).any(axis=1))
        bank, place = np.zeros(len(birth), np.int64), np.full(birth.shape, layout.pages, np.int32)
        banks: list[_Bank] = []
        for layer in used[np.argsort(birth[used].min(axis=1), kind="stable")]:
            color = _colors(birth[layer], death[layer])
            stay = int(birth[layer].min()), int(death[layer].max())
            bank[layer], places = _taken(banks, layout.pages, int(color.max()) + 1, stay)
            place[layer, color >= 0] = places[color[color >= 0]]
        return cls(bank, place, len(banks), _reused(bank, place, birth, death))


class _Bank:
    """Until which dispatch each place of a bank is held."""

    def __init__(self, pages: int) -> None:
        self.until = np.full(pages, -1, np.int64)

    def free(self, start: int) -> Int[np.ndarray, " places"]:
        return np.flatnonzero(self.until < start)


def _taken(
    banks: list[_Bank], pages: int, count: int, stay: tuple[int, int]
) -> tuple[int, Int[np.ndarray, " places"]]:
    """The first bank with so many places free between two dispatches, and which; a new one if none has."""
    start, end = stay
    number = next((i for i, bank in enumerate(banks) if len(bank.free(start)) >= count), len(banks))
    if number == len(banks):
        banks.append(_Bank(pages))
    places = banks[number].free(start)[:count]
    banks[number].until[places] = end
    return number, places


def _colors(birth: Int[np.ndarray, " pages"], death: Int[np.ndarray, " pages"]) -> Int[np.ndarray, " pages"]:
    """A number for each page that no other page has at the same time; -1 for a page never used."""
    colors, until = np.full(len(birth), -1, np.int64), list[int]()
    for page in np.argsort(birth, kind="stable"):
        if death[page] < 0:
            continue
        color = next((color for color, last in enumerate(until) if last < birth[page]), len(until))
        until[color:] = [death[page], *until[color + 1 :]]
        colors[page] = color
    return colors


def _reused(
    bank: Int[np.ndarray, " layers"], place: Pages, birth: Pages, death: Pages
) -> Mapping[int, tuple[tuple[int, int], ...]]:
    """For each dispatch the places that pages take over from others."""
    found: dict[int, list[tuple[int, int]]] = {}
    seen: set[tuple[int, int]] = set()
    for layer, page in sorted(zip(*np.nonzero(death >= 0), strict=True), key=lambda at: birth[at]):
        here = int(bank[layer]), int(place[layer, page])
        if here in seen:
            found.setdefault(int(birth[layer, page]), []).append(here)
        seen.add(here)
    return MappingProxyType({dispatch: tuple(places) for dispatch, places in found.items()})


def lifetimes(dispatches: Sequence[Dispatch], wiring: Wiring, layout: Layout) -> tuple[Pages, Pages]:
    """The first and the last dispatch that touches each page of each layer; -1 as the last for none.

    An attention touches the pages that its rows see, all positions of them.
    """
    birth = np.full((wiring.n_layers, layout.pages), len(dispatches), np.int64)
    death = np.full(birth.shape, -1, np.int64)
    for number, layer, page in _touches(dispatches, wiring, layout):
        np.minimum.at(birth, (layer, page), number)
        np.maximum.at(death, (layer, page), number)
    return birth, death


def _touches(
    dispatches: Sequence[Dispatch], wiring: Wiring, layout: Layout
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Dispatch, layer and page of every touch: the first page that each row sees, its next, and so on."""
    batches = [(number, batch) for number, dispatch in enumerate(dispatches) for batch in dispatch]
    numbers = [number for number, batch in batches if batch.site.kind in TOUCHING]
    if not numbers:
        return
    touching = [batch for _, batch in batches if batch.site.kind in TOUCHING]
    sizes = [len(batch) for batch in touching]
    number, layer = np.repeat(numbers, sizes), np.repeat([batch.site.layer for batch in touching], sizes)
    requests = np.concatenate([batch.requests for batch in touching])
    positions = np.concatenate([batch.positions for batch in touching]).astype(np.int64)
    window = np.repeat([_window(batch, wiring) for batch in touching], sizes)
    start = layout.first_pages()[requests]
    page, last = start + np.maximum(positions - window + 1, 0) // PAGE, start + positions // PAGE
    while len(page):
        yield number, layer, page
        more = page < last
        number, layer, page, last = number[more], layer[more], page[more] + 1, last[more]


def _window(batch: Batch, wiring: Wiring) -> int:
    """How many positions a row touches, its own counted."""
    if batch.site.kind == "kv":
        return 1
    window = wiring.windows_by_layer[batch.site.layer]
    return int(batch.positions.max()) + 1 if window is None else window
