"""Numbers in memory: float32 as they are, bfloat16 as its bits. Kernels compute in float32.

XLA's CPU backend knows no bfloat16: around a scatter, or a slice inside a loop, it converts the
whole array to float32 and back. Whole numbers of 16 bits it leaves alone. Upcasting them is a shift,
which no compiler folds into a product: so products are float32's own, row by row, and rounding
acts on each number by itself.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jaxtyping import Array, Float, Num

_BFLOAT16, _BITS = np.dtype(ml_dtypes.bfloat16), np.dtype(np.uint16)
_NAN = 0x7FC0


def storage_dtype(dtype: str) -> np.dtype[Any]:
    """The type of cells that hold numbers of a model's dtype."""
    return _BITS if dtype == _BFLOAT16.name else np.dtype(dtype)


def to_storage(numbers: Float[np.ndarray, "*shape"]) -> Num[np.ndarray, "*shape"]:
    """Numbers as they lie in memory, on the host."""
    return numbers.view(_BITS) if numbers.dtype == _BFLOAT16 else numbers


def from_storage(cells: Num[np.ndarray, "*shape"]) -> Num[np.ndarray, "*shape"]:
    """Return stored cells as the numbers that they mean, on the host; token ids mean themselves.

    >>> from_storage(np.array([0x3FC0, _NAN], np.uint16)), from_storage(np.float32([1.5]))
    (array([1.5, nan], dtype=bfloat16), array([1.5], dtype=float32))
    """
    return cells.view(_BFLOAT16) if cells.dtype == _BITS else cells


def poison(storage: np.dtype[Any]) -> float | int:
    """NaN, as cells of this type hold it."""
    return _NAN if storage == _BITS else np.nan


def upcast(cells: Num[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Stored cells as float32 numbers, exactly."""
    if cells.dtype != _BITS:
        return cells
    return jax.lax.bitcast_convert_type(cells.astype(jnp.uint32) << 16, jnp.float32)


def downcast(numbers: Float[Array, "*shape"], storage: np.dtype[Any]) -> Num[Array, "*shape"]:
    """Numbers as cells of this type hold them: the nearest bfloat16, ties to even."""
    if storage != _BITS:
        return numbers
    return jax.lax.bitcast_convert_type(numbers.astype(jnp.bfloat16), _BITS)
