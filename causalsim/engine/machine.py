"""The machine: a state, the forms that act on it, and which batches go in one dispatch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from causalsim.engine.dispatches import LAYER, Dispatch
from causalsim.engine.forms import Where, form
from causalsim.engine.placement import Placement
from causalsim.engine.program import Batch
from causalsim.engine.state import State, poisoned_again
from causalsim.events import Site
from causalsim.kernels import PAGE, Kernels

# A window that no position can exceed, for layers that see everything.
UNBOUNDED = 2**30
ATTENDING = ("attn", "block")
Cells = Int[np.ndarray, "3 _"]


@dataclass(frozen=True)
class Output:
    """A batch as it was executed, and the values of its rows, of which the first belong to events."""

    batch: Batch
    value: Any


class Machine:
    """A state with the forms that act on it; each dispatch consumes cells and puts the new ones back."""

    def __init__(self, state: State, placement: Placement, kernels: Kernels, keep: bool) -> None:
        model = state.model
        self.config, self.state, self.placement = model.config, state, placement
        self.kernels, self.keep = kernels, keep
        self.weights = model.weights(kernels)
        layout = state.layout
        self.tokens, self.pages, self.tables = layout.first_tokens(), layout.first_pages(), layout.tables()
        # A page that no request has, and one that no batch of a layer needs, is the scratch page.
        self.place = np.pad(placement.place, ((0, 0), (0, 1)), constant_values=layout.pages)
        self.table_of: dict[tuple[int, int], Any] = {}
        self.forms: dict[str, Callable[..., Any]] = {}
        windows = self.config.wiring.windows_by_layer
        self.windows_by_layer = [_scalar(UNBOUNDED if window is None else window) for window in windows]

    def run_all(self, dispatches: Sequence[Dispatch]) -> Iterator[Output]:
        """Every batch in turn, in the dispatches that carry them."""
        for number, (dispatch, cells) in enumerate(self.placed(dispatches)):
            self.poison(self.placement.reused.get(number, ()))
            yield from self.run(dispatch, cells)

    def placed(self, dispatches: Sequence[Dispatch]) -> Iterator[tuple[Dispatch, list[Cells]]]:
        """The dispatches with the cells of their batches."""
        # For the whole program at once: for each small batch alone it would take as long as the batch.
        cells = iter(self._cells([batch for dispatch in dispatches for batch in dispatch]))
        return ((dispatch, list(islice(cells, len(dispatch)))) for dispatch in dispatches)

    def run(self, dispatch: Dispatch, cells: Sequence[Cells]) -> Iterator[Output]:
        """Every batch of a dispatch that was placed."""
        return self._run(dispatch[0], cells[0]) if len(dispatch) == 1 else self._run_layers(dispatch, cells)

    def poison(self, places: Sequence[tuple[int, int]]) -> None:
        """Make some pages, by bank and place, as if never written."""
        state = self.state
        for bank in {bank for bank, _ in places}:
            own = [place for other, place in places if other == bank]
            chosen = np.pad(np.array(own, np.int32), (0, state.layout.pages - len(own)))
            made = poisoned_again(state.keys[bank], state.values[bank], chosen, np.int32(len(own)))
            state.keys[bank], state.values[bank] = made

    def _run(self, batch: Batch, cells: Cells) -> Iterator[Output]:
        """A batch in as many dispatches as its rows need."""
        start, counts = 0, self.kernels.buckets.split(len(batch))
        for rows in counts:
            here = slice(start, start + rows)
            part = batch if len(counts) == 1 else batch.restricted(here)
            start += rows
            value = self._call(part.site, self._where(part, cells[:, here], rows))
            yield Output(part, value if self.keep else None)

    def _run_layers(self, dispatch: Dispatch, cells: Sequence[Cells]) -> Iterator[Output]:
        """A dispatch of whole layers; one each where two of them share a bank, which is taken but once."""
        attending = dispatch[1 :: len(LAYER)]
        banks = {self.placement.bank[batch.site.layer] for batch in attending}
        if len(banks) < len(attending):
            for start in range(0, len(dispatch), len(LAYER)):
                here = slice(start, start + len(LAYER))
                yield from self._run_layers(dispatch[here], cells[here])
            return
        (rows,) = self.kernels.buckets.split(len(dispatch[0]))
        each = zip(attending, cells[1 :: len(LAYER)], strict=True)
        values = self._layers(dispatch[0].site.layer, _stacked([self._where(*its, rows) for its in each]))
        for batch, value in zip(dispatch, values, strict=True):
            yield Output(batch.as_joined(batch is not dispatch[0]), value if self.keep else None)

    def run_scratch(self, site: Site, rows: int, several: bool = False) -> None:
        """Run a form on scratch cells only, as of one request or of several."""
        self._call(site, self._scratch(site, rows, several))

    def run_scratch_layers(self, layers: int, rows: int, several: bool = False) -> None:
        """Run the first layers on scratch cells only, as of one request or of several."""
        self._layers(0, _stacked([self._scratch(Site("attn", n), rows, several) for n in range(layers)]))

    def _scratch(self, site: Site, rows: int, several: bool) -> Where:
        nothing = np.empty(0, np.int32)
        batch = Batch(site, nothing, nothing)
        table = self._tables_of_rows(batch, rows) if several else None
        return self._where(batch, np.empty((3, 0), np.int32), rows, table)

    def _cells(self, batches: Sequence[Batch]) -> list[Cells]:
        """Token, position and page of each row of each batch."""
        if not batches:
            return []
        requests = np.concatenate([batch.requests for batch in batches])
        positions = np.concatenate([batch.positions for batch in batches])
        sizes = [len(batch) for batch in batches]
        # What is in no layer has no page: any will do.
        layers = np.clip([batch.site.layer for batch in batches], 0, len(self.place) - 1)
        places = self.place[np.repeat(layers, sizes), self.pages[requests] + positions // PAGE]
        cells = np.stack([self.tokens[requests] + positions, positions, places]).astype(np.int32, copy=False)
        ends = np.cumsum(sizes).tolist()
        return [cells[:, start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def _where(self, batch: Batch, cells: Cells, rows: int, table: Any = None) -> Where:
        """What a form gets of a batch, whose rows may be fewer than the form's."""
        site = batch.site
        if cells.shape[1] < rows:
            cells = self._padded(cells, rows)
        if site.kind not in ATTENDING:
            return Where(cells, _scalar(site.layer))
        table = self._table(batch, rows) if table is None else table
        return Where(cells, _scalar(site.layer), table, self.windows_by_layer[site.layer])

    def _padded(self, cells: Cells, rows: int) -> Cells:
        """Rows beyond a batch's events write to scratch, at a position of theirs."""
        layout, count = self.state.layout, cells.shape[1]
        padded = np.empty((3, rows), np.int32)
        padded[:, :count] = cells
        padded[0, count:], padded[2, count:] = layout.tokens, layout.pages
        padded[1, count:] = cells[1, 0] if count else 0
        return padded

    def _table(self, batch: Batch, rows: int) -> Any:
        """The pages that an attention reads: of its request, or of each row's own."""
        first = int(batch.requests[0]) if len(batch) else 0
        if len(self.tables) == 1 or (batch.requests == first).all():
            return self._table_of(batch.site.layer, first)
        return self._tables_of_rows(batch, rows)

    def _table_of(self, layer: int, request: int) -> Any:
        if (layer, request) not in self.table_of:
            places = self.place[layer, self.tables[request]].tolist()
            self.table_of[layer, request] = _on_device(tuple(places))
        return self.table_of[layer, request]

    def _tables_of_rows(self, batch: Batch, rows: int) -> Int[np.ndarray, "rows entries"]:
        tables = np.full((rows, self.tables.shape[1]), self.state.layout.pages, np.int32)
        tables[: len(batch)] = self.place[batch.site.layer, self.tables[batch.requests]]
        return tables

    def _call(self, site: Site, where: Where) -> Any:
        return getattr(self, f"_{site.kind}")(site.layer, where)

    def _form(self, kind: str) -> Callable[..., Any]:
        # Looked up once: comparing configurations takes longer than a small batch.
        if kind not in self.forms:
            self.forms[kind] = form(self.config, self.kernels, kind)
        return self.forms[kind]

    def _block(self, layer: int, where: Where) -> Any:
        """Attention and MLP of a block, whose K/V was made before; the residual that it leaves."""
        self._attn(layer, where)
        plain = where._replace(table=None, window=None)
        left = self._mlp(layer, plain)
        if not self.config.parallel_residual:
            return left
        return self._form("stream")(self.state.residual, plain._replace(layer=_scalar(layer + 1)))

    def _embed(self, layer: int, where: Where) -> Any:
        state, weights = self.state, self.weights["embed"]
        state.residual, value = self._form("embed")(weights, state.residual, state.tokens, where)
        return value

    def _kv(self, layer: int, where: Where) -> Any:
        state, weights, bank = self.state, self.weights["layers"][layer]["kv"], self.placement.bank[layer]
        made = self._form("kv")(weights, state.keys[bank], state.values[bank], state.residual, where)
        state.keys[bank], state.values[bank], value = made
        return value

    def _attn(self, layer: int, where: Where) -> Any:
        state, weights, bank = self.state, self.weights["layers"][layer]["attn"], self.placement.bank[layer]
        cells = state.residual, state.keys[bank], state.values[bank]
        state.residual, value = self._form("attn")(weights, *cells, where)
        return value

    def _mlp(self, layer: int, where: Where) -> Any:
        state, weights = self.state, self.weights["layers"][layer]["mlp"]
        state.residual, value = self._form("mlp")(weights, state.residual, where)
        return value

    def _layers(self, first: int, where: Where) -> Any:
        state, layers = self.state, range(first, first + len(where.layer))
        banks = self.placement.bank[layers.start : layers.stop].tolist()
        weights = self.weights["layers"][layers.start : layers.stop]
        cells = state.residual, [state.keys[bank] for bank in banks], [state.values[bank] for bank in banks]
        state.residual, keys, values, made = self._form("layers")(weights, *cells, where)
        for place, bank in enumerate(banks):
            state.keys[bank], state.values[bank] = keys[place], values[place]
        return made

    def _unembed(self, layer: int, where: Where) -> Any:
        state, weights = self.state, self.weights["unembed"]
        state.logits = self._form("unembed")(weights, state.logits, state.residual, where)
        # A copy of so many numbers is made only for those who keep it.
        return self._form("logits")(state.logits, where) if self.keep else None

    def _sample(self, layer: int, where: Where) -> Any:
        state, scratch = self.state, self.state.layout.tokens
        target = np.where(where.token == scratch, scratch, where.token + 1).astype(np.int32)
        sampling = state.sampling
        chosen = sampling.given[target], np.float32(sampling.temperature), np.int32(sampling.seed)
        state.tokens, value = self._form("sample")(state.tokens, state.logits, where, target, *chosen)
        return value


def _stacked(each: Sequence[Where]) -> Where:
    """What a form of several layers gets, from what each of them gets."""
    pages = [where.rows[2:] for where in each]
    rows = np.concatenate([each[0].rows[:2], *pages])
    return Where(rows, *(tuple(parts) for parts in zip(*(where[1:] for where in each), strict=True)))


@lru_cache(maxsize=256)
def _on_device(places: tuple[int, ...]) -> Any:
    """Places that lie on the device already; most layers have the same."""
    return jnp.asarray(places, jnp.int32)


@lru_cache(maxsize=4096)
def _scalar(number: int) -> Any:
    """A number that lies on the device already."""
    return jnp.asarray(number, jnp.int32)
