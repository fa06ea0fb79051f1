"""The kernels of causalsim: one pure function per kind of event, each keeping the lane rule.

The first axis of every argument and result is the lane: one event each. A lane's bits
depend on nothing but its own row, its position and the K/V that it sees.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from causalsim.kernels.elementwise import rms_norm, rotary_table, rotate
from causalsim.kernels.paged import Pages, attend
from causalsim.kernels.panels import linear, panelled
from causalsim.models import ModelConfig

Weights = dict[str, Any]
Params = dict[str, np.ndarray]


def prepare(config: ModelConfig, params: Params) -> Weights:
    """Parameters in the layout in which the kernels multiply them."""
    rope = jnp.asarray(rotary_table(config.max_length, config.d_head, config.rope_base))
    unembed = params["embed"].T if config.tied_embeddings else params["unembed"]
    return {
        "embed": {"table": jnp.asarray(params["embed"])},
        "layers": [_prepare_layer(params, f"layers.{layer}.", rope) for layer in range(config.n_layers)],
        "unembed": {"norm": jnp.asarray(params["final_norm"]), "out": panelled(unembed)},
    }


def _prepare_layer(params: Params, name: str, rope: Array) -> dict[str, Weights]:
    def stacked(*parts: str) -> Array:
        return panelled(np.concatenate([params[name + part] for part in parts], axis=1))

    norm = jnp.asarray(params[name + "attn.norm"])
    return {
        "kv": {"norm": norm, "in": stacked("attn.k", "attn.v"), "rope": rope},
        "attn": {"norm": norm, "in": stacked("attn.q"), "out": stacked("attn.o"), "rope": rope},
        "mlp": {
            "norm": jnp.asarray(params[name + "mlp.norm"]),
            "in": stacked("mlp.gate", "mlp.up"),
            "out": stacked("mlp.down"),
        },
    }


def embed(config: ModelConfig, weights: Weights, ids: Int[Array, " lanes"]) -> Float[Array, "lanes d_model"]:
    """Rows of the embedding table; an id outside it, such as one not sampled yet, gives NaN."""
    return weights["table"].at[ids].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)


def kv(
    config: ModelConfig, weights: Weights, x: Float[Array, "lanes d_model"], positions: Int[Array, " lanes"]
) -> tuple[Float[Array, "lanes kv_heads d_head"], Float[Array, "lanes kv_heads d_head"]]:
    """K after norm and rotary embedding, and V."""
    hidden = rms_norm(x, weights["norm"], config.norm_epsilon)
    both = linear(hidden, weights["in"], 2 * config.n_kv_heads * config.d_head)
    keys, values = jnp.split(both.reshape(len(x), -1, config.d_head), 2, axis=1)
    return rotate(keys, positions, weights["rope"]), values


def attn(
    config: ModelConfig,
    weights: Weights,
    x: Float[Array, "lanes d_model"],
    positions: Int[Array, " lanes"],
    pages: Pages,
) -> Float[Array, "lanes d_model"]:
    """The residual after attention is added."""
    return x + linear(_mixed_values(config, weights, x, positions, pages), weights["out"], config.d_model)


def _mixed_values(config: ModelConfig, weights: Weights, x: Array, positions: Array, pages: Pages) -> Array:
    hidden = rms_norm(x, weights["norm"], config.norm_epsilon)
    heads = linear(hidden, weights["in"], config.n_heads * config.d_head)
    heads = heads.reshape(len(x), config.n_heads, config.d_head)
    queries = rotate(heads, positions, weights["rope"]) * config.d_head**-0.5
    grouped = queries.reshape(len(x), config.n_kv_heads, -1, config.d_head)
    return attend(grouped, positions, pages).reshape(len(x), -1)


def mlp(
    config: ModelConfig, weights: Weights, x: Float[Array, "lanes d_model"]
) -> Float[Array, "lanes d_model"]:
    """The residual after a gated MLP (Shazeer 2020) is added; its increment alone in a parallel residual."""
    hidden = rms_norm(x, weights["norm"], config.norm_epsilon)
    gate, up = jnp.split(linear(hidden, weights["in"], 2 * config.d_ff), 2, axis=1)
    increment = linear(jax.nn.silu(gate) * up, weights["out"], config.d_model)
    return increment if config.parallel_residual else x + increment


def unembed(
    config: ModelConfig, weights: Weights, x: Float[Array, "lanes d_model"]
) -> Float[Array, "lanes vocab"]:
    """The logits."""
    return linear(rms_norm(x, weights["norm"], config.norm_epsilon), weights["out"], config.vocab_size)


def sample(
    config: ModelConfig,
    logits: Float[Array, "lanes vocab"],
    positions: Int[Array, " lanes"],
    given: Int[Array, " lanes"],
    temperature: Float[Array, ""],
    seed: Int[Array, ""],
) -> Int[Array, " lanes"]:
    """The next token: the one given where it is not negative, else drawn from the logits.

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
