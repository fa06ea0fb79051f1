"""The kernel of each kind of event, over a choice of arithmetic.

The first axis of every argument and result is the row: one event each. What the switches of
a configuration ask for is decided while a kernel is traced, and costs nothing when it runs.
Rows come and go in float32; matrices and K/V are upcast from what lies in memory where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from causalsim.kernels.elementwise import activate, capped, longest_text, normalise, rotary_table, rotate
from causalsim.kernels.paged import KV, Pages
from causalsim.kernels.precision import downcast, poison, to_storage, upcast
from causalsim.models import ModelConfig

Weights = dict[str, Any]
Params = dict[str, np.ndarray]


@dataclass(frozen=True)
class Arithmetic:
    """A way to make products: ``pack`` lays a matrix out, ``product(x, packed, out)`` multiplies by it.

    ``product_into(cells, targets, x, packed, finish)`` puts the product, finished, into some of the cells.
    ``attend(queries, positions, pages, cap)`` is softmax attention; queries come scaled.
    """

    pack: Callable[[np.ndarray], Any]
    product: Callable[[Array, Any, int], Array]
    product_into: Callable[[Array, Array, Array, Any, Callable[[Array], Array]], Array]
    attend: Callable[[Array, Array, Pages, float | None], Array]


def prepare(arithmetic: Arithmetic, config: ModelConfig, params: Params) -> Weights:
    """Parameters in the layout in which the kernels use them."""
    rope = jnp.asarray(rotary_table(config, longest_text(config))) if config.d_rotary else None
    unembed = params["embed"].T if config.tied_embeddings else params["unembed"]
    return {
        "embed": {
            role: jnp.asarray(to_storage(params[name]))
            for role, name in (("table", "embed"), ("positions", "positions"))
            if name in params
        },
        "layers": [
            _prepare_layer(arithmetic, _below(params, f"layers.{layer}."), rope, config.sublayers)
            for layer in range(config.n_layers)
        ],
        "unembed": {"norm": _norm(params, "final_norm"), "out": {"matrix": arithmetic.pack(unembed)}},
    }


def _prepare_layer(
    arithmetic: Arithmetic, params: Params, rope: Array | None, sublayers: Sequence[str]
) -> dict[str, Weights]:
    def dense(*names: str) -> Weights:
        """Matrices that share their input, side by side, with their biases."""
        there = [name for name in names if name in params]
        matrix = arithmetic.pack(np.concatenate([params[name] for name in there], axis=1))
        biases = [params[f"{name}_bias"] for name in there if f"{name}_bias" in params]
        return {"matrix": matrix, **_only(bias=np.concatenate(biases) if biases else None)}

    def part(kind: str, head: str | None, **products: Weights) -> Weights:
        norms = {"norm": f"{kind}.norm", "head_norm": head, "post_norm": f"{kind}.post_norm"}
        found = {role: _norm(params, name) for role, name in norms.items() if name in params}
        return {**found, **products}

    turned = {} if rope is None else {"rope": rope}
    standard = {
        "kv": lambda: part("attn", "attn.k_norm", **{"in": dense("attn.k", "attn.v")}) | turned,
        "attn": lambda: (
            part("attn", "attn.q_norm", **{"in": dense("attn.q"), "out": dense("attn.o")}) | turned
        ),
        "mlp": lambda: part("mlp", None, **{"in": dense("mlp.gate", "mlp.up"), "out": dense("mlp.down")}),
    }
    return {
        kind: standard[kind]() if kind in standard else _only(**_below(params, f"{kind}."))
        for kind in sublayers
    }


def _below(params: Params, start: str) -> Params:
    return {name.removeprefix(start): array for name, array in params.items() if name.startswith(start)}


def _norm(params: Params, name: str | None) -> Weights:
    return _only(gain=params[str(name)], bias=params.get(f"{name}_bias"))


def _only(**arrays: np.ndarray | None) -> Weights:
    """Upcast once what is added or multiplied number by number, which is small."""
    return {name: jnp.asarray(array, jnp.float32) for name, array in arrays.items() if array is not None}


def embed(
    config: ModelConfig, weights: Weights, ids: Int[Array, " rows"], positions: Int[Array, " rows"]
) -> Float[Array, "rows d_model"]:
    """Rows of the embedding table; an id outside it, such as one not sampled yet, gives NaN."""
    found = _entries(weights["table"], ids)
    if config.embedding_scale != 1:
        found = found * jnp.asarray(config.embedding_scale, found.dtype)
    return found + _entries(weights["positions"], positions) if config.positions == "learned" else found


def _entries(
    table: Num[Array, "entries d_model"], indices: Int[Array, " rows"]
) -> Float[Array, "rows d_model"]:
    found = table.at[indices].get(mode="fill", fill_value=poison(table.dtype), wrap_negative_indices=False)
    return upcast(found)


def kv(
    arithmetic: Arithmetic,
    config: ModelConfig,
    weights: Weights,
    x: Float[Array, "rows d_model"],
    positions: Int[Array, " rows"],
) -> KV:
    """K after norm and rotary embedding, and V."""
    hidden = normalise(config, x, weights["norm"])
    both = _dense(arithmetic, hidden, weights["in"], 2 * config.n_kv_heads * config.d_head)
    keys, values = jnp.split(both.reshape(len(x), -1, config.d_head), 2, axis=1)
    return KV(_placed(config, weights, keys, positions), values)


def attn(
    arithmetic: Arithmetic,
    config: ModelConfig,
    weights: Weights,
    x: Float[Array, "rows d_model"],
    positions: Int[Array, " rows"],
    pages: Pages,
) -> Float[Array, "rows d_model"]:
    """The residual after attention is added."""
    hidden = normalise(config, x, weights["norm"])
    heads = _dense(arithmetic, hidden, weights["in"], config.n_heads * config.d_head)
    heads = heads.reshape(len(x), config.n_heads, config.d_head)
    queries = _placed(config, weights, heads, positions) * jnp.asarray(config.attention_scale, x.dtype)
    grouped = queries.reshape(len(x), config.n_kv_heads, -1, config.d_head)
    mixed = _attended(arithmetic, config, grouped, positions, pages).reshape(len(x), -1)
    return x + _increment(arithmetic, config, weights, mixed)


def _attended(
    arithmetic: Arithmetic, config: ModelConfig, queries: Array, positions: Array, pages: Pages
) -> Array:
    """All rows at once where they are of one request; one by one where each has its own pages."""
    if pages.table.ndim == 1:
        return arithmetic.attend(queries, positions, pages, config.attention_cap)

    def alone(row: tuple[Array, Array, Array]) -> Array:
        query, position, table = row
        # A text's only page needs no looking for; of several, each row goes over its own.
        own = pages._replace(table=table, extent=pages.extent if len(table) == 1 else None)
        return arithmetic.attend(query[None], position[None], own, config.attention_cap)[0]

    rows = queries, positions, pages.table
    # Short texts fill one page each: then all rows fit side by side.
    return jax.vmap(alone)(rows) if pages.table.shape[1] == 1 else jax.lax.map(alone, rows)


def mlp(
    arithmetic: Arithmetic, config: ModelConfig, weights: Weights, x: Float[Array, "rows d_model"]
) -> Float[Array, "rows d_model"]:
    """The residual after the MLP is added; its increment alone in a parallel residual."""
    hidden = normalise(config, x, weights["norm"])
    inner = _dense(arithmetic, hidden, weights["in"], config.d_ff * (2 if config.gated else 1))
    if config.gated:
        gate, up = jnp.split(inner, 2, axis=1)
        active = activate(config.activation, gate) * up
    else:
        active = activate(config.activation, inner)
    increment = _increment(arithmetic, config, weights, active)
    return increment if config.parallel_residual else x + increment


def unembed(
    arithmetic: Arithmetic,
    config: ModelConfig,
    weights: Weights,
    x: Float[Array, "rows d_model"],
    cells: Num[Array, "tokens vocab"],
    targets: Int[Array, " rows"],
) -> Num[Array, "tokens vocab"]:
    """``cells`` with the logits of each row in its place: to copy so many takes as long as a layer."""
    hidden = normalise(config, x, weights["norm"])

    def finish(logits: Array) -> Array:
        return downcast(capped(logits, config.logit_cap), cells.dtype)

    return arithmetic.product_into(cells, targets, hidden, weights["out"]["matrix"], finish)


def _dense(arithmetic: Arithmetic, x: Array, weights: Weights, out: int) -> Array:
    product = arithmetic.product(x, weights["matrix"], out)
    return product + weights["bias"] if "bias" in weights else product


def _increment(arithmetic: Arithmetic, config: ModelConfig, weights: Weights, inner: Array) -> Array:
    """The addition of attention or MLP to the residual, from what it made inside."""
    added = _dense(arithmetic, inner, weights["out"], config.d_model)
    return normalise(config, added, weights["post_norm"]) if config.post_norms else added


def _placed(
    config: ModelConfig,
    weights: Weights,
    heads: Float[Array, "rows heads d_head"],
    positions: Int[Array, " rows"],
) -> Float[Array, "rows heads d_head"]:
    """Queries or keys as they are compared: normalised by head, turned by position."""
    if config.qk_norms:
        found = heads.reshape(-1, config.d_head)
        heads = normalise(config, found, weights["head_norm"]).reshape(heads.shape)
    return rotate(heads, positions, weights["rope"]) if config.d_rotary else heads


def sample(
    config: ModelConfig,
    logits: Float[Array, "rows vocab"],
    positions: Int[Array, " rows"],
    given: Int[Array, " rows"],
    temperature: Float[Array, ""],
    seed: Int[Array, ""],
) -> Int[Array, " rows"]:
    """Return the next token: the one given where it is not negative, else drawn from the logits.

    At temperature 0 the greatest logit, ties to the lowest id; above, a draw from
    softmax(logits / temperature) by Gumbel maxima, keyed ``fold_in(key(seed), position)``
    with the Threefry 2x32 generator. Logits that are NaN give the id ``vocab_size``.
    """

    def drawn() -> Array:
        keys = jax.vmap(lambda p: jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), p))(positions)
        # The flag is pinned because it changes which numbers a key gives.
        with jax.threefry_partitionable(True):
            noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[1:], logits.dtype))(keys)
        # Below the greatest logit nothing can overflow, however low the temperature.
        below = logits - logits.max(axis=1, keepdims=True)
        return jnp.argmax(below / jnp.maximum(temperature, np.finfo(logits.dtype).tiny) + noise, axis=1)

    chosen = jax.lax.cond(temperature > 0, drawn, lambda: jnp.argmax(logits, axis=1))
    ids = jnp.where(given >= 0, given, chosen.astype(jnp.int32))
    return jnp.where(jnp.isnan(logits).any(axis=1), config.vocab_size, ids).astype(jnp.int32)
