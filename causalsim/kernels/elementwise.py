"""What happens to each lane by itself: norms, rotations, activations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from causalsim.kernels.panels import contract

LONGEST_UNROLLED = 64


def rms_norm(x: Float[Array, "lanes d"], gain: Float[Array, " d"], epsilon: float) -> Float[Array, "lanes d"]:
    """Root-mean-square norm (Zhang and Sennrich 2019)."""
    return x * jax.lax.rsqrt(_mean(x * x) + epsilon) * gain


def _mean(x: Float[Array, "lanes d"]) -> Float[Array, "lanes 1"]:
    """A short sum is unrolled into the code around it, which depends on the lanes; a product is not."""
    if x.shape[1] > LONGEST_UNROLLED:
        return jnp.mean(x, axis=1, keepdims=True)
    return contract(x[None], jnp.ones((1, x.shape[1], 1), x.dtype))[0] / x.shape[1]


def rotary_table(length: int, d_head: int, base: float) -> Float[np.ndarray, "two position half"]:
    """Cosines and sines of position * base ** (-2 i / d_head) (Su et al. 2021).

    Made once on the host in double precision, so that no backend's cosine enters the bits.
    """
    angles = np.outer(np.arange(length), base ** (-np.arange(0, d_head, 2) / d_head))
    return np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def rotate(
    x: Float[Array, "lanes heads d_head"],
    positions: Int[Array, " lanes"],
    table: Float[Array, "two position half"],
) -> Float[Array, "lanes heads d_head"]:
    """Rotary embedding, first half of a head's coordinates paired with the second."""
    turn = table.at[:, positions].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
    cos, sin = turn[0][:, None, :], turn[1][:, None, :]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
