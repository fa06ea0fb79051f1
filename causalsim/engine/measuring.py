"""Forms measured on the machine at hand: which bits their lanes have, and how long a launch takes."""

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

from causalsim.engine.calls import LAYER, calls_of, deepest
from causalsim.engine.machine import Machine, Output
from causalsim.engine.program import Launch
from causalsim.engine.slots import Slots
from causalsim.engine.state import Sampling, State, fresh_kv
from causalsim.events import EventGraph, Slot
from causalsim.kernels import CERTIFIED_LANES, FIXED_LANES, Kernels, Lanes
from causalsim.kernels.precision import from_memory, poison, rounded
from causalsim.progress import Progress

if TYPE_CHECKING:
    from causalsim.engine.model import Model

# Lanes that must be filled; at few lanes a launch, as many events are run in several.
MOST, FEWEST = CERTIFIED_LANES.counts[-1], 16
# Each launch is timed so often and so long; one that takes very long, less often.
TIMES, LEAST_SECONDS, ENOUGH_SECONDS = 7, 0.05, 1.0


@dataclass(frozen=True)
class Form:
    """Kinds of events that one call carries, for lanes of one text or of several.

    A ``deep`` one carries them for several layers; it has one lane.
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
    """A form at a lane count: whether its lanes have the bits of the reference, and its time.

    The reference are launches of sixteen lanes, each kind apart, in which the events stand in order.
    """

    form: str
    lanes: int
    same_bits: bool
    microseconds: float


def measure(
    model: Model, length: int, kernels: Kernels, forms: Sequence[str], progress: Progress
) -> Iterator[Measurement]:
    """Every form at every lane count that ``kernels`` allow, over texts of up to ``length`` positions.

    Events stand at random places of a launch, beside others drawn at random, then beside poisoned ones.
    """
    bench = Bench(model, length, kernels)
    tried = trials(forms, kernels.lanes.counts)
    for done, (name, lanes) in enumerate(tried):
        progress(f"{name}, {lanes} lanes", done, len(tried))
        same = bench.has_same_bits(FORMS[name], lanes)
        yield Measurement(name, lanes, same, 1e6 * bench.seconds(FORMS[name], lanes))


def trials(forms: Iterable[str], counts: Sequence[int]) -> list[tuple[str, int]]:
    """Each form with each lane count that it can have."""
    return [(name, lanes) for name in forms for lanes in counts if lanes == 1 or not FORMS[name].deep]


class Bench:
    """Texts of random cells, with the K/V that belongs to them, and launches over their rows.

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
        self.rows = np.arange(len(self.positions))
        self.state = self._filled(model, graph)
        self.state = self._with_kv()
        self.reference = cache(self._reference)

    def has_same_bits(self, form: Form, lanes: int) -> bool:
        """Whether events have the bits of the reference, wherever and beside whatever they stand."""
        reference = self.reference(form)
        for spoilt in (np.zeros_like(self.spoilt), self.spoilt):
            rows = self._drawn(form, lanes)
            machine = self._machine(_poisoned(self.state, spoilt), Lanes((lanes,)))
            for start in range(0, len(rows), lanes):
                part = rows[start : start + lanes]
                found = [output.value for output in self._run(machine, self._launches(form, part))]
                if not _agree(found, reference, part, spoilt[part]):
                    return False
        return True

    def seconds(self, form: Form, lanes: int) -> float:
        """The least time of several launches of so many lanes, all of them filled where events suffice."""
        machine = self._machine(self.state.copy(), Lanes((lanes,)), keep=False)
        launches = self._launches(form, self._drawn(form, lanes)[:lanes])
        times: list[float] = []
        while sum(times) < LEAST_SECONDS or (len(times) < TIMES and sum(times) < ENOUGH_SECONDS):
            start = perf_counter()
            self._run(machine, launches)
            jax.block_until_ready(machine.state.cells())
            times.append(perf_counter() - start)
        return min(times)

    def _filled(self, model: Model, graph: EventGraph) -> State:
        """Random cells where a run would have left its values; K/V is still missing."""
        vocabulary = model.config.vocab_size
        ids = self.rng.integers(vocabulary, size=len(self.rows)).astype(np.int32)
        state = State.fresh(model, graph, np.split(ids, np.cumsum(graph.lengths)[:-1]), bare=True)
        keys, values = fresh_kv(model, state.layout, self.layers)
        return replace(
            state,
            keys=keys,
            values=values,
            banks=self.layers,
            sampling=Sampling(np.full(state.layout.rows + 1, -1, np.int32), temperature=1.0),
            residual=self._normal(state.residual, axis=1),
            logits=self._normal(state.logits, axis=0),
        )

    def _with_kv(self) -> State:
        """The same state with the K/V that its rows have at each layer."""
        machine = self._machine(self.state.copy(), FIXED_LANES, keep=False)
        for launch in self._launches(FORMS["several layers"], self.rows):
            self._run(machine, [launch])
        return replace(self.state, keys=machine.state.keys, values=machine.state.values)

    def _normal(self, cells: Any, axis: int) -> Any:
        """Random numbers in the rows of the texts; the others stay poison."""
        numbers = self.rng.standard_normal(cells.shape, dtype=np.float32)
        np.moveaxis(numbers, axis, 0)[len(self.rows) :] = np.nan
        return rounded(jnp.asarray(numbers), cells.dtype)

    def _machine(self, state: State, lanes: Lanes, keep: bool = True) -> Machine:
        return Machine(
            state, Slots.apart(self.layers, state.layout), replace(self.kernels, lanes=lanes), keep
        )

    def _run(self, machine: Machine, launches: Sequence[Launch]) -> list[Output]:
        """Run launches, those of whole layers together."""
        return list(machine.run_all(list(calls_of(launches, machine.kernels.lanes, self.layers))))

    def _launches(self, form: Form, rows: Int[np.ndarray, " lanes"]) -> list[Launch]:
        layers = range(self.layers if form.deep else 1)
        slots = [Slot(kind, self.outer.get(kind, layer)) for layer in layers for kind in form.kinds]
        return [Launch(slot, self.requests[rows], self.positions[rows], rows) for slot in slots]

    def _drawn(self, form: Form, lanes: int) -> Int[np.ndarray, " rows"]:
        """Rows in random order: of the first text, or of all, the first two then of different texts."""
        mine = self.rows if form.several or form.kinds[0] not in LAYER else self.rows[self.requests == 0]
        rows = self.rng.permutation(mine)[: max(lanes, FEWEST)]
        others = np.flatnonzero(self.requests[rows] != self.requests[rows[0]])
        if others.size:
            rows[[1, others[0]]] = rows[[others[0], 1]]
        return rows

    def _reference(self, form: Form) -> list[Any]:
        """Every row's values in launches of sixteen lanes, kind by kind and text by text."""
        machine = self._machine(self.state.copy(), FIXED_LANES)
        return [self._all_rows(machine, launch) for launch in self._launches(form, self.rows)]

    def _all_rows(self, machine: Machine, launch: Launch) -> Any:
        parts = []
        for request in range(self.requests[-1] + 1):
            outputs = self._run(machine, [launch.restricted(self.requests == request)])
            parts += [_lanes(output.value, len(output.launch)) for output in outputs]
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _lengths(length: int) -> list[int]:
    """Texts of so many positions that together fill the widest launch; never one alone."""
    if length >= MOST:
        return [length, FEWEST]
    full, rest = divmod(MOST, length)
    return [length] * full + [rest] * (rest > 0)


