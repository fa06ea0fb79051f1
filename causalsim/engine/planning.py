"""The plan: what is really executed, as a value that is made before anything runs.

A program says which events run together and in which order. Its plan says the rest: the dispatches, one
jitted call each; the rows of each, padding included; the index arrays that it gets; where every page of
K/V lies, and what is poison again before it. The executor follows the plan and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import count, islice
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from causalsim.engine.joining import Group, joined
from causalsim.engine.layout import Layout
from causalsim.engine.placement import Place, Placement
from causalsim.engine.program import Batch, Program
from causalsim.errors import InputError
from causalsim.events import KINDS, EventGraph, Site, Wiring
from causalsim.kernels import PAGE, Buckets
from causalsim.kernels.paged import extent_of, tile_of

Numbers = Array | np.ndarray
Rows = Int[np.ndarray, "3 _"]
# For rows of the batches of attentions, by canonical index: pages of the text that lie elsewhere in the pool.
Redirected = Mapping[int, Mapping[int, int]]

# A window that no position can exceed, for layers that see everything.
UNBOUNDED = 2**30


class IndexArrays(NamedTuple):
    """The indices that an executable gets; of several layers, a tuple of each but ``rows``.

    Attributes:
        rows: Of each row its token, its position, and the page of its K/V (of several layers, a page a
            layer; of a sample, the token that it writes): ``Int[places, rows]``, in one array because
            each array is a transfer.
        layer: The layer, ``Int[]``.
        table: For attention, the page table of the rows' text, ``Int[entries]``, or of each row,
            ``Int[rows, entries]``.
        window: For attention, how many positions it sees, ``Int[]``.
        extent: For attention, the entries of the table that it goes over, ``Int[tiles, 2]``: the first, and
            the end. Rows with tables of their own for several pages go over what each sees.
    """

    rows: Int[Numbers, "places rows"]
    layer: Any
    table: Any = None
    window: Any = None
    extent: Any = None

    @property
    def token(self) -> Int[Numbers, " rows"]:
        """The token of each row."""
        return self.rows[0]

    @property
    def position(self) -> Int[Numbers, " rows"]:
        """The position of each row in its text."""
        return self.rows[1]

    @property
    def page(self) -> Int[Numbers, " rows"]:
        """The page of each row's K/V."""
        return self.rows[2]

    @property
    def target(self) -> Int[Numbers, " rows"]:
        """The token that each row of a sample writes."""
        return self.rows[2]

    def of_layer(self, number: int) -> IndexArrays:
        """Take what one of several layers gets."""
        rows: Any = self.token, self.position, self.rows[2 + number]
        return IndexArrays(rows, *(part[number] for part in self[1:]))


@dataclass(frozen=True, eq=False)
class Dispatch:
    """One jitted call.

    Attributes:
        batches: One batch, or those of whole layers, one above another.
        size: Rows of the executable, those of padding included.
        layers: How many whole layers it carries; 0 where it is one batch.
        indices: What the executable gets.
        pools: The pool of each layer whose K/V it reads or writes.
        recycled: Places of pools that are poison again before it.
    """

    batches: Group
    size: int
    layers: int
    indices: IndexArrays
    pools: tuple[int, ...]
    recycled: tuple[Place, ...] = ()

    @property
    def site(self) -> Site:
        """The site of its first batch."""
        return self.batches[0].site

    @property
    def executable(self) -> tuple[str, int, int]:
        """Kind (``"layers"`` of whole ones), number of layers, and rows: what names its executable."""
        return "layers" if self.layers else self.site.kind, self.layers, self.size


class OnDemand(Sequence[Any]):
    """A sequence whose items are made when they are first asked for, so that devices need not wait for all.

    >>> some = OnDemand(iter("abc"))
    >>> next(iter(some)), len(some), some[-1], list(some)
    ('a', 3, 'c', ['a', 'b', 'c'])
    """

    def __init__(self, items: Iterator[Any]) -> None:
        self._rest, self._made = items, list[Any]()

    def __iter__(self) -> Iterator[Any]:
        for number in count():
            if number == len(self._made):
                self._made += islice(self._rest, 1)
            if number == len(self._made):
                return
            yield self._made[number]

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, which: Any) -> Any:
        return self._all[which]

    @property
    def _all(self) -> list[Any]:
        self._made += self._rest
        return self._made


