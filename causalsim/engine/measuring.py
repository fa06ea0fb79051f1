"""Forms measured on the machine at hand: which bits their rows have, and how long a batch takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from causalsim.engine.dispatches import LAYER, deepest, dispatches_of
from causalsim.engine.machine import Machine, Output
from causalsim.engine.placement import Placement
from causalsim.engine.program import Batch
from causalsim.engine.state import Sampling, State, fresh_kv
from causalsim.events import EventGraph, Site
from causalsim.kernels import CERTIFIED_BUCKETS, FIXED_BUCKETS, Buckets, Kernels
from causalsim.kernels.precision import downcast, from_storage, poison
from causalsim.progress import Progress

if TYPE_CHECKING:
    from causalsim.engine.model import Model

# Rows that must be filled; at few rows a batch, as many events are run in several.
MOST, FEWEST = CERTIFIED_BUCKETS.sizes[-1], 16
# Each batch is timed so often and so long; one that takes very long, less often.
TIMES, LEAST_SECONDS, ENOUGH_SECONDS = 7, 0.05, 1.0


@dataclass(frozen=True)
class Form:
    """Kinds of events that one dispatch carries, for rows of one text or of several.

    A ``deep`` one carries them for several layers; it has one row.
    """

    kinds: tuple[str, ...]
    several: bool = False
    deep: bool = False


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "embed": Form(("embed",)),
        "kv": Form(("kv",)),
        "attn": Form(("attn",)),
        "attn, several texts": Form(("attn",), several=True),
        "mlp": Form(("mlp",)),
        "layer": Form(LAYER),
        "layer, several texts": Form(LAYER, several=True),
        "several layers": Form(LAYER, deep=True),
        "unembed": Form(("unembed",)),
        "sample": Form(("sample",)),
    }
)


@dataclass(frozen=True)
class Measurement:
    """A form at a batch size: whether its rows have the bits of the reference, and its time.

    The reference are batches of sixteen rows, each kind apart, in which the events stand in order.
    """

    form: str
    rows: int
    same_bits: bool
    microseconds: float


def measure(
    model: Model, length: int, kernels: Kernels, forms: Sequence[str], progress: Progress
) -> Iterator[Measurement]:
    """Every form at every batch size that ``kernels`` allow, over texts of up to ``length`` positions.

    Events stand at random places of a batch, beside others drawn at random, then beside poisoned ones.
    """
    bench = Bench(model, length, kernels)
    tried = trials(forms, kernels.buckets.sizes)
    for done, (name, rows) in enumerate(tried):
        progress(f"{name}, {rows} rows", done, len(tried))
        same = bench.has_same_bits(FORMS[name], rows)
        yield Measurement(name, rows, same, 1e6 * bench.seconds(FORMS[name], rows))


def trials(forms: Iterable[str], counts: Sequence[int]) -> list[tuple[str, int]]:
    """Each form with each batch size that it can have."""
    return [(name, rows) for name in forms for rows in counts if rows == 1 or not FORMS[name].deep]


class Bench:
    """Texts of random cells, with the K/V that belongs to them, and batches over their tokens.

    All layers share a form's executables, so that the first of them stand for all.
    """

    def __init__(self, model: Model, length: int, kernels: Kernels) -> None:
        self.kernels, self.rng = kernels, np.random.default_rng(0)
        graph = EventGraph(model.config, _lengths(length))
        self.layers = deepest(model.config.n_layers)
        self.outer = {"embed": -1, "unembed": model.config.n_layers, "sample": model.config.n_layers}
        self.requests = np.repeat(np.arange(len(graph.lengths), dtype=np.int32), graph.lengths)
        self.positions = np.concatenate([np.arange(size, dtype=np.int32) for size in graph.lengths])
        self.spoilt = self.positions >= (np.asarray(graph.lengths)[self.requests] + 1) // 2
        self.all_tokens = np.arange(len(self.positions))
        self.state = self._filled(model, graph)
        self.state = self._with_kv()
        self.reference = cache(self._reference)

    def has_same_bits(self, form: Form, rows: int) -> bool:
        """Whether events have the bits of the reference, wherever and beside whatever they stand."""
        reference = self.reference(form)
        for spoilt in (np.zeros_like(self.spoilt), self.spoilt):
            tokens = self._drawn(form, rows)
            machine = self._machine(_poisoned(self.state, spoilt), Buckets((rows,)))
            for start in range(0, len(tokens), rows):
                part = tokens[start : start + rows]
                found = [output.value for output in self._run(machine, self._batches(form, part))]
                if not _agree(found, reference, part, spoilt[part]):
                    return False
        return True

    def seconds(self, form: Form, rows: int) -> float:
        """The least time of several batches of so many rows, all of them filled where events suffice."""
        machine = self._machine(self.state.copy(), Buckets((rows,)), keep=False)
        batches = self._batches(form, self._drawn(form, rows)[:rows])
        times: list[float] = []
        while sum(times) < LEAST_SECONDS or (len(times) < TIMES and sum(times) < ENOUGH_SECONDS):
            start = perf_counter()
            self._run(machine, batches)
            jax.block_until_ready(machine.state.cells())
            times.append(perf_counter() - start)
        return min(times)

    def _filled(self, model: Model, graph: EventGraph) -> State:
        """Random cells where a run would have left its values; K/V is still missing."""
        vocabulary = model.config.vocab_size
        ids = self.rng.integers(vocabulary, size=len(self.all_tokens)).astype(np.int32)
        state = State.fresh(model, graph, np.split(ids, np.cumsum(graph.lengths)[:-1]), bare=True)
        keys, values = fresh_kv(model, state.layout, self.layers)
        return replace(
            state,
            keys=keys,
            values=values,
            banks=self.layers,
            sampling=Sampling(np.full(state.layout.tokens + 1, -1, np.int32), temperature=1.0),
            residual=self._normal(state.residual, axis=1),
            logits=self._normal(state.logits, axis=0),
        )

    def _with_kv(self) -> State:
        """The same state with the K/V that its tokens have at each layer."""
        machine = self._machine(self.state.copy(), FIXED_BUCKETS, keep=False)
        for batch in self._batches(FORMS["several layers"], self.all_tokens):
            self._run(machine, [batch])
        return replace(self.state, keys=machine.state.keys, values=machine.state.values)

    def _normal(self, cells: Any, axis: int) -> Any:
        """Random numbers in the tokens of the texts; the others stay poison."""
        numbers = self.rng.standard_normal(cells.shape, dtype=np.float32)
        np.moveaxis(numbers, axis, 0)[len(self.all_tokens) :] = np.nan
        return downcast(jnp.asarray(numbers), cells.dtype)

    def _machine(self, state: State, buckets: Buckets, keep: bool = True) -> Machine:
        return Machine(
            state, Placement.apart(self.layers, state.layout), replace(self.kernels, buckets=buckets), keep
        )

    def _run(self, machine: Machine, batches: Sequence[Batch]) -> list[Output]:
        """Run batches, those of whole layers together."""
        return list(machine.run_all(list(dispatches_of(batches, machine.kernels.buckets, self.layers))))

    def _batches(self, form: Form, tokens: Int[np.ndarray, " rows"]) -> list[Batch]:
        layers = range(self.layers if form.deep else 1)
        sites = [Site(kind, self.outer.get(kind, layer)) for layer in layers for kind in form.kinds]
        return [Batch(site, self.requests[tokens], self.positions[tokens], tokens) for site in sites]

    def _drawn(self, form: Form, rows: int) -> Int[np.ndarray, " tokens"]:
        """Rows in random order: of the first text, or of all, the first two then of different texts."""
        mine = (
            self.all_tokens
            if form.several or form.kinds[0] not in LAYER
            else self.all_tokens[self.requests == 0]
        )
        tokens = self.rng.permutation(mine)[: max(rows, FEWEST)]
        others = np.flatnonzero(self.requests[tokens] != self.requests[tokens[0]])
        if others.size:
            tokens[[1, others[0]]] = tokens[[others[0], 1]]
        return tokens

    def _reference(self, form: Form) -> list[Any]:
        """Every row's values in batches of sixteen rows, kind by kind and text by text."""
        machine = self._machine(self.state.copy(), FIXED_BUCKETS)
        return [self._all_rows(machine, batch) for batch in self._batches(form, self.all_tokens)]

    def _all_rows(self, machine: Machine, batch: Batch) -> Any:
        parts = []
        for request in range(self.requests[-1] + 1):
            outputs = self._run(machine, [batch.restricted(self.requests == request)])
            parts += [_rows(output.value, len(output.batch)) for output in outputs]
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _lengths(length: int) -> list[int]:
    """Texts of so many positions that together fill the widest batch; never one alone."""
    if length >= MOST:
        return [length, FEWEST]
    full, rest = divmod(MOST, length)
    return [length] * full + [rest] * (rest > 0)


