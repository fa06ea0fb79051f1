"""Arithmetic on each row by itself: norms, rotations, activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from causalsim.kernels.k_blocks import contract
from causalsim.models import ModelConfig

LONGEST_UNROLLED = 64
# A configuration may claim any length; tables are made for texts that a machine can hold.
LONGEST_TEXT = 2**18

_ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "silu": jax.nn.silu,
        "gelu": lambda x: jax.nn.gelu(x, approximate=False),
        "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    }
)


def normalise(
    config: ModelConfig, x: Float[Array, "rows d"], weights: Mapping[str, Array]
) -> Float[Array, "rows d"]:
    """The norm that a configuration asks for, with its gain and bias."""
    if config.norm == "rms":
        return rms_norm(x, weights["gain"], config.norm_epsilon)
    return layer_norm(x, weights["gain"], weights["bias"], config.norm_epsilon)


def rms_norm(x: Float[Array, "rows d"], gain: Float[Array, " d"], epsilon: float) -> Float[Array, "rows d"]:
    """Root-mean-square norm (Zhang and Sennrich 2019)."""
    return x * jax.lax.rsqrt(_mean(x * x) + epsilon) * gain


def layer_norm(
    x: Float[Array, "rows d"], gain: Float[Array, " d"], bias: Float[Array, " d"], epsilon: float
) -> Float[Array, "rows d"]:
    """Layer norm (Ba, Kiros and Hinton 2016)."""
    centred = x - _settled(_mean(x))
    return centred * jax.lax.rsqrt(_mean(centred * centred) + epsilon) * gain + bias


def _settled(mean: Float[Array, "rows 1"]) -> Float[Array, "rows 1"]:
    """Return a mean as a rounded number, and NaN where it is not finite.

    A mean is a product, the sum times ``1 / d``. The backend contracts a product and what subtracts it to one
    operation, unrounded in between, where both stand in one block of its code; whether they do depends
    on the rows. Between them now stands a choice, which it does not contract.
    """
    return jnp.where(jnp.isfinite(mean), mean, jnp.nan)


def _mean(x: Float[Array, "rows d"]) -> Float[Array, "rows 1"]:
    """A short sum is unrolled into the code around it, which depends on the rows; a product is not."""
    if x.shape[1] > LONGEST_UNROLLED:
        return jnp.mean(x, axis=1, keepdims=True)
    return contract(x[None], jnp.ones((1, x.shape[1], 1), x.dtype))[0] / x.shape[1]


def longest_text(config: ModelConfig) -> int:
    """Return the most positions that a text can have.

    Args:
        config: The model's configuration.

    Returns:
        The context that the model was made for, at most ``LONGEST_TEXT``.
    """
    return min(config.max_length, LONGEST_TEXT)


def rotary_table(config: ModelConfig, length: int) -> Float[np.ndarray, "two position half"]:
    """Return cosines and sines of position * base ** (-2 i / d_rotary) / factor (Su et al. 2021).

    Made once on the host in double precision, so that no backend's cosine enters the bits.
    """
    frequencies = config.rope_base ** (-np.arange(0, config.d_rotary, 2) / config.d_rotary)
    if config.rope_factors is not None:
        frequencies = frequencies / np.asarray(config.rope_factors)
    angles = np.outer(np.arange(length), frequencies)
    return np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def rotate(
    x: Float[Array, "rows heads d_head"],
    positions: Int[Array, " rows"],
    table: Float[Array, "two position half"],
) -> Float[Array, "rows heads d_head"]:
    """Rotary embedding of as many coordinates as the table has, the first half paired with the second."""
    turn = table.at[:, positions].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
    cos, sin = turn[0][:, None, :], turn[1][:, None, :]
    half = table.shape[2]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)


def activate(name: str, x: Array) -> Array:
    """The activation function of an MLP."""
    return _ACTIVATIONS[name](x)


def capped(x: Array, cap: float | None) -> Array:
    """Scores or logits kept softly below a bound (Gemma Team 2024)."""
    return x if cap is None else jnp.asarray(cap, x.dtype) * jnp.tanh(x / jnp.asarray(cap, x.dtype))