@dataclass(frozen=True, eq=False)
class Plan:
    """A program made ready: dispatches with their index arrays, and the places of pages.

    Attributes:
        graph: The graph whose events are computed.
        layout: Where its positions lie.
        placement: Where its K/V lies.
        dispatches: What is called, in this order; made when first asked for, and kept.
    """

    graph: EventGraph
    layout: Layout
    placement: Placement
    dispatches: Sequence[Dispatch]

    @property
    def program(self) -> Program:
        """The batches in the order in which they run, as they were split and joined."""
        return Program(self.graph, tuple(batch for each in self.dispatches for batch in each.batches))

    @cached_property
    def executables(self) -> frozenset[tuple[str, int, int]]:
        """The executables that it calls."""
        return frozenset(each.executable for each in self.dispatches)


def plan(
    program: Program,
    buckets: Buckets,
    *,
    recycle: bool = True,
    layout: Layout | None = None,
    redirected: Redirected = MappingProxyType({}),
) -> Plan:
    """Plan the execution of a program.

    Args:
        program: Batches in order, of any graph, whether or not they respect its edges.
        buckets: The batch sizes that may be dispatched.
        recycle: True to give up pages of K/V after their last reader, so that they serve others; else every
            layer has a pool of its own, and all K/V is there at the end.
        layout: Where positions lie, by default as short as the graph allows.
        redirected: For an attention, by its canonical index: pages of its text (a number of 128 positions
            each) that it reads from another place of its layer's pool. Its row then has a table of its own.

    Returns:
        A plan for a state of this layout and as many pools.

    Raises:
        InputError: K/V is redirected while pages are recycled, or pages that are not there.
    """
    chosen = Layout(program.graph.lengths) if layout is None else layout
    if redirected and recycle:
        raise InputError("pages stay where others read them", got="redirected pages that are recycled")
    _check_redirected(program, chosen, redirected)
    wiring = program.graph.wiring
    groups = list(joined(program.batches, buckets, wiring))
    if recycle:
        placement = Placement.recycling(groups, wiring, chosen)
    else:
        placement = Placement.apart(wiring.n_layers, chosen)
    planner = Planner(wiring, chosen, placement, buckets, redirected)
    return Plan(program.graph, chosen, placement, OnDemand(planner.dispatches(groups)))


def _check_redirected(program: Program, layout: Layout, redirected: Redirected) -> None:
    """Refuse pages that nobody would read, or that are not there."""
    readers = (
        [batch.events for batch in program.batches if KINDS[batch.site.kind].attends] if redirected else []
    )
    attending = {int(event) for events in readers for event in events}
    for event, moved in redirected.items():
        if event not in attending:
            raise InputError("attentions of the program read redirected pages", got=f"event {event}")
        entries = layout.tables().shape[1]
        for page, place in moved.items():
            if not (0 <= page < entries and 0 <= place < layout.pages):
                raise InputError(
                    "a redirected page is one of the text, and lies at a place of the pool",
                    got=f"page {page} at place {place} for event {event}",
                    expected=f"page 0 .. {entries - 1} at place 0 .. {layout.pages - 1}",
                )


