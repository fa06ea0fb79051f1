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
    """Where each lane's cells are: its row, its position in the text and the page of its K/V.

    Forms take the three as one array, which is one transfer.
    """

    row: Int[Array, " lanes"]
    position: Int[Array, " lanes"]
    page: Int[Array, " lanes"]


Packed = Int[Array | np.ndarray, "3 lanes"]


# The cells that each form takes by donation, as places in its arguments.
_CONSUMED = {
    "embed": (1,),
    "kv": (1, 2),
    "attn": (1,),
    "mlp": (1,),
    "unembed": (1,),
    "sample": (0,),
    "stream": (),
    "logits": (),
    "layer": (1, 2, 3),
}


def form(config: ModelConfig, kernels: Kernels, kind: str) -> Callable[..., Any]:
    """The jitted form of a kind of slot; kernels that share a function share its executables.

    ``"layer"`` is kv, attn and mlp of the same lanes in one call. Two forms only read:
    ``"stream"`` the residual as the next layer has it, ``"logits"`` what unembed left.
    """
    whole = kernels.kv, kernels.attn, kernels.mlp
    kernel = whole if kind == "layer" else getattr(kernels, kind, None)
    return _form(config, kind, kernel, kernels.compiler_options)


@lru_cache(maxsize=256)
def _form(
    config: ModelConfig, kind: str, kernel: Any, options: tuple[tuple[str, str], ...]
) -> Callable[..., Any]:
    body = getattr(_Forms(config, kernel), kind)
    return jax.jit(body, donate_argnums=_CONSUMED[kind], compiler_options=dict(options))


class _Forms:
    """Reads, kernel, writes of each kind; ``residual`` comes in planes as ``State`` has it.

    What is read and what is computed are settled by a barrier. Without it XLA would compute
    them once for the cell and once for the result, fused with what stands around, and copy
    whole arrays of cells because it still reads them after they were written.
    """

    def __init__(self, config: ModelConfig, kernel: Any) -> None:
        self.config, self.kernel = config, kernel

    def embed(self, weights: Any, residual: Array, tokens: Array, packed: Packed) -> tuple[Array, Array]:
        lane = Lane(*packed)
        ids = _take(tokens, lane.row, self.config.vocab_size)
        value = _settled(self.kernel(self.config, weights, ids, lane.position))
        if self.config.parallel_residual:
            residual = _put(residual, self._plane("mlp", -1), lane, jnp.zeros_like(value))
        return _put(residual, self._plane("attn", -1), lane, value), value

    def kv(
        self, weights: Any, keys: Array, values: Array, residual: Array, packed: Packed, layer: Array
    ) -> tuple[Array, Array, tuple[Array, Array]]:
        lane = Lane(*packed)
        x = self._stream_in(residual, lane, layer)
        made = _settled(self.kernel(self.config, weights, x, lane.position))
        return *_put_kv(keys, values, lane, *made), made

    def attn(
        self,
        weights: Any,
        residual: Array,
        keys: Array,
        values: Array,
        packed: Packed,
        layer: Array,
        table: Array,
        window: Array,
    ) -> tuple[Array, Array]:
        lane = Lane(*packed)
        x = self._stream_in(residual, lane, layer)
        value = _settled(
            self.kernel(self.config, weights, x, lane.position, Pages(keys, values, table, window))
        )
        return _put(residual, self._plane("attn", layer), lane, value), value

    def mlp(self, weights: Any, residual: Array, packed: Packed, layer: Array) -> tuple[Array, Array]:
        lane = Lane(*packed)
        parallel = self.config.parallel_residual
        x = self._stream_in(residual, lane, layer) if parallel else _settled(_take(residual[0], lane.row))
        value = _settled(self.kernel(self.config, weights, x))
        return _put(residual, self._plane("mlp", layer), lane, value), value

    def layer(
        self,
        weights: Any,
        residual: Array,
        keys: Array,
        values: Array,
        packed: Packed,
        layer: Array,
        table: Array,
        window: Array,
    ) -> tuple[Array, Array, Array, tuple[Any, Array, Array]]:
        lane, (kv, attn, mlp) = Lane(*packed), self.kernel
        x = self._stream_in(residual, lane, layer)
        made = _settled(kv(self.config, weights["kv"], x, lane.position))
        keys, values = _settled(_put_kv(keys, values, lane, *made))
        pages = Pages(keys, values, table, window)
        attended = _settled(attn(self.config, weights["attn"], x, lane.position, pages))
        parallel = self.config.parallel_residual
        left = _settled(mlp(self.config, weights["mlp"], x if parallel else attended))
        if parallel:
            residual = _put(residual, self._plane("attn", layer), lane, attended)
        residual = _put(residual, self._plane("mlp", layer), lane, left)
        return residual, keys, values, (made, attended, left)

    def unembed(self, weights: Any, logits: Array, residual: Array, packed: Packed) -> Array:
        lane = Lane(*packed)
        x = self._stream_in(residual, lane, self.config.n_layers)
        value = self.kernel(self.config, weights, x)
        return logits.at[lane.row].set(value, mode="drop", wrap_negative_indices=False)

    def logits(self, logits: Array, packed: Packed) -> Array:
        return _take(logits, Lane(*packed).row)

    def sample(
        self,
        tokens: Array,
        logits: Array,
        packed: Packed,
        target: Array,
        given: Array,
        temperature: Array,
        seed: Array,
    ) -> tuple[Array, Array]:
        lane = Lane(*packed)
        value = self.kernel(self.config, _take(logits, lane.row), lane.position, given, temperature, seed)
        return tokens.at[target].set(value, mode="drop", wrap_negative_indices=False), value

    def stream(self, residual: Array, packed: Packed, layer: Array) -> Array:
        return self._stream_in(residual, Lane(*packed), layer)

    def _stream_in(self, residual: Array, lane: Lane, layer: Array | int) -> Array:
        """The residual that a layer reads: one plane, or the sum of what attention and MLP left below."""
        if not self.config.parallel_residual:
            return _settled(_take(residual[0], lane.row))
        from_attn, from_mlp = (residual[self._plane(kind, layer - 1)] for kind in ("attn", "mlp"))
        return _settled(_take(from_attn, lane.row) + _take(from_mlp, lane.row))

    def _plane(self, kind: str, layer: Array | int) -> Array | int:
        if not self.config.parallel_residual:
            return 0
        return layer % 2 + (2 if kind == "mlp" else 0)


def _settled(value: Any) -> Any:
    return jax.lax.optimization_barrier(value)


def _take(cells: Array, rows: Int[Array | np.ndarray, " lanes"], fill: float = jnp.nan) -> Array:
    # Neither reads nor writes clamp an index that is off: a clamped one would hit a neighbour's cell.
    return cells.at[rows].get(mode="fill", fill_value=fill, wrap_negative_indices=False)


def _put(residual: Array, plane: Array | int, lane: Lane, value: Array) -> Array:
    return residual.at[plane, lane.row].set(value, mode="drop", wrap_negative_indices=False)


def _put_kv(keys: Array, values: Array, lane: Lane, k: Array, v: Array) -> tuple[Array, Array]:
    column = lane.position % PAGE
    return (
        keys.at[lane.page, :, :, column].set(k, mode="drop", wrap_negative_indices=False),
        values.at[lane.page, :, column, :].set(v, mode="drop", wrap_negative_indices=False),
    )
