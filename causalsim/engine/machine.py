"""The machine: a state, the forms that act on it, and which launches go in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from causalsim.engine.calls import LAYER, Call
from causalsim.engine.forms import Where, form
from causalsim.engine.program import Launch
from causalsim.engine.slots import Slots
from causalsim.engine.state import State, poisoned_again
from causalsim.events import Slot
from causalsim.kernels import PAGE, Kernels

# A window that no position can exceed, for layers that see everything.
UNBOUNDED = 2**30
ATTENDING = ("attn", "block")
Cells = Int[np.ndarray, "3 _"]


@dataclass(frozen=True)
class Output:
    """A launch as it was executed, and the values of its lanes, of which the first belong to events."""

    launch: Launch
    value: Any


class Machine:
    """A state with the forms that act on it; each call consumes cells and puts the new ones back."""

    def __init__(self, state: State, slots: Slots, kernels: Kernels, keep: bool) -> None:
        model = state.model
        self.config, self.state, self.slots = model.config, state, slots
        self.kernels, self.keep = kernels, keep
        self.weights = model.weights(kernels)
        layout = state.layout
        self.rows, self.pages, self.tables = layout.first_rows(), layout.first_pages(), layout.tables()
        # A page that no request has, and one that no launch of a layer needs, is the scratch page.
        self.place = np.pad(slots.place, ((0, 0), (0, 1)), constant_values=layout.pages)
        self.table_of: dict[tuple[int, int], Any] = {}
        self.forms: dict[str, Callable[..., Any]] = {}
        reaches = self.config.wiring.reaches
        self.reaches = [_scalar(UNBOUNDED if reach is None else reach) for reach in reaches]

    def run_all(self, calls: Sequence[Call]) -> Iterator[Output]:
        """Every launch in turn, in the calls that carry them."""
        for number, (call, cells) in enumerate(self.placed(calls)):
            self.poison(self.slots.reused.get(number, ()))
            yield from self.run(call, cells)

    def placed(self, calls: Sequence[Call]) -> Iterator[tuple[Call, list[Cells]]]:
        """The calls with the cells of their launches."""
        # For the whole program at once: for each small launch alone it would take as long as the launch.
        cells = iter(self._cells([launch for call in calls for launch in call]))
        return ((call, list(islice(cells, len(call)))) for call in calls)

    def run(self, call: Call, cells: Sequence[Cells]) -> Iterator[Output]:
        """Every launch of a call that was placed."""
        return self._run(call[0], cells[0]) if len(call) == 1 else self._run_layers(call, cells)

    def poison(self, places: Sequence[tuple[int, int]]) -> None:
        """Make some pages, by bank and place, as if never written."""
        state = self.state
        for bank in {bank for bank, _ in places}:
            own = [place for other, place in places if other == bank]
            chosen = np.pad(np.array(own, np.int32), (0, state.layout.pages - len(own)))
            made = poisoned_again(state.keys[bank], state.values[bank], chosen, np.int32(len(own)))
            state.keys[bank], state.values[bank] = made

    def _run(self, launch: Launch, cells: Cells) -> Iterator[Output]:
        """A launch in as many calls as its lanes need."""
        start, counts = 0, self.kernels.lanes.split(len(launch))
        for lanes in counts:
            here = slice(start, start + lanes)
            part = launch if len(counts) == 1 else launch.restricted(here)
            start += lanes
            value = self._call(part.slot, self._where(part, cells[:, here], lanes))
            yield Output(part, value if self.keep else None)

    def _run_layers(self, call: Call, cells: Sequence[Cells]) -> Iterator[Output]:
        """A call of whole layers; a call each where two of them share a bank, which is taken but once."""
        attending = call[1 :: len(LAYER)]
        banks = {self.slots.bank[launch.slot.layer] for launch in attending}
        if len(banks) < len(attending):
            for start in range(0, len(call), len(LAYER)):
                here = slice(start, start + len(LAYER))
                yield from self._run_layers(call[here], cells[here])
            return
        (lanes,) = self.kernels.lanes.split(len(call[0]))
        each = zip(attending, cells[1 :: len(LAYER)], strict=True)
        values = self._layers(call[0].slot.layer, _stacked([self._where(*its, lanes) for its in each]))
        for launch, value in zip(call, values, strict=True):
            yield Output(launch.as_joined(launch is not call[0]), value if self.keep else None)

    def run_scratch(self, slot: Slot, lanes: int, several: bool = False) -> None:
        """Run a form on scratch cells only, as of one request or of several."""
        self._call(slot, self._scratch(slot, lanes, several))

    def run_scratch_layers(self, layers: int, lanes: int, several: bool = False) -> None:
        """Run the first layers on scratch cells only, as of one request or of several."""
        self._layers(0, _stacked([self._scratch(Slot("attn", n), lanes, several) for n in range(layers)]))

    def _scratch(self, slot: Slot, lanes: int, several: bool) -> Where:
        nothing = np.empty(0, np.int32)
        launch = Launch(slot, nothing, nothing)
        table = self._tables_of_lanes(launch, lanes) if several else None
        return self._where(launch, np.empty((3, 0), np.int32), lanes, table)

    def _cells(self, launches: Sequence[Launch]) -> list[Cells]:
        """Row, position and page of each lane of each launch."""
        if not launches:
            return []
        requests = np.concatenate([launch.requests for launch in launches])
        positions = np.concatenate([launch.positions for launch in launches])
        sizes = [len(launch) for launch in launches]
        # What is in no layer has no page: any will do.
        layers = np.clip([launch.slot.layer for launch in launches], 0, len(self.place) - 1)
        places = self.place[np.repeat(layers, sizes), self.pages[requests] + positions // PAGE]
        cells = np.stack([self.rows[requests] + positions, positions, places]).astype(np.int32, copy=False)
        ends = np.cumsum(sizes).tolist()
        return [cells[:, start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def _where(self, launch: Launch, cells: Cells, lanes: int, table: Any = None) -> Where:
        """What a form gets of a launch, whose lanes may be fewer than the form's."""
        slot = launch.slot
        if cells.shape[1] < lanes:
            cells = self._padded(cells, lanes)
        if slot.kind not in ATTENDING:
            return Where(cells, _scalar(slot.layer))
        table = self._table(launch, lanes) if table is None else table
        return Where(cells, _scalar(slot.layer), table, self.reaches[slot.layer])

    def _padded(self, cells: Cells, lanes: int) -> Cells:
        """Lanes beyond a launch's events write to scratch, at a position of theirs."""
        layout, count = self.state.layout, cells.shape[1]
        padded = np.empty((3, lanes), np.int32)
        padded[:, :count] = cells
        padded[0, count:], padded[2, count:] = layout.rows, layout.pages
        padded[1, count:] = cells[1, 0] if count else 0
        return padded

    def _table(self, launch: Launch, lanes: int) -> Any:
        """The pages that an attention reads: of its request, or of each lane's own."""
        first = int(launch.requests[0]) if len(launch) else 0
        if len(self.tables) == 1 or (launch.requests == first).all():
            return self._table_of(launch.slot.layer, first)
        return self._tables_of_lanes(launch, lanes)

    def _table_of(self, layer: int, request: int) -> Any:
        if (layer, request) not in self.table_of:
            places = self.place[layer, self.tables[request]].tolist()
            self.table_of[layer, request] = _on_device(tuple(places))
        return self.table_of[layer, request]

    def _tables_of_lanes(self, launch: Launch, lanes: int) -> Int[np.ndarray, "lanes entries"]:
        tables = np.full((lanes, self.tables.shape[1]), self.state.layout.pages, np.int32)
        tables[: len(launch)] = self.place[launch.slot.layer, self.tables[launch.requests]]
        return tables

    def _call(self, slot: Slot, where: Where) -> Any:
        return getattr(self, f"_{slot.kind}")(slot.layer, where)

    def _form(self, kind: str) -> Callable[..., Any]:
        # Looked up once: comparing configurations takes longer than a small launch.
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
        state, weights, bank = self.state, self.weights["layers"][layer]["kv"], self.slots.bank[layer]
        made = self._form("kv")(weights, state.keys[bank], state.values[bank], state.residual, where)
        state.keys[bank], state.values[bank], value = made
        return value

    def _attn(self, layer: int, where: Where) -> Any:
        state, weights, bank = self.state, self.weights["layers"][layer]["attn"], self.slots.bank[layer]
        cells = state.residual, state.keys[bank], state.values[bank]
        state.residual, value = self._form("attn")(weights, *cells, where)
        return value

    def _mlp(self, layer: int, where: Where) -> Any:
        state, weights = self.state, self.weights["layers"][layer]["mlp"]
        state.residual, value = self._form("mlp")(weights, state.residual, where)
        return value

    def _layers(self, first: int, where: Where) -> Any:
        state, layers = self.state, range(first, first + len(where.layer))
        banks = self.slots.bank[layers.start : layers.stop].tolist()
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
        state, scratch = self.state, self.state.layout.rows
        target = np.where(where.row == scratch, scratch, where.row + 1).astype(np.int32)
        sampling = state.sampling
        chosen = sampling.given[target], np.float32(sampling.temperature), np.int32(sampling.seed)
        state.tokens, value = self._form("sample")(state.tokens, state.logits, where, target, *chosen)
        return value


def _stacked(each: Sequence[Where]) -> Where:
    """What a form of several layers gets, from what each of them gets."""
    pages = [where.lanes[2:] for where in each]
    lanes = np.concatenate([each[0].lanes[:2], *pages])
    return Where(lanes, *(tuple(parts) for parts in zip(*(where[1:] for where in each), strict=True)))


@lru_cache(maxsize=256)
def _on_device(places: tuple[int, ...]) -> Any:
    """Places that lie on the device already; most layers have the same."""
    return jnp.asarray(places, jnp.int32)


@lru_cache(maxsize=4096)
def _scalar(number: int) -> Any:
    """A number that lies on the device already."""
    return jnp.asarray(number, jnp.int32)
