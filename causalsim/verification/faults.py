"""Faults to plant: kernels and programs that break what is claimed, so that checks can be seen to fail.

Kernels that draw nothing are made once, so that their executables are compiled once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from causalsim.engine import Plan, Program, compile_unchecked
from causalsim.engine.placement import live_ranges
from causalsim.events import Edge, EventGraph
from causalsim.kernels import Kernels
from causalsim.kernels.precision import upcast

# A part of a number that changes its last bits, as values of a type have them.
_LAST_BITS = {"float32": 2.0**-20, "bfloat16": 2.0**-4}


def _spoilt(kernels: Kernels, kind: str, name: str, spoil: Callable[..., Any]) -> Kernels:
    """Kernels of which one gives ``spoil(value, *arguments)`` in place of its value."""
    kernel = getattr(kernels, kind)

    def spoilt(*arguments: Any) -> Any:
        return spoil(kernel(*arguments), *arguments)

    return kernels.replaced(name, **{kind: spoilt})


def _shifted(kernels: Kernels, name: str, by: int) -> Kernels:
    def attn(config: Any, weights: Any, x: Any, positions: Any, pages: Any) -> Any:
        return kernels.attn(config, weights, x, positions + by, pages)

    return replace(kernels, name=name, attn=attn)


@cache
def with_batch_size(kernels: Kernels, dtype: str = "float32") -> Kernels:
    """An MLP whose last bits depend on how many rows its batch has."""

    def spoil(value: Any, *_: Any) -> Any:
        return value * jnp.float32(1 + len(value) * _LAST_BITS[dtype])

    return _spoilt(kernels, "mlp", "an MLP that depends on the number of rows", spoil)


@cache
def with_neighbour(kernels: Kernels, dtype: str = "float32") -> Kernels:
    """An MLP into which a little of the next row leaks."""

    def spoil(value: Any, *_: Any) -> Any:
        return value + jnp.float32(_LAST_BITS[dtype]) * jnp.roll(value, 1, axis=0)

    return _spoilt(kernels, "mlp", "an MLP that reads the row beside it", spoil)


@cache
def sampling_for_neighbour(kernels: Kernels) -> Kernels:
    """A sampler that gives each row the token of the next."""
    name = "a sampler that takes the neighbour's token"
    return _spoilt(kernels, "sample", name, lambda value, *_: jnp.roll(value, 1))


@cache
def seeing_too_far(kernels: Kernels) -> Kernels:
    """An attention whose mask lets the next position through."""
    return _shifted(kernels, "an attention that sees one position too far", 1)


@cache
def overlooking(kernels: Kernels) -> Kernels:
    """An attention whose mask hides its own position."""
    return _shifted(kernels, "an attention that overlooks its own position", -1)


@cache
def with_window(kernels: Kernels, dtype: str = "float32") -> Kernels:
    """An attention whose last bits depend on how far the rows of its batch see."""

    def spoil(value: Any, *given: Any) -> Any:
        *_, positions, _pages = given
        return value + positions.max().astype(jnp.float32) * _LAST_BITS[dtype]

    return _spoilt(kernels, "attn", "an attention that depends on how far its batch sees", spoil)


@cache
def with_buffer(kernels: Kernels, dtype: str = "float32") -> Kernels:
    """An attention whose last bits depend on how many pages of K/V there is room for."""

    def spoil(value: Any, *given: Any) -> Any:
        return value + jnp.float32(given[-1].table.shape[-1] * _LAST_BITS[dtype])

    return _spoilt(kernels, "attn", "an attention that depends on the length of its buffer", spoil)


def _unembedding(kernels: Kernels, name: str, spoil: Callable[..., Any]) -> Kernels:
    """Kernels whose unembedding spoils what it wrote: ``spoil(before, after, rows)``."""
    return _spoilt(
        kernels, "unembed", name, lambda after, config, weights, x, cells, rows: spoil(cells, after, rows)
    )


@cache
def writing_elsewhere(kernels: Kernels) -> Kernels:
    """An unembedding that also writes where another's logits lie."""

    def spoil(before: Any, after: Any, rows: Any) -> Any:
        return after.at[(rows + 1) % (len(before) - 1)].set(before[rows], mode="drop")

    return _unembedding(kernels, "an unembedding that also writes another cell", spoil)


