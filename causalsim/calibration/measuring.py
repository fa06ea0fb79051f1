"""Dispatches measured on the machine at hand: which bits their rows have, and how long one takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from causalsim.engine import Model, Output, State, execute
from causalsim.engine.calibrations import Carried, Measurement, trials
from causalsim.engine.executor import Computation
from causalsim.engine.joining import deepest, joined
from causalsim.engine.placement import Placement
from causalsim.engine.planning import Plan, Planner
from causalsim.engine.program import Batch
from causalsim.engine.state import Sampling
from causalsim.events import EventGraph, Site, Wiring
from causalsim.kernels import CERTIFIED_BUCKETS, FIXED_BUCKETS, Buckets, Kernels
from causalsim.kernels.precision import downcast, from_storage, poison
from causalsim.progress import Progress
from causalsim.testing.bits import Arrays
from causalsim.testing.rows import BatchTrials, Chosen, Mask

# Rows that must be filled; of smaller batches, as many events are run in several.
MOST, FEWEST = CERTIFIED_BUCKETS.sizes[-1], 16
# Each dispatch is timed so often and so long; one that takes very long, less often.
TIMES, LEAST_SECONDS, ENOUGH_SECONDS = 7, 0.05, 1.0


def measure(
    model: Model, length: int, kernels: Kernels, carried: Mapping[str, Carried], progress: Progress
) -> Iterator[Measurement]:
    """Measure kinds of dispatches at every batch size that kernels allow, over texts of some length.

    Events stand at random places of a batch, beside others drawn at random, then beside poisoned ones.

    Args:
        model: A model.
        length: Positions of the longest text.
        kernels: The kernels that run.
        carried: What the dispatches carry, by name.
        progress: Is called before each.

    Yields:
        A measurement each.
    """
    bench = _Bench(model, length, kernels)
    tried = trials(carried, kernels.buckets.sizes)
    for done, (name, size) in enumerate(tried):
        progress(f"{name}, {size} rows", done, len(tried))
        same = bench.has_same_bits(carried[name], size)
        yield Measurement(name, size, same, 1e6 * bench.seconds(carried[name], size))


class _Bench:
    """Texts of random cells, with the K/V that belongs to them, and batches over their tokens.

    All layers share executables, so that the first of them stand for all.
    """

    def __init__(self, model: Model, length: int, kernels: Kernels) -> None:
        self.kernels, self.rng = kernels, np.random.default_rng(0)
        graph, config = EventGraph(model.config, _lengths(length)), model.config
        self.layers = deepest(config.n_layers)
        windows = config.wiring.windows_by_layer[: self.layers]
        self.wiring = Wiring(self.layers, windows=windows, sublayers=config.wiring.sublayers)
        self.outer = {site.kind: site.layer for site in graph.sites if site.kind not in self.wiring.sublayers}
        self.computation = Computation(config, kernels, model.weights(kernels))
        self.requests = np.repeat(np.arange(len(graph.lengths), dtype=np.int32), graph.lengths)
        self.positions = np.concatenate([np.arange(size, dtype=np.int32) for size in graph.lengths])
        self.spoilt = self.positions >= (np.asarray(graph.lengths)[self.requests] + 1) // 2
        self.tokens = np.arange(len(self.positions))
        self.state = self._filled(model, graph)
        self.state = self._with_kv()
        self.reference = cache(self._reference)

    def has_same_bits(self, carried: Carried, size: int) -> bool:
        """Tell if events have the bits of the reference, wherever and beside whatever they stand."""
        trials = BatchTrials(_Rows(self, carried, Buckets((size,))), self.reference(carried))
        for garbage in (np.zeros_like(self.spoilt), self.spoilt):
            tokens = self._drawn(carried, size)
            for start in range(0, len(tokens), size):
                part = tokens[start : start + size]
                trials.compare(part, garbage[part])
        return trials.divergence is None and all(np.isfinite(each).all() for each in trials.reference)

    def seconds(self, carried: Carried, size: int) -> float:
        """Take the least time of several dispatches of so many rows, all filled where events suffice."""
        batches = self.batches(carried, self._drawn(carried, size)[:size])
        plan, state = self._plan(batches, Buckets((size,))), self.state.copy()
        times: list[float] = []
        while sum(times) < LEAST_SECONDS or (len(times) < TIMES and sum(times) < ENOUGH_SECONDS):
            start = perf_counter()
            state, _ = execute(plan, state, self.computation, keep=False)
            jax.block_until_ready(state.cells())
            times.append(perf_counter() - start)
        return min(times)

    def _filled(self, model: Model, graph: EventGraph) -> State:
        """Random cells where a run would have left its values; K/V is still missing."""
        vocabulary = model.config.vocab_size
        ids = self.rng.integers(vocabulary, size=len(self.tokens)).astype(np.int32)
        texts = np.split(ids, np.cumsum(graph.lengths)[:-1])
        state = State.fresh(model.config, model.dtype, graph, texts, pools=self.layers)
        return replace(
            state,
            sampling=Sampling(np.full(state.layout.tokens + 1, -1, np.int32), temperature=1.0).on_device(),
            residual=self._normal(state.residual, axis=1),
            logits=self._normal(state.logits, axis=0),
        )

    def _with_kv(self) -> State:
        """The same state with the K/V that its tokens have at each layer."""
        state = self.state.copy()
        for batch in self.batches(Carried(self.wiring.sublayers, deep=True), self.tokens):
            state, _ = self.run(state, [batch], FIXED_BUCKETS, keep=False)
        return replace(self.state, keys=state.keys, values=state.values)

    def _normal(self, cells: Any, axis: int) -> Any:
        """Random numbers at the tokens of the texts; the others stay poison."""
        numbers = self.rng.standard_normal(cells.shape, dtype=np.float32)
        np.moveaxis(numbers, axis, 0)[len(self.tokens) :] = np.nan
        return downcast(jnp.asarray(numbers), cells.dtype)

    def _plan(self, batches: Sequence[Batch], buckets: Buckets) -> Plan:
        """A plan over the first layers, whole ones together."""
        layout = self.state.layout
        placement = Placement.apart(self.layers, layout)
        planner = Planner(self.wiring, layout, placement, buckets)
        groups = list(joined(batches, buckets, self.wiring))
        return Plan(self.state.graph, layout, placement, tuple(planner.dispatches(groups)))

    def run(
        self, state: State, batches: Sequence[Batch], buckets: Buckets, *, keep: bool = True
    ) -> tuple[State, list[Output]]:
        return execute(self._plan(batches, buckets), state, self.computation, keep=keep)

    def batches(self, carried: Carried, tokens: Int[np.ndarray, " rows"]) -> list[Batch]:
        layers = range(self.layers if carried.deep else 1)
        sites = [Site(kind, self.outer.get(kind, layer)) for layer in layers for kind in carried.kinds]
        return [Batch(site, self.requests[tokens], self.positions[tokens], tokens) for site in sites]

    def _drawn(self, carried: Carried, size: int) -> Int[np.ndarray, " tokens"]:
        """Tokens in random order: of the first text, or of all, the first two then of different texts."""
        alone = not carried.several and carried.kinds[0] in self.wiring.sublayers
        mine = self.tokens[self.requests == 0] if alone else self.tokens
        tokens = self.rng.permutation(mine)[: max(size, FEWEST)]
        others = np.flatnonzero(self.requests[tokens] != self.requests[tokens[0]])
        if others.size:
            tokens[[1, others[0]]] = tokens[[others[0], 1]]
        return tokens

    def _reference(self, carried: Carried) -> Arrays:
        """Every token's values in batches of sixteen rows, kind by kind and text by text."""
        state, found = self.state.copy(), list[np.ndarray]()
        for batch in self.batches(carried, self.tokens):
            parts = []
            for request in range(self.requests[-1] + 1):
                own = batch.restricted(self.requests == request)
                state, outputs = self.run(state, [own], FIXED_BUCKETS)
                parts += [_values([output]) for output in outputs]
            found += map(np.concatenate, zip(*parts, strict=True))
        return tuple(found)