def _poisoned(state: State, spoilt: Bool[np.ndarray, " rows"]) -> State:
    """A copy of a state in which some rows are as if never written."""
    mask = np.pad(spoilt, (0, len(state.tokens) - len(spoilt)))
    return replace(state, **_spoil(state.cells(), mask, state.model.config.vocab_size))


@jax.jit
def _spoil(cells: dict[str, Any], mask: Bool[Array, " rows"], unknown: Int[Array, ""]) -> dict[str, Any]:
    nan = poison(cells["residual"].dtype)
    return {
        **jax.tree.map(jnp.copy, cells),
        "tokens": jnp.where(mask, unknown, cells["tokens"]),
        "residual": jnp.where(mask[:, None], nan, cells["residual"]),
        "logits": jnp.where(mask[:, None], nan, cells["logits"]),
    }


def _lanes(value: Any, count: int) -> Any:
    """The first lanes of a launch, on the host."""
    return jax.tree.map(lambda array: from_memory(np.asarray(array)[:count]), value)


def _agree(found: Sequence[Any], reference: Sequence[Any], rows: Any, spoilt: Any) -> bool:
    """Whether the lanes that are not spoilt have the reference's bits, all of them numbers."""
    kept = ~spoilt
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(reference), strict=True)
    return all(_equal(from_memory(np.asarray(a))[: len(rows)][kept], b[rows][kept]) for a, b in pairs)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.tobytes() == b.tobytes() and bool(np.isfinite(a).all())
