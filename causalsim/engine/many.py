"""Many orders of one small graph in one compiled call.

The orders advance in step, each on cells of its own: at every step every order runs its next
event, and events of one site stand together as the rows of a batch. Nothing passes from
one order to another, as nothing passes between requests that are batched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from causalsim.engine.digests import digest_of
from causalsim.engine.executables import Bodies, body_of
from causalsim.engine.flags import check_flags, debugging_off
from causalsim.engine.model import Model
from causalsim.engine.planning import UNBOUNDED, IndexArrays
from causalsim.engine.state import planes_of
from causalsim.engine.tokens import Texts, encode_texts
from causalsim.errors import CausalityError, InputError
from causalsim.events import Edge, EventGraph, Wiring
from causalsim.events.kinds import kinds_at
from causalsim.kernels import PAGE, Kernels
from causalsim.kernels.precision import from_storage, poison, storage_dtype
from causalsim.models import ModelConfig

# Rows of a batch, where kernels may have so many, and orders that run in step; more are taken in turn.
ROWS, TOGETHER = 64, 1024
NARROWEST_PAGE = 32

Orders = Int[np.ndarray, "orders events"]


@dataclass(frozen=True, eq=False)
class ManyRuns:
    """Results of many orders: ``logits[order]`` is what ``run`` gives for it, bit by bit."""

    logits: Float[np.ndarray, "orders position vocabulary"]

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """One a order, as ``Run.digest``."""
        return tuple(digest_of([logits]) for logits in self.logits)


@debugging_off()
def run_orders(model: Model, tokens: Texts, orders: Orders, *, kernels: Kernels | None = None) -> ManyRuns:
    """Evaluate a model over one text in many linear extensions, each event by event.

    Args:
        model: A model of ``load`` or ``random_model``.
        tokens: One text, at most a page of K/V long.
        orders: Canonical indices in the order of running, as ``random_orders`` gives them.
        kernels: By default the certified ones.

    Returns:
        The logits of every order.

    Raises:
        InputError: The text is too long, or the orders are of another graph.
        CausalityError: An order breaks causality; it carries the edge.
    """
    check_flags()
    ids = encode_texts(model, tokens)
    graph = EventGraph(model.config, len(ids[0]))
    if len(ids) != 1 or len(ids[0]) > PAGE:
        raise InputError("many orders run over one short text", got=graph.lengths, expected=f"up to {PAGE}")
    checked = _checked(graph, np.asarray(orders))
    chosen = model.kernels_or(kernels)
    parts = [checked[start : start + TOGETHER] for start in range(0, len(checked), TOGETHER)]
    return ManyRuns(np.concatenate([_run(model, graph, ids[0], part, chosen) for part in parts]))


def _checked(graph: EventGraph, orders: np.ndarray) -> Orders:
    size = len(graph)
    whole = orders.ndim == 2 and len(orders) > 0 and orders.shape[1] == size
    if not whole or not (np.sort(orders, axis=1) == np.arange(size)).all():
        raise InputError(
            "an order lists every event of the graph once",
            got=f"an array of shape {orders.shape}",
            expected=f"rows that are permutations of 0..{size - 1} ({graph.to_dict()})",
        )
    times = np.argsort(orders, axis=1)
    for edge in graph.edges():
        ends = graph.index(edge.source), graph.index(edge.target)
        if (backwards := times[:, ends[0]] >= times[:, ends[1]]).any():
            raise _runs_backwards(edge, int(backwards.argmax()))
    return orders


def _runs_backwards(edge: Edge, order: int) -> CausalityError:
    return CausalityError(
        "every event runs after the events that it reads",
        edge=edge,
        got=f"{edge} backwards in order {order}",
        hint=f"Let {edge.target} run after {edge.source}.",
    )


def _kinds(wiring: Wiring) -> tuple[str, ...]:
    """The kinds of events that a text which is given runs, in the order of the column."""
    return (*kinds_at("below"), *wiring.sublayers, *kinds_at("above"))


class _Plan(NamedTuple):
    """Batches in the order of running, and which of them belong to each step and kind."""

    packed: Int[np.ndarray, "batches 3 rows"]
    layers: Int[np.ndarray, " batches"]
    starts: Int[np.ndarray, "steps kinds"]
    stops: Int[np.ndarray, "steps kinds"]


def _run(model: Model, graph: EventGraph, ids: np.ndarray, orders: Orders, kernels: Kernels) -> np.ndarray:
    count, length = len(orders), len(ids)
    # Always as many: another number of orders would be compiled anew.
    padded = np.concatenate([orders, np.repeat(orders[:1], TOGETHER - count, axis=0)])
    execute = executor_for(model.config, model.dtype, kernels, length)
    plan = plan_of(graph, padded, kernels.buckets.up_to(ROWS)[-1])
    logits = execute(_stacked(model, kernels), jnp.asarray(ids), plan)
    return from_storage(np.asarray(logits[: count * length])).reshape(count, length, -1)


def plan_of(graph: EventGraph, orders: Orders, rows: int) -> _Plan:
    """Every step's events by kind and layer, in batches of so many; the rest of a batch is scratch."""
    seats = _seated(graph, orders, rows)
    # Room for as many batches as a power of two, lest every set of orders were compiled anew.
    room = 1 << int(seats.batch[-1]).bit_length()
    packed, layers = _scratch(graph, len(orders), (room, rows)), np.zeros(room, np.int32)
    packed[seats.batch, 0, seats.row] = seats.order * graph.lengths[0] + seats.position
    packed[seats.batch, 1, seats.row] = seats.position
    inner = seats.layer.clip(0, graph.wiring.n_layers - 1)
    packed[seats.batch, 2, seats.row] = inner * len(orders) + seats.order
    layers[seats.batch] = inner
    kinds = len(_kinds(graph.wiring))
    bounds = np.arange(len(graph) * kinds + 1)
    stops = np.append(seats.batch + 1, 0)[np.searchsorted(seats.turn, bounds, side="left") - 1]
    stops = np.maximum.accumulate(stops).astype(np.int32)
    return _Plan(packed, layers, stops[:-1].reshape(-1, kinds), stops[1:].reshape(-1, kinds))


