"""The machine: a state, the forms that act on it, and which launches go in one call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from causalsim.engine.forms import Where, form
from causalsim.engine.program import Launch
from causalsim.engine.state import State, fresh_kv, poisoned_again
from causalsim.events import Slot
from causalsim.kernels import PAGE, Kernels

# A window that no position can exceed, for layers that see everything.
UNBOUNDED = 2**30
# The kinds of launches that one call can carry, where their lanes are the same.
LAYER = ("kv", "attn", "mlp")
TOUCHING = ("kv", "attn", "block")
ATTENDING = ("attn", "layer", "block")


@dataclass(frozen=True)
class Output:
    """A launch as it was executed, and the values of its lanes, of which the first belong to events."""

    launch: Launch
    value: Any


class Machine:
    """A state with the forms that act on it; each call consumes cells and puts the new ones back."""

    def __init__(self, state: State, kernels: Kernels, keep: bool) -> None:
        model = state.model
        self.config, self.state, self.kernels, self.keep = model.config, state, kernels, keep
        self.weights = model.weights(kernels)
        layout = state.layout
        self.rows, self.pages, self.tables = layout.first_rows(), layout.first_pages(), layout.tables()
        self.table_of = [jnp.asarray(table) for table in self.tables]
        self.forms: dict[str, Callable[..., Any]] = {}
        self.left: Counter[int] = Counter()
        self.spare: list[tuple[Any, Any]] = []
        reaches = self.config.wiring.reaches
        self.reaches = [_scalar(UNBOUNDED if reach is None else reach) for reach in reaches]

    def release_behind(self, launches: Sequence[Launch]) -> None:
        """Count the launches that touch each layer's K/V, so that the last of them is known."""
        self.left.update(launch.slot.layer for launch in launches if launch.slot.kind in TOUCHING)

    def _reserved(self, layer: int) -> tuple[Any, Any]:
        """A layer's keys and values, which are made where there are none."""
        state = self.state
        if state.keys[layer] is None:
            state.reserved += not self.spare
            pair = poisoned_again(*self.spare.pop()) if self.spare else fresh_kv(state.model, state.layout)
            state.keys[layer], state.values[layer] = pair
        return state.keys[layer], state.values[layer]

    def _release(self, launch: Launch) -> None:
        layer = launch.slot.layer
        if launch.slot.kind in TOUCHING and layer in self.left:
            self.left[layer] -= 1
            if not self.left[layer]:
                self.spare.append((self.state.keys[layer], self.state.values[layer]))
                self.state.keys[layer] = self.state.values[layer] = None

    def run_all(self, launches: Sequence[Launch]) -> Iterator[Output]:
        """Every launch in turn; a layer's three of the same lanes in one call."""
        waiting = list(reversed(launches))
        while waiting:
            three = waiting[: -len(LAYER) - 1 : -1]
            if _is_layer(three) and self.kernels.lanes.is_one_call(len(three[0])):
                del waiting[-len(LAYER) :]
                yield from self._run_layer(three)
            else:
                del three[1:]
                yield from self._run(waiting.pop())
            for launch in three:
                self._release(launch)

    def _run(self, launch: Launch) -> Iterator[Output]:
        """A launch in as many calls as its lanes need."""
        start, counts = 0, self.kernels.lanes.split(len(launch))
        for lanes in counts:
            part = launch if len(counts) == 1 else launch.restricted(slice(start, start + lanes))
            start += lanes
            value = self._call(part.slot, self._where(part.slot, part, lanes))
            yield Output(part, value if self.keep else None)

    def _run_layer(self, three: Sequence[Launch]) -> Iterator[Output]:
        first = three[0]
        (lanes,) = self.kernels.lanes.split(len(first))
        slot = Slot("layer", first.slot.layer)
        values = self._call(slot, self._where(slot, first, lanes))
        for launch, value in zip(three, values, strict=True):
            parts = launch.slot, launch.requests, launch.positions, launch.events
            yield Output(Launch(*parts, joined=launch is not first), value if self.keep else None)

    def run_scratch(self, slot: Slot, lanes: int, several: bool = False) -> None:
        """Run a form on scratch cells only, as of one request or of several."""
        nothing = np.empty(0, np.int32)
        launch = Launch(slot, nothing, nothing)
        table = self._tables_of_lanes(launch, lanes) if several else self.table_of[0]
        self._call(slot, self._where(slot, launch, lanes, table))

    def _where(self, slot: Slot, launch: Launch, lanes: int, table: Any = None) -> Where:
        """Indices of a launch's cells; lanes beyond its events write to scratch, at a position of theirs."""
        layout, count = self.state.layout, len(launch)
        cells = np.empty((3, lanes), np.int32)
        cells[0, :count] = self.rows[launch.requests] + launch.positions
        cells[1, :count] = launch.positions
        cells[2, :count] = self.pages[launch.requests] + launch.positions // PAGE
        cells[0, count:], cells[2, count:] = layout.rows, layout.pages
        cells[1, count:] = launch.positions[0] if count else 0
        if slot.kind not in ATTENDING:
            return Where(cells, _scalar(slot.layer))
        table = self._table(launch, lanes) if table is None else table
        return Where(cells, _scalar(slot.layer), table, self.reaches[slot.layer])

    def _table(self, launch: Launch, lanes: int) -> Any:
        """The pages that an attention reads: of its request, or of each lane's own."""
        first = launch.requests[0]
        if (launch.requests == first).all():
            return self.table_of[first]
        return self._tables_of_lanes(launch, lanes)

    def _tables_of_lanes(self, launch: Launch, lanes: int) -> Int[np.ndarray, "lanes entries"]:
        tables = np.full((lanes, self.tables.shape[1]), self.state.layout.pages, np.int32)
        tables[: len(launch)] = self.tables[launch.requests]
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
        state, weights = self.state, self.weights["layers"][layer]["kv"]
        keys, values = self._reserved(layer)
        made = self._form("kv")(weights, keys, values, state.residual, where)
        state.keys[layer], state.values[layer], value = made
        return value

    def _attn(self, layer: int, where: Where) -> Any:
        state, weights = self.state, self.weights["layers"][layer]["attn"]
        cells = state.residual, *self._reserved(layer)
        state.residual, value = self._form("attn")(weights, *cells, where)
        return value

    def _mlp(self, layer: int, where: Where) -> Any:
        state, weights = self.state, self.weights["layers"][layer]["mlp"]
        state.residual, value = self._form("mlp")(weights, state.residual, where)
        return value

    def _layer(self, layer: int, where: Where) -> Any:
        state, weights = self.state, self.weights["layers"][layer]
        cells = state.residual, *self._reserved(layer)
        made = self._form("layer")(weights, *cells, where)
        state.residual, state.keys[layer], state.values[layer], values = made
        return values

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


def _is_layer(launches: Sequence[Launch]) -> bool:
    """Whether these are kv, attn and mlp of one layer for the same lanes."""
    if tuple(launch.slot.kind for launch in launches) != LAYER:
        return False
    first, *others = launches
    return all(
        other.slot.layer == first.slot.layer
        and len(other) == len(first)
        and (other.positions == first.positions).all()
        and (other.requests == first.requests).all()
        for other in others
    )


@lru_cache(maxsize=4096)
def _scalar(number: int) -> Any:
    """A number that lies on the device already."""
    return jnp.asarray(number, jnp.int32)