@cache
def forgetting(kernels: Kernels) -> Kernels:
    """An unembedding that does not write."""
    name = "an unembedding that forgets to write"
    return _unembedding(kernels, name, lambda before, after, rows: before)


@cache
def adding_up(kernels: Kernels) -> Kernels:
    """An unembedding that adds to what is there, as if it had written twice."""
    name = "an unembedding that adds to what is there"
    return _unembedding(
        kernels, name, lambda before, after, rows: after.at[rows].add(before[rows], mode="drop")
    )


@cache
def counting(kernels: Kernels) -> Kernels:
    """An unembedding into which goes how many logits are there already."""

    def spoil(before: Any, after: Any, rows: Any) -> Any:
        written = jnp.isfinite(upcast(before[:, 0])).sum()
        return after.at[rows].set(jnp.where(written > 0, jnp.roll(after[rows], 1, axis=1), after[rows]))

    return _unembedding(kernels, "an unembedding that counts what has been written", spoil)


@cache
def remembering(kernels: Kernels) -> Kernels:
    """An unembedding that copies what the position before it left, if there is one and anything is left."""

    def spoil(before: Any, after: Any, rows: Any) -> Any:
        left = before[rows - 1]
        written = jnp.isfinite(upcast(left)).all(axis=1) & (rows > 0)
        return after.at[rows].set(jnp.where(written[:, None], left, after[rows]), mode="drop")

    return _unembedding(kernels, "an unembedding that reads an event of no edge", spoil)


def now_and_then(kernels: Kernels, chance: float, seed: int = 0) -> Kernels:
    """Return an MLP whose dispatches go wrong with some chance each, whatever they are given.

    Made anew each time: what it draws begins with the seed.
    """
    rng = np.random.default_rng(seed)

    def factor() -> np.float32:
        return np.float32(1 + 2.0**-4 * (rng.random() < chance))

    def mlp(config: Any, weights: Any, x: Any) -> Any:
        again = jax.pure_callback(factor, jax.ShapeDtypeStruct((), jnp.float32))
        return kernels.mlp(config, weights, x) * again

    return replace(kernels, name=f"an MLP that goes wrong with a chance of {chance:g}", mlp=mlp)


def freed_early(plan: Plan) -> Plan | None:
    """Return a plan in which one page of K/V is poison again when its last reader comes.

    ``None`` if no position reads another's K/V in a later dispatch.
    """
    wiring = plan.graph.wiring
    first, last = live_ranges([each.batches for each in plan.dispatches], wiring, plan.layout)
    reads_others = np.array([window != 1 for window in wiring.windows_by_layer])
    outliving = np.argwhere((last > first) & reads_others[:, None]).tolist()
    if not outliving:
        return None
    layer, page = outliving[0]
    early, place = (
        int(last[layer, page]),
        (int(plan.placement.pool[layer]), int(plan.placement.place[layer, page])),
    )
    spoilt = replace(plan.dispatches[early], recycled=(place,))
    return replace(plan, dispatches=(*plan.dispatches[:early], spoilt, *plan.dispatches[early + 1 :]))


def one_edge_inverted(graph: EventGraph, edge: Edge) -> Program:
    """Return a program in which one cover runs backwards and every other edge is respected.

    Since nothing lies between the two events, the target can go right before its source, after
    all else that it waits for.
    """
    past = np.zeros(len(graph), bool)
    past[[graph.index(event) for event in graph.past(edge.target)]] = True
    source, target = graph.index(edge.source), graph.index(edge.target)
    past[[source, target]] = False
    rest = ~past
    rest[[source, target]] = False
    order = np.concatenate([np.flatnonzero(past), [target, source], np.flatnonzero(rest)])
    times = np.empty(len(graph), np.int64)
    times[order] = np.arange(len(graph))
    return compile_unchecked(graph, times)


def covers_to_invert(graph: EventGraph, rng: np.random.Generator) -> Iterator[Edge]:
    """One random cover of every stream that the graph has."""
    waiting = {family.stream for family in graph.edge_families}
    for index in rng.permutation(len(graph)):
        event = graph[int(index)]
        for edge in graph.edges_into(event):
            if edge.stream in waiting and _is_cover(graph, edge):
                waiting.discard(edge.stream)
                yield edge


def _is_cover(graph: EventGraph, edge: Edge) -> bool:
    others = (event for event in graph.predecessors(edge.target) if event != edge.source)
    return not any(graph.precedes(edge.source, other) for other in others)