def _poisoned(state: State, spoilt: Bool[np.ndarray, " tokens"]) -> State:
    """A copy of a state in which some tokens are as if never written."""
    mask = np.pad(spoilt, (0, len(state.tokens) - len(spoilt)))
    return replace(state, **_spoil(state.cells(), mask, state.model.config.vocab_size))


@jax.jit
def _spoil(cells: dict[str, Any], mask: Bool[Array, " tokens"], unknown: Int[Array, ""]) -> dict[str, Any]:
    nan = poison(cells["residual"].dtype)
    return {
        **jax.tree.map(jnp.copy, cells),
        "tokens": jnp.where(mask, unknown, cells["tokens"]),
        "residual": jnp.where(mask[:, None], nan, cells["residual"]),
        "logits": jnp.where(mask[:, None], nan, cells["logits"]),
    }


def _rows(value: Any, count: int) -> Any:
    """The first rows of a batch, on the host."""
    return jax.tree.map(lambda array: from_storage(np.asarray(array)[:count]), value)


def _agree(found: Sequence[Any], reference: Sequence[Any], tokens: Any, spoilt: Any) -> bool:
    """Whether the rows that are not spoilt have the reference's bits, all of them numbers."""
    kept = ~spoilt
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(reference), strict=True)
    return all(_equal(from_storage(np.asarray(a))[: len(tokens)][kept], b[tokens][kept]) for a, b in pairs)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.tobytes() == b.tobytes() and bool(np.isfinite(a).all())
