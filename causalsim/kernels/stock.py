"""The same arithmetic on XLA's defaults, as one would write it at first: the negative control.

Plain products and a plain softmax over the whole buffer. How many lanes stand together
changes its bits, at widths that real models have.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from causalsim.kernels.certified import Params, Weights
from causalsim.kernels.elementwise import rms_norm, rotary_table, rotate
from causalsim.kernels.paged import PAGE, Pages
from causalsim.models import ModelConfig


def prepare(config: ModelConfig, params: Params) -> Weights:
    """Parameters as they are."""
    rope = jnp.asarray(rotary_table(config.max_length, config.d_head, config.rope_base))
    unembed = params["embed"].T if config.tied_embeddings else params["unembed"]
    return {
        "embed": {"table": jnp.asarray(params["embed"])},
        "layers": [_prepare_layer(params, f"layers.{layer}.", rope) for layer in range(config.n_layers)],
        "unembed": {"norm": jnp.asarray(params["final_norm"]), "out": jnp.asarray(unembed)},
    }


def _prepare_layer(params: Params, name: str, rope: Array) -> dict[str, Weights]:
    def plain(part: str) -> Array:
        return jnp.asarray(params[name + part])

    keys_values = jnp.asarray(np.concatenate([params[name + "attn.k"], params[name + "attn.v"]], axis=1))
    return {
        "kv": {"norm": plain("attn.norm"), "in": keys_values, "rope": rope},
        "attn": {"norm": plain("attn.norm"), "in": plain("attn.q"), "out": plain("attn.o"), "rope": rope},
        "mlp": {
            "norm": plain("mlp.norm"),
            "gate": plain("mlp.gate"),
            "up": plain("mlp.up"),
            "out": plain("mlp.down"),
        },
    }


def kv(
    config: ModelConfig, weights: Weights, x: Float[Array, "lanes d_model"], positions: Int[Array, " lanes"]
) -> tuple[Float[Array, "lanes kv_heads d_head"], Float[Array, "lanes kv_heads d_head"]]:
    """K and V by one product."""
    both = rms_norm(x, weights["norm"], config.norm_epsilon) @ weights["in"]
    keys, values = jnp.split(both.reshape(len(x), 2 * config.n_kv_heads, config.d_head), 2, axis=1)
    return rotate(keys, positions, weights["rope"]), values


def attn(
    config: ModelConfig,
    weights: Weights,
    x: Float[Array, "lanes d_model"],
    positions: Int[Array, " lanes"],
    pages: Pages,
) -> Float[Array, "lanes d_model"]:
    """Attention over the whole buffer at once, masked."""
    heads = (rms_norm(x, weights["norm"], config.norm_epsilon) @ weights["in"]).reshape(
        len(x), config.n_heads, config.d_head
    )
    queries = rotate(heads, positions, weights["rope"]).reshape(len(x), config.n_kv_heads, -1, config.d_head)
    keys, values = pages.keys[pages.table], pages.values[pages.table]
    there = (jnp.arange(len(pages.table)) * PAGE)[:, None] + jnp.arange(PAGE)
    distance = positions[:, None, None] - there
    sees = (distance >= 0) & (distance < pages.window)
    scores = jnp.einsum("lhgd,nhdp->lhgnp", queries, keys) * config.d_head**-0.5
    scores = jnp.where(sees[:, None, None], scores, -jnp.inf)
    shares = jax.nn.softmax(scores, axis=(-2, -1))
    seen = sees.any(axis=0)[:, None, :, None]
    mixed = jnp.einsum("lhgnp,nhpd->lhgd", shares, jnp.where(seen, values, 0))
    return x + mixed.reshape(len(x), -1) @ weights["out"]


def mlp(
    config: ModelConfig, weights: Weights, x: Float[Array, "lanes d_model"]
) -> Float[Array, "lanes d_model"]:
    """The gated MLP by three products."""
    hidden = rms_norm(x, weights["norm"], config.norm_epsilon)
    increment = (jax.nn.silu(hidden @ weights["gate"]) * (hidden @ weights["up"])) @ weights["out"]
    return increment if config.parallel_residual else x + increment


def unembed(
    config: ModelConfig, weights: Weights, x: Float[Array, "lanes d_model"]
) -> Float[Array, "lanes vocab"]:
    """The logits by one product."""
    return rms_norm(x, weights["norm"], config.norm_epsilon) @ weights["out"]
