"""Forms: a kernel with its reads and writes, jitted. One executable a batch size, none an order.

What a form gets of an order are arrays of indices. It takes the cells that it changes by
donation, so that they are updated in place, and also returns the events' values: recording
is a matter of keeping them and changes nothing. Kernels know float32 alone: what cells hold is
upcast on reading, and what a kernel made is downcast before it is written, kept or read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from causalsim.kernels import PAGE, Kernels, Pages
from causalsim.kernels.precision import downcast, poison, upcast
from causalsim.models import ModelConfig

Numbers = Array | np.ndarray


class Where(NamedTuple):
    """What a form gets of an order.

    ``rows`` holds each row's token, its position in the text and the page of its K/V, in one
    array because each array is a transfer. Attention also gets the ``table`` of its pages, or
    one a row, and the ``window``. For several layers there are as many pages of a row, and as
    many of all the rest.
    """

    rows: Int[Numbers, "places rows"]
    layer: Any
    table: Any = None
    window: Any = None

    @property
    def token(self) -> Int[Numbers, " rows"]:
        return self.rows[0]

    @property
    def position(self) -> Int[Numbers, " rows"]:
        return self.rows[1]

    @property
    def page(self) -> Int[Numbers, " rows"]:
        return self.rows[2]

    def of_layer(self, number: int) -> Where:
        """What one of several layers gets."""
        rows = jnp.stack([self.token, self.position, self.rows[2 + number]])
        return Where(rows, self.layer[number], self.table[number], self.window[number])


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
    "layers": (1, 2, 3),
}


def form(config: ModelConfig, kernels: Kernels, kind: str) -> Callable[..., Any]:
    """The jitted form of a kind of site; kernels that share a function share its executables.

    ``"layers"`` is kv, attn and mlp of the same rows, layer after layer. Two forms only read:
    ``"stream"`` the residual as the next layer has it, ``"logits"`` what unembed left.
    """
    whole = kernels.kv, kernels.attn, kernels.mlp
    kernel = whole if kind == "layers" else getattr(kernels, kind, None)
    return _form(_layerless(config), kind, kernel, kernels.compiler_options)


@lru_cache(maxsize=64)
def _layerless(config: ModelConfig) -> ModelConfig:
    """What forms know of a model: how many layers there are and what each sees, they get when they run."""
    return replace(config, n_layers=1, windows=None)


@lru_cache(maxsize=256)
def _form(
    config: ModelConfig, kind: str, kernel: Any, options: tuple[tuple[str, str], ...]
) -> Callable[..., Any]:
    body = getattr(Forms(config, kernel), kind)
    return jax.jit(body, donate_argnums=_CONSUMED[kind], compiler_options=dict(options))


class Forms:
    """Reads, kernel, writes of each kind; ``residual`` comes in planes as ``State`` has it.

    What is read and what is computed are settled by a barrier. Without it XLA would compute
    them once for the cell and once for the result, fused with what stands around, and copy
    whole arrays of cells because it still reads them after they were written.
    """

    def __init__(self, config: ModelConfig, kernel: Any) -> None:
        self.config, self.kernel = config, kernel

    def embed(self, weights: Any, residual: Array, tokens: Array, where: Where) -> tuple[Array, Array]:
        ids = _take(tokens, where.token, self.config.vocab_size)
        value = _as_cells(residual, self.kernel(self.config, weights, ids, where.position))
        if self.config.parallel_residual:
            residual = _put(residual, self._plane("mlp", -1), where, jnp.zeros_like(value))
        return _put(residual, self._plane("attn", -1), where, value), value

    def kv(
        self, weights: Any, keys: Array, values: Array, residual: Array, where: Where
    ) -> tuple[Array, Array, tuple[Array, Array]]:
        x = upcast(self.stream(residual, where))
        made = _as_cells(keys, self.kernel(self.config, weights, x, where.position))
        return *_put_kv(keys, values, where, *made), made

    def attn(
        self, weights: Any, residual: Array, keys: Array, values: Array, where: Where
    ) -> tuple[Array, Array]:
        x = upcast(self.stream(residual, where))
        pages = Pages(keys, values, where.table, where.window)
        value = _as_cells(residual, self.kernel(self.config, weights, x, where.position, pages))
        return _put(residual, self._plane("attn", where.layer), where, value), value

    def mlp(self, weights: Any, residual: Array, where: Where) -> tuple[Array, Array]:
        parallel = self.config.parallel_residual
        x = self.stream(residual, where) if parallel else _settled(_take(residual[0], where.token))
        value = _as_cells(residual, self.kernel(self.config, weights, upcast(x)))
        return _put(residual, self._plane("mlp", where.layer), where, value), value

    def layers(
        self,
        weights: Sequence[Any],
        residual: Array,
        keys: Sequence[Array],
        values: Sequence[Array],
        where: Where,
    ) -> tuple[Array, list[Array], list[Array], list[Any]]:
        """One layer after another; what each made, in the order in which it was made."""
        keys, values, made = list(keys), list(values), list[Any]()
        for number, own in enumerate(weights):
            cells = residual, keys[number], values[number]
            residual, keys[number], values[number], three = self._layer(own, *cells, where.of_layer(number))
            made += three
        return residual, keys, values, made

    def _layer(
        self, weights: Any, residual: Array, keys: Array, values: Array, where: Where
    ) -> tuple[Array, Array, Array, tuple[Any, Array, Array]]:
        kv, attn, mlp = self.kernel
        x = upcast(self.stream(residual, where))
        made = _as_cells(keys, kv(self.config, weights["kv"], x, where.position))
        keys, values = _settled(_put_kv(keys, values, where, *made))
        pages = Pages(keys, values, where.table, where.window)
        attended = _as_cells(residual, attn(self.config, weights["attn"], x, where.position, pages))
        parallel = self.config.parallel_residual
        read = x if parallel else upcast(_handed_on(attended, where))
        left = _as_cells(residual, mlp(self.config, weights["mlp"], read))
        if parallel:
            residual = _put(residual, self._plane("attn", where.layer), where, attended)
        residual = _put(residual, self._plane("mlp", where.layer), where, left)
        return residual, keys, values, (made, attended, left)

    def unembed(self, weights: Any, logits: Array, residual: Array, where: Where) -> Array:
        x = upcast(self.stream(residual, where))
        return self.kernel(self.config, weights, x, logits, where.token)

    def logits(self, logits: Array, where: Where) -> Array:
        return _take(logits, where.token)

    def sample(
        self,
        tokens: Array,
        logits: Array,
        where: Where,
        target: Array,
        given: Array,
        temperature: Array,
        seed: Array,
    ) -> tuple[Array, Array]:
        read = upcast(_take(logits, where.token))
        value = self.kernel(self.config, read, where.position, given, temperature, seed)
        return tokens.at[target].set(value, mode="drop", wrap_negative_indices=False), value

    def stream(self, residual: Array, where: Where) -> Array:
        """The residual that a layer reads: one plane, or the sum of what attention and MLP left below."""
        if not self.config.parallel_residual:
            return _settled(_take(residual[0], where.token))
        planes = (residual[self._plane(kind, where.layer - 1)] for kind in ("attn", "mlp"))
        from_attn, from_mlp = (upcast(_take(plane, where.token)) for plane in planes)
        return _as_cells(residual, from_attn + from_mlp)

    def _plane(self, kind: str, layer: Numbers | int) -> Numbers | int:
        if not self.config.parallel_residual:
            return 0
        return layer % 2 + (2 if kind == "mlp" else 0)


def _settled(value: Any) -> Any:
    return jax.lax.optimization_barrier(value)


def _as_cells(cells: Array, value: Any) -> Any:
    """What a kernel made, settled and downcast to what cells hold: the value that all readers get."""
    return _settled(jax.tree.map(lambda part: downcast(part, cells.dtype), value))


def _handed_on(value: Array, where: Where) -> Array:
    """A value as the next kernel of the same call reads it: the same bits, whatever made them.

    XLA's CPU backend drops barriers before it fuses. A kernel that ends in a product would have it
    computed again where the next one adds to it, and not downcast in between. Bits are whole numbers, and
    that no position is negative no compiler knows.
    """
    if not jnp.issubdtype(value.dtype, jnp.floating):
        return value
    unknown_zero = (where.position < 0).astype(jnp.uint32)[:, None]
    bits = jax.lax.bitcast_convert_type(value, jnp.uint32) ^ unknown_zero
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def _take(cells: Array, tokens: Int[Numbers, " rows"], fill: float | None = None) -> Array:
    fill = poison(cells.dtype) if fill is None else fill
    # Neither reads nor writes clamp an index that is off: a clamped one would hit a neighbour's cell.
    return cells.at[tokens].get(mode="fill", fill_value=fill, wrap_negative_indices=False)


def _put(residual: Array, plane: Numbers | int, where: Where, value: Array) -> Array:
    return residual.at[plane, where.token].set(value, mode="drop", wrap_negative_indices=False)


def _put_kv(keys: Array, values: Array, where: Where, k: Array, v: Array) -> tuple[Array, Array]:
    column = where.position % PAGE
    return (
        keys.at[where.page, :, :, column].set(k, mode="drop", wrap_negative_indices=False),
        values.at[where.page, :, column, :].set(v, mode="drop", wrap_negative_indices=False),
    )
