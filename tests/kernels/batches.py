"""Batch invariance as a check that any row-wise function can be put to, certified or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from causalsim.kernels import Kernels
from causalsim.kernels.bundle import LIBRARY_OFF
from causalsim.models import ModelConfig

# One row, and counts on both sides of every boundary that XLA's products are known to have.
COUNTS = (1, 8, 9, 16, 33, 64, 256)
MOST = max(COUNTS)
# What a neighbour may hold: poison, or numbers that overflow in any sum.
GARBAGE = (np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-42)

Rows = Callable[[np.ndarray], Any]


def certified(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compiled as the engine compiles its forms."""
    return jax.jit(function, compiler_options=dict(LIBRARY_OFF), **options)


def logits_of(kernels: Kernels, config: ModelConfig, weights: Any, x: jax.Array) -> jax.Array:
    """Results of unembed for each row, in cells of its own."""
    cells = jnp.full((len(x), config.vocab_size), jnp.nan, jnp.float32)
    return kernels.unembed(config, weights, x, cells, jnp.arange(len(x), dtype=jnp.int32))


def bits(value: Any) -> np.ndarray:
    """The bits of float32 or int32 numbers."""
    return np.asarray(value).view(np.int32)


def offenders(rows: Rows, x: np.ndarray, counts: Sequence[int] = COUNTS, seed: int = 0) -> list[str]:
    """Ways in which a row-wise function breaks batch invariance; empty where it keeps it.

    Every row among the most rows is the reference for the same row among fewer, at other
    places, and beside neighbours that hold garbage.
    """
    rng = np.random.default_rng(seed)
    reference = bits(rows(x))
    found = []
    for count in counts:
        places = rng.permutation(len(x))[:count]
        if not np.array_equal(bits(rows(x[places])), reference[places]):
            found.append(f"{count} rows instead of {len(x)}")
        if count > 1:
            found += _beside_garbage(rows, x[places], reference[places], rng)
    return found


def _beside_garbage(rows: Rows, x: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> list[str]:
    found = []
    for kind in GARBAGE:
        kept = rng.integers(len(x))
        batch = np.full_like(x, kind)
        batch[kept] = x[kept]
        if not np.array_equal(bits(rows(batch))[kept], reference[kept]):
            found.append(f"row {kept} of {len(x)} beside {kind}")
    return found


def at_every_place(rows: Rows, x: np.ndarray, count: int) -> bool:
    """True if one row has the same bits at each of so many places, all neighbours being others."""
    found = set()
    for place in range(count):
        batch = np.roll(x[:count], place, axis=0)
        found.add(bits(rows(batch))[place].tobytes())
    return len(found) == 1