class _Seats(NamedTuple):
    """Every event of every order: when and as what kind it runs (``turn``), and in which row."""

    turn: Int[np.ndarray, " all"]
    order: Int[np.ndarray, " all"]
    layer: Int[np.ndarray, " all"]
    position: Int[np.ndarray, " all"]
    batch: Int[np.ndarray, " all"]
    row: Int[np.ndarray, " all"]


def _seated(graph: EventGraph, orders: Orders, rows: int) -> _Seats:
    names = _kinds(graph.wiring)
    kinds = np.array([names.index(site.kind) for site in graph.sites if site.kind in names])
    layers = np.array([site.layer for site in graph.sites])
    ranks, positions, _ = graph.codes()
    events = orders.T.ravel()
    step, order = np.divmod(np.arange(events.size), len(orders))
    turn, layer = step * len(names) + kinds[ranks[events]], layers[ranks[events]]
    by_turn = np.lexsort((layer, turn))
    group = turn * (graph.wiring.n_layers + 2) + layer + 1
    _, first, sizes = np.unique(group[by_turn], return_index=True, return_counts=True)
    batches = -(-sizes // rows)
    within = np.arange(events.size) - np.repeat(first, sizes)
    batch = np.repeat(np.cumsum(batches) - batches, sizes) + within // rows
    turn, order, layer, position = (part[by_turn] for part in (turn, order, layer, positions[events]))
    return _Seats(turn, order, layer, position, batch, within % rows)


def _scratch(graph: EventGraph, count: int, size: tuple[int, int]) -> Int[np.ndarray, "batches 3 rows"]:
    batches, rows = size
    packed = np.zeros((batches, 3, rows), np.int32)
    packed[:, 0], packed[:, 2] = count * graph.lengths[0], count * graph.wiring.n_layers
    return packed


@lru_cache(maxsize=8)
def _stacked(model: Model, kernels: Kernels) -> Any:
    """The weights with one axis for the layers, so that a layer is data."""
    weights = model.weights(kernels)
    layers = jax.tree.map(lambda *leaves: jnp.stack(leaves), *weights["layers"])
    return {"embed": weights["embed"], "layers": layers, "unembed": weights["unembed"]}


@lru_cache(maxsize=8)
def executor_for(config: ModelConfig, dtype: str, kernels: Kernels, length: int) -> Callable[..., Array]:
    """Compile the run of many orders over one text of this length."""
    names = _kinds(config.wiring)
    bodies = {kind: Bodies(config, kind, {kind: kernels.of(kind)}) for kind in names}
    windows = [UNBOUNDED if window is None else window for window in config.wiring.windows_by_layer]
    # Half a page at most is filled: then sums over it have the bits of sums over a whole one.
    page = max(NARROWEST_PAGE, min(PAGE, 1 << (2 * length - 1).bit_length()))

    def execute(weights: Any, ids: Int[Array, " position"], plan: _Plan) -> Array:
        tokens = jnp.append(jnp.tile(ids, TOGETHER), config.vocab_size)
        cells = _fresh(config, dtype, length, page)

        def batch(kind: str, number: Array, cells: dict[str, Array]) -> dict[str, Array]:
            rows, layer = plan.packed[number], plan.layers[number]
            own = weights.get(kind) or jax.tree.map(lambda leaf: leaf[layer], weights["layers"][kind])
            # The only page of each row's text is the one that its K/V goes to.
            at = IndexArrays(rows, layer, rows[2][:, None], jnp.asarray(windows)[layer])
            return _batch(bodies[kind], own, cells, tokens, at)

        def step(number: Array, cells: dict[str, Array]) -> dict[str, Array]:
            for place, kind in enumerate(names):
                span = plan.starts[number, place], plan.stops[number, place]
                cells = jax.lax.fori_loop(*span, lambda n, c, kind=kind: batch(kind, n, c), cells)
            return cells

        return jax.lax.fori_loop(0, len(plan.starts), step, cells)["logits"]

    return jax.jit(execute, compiler_options=dict(kernels.compiler_options))


def _fresh(config: ModelConfig, dtype: str, length: int, page: int) -> dict[str, Array]:
    """Poison for all orders; the last token and page are scratch."""
    tokens, pages = TOGETHER * length + 1, TOGETHER * config.n_layers + 1
    heads, d_head = config.n_kv_heads, config.d_head
    shapes = {
        "residual": (planes_of(config), tokens, config.d_model),
        "keys": (pages, heads, d_head, page),
        "values": (pages, heads, page, d_head),
        "logits": (tokens, config.vocab_size),
    }
    cells = storage_dtype(dtype)
    return {name: jnp.full(shape, poison(cells), cells) for name, shape in shapes.items()}


def _batch(
    bodies: Bodies, weights: Any, cells: dict[str, Array], tokens: Array, at: IndexArrays
) -> dict[str, Array]:
    residual, keys, values, logits = (cells[name] for name in ("residual", "keys", "values", "logits"))
    match body_of(bodies.kind):
        case "embed":
            residual, _ = bodies.embed(weights, residual, tokens, at)
        case "kv":
            keys, values, _ = bodies.kv(weights, keys, values, residual, at)
        case "attend":
            residual, _ = bodies.attend(weights, residual, keys, values, at)
        case "add":
            residual, _ = bodies.add(weights, residual, at)
        case _:
            above = at._replace(layer=bodies.config.n_layers)
            logits = bodies.unembed(weights, logits, residual, above)
    return {"residual": residual, "keys": keys, "values": values, "logits": logits}
