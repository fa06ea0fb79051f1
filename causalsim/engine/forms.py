"""Forms: a kernel with its reads and writes, jitted. One executable a lane count, none an order.

What a form gets of an order are arrays of indices. It takes the cells that it changes by
donation, so that they are updated in place, and also returns the events' values: recording
is a matter of keeping them and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from causalsim.kernels import PAGE, Kernels, Pages
from causalsim.models import ModelConfig


class Lane(NamedTuple):
    """Where each lane's cells are: its row, its position in the text and the page of its K/V."""

    row: Int[Array | np.ndarray, " lanes"]
    position: Int[Array | np.ndarray, " lanes"]
    page: Int[Array | np.ndarray, " lanes"]


# The cells that each form takes by donation, as places in its arguments.
_CONSUMED = {
    "embed": (1,),
    "kv": (1, 2),
    "attn": (1,),
    "mlp": (1,),
    "unembed": (1,),
    "sample": (0,),
    "stream": (),
}


def form(config: ModelConfig, kernels: Kernels, kind: str) -> Callable[..., Any]:
    """The jitted form of a kind of slot; kernels that share a function share its executables.

    ``"stream"`` is the form that only reads: the residual as the next layer has it.
    """
    return _form(config, kind, getattr(kernels, kind, None), kernels.compiler_options)


@lru_cache(maxsize=256)
def _form(
    config: ModelConfig, kind: str, kernel: Callable[..., Any] | None, options: tuple[tuple[str, str], ...]
) -> Callable[..., Any]:
    body = getattr(_Forms(config, kernel), kind)
    return jax.jit(body, donate_argnums=_CONSUMED[kind], compiler_options=dict(options))


class _Forms:
    """Reads, kernel, writes of each kind; ``residual`` comes in planes as ``State`` has it."""

    def __init__(self, config: ModelConfig, kernel: Any) -> None:
        self.config, self.kernel = config, kernel

    def embed(self, weights: Any, residual: Array, tokens: Array, lane: Lane) -> tuple[Array, Array]:
        value = self.kernel(
            self.config, weights, _take(tokens, lane.row, self.config.vocab_size), lane.position
        )
        if self.config.parallel_residual:
            residual = _put(residual, self._plane("mlp", -1), lane, jnp.zeros_like(value))
        return _put(residual, self._plane("attn", -1), lane, value), value

    def kv(self, weights: Any, keys: Array, values: Array, residual: Array, lane: Lane, layer: Array) -> Any:
        k, v = self.kernel(self.config, weights, self._stream_in(residual, lane, layer), lane.position)
        column = lane.position % PAGE
        return (
            keys.at[lane.page, :, :, column].set(k, mode="drop", wrap_negative_indices=False),
            values.at[lane.page, :, column, :].set(v, mode="drop", wrap_negative_indices=False),
            (k, v),
        )

    def attn(
        self,
        weights: Any,
        residual: Array,
        keys: Array,
        values: Array,
        lane: Lane,
        layer: Array,
        table: Array,
        window: Array,
    ) -> tuple[Array, Array]:
        pages = Pages(keys, values, table, window)
        x = self._stream_in(residual, lane, layer)
        value = self.kernel(self.config, weights, x, lane.position, pages)
        return _put(residual, self._plane("attn", layer), lane, value), value

    def mlp(self, weights: Any, residual: Array, lane: Lane, layer: Array) -> tuple[Array, Array]:
        parallel = self.config.parallel_residual
        x = self._stream_in(residual, lane, layer) if parallel else _take(residual[0], lane.row)
        value = self.kernel(self.config, weights, x)
        return _put(residual, self._plane("mlp", layer), lane, value), value

    def unembed(self, weights: Any, logits: Array, residual: Array, lane: Lane) -> tuple[Array, Array]:
        x = self._stream_in(residual, lane, self.config.n_layers)
        value = self.kernel(self.config, weights, x)
        return logits.at[lane.row].set(value, mode="drop", wrap_negative_indices=False), value

    def sample(
        self,
        tokens: Array,
        logits: Array,
        lane: Lane,
        target: Array,
        given: Array,
        temperature: Array,
        seed: Array,
    ) -> tuple[Array, Array]:
        value = self.kernel(self.config, _take(logits, lane.row), lane.position, given, temperature, seed)
        return tokens.at[target].set(value, mode="drop", wrap_negative_indices=False), value

    def stream(self, residual: Array, lane: Lane, layer: Array) -> Array:
        return self._stream_in(residual, lane, layer)

    def _stream_in(self, residual: Array, lane: Lane, layer: Array | int) -> Array:
        """The residual that a layer reads: one plane, or the sum of what attention and MLP left below."""
        if not self.config.parallel_residual:
            return _take(residual[0], lane.row)
        from_attn, from_mlp = (residual[self._plane(kind, layer - 1)] for kind in ("attn", "mlp"))
        return _take(from_attn, lane.row) + _take(from_mlp, lane.row)

    def _plane(self, kind: str, layer: Array | int) -> Array | int:
        if not self.config.parallel_residual:
            return 0
        return layer % 2 + (2 if kind == "mlp" else 0)


def _take(cells: Array, rows: Int[Array | np.ndarray, " lanes"], fill: float = jnp.nan) -> Array:
    # Neither reads nor writes clamp an index that is off: a clamped one would hit a neighbour's cell.
    return cells.at[rows].get(mode="fill", fill_value=fill, wrap_negative_indices=False)


def _put(residual: Array, plane: Array | int, lane: Lane, value: Array) -> Array:
    return residual.at[plane, lane.row].set(value, mode="drop", wrap_negative_indices=False)