class _Rows(NamedTuple):
    """The tokens of a bench as rows of one kind of dispatch."""

    bench: _Bench
    carried: Carried
    buckets: Buckets

    def __len__(self) -> int:
        return len(self.bench.tokens)

    def run(self, rows: Chosen, garbage: Mask) -> Arrays:
        """The values of some tokens in one batch; of those that are garbage, what they read is poison."""
        state = _poisoned(self.bench.state, rows[garbage])
        _, outputs = self.bench.run(state, self.bench.batches(self.carried, rows), self.buckets)
        return _values(outputs)


def _lengths(length: int) -> list[int]:
    """Texts of so many positions that together fill the widest batch; never one alone."""
    if length >= MOST:
        return [length, FEWEST]
    full, rest = divmod(MOST, length)
    return [length] * full + [rest] * (rest > 0)


def _poisoned(state: State, tokens: Int[np.ndarray, " chosen"]) -> State:
    """A copy of a state in which some tokens are as if never written."""
    mask = np.zeros(len(state.tokens), bool)
    mask[tokens] = True
    return replace(state, **_spoil(state.cells(), mask))


@jax.jit
def _spoil(cells: dict[str, Any], mask: Bool[Array, " tokens"]) -> dict[str, Any]:
    nan, unknown = poison(cells["residual"].dtype), cells["logits"].shape[1]
    return {
        **jax.tree.map(jnp.copy, cells),
        "tokens": jnp.where(mask, unknown, cells["tokens"]),
        "residual": jnp.where(mask[:, None], nan, cells["residual"]),
        "logits": jnp.where(mask[:, None], nan, cells["logits"]),
    }


def _values(outputs: Sequence[Output]) -> Arrays:
    """The arrays of some batches' values on the host, without the rows of padding."""
    return tuple(
        from_storage(np.asarray(leaf)[: len(output.batch)])
        for output in outputs
        for leaf in jax.tree.leaves(output.value)
    )