@dataclass(frozen=True, eq=False)
class Planner:
    """Makes dispatches of groups of batches, over K/V that is placed.

    Attributes:
        wiring: The wiring of the model.
        layout: Where positions lie.
        placement: Where K/V lies.
        buckets: The batch sizes that may be dispatched.
        redirected: As for ``plan``.
    """

    wiring: Wiring
    layout: Layout
    placement: Placement
    buckets: Buckets
    redirected: Redirected = field(default_factory=lambda: MappingProxyType({}))

    def dispatches(self, groups: Sequence[Group]) -> Iterator[Dispatch]:
        """Yield the dispatches that carry groups of batches, in the same order."""
        # For all of them at once: for each small batch alone it would take as long as the batch.
        rows = iter(self._rows([batch for group in groups for batch in group]))
        for number, group in enumerate(groups):
            recycled = self.placement.recycled.get(number, ())
            for each in self._carried(group, list(islice(rows, len(group)))):
                yield replace(each, recycled=recycled) if recycled else each
                recycled = ()

    def scratch(self, site: Site, size: int, *, layers: int = 0, several: bool = False) -> Dispatch:
        """Make a dispatch of padding alone, as of one request or of several."""
        nothing, no_rows = np.empty(0, np.int32), np.empty((3, 0), np.int32)
        batch = Batch(site, nothing, nothing)
        if not layers:
            return self._one(batch, no_rows, size, several)
        above = [Site(kind, site.layer + n) for n in range(layers) for kind in self.wiring.sublayers]
        batches = tuple(Batch(each, nothing, nothing) for each in above)
        return self._layers(batches, [no_rows] * len(batches), size, several)

    def _carried(self, group: Group, rows: Sequence[Rows]) -> Iterator[Dispatch]:
        if len(group) == 1:
            yield from self._split(group[0], rows[0])
            return
        height = len(self.wiring.sublayers)
        pools = [int(self.placement.pool[batch.site.layer]) for batch in group[::height]]
        # Layers that share a pool go one by one: an executable takes a pool but once.
        step = height if len({*pools}) < len(pools) else len(group)
        (size,) = self.buckets.split(len(group[0]))
        for start in range(0, len(group), step):
            here = slice(start, start + step)
            yield self._layers(group[here], rows[here], size)

    def _split(self, batch: Batch, rows: Rows) -> Iterator[Dispatch]:
        """A batch in as many dispatches as its rows need."""
        start, sizes = 0, self.buckets.split(len(batch))
        for size in sizes:
            here = slice(start, start + size)
            part = batch if len(sizes) == 1 else batch.restricted(here)
            start += size
            yield self._one(part, rows[:, here], size)

    def _one(self, batch: Batch, rows: Rows, size: int, several: bool = False) -> Dispatch:
        kind = KINDS[batch.site.kind]
        pools = (int(self.placement.pool[batch.site.layer]),) if kind.attends or kind.writes == "kv" else ()
        return Dispatch((batch,), size, 0, self._indices(batch, rows, size, several), pools)

    def _layers(self, batches: Group, rows: Sequence[Rows], size: int, several: bool = False) -> Dispatch:
        """Whole layers in one dispatch."""
        height = len(self.wiring.sublayers)
        first = next(n for n, kind in enumerate(self.wiring.sublayers) if KINDS[kind].attends)
        attending = range(first, len(batches), height)
        each = [self._indices(batches[n], rows[n], size, several) for n in attending]
        pools = tuple(int(self.placement.pool[batches[n].site.layer]) for n in attending)
        told = tuple(batch.as_joined(batch is not batches[0]) for batch in batches)
        return Dispatch(told, size, len(attending), _stacked(each), pools)

    def _rows(self, batches: Sequence[Batch]) -> list[Rows]:
        """Token, position and page (or target) of each row of each batch."""
        if not batches:
            return []
        requests = np.concatenate([batch.requests for batch in batches])
        positions = np.concatenate([batch.positions for batch in batches])
        sizes = [len(batch) for batch in batches]
        # Nobody reads the page of what is in no layer.
        layers = np.clip([batch.site.layer for batch in batches], 0, self.wiring.n_layers - 1)
        places = self._places[np.repeat(layers, sizes), self._first_pages[requests] + positions // PAGE]
        tokens = self._first_tokens[requests] + positions
        samples = np.repeat([KINDS[batch.site.kind].place == "feedback" for batch in batches], sizes)
        rows = np.stack([tokens, positions, np.where(samples, tokens + 1, places)])
        rows = rows.astype(np.int32, copy=False)
        ends = np.cumsum(sizes).tolist()
        return [rows[:, start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def _indices(self, batch: Batch, rows: Rows, size: int, several: bool) -> IndexArrays:
        """The index arrays of a batch, whose rows may be fewer than its size."""
        if rows.shape[1] < size:
            rows = self._padded(batch.site, rows, size)
        layer = scalar(batch.site.layer)
        if not KINDS[batch.site.kind].attends:
            return IndexArrays(rows, layer)
        window = self._windows[batch.site.layer]
        return IndexArrays(rows, layer, self._table(batch, size, several), window, self._extent(batch, rows))

    def _padded(self, site: Site, rows: Rows, size: int) -> Rows:
        """Rows beyond a batch's events write to scratch, at a position of theirs."""
        count = rows.shape[1]
        padded = np.empty((3, size), np.int32)
        padded[:, :count] = rows
        padded[0, count:] = self.layout.tokens
        padded[1, count:] = rows[1, 0] if count else 0
        scratch = self.layout.tokens if KINDS[site.kind].place == "feedback" else self.layout.pages
        padded[2, count:] = scratch
        return padded

    def _table(self, batch: Batch, size: int, several: bool) -> Any:
        """The pages that an attention reads: of its request, or of each row's own."""
        moved = self.redirected and any(int(event) in self.redirected for event in batch.events)
        first = int(batch.requests[0]) if len(batch) else 0
        alone = len(self.layout.lengths) == 1 or (batch.requests == first).all()
        if alone and not several and not moved:
            return self._table_of(batch.site.layer, first)
        tables = np.full((size, self._tables.shape[1]), self.layout.pages, np.int32)
        tables[: len(batch)] = self._places[batch.site.layer, self._tables[batch.requests]]
        for row, event in enumerate(batch.events):
            for number, place in self.redirected.get(int(event), {}).items():
                tables[row, number] = place
        return tables

    def _extent(self, batch: Batch, rows: Rows) -> Any:
        """The pages that each tile of rows goes over: the only one, or those that one of its rows sees."""
        positions = rows[1].reshape(-1, tile_of(rows.shape[1]))
        if self._tables.shape[1] == 1:
            return _on_device(((0, 1),) * len(positions))
        window = self.wiring.windows_by_layer[batch.site.layer] or UNBOUNDED
        return _on_device(tuple(tuple(map(int, extent_of(tile, window))) for tile in positions))

    def _table_of(self, layer: int, request: int) -> Any:
        if (layer, request) not in self._known:
            places = self._places[layer, self._tables[request]].tolist()
            self._known[layer, request] = _on_device(tuple(places))
        return self._known[layer, request]

    @cached_property
    def _known(self) -> dict[tuple[int, int], Any]:
        return {}

    @cached_property
    def _first_tokens(self) -> Int[np.ndarray, " requests"]:
        return self.layout.first_tokens()

    @cached_property
    def _first_pages(self) -> Int[np.ndarray, " requests"]:
        return self.layout.first_pages()

    @cached_property
    def _tables(self) -> Int[np.ndarray, "requests entries"]:
        return self.layout.tables()

    @cached_property
    def _places(self) -> Int[np.ndarray, "layers entries"]:
        # A page that no request has, and one that no batch of a layer needs, is the scratch page.
        return np.pad(self.placement.place, ((0, 0), (0, 1)), constant_values=self.layout.pages)

    @cached_property
    def _windows(self) -> list[Any]:
        windows = self.wiring.windows_by_layer
        return [scalar(UNBOUNDED if window is None else window) for window in windows]


def _stacked(each: Sequence[IndexArrays]) -> IndexArrays:
    """The index arrays of several layers, from those of each."""
    pages = [indices.rows[2:] for indices in each]
    rows = np.concatenate([each[0].rows[:2], *pages])
    return IndexArrays(rows, *(tuple(parts) for parts in zip(*(own[1:] for own in each), strict=True)))


@lru_cache(maxsize=256)
def _on_device(numbers: tuple[Any, ...]) -> Any:
    """Numbers that lie on the device already; most layers have the same."""
    return jnp.asarray(numbers, jnp.int32)


@lru_cache(maxsize=4096)
def scalar(number: int) -> Any:
    """A number that lies on the device already."""
    return jnp.asarray(number, jnp.int32)
