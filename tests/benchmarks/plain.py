"""A transformer as one would write it at first in JAX: XLA's defaults, a loop, masked attention.

The other side of the speed table: a forward of all positions and a step with a K/V cache,
each one jitted program. Llama's switches only; no promise about bits.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

import causalsim as cs

Weights = dict[str, Any]


def weights_of(model: cs.Model) -> Weights:
    """Every matrix as it is multiplied: (in, out)."""
    config = model.config
    cos, sin = _rotary(config)
    layers = []
    for layer in range(config.n_layers):
        start = f"layers.{layer}."
        own = {
            name.removeprefix(start): array for name, array in model.params.items() if name.startswith(start)
        }
        layers.append({name: jnp.asarray(array) for name, array in own.items()})
    unembed = model.params["embed"].T if config.tied_embeddings else model.params["unembed"]
    return {
        "embed": jnp.asarray(model.params["embed"]),
        "layers": layers,
        "final_norm": jnp.asarray(model.params["final_norm"]),
        "unembed": jnp.asarray(np.ascontiguousarray(unembed)),
        "cos": jnp.asarray(cos),
        "sin": jnp.asarray(sin),
    }


def _rotary(config: cs.ModelConfig) -> tuple[np.ndarray, np.ndarray]:
    frequencies = config.rope_base ** (-np.arange(0, config.d_head, 2) / config.d_head)
    angles = np.outer(np.arange(config.max_length), frequencies)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


@partial(jax.jit, static_argnums=0)
def forward(config: cs.ModelConfig, weights: Weights, ids: Int[Array, " position"]) -> Array:
    """Logits of all positions."""
    length = len(ids)
    x = weights["embed"][ids]
    mask = jnp.tril(jnp.ones((length, length), bool))
    cos, sin = weights["cos"][:length], weights["sin"][:length]
    for layer in weights["layers"]:
        q, k, v = _projected(config, layer, x, cos, sin)
        x = x + _attention(config, q, k, v, mask) @ layer["attn.o"]
        x = x + _mlp(config, layer, x)
    return _norm(config, x, weights["final_norm"]) @ weights["unembed"]


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def step(
    config: cs.ModelConfig, weights: Weights, cache: list[tuple[Array, Array]], token: Array, position: Array
) -> tuple[Float[Array, " vocabulary"], list[tuple[Array, Array]]]:
    """Logits of one position, and the cache with its K/V."""
    x = weights["embed"][token][None]
    cos, sin = weights["cos"][position][None], weights["sin"][position][None]
    extent = cache[0][0].shape[0]
    mask = (jnp.arange(extent) <= position)[None]
    new = []
    for layer, (keys, values) in zip(weights["layers"], cache, strict=True):
        q, k, v = _projected(config, layer, x, cos, sin)
        keys = jax.lax.dynamic_update_slice(keys, k, (position, 0, 0))
        values = jax.lax.dynamic_update_slice(values, v, (position, 0, 0))
        new.append((keys, values))
        x = x + _attention(config, q, keys, values, mask) @ layer["attn.o"]
        x = x + _mlp(config, layer, x)
    return (_norm(config, x, weights["final_norm"]) @ weights["unembed"])[0], new


def empty_cache(config: cs.ModelConfig, extent: int) -> list[tuple[Array, Array]]:
    """A cache for so many positions."""
    shape = (extent, config.n_kv_heads, config.d_head)
    return [(jnp.zeros(shape), jnp.zeros(shape)) for _ in range(config.n_layers)]


def _projected(
    config: cs.ModelConfig, layer: Weights, x: Array, cos: Array, sin: Array
) -> tuple[Array, Array, Array]:
    hidden = _norm(config, x, layer["attn.norm"])
    q, k, v = (
        (hidden @ layer[f"attn.{name}"]).reshape(len(x), -1, config.d_head) for name in ("q", "k", "v")
    )
    return _turned(q, cos, sin), _turned(k, cos, sin), v


def _norm(config: cs.ModelConfig, x: Array, gain: Array) -> Array:
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + config.norm_epsilon) * gain


def _turned(x: Array, cos: Array, sin: Array) -> Array:
    first, second = jnp.split(x, 2, axis=-1)
    cos, sin = cos[:, None], sin[:, None]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _attention(config: cs.ModelConfig, q: Array, k: Array, v: Array, mask: Array) -> Array:
    grouped = q.reshape(len(q), config.n_kv_heads, -1, config.d_head)
    scores = jnp.einsum("qhgd,khd->hgqk", grouped, k) * config.d_head**-0.5
    shares = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), axis=-1)
    return jnp.einsum("hgqk,khd->qhgd", shares, v).reshape(len(q), -1)


def _mlp(config: cs.ModelConfig, layer: Weights, x: Array) -> Array:
    hidden = _norm(config, x, layer["mlp.norm"])
    return (jax.nn.silu(hidden @ layer["mlp.gate"]) * (hidden @ layer["mlp.up"])) @ layer["mlp.down"]
