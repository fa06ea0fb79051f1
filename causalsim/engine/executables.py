"""Executables: a kernel with its reads and writes, jitted. One a batch size, none an order.

What an executable gets of an order are index arrays. It takes the cells that it changes by donation, so
that they are updated in place, and also returns the events' values: recording is a matter of keeping them
and changes nothing. Kernels know float32 alone: what cells hold is upcast on reading, and what a kernel
made is downcast before it is written, kept or read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from causalsim.engine.planning import IndexArrays, Numbers
from causalsim.engine.state import Sampling
from causalsim.events import KINDS
from causalsim.kernels import PAGE, Kernels, Pages
from causalsim.kernels.precision import downcast, poison, upcast
from causalsim.models import ModelConfig

# By what a kind reads and writes: the body of its executables.
_BODIES: Mapping[tuple[tuple[str, ...], str], str] = MappingProxyType(
    {
        (("token",), "residual"): "embed",
        (("residual",), "kv"): "kv",
        (("residual", "kv"), "residual"): "attend",
        (("residual",), "residual"): "add",
        (("residual",), "token"): "unembed",
        (("token",), "token"): "sample",
    }
)
# The cells that each body takes by donation, as places in its arguments.
_CONSUMED: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "embed": (1,),
        "kv": (1, 2),
        "attend": (1,),
        "add": (1,),
        "unembed": (1,),
        "sample": (0,),
        "stream": (),
        "logits": (),
        "layers": (1, 2, 3),
    }
)


def body_of(kind: str) -> str:
    """Name the body of a kind's executables, or of what only reads, by itself."""
    return _BODIES[KINDS[kind].reads, KINDS[kind].writes] if kind in KINDS else kind


def executable(config: ModelConfig, kernels: Kernels, kind: str) -> Callable[..., Any]:
    """Find the executable of a kind of event; kernels that share a function share its executables.

    Args:
        config: The model's configuration.
        kernels: The kernels to call.
        kind: A kind of event; ``"layers"`` for all kinds of a layer, layer after layer, for the same
            rows; ``"stream"`` for the residual as the next layer has it; ``"logits"`` for what unembed
            left. The last two only read.

    Returns:
        A jitted method of ``Bodies``.
    """
    kinds = config.wiring.sublayers if kind == "layers" else (kind,) if kind in KINDS else ()
    functions = tuple((name, kernels.of(name)) for name in kinds)
    return _executable(layerless(config), kind, functions, kernels.compiler_options)


@lru_cache(maxsize=64)
def layerless(config: ModelConfig) -> ModelConfig:
    """The configuration as executables know it, which get layers and windows only when they run."""
    return replace(config, n_layers=1, windows=None)


@lru_cache(maxsize=256)
def _executable(
    config: ModelConfig,
    kind: str,
    functions: tuple[tuple[str, Any], ...],
    options: tuple[tuple[str, str], ...],
) -> Callable[..., Any]:
    name = body_of(kind)
    body = getattr(Bodies(config, kind, dict(functions)), name)
    return jax.jit(body, donate_argnums=_CONSUMED[name], compiler_options=dict(options))


class Bodies:
    """Reads, kernel and writes of a kind; arrays as ``State`` has them.

    What is read and what is computed are settled by a barrier. Without it XLA would compute them once for
    the cell and once for the result, fused with what stands around, and copy whole arrays of cells because
    it still reads them after they were written.
    """

    def __init__(self, config: ModelConfig, kind: str, kernels: Mapping[str, Any]) -> None:
        self.config, self.kind, self.kernels = config, kind, kernels
        self.parallel = config.parallel_residual

    @cached_property
    def kernel(self) -> Any:
        """The kernel of the only kind."""
        return self.kernels[self.kind]

    @cached_property
    def writers(self) -> list[str]:
        """The kinds of a layer that write the residual stream, in the order of the column."""
        return [kind for kind in self.config.wiring.sublayers if KINDS[kind].writes == "residual"]

    def embed(self, weights: Any, residual: Array, tokens: Array, at: IndexArrays) -> tuple[Array, Array]:
        """Write the embeddings of tokens where the first layer reads them."""
        ids = _take(tokens, at.token, self.config.vocab_size)
        value = _as_cells(residual, self.kernel(self.config, weights, ids, at.position))
        for other in self.writers[1:] if self.parallel else ():
            residual = _put(residual, self._plane(other, -1), at, jnp.zeros_like(value))
        return _put(residual, self._plane(self.writers[0], -1), at, value), value

    def kv(
        self, weights: Any, keys: Array, values: Array, residual: Array, at: IndexArrays
    ) -> tuple[Array, Array, Any]:
        """Write K and V of a layer's input."""
        x = upcast(self.stream(residual, at))
        made = _as_cells(keys, self.kernel(self.config, weights, x, at.position))
        return *_put_kv(keys, values, at, *made), made

    def attend(
        self, weights: Any, residual: Array, keys: Array, values: Array, at: IndexArrays
    ) -> tuple[Array, Array]:
        """Write what a sublayer leaves that reads K/V."""
        x = upcast(self.stream(residual, at))
        read = self.kernel(self.config, weights, x, at.position, _pages(keys, values, at))
        value = _as_cells(residual, read)
        return _put(residual, self._plane(self.kind, at.layer), at, value), value

    def add(self, weights: Any, residual: Array, at: IndexArrays) -> tuple[Array, Array]:
        """Write what a sublayer leaves that reads its own position alone."""
        x = upcast(self.stream(residual, at))
        value = _as_cells(residual, self.kernel(self.config, weights, x))
        return _put(residual, self._plane(self.kind, at.layer), at, value), value

    def layers(
        self,
        weights: Sequence[Any],
        residual: Array,
        keys: Sequence[Array],
        values: Sequence[Array],
        at: IndexArrays,
    ) -> tuple[Array, list[Array], list[Array], list[Any]]:
        """Run one layer after another; the values stand in the order in which they were made."""
        keys, values, made = list(keys), list(values), list[Any]()
        for number, own in enumerate(weights):
            cells = residual, keys[number], values[number]
            residual, keys[number], values[number], more = self._layer(own, *cells, at.of_layer(number))
            made += more
        return residual, keys, values, made

    def _layer(
        self, weights: Any, residual: Array, keys: Array, values: Array, at: IndexArrays
    ) -> tuple[Array, Array, Array, list[Any]]:
        x = below = upcast(self.stream(residual, at))
        made, left = list[Any](), dict[str, Array]()
        for kind, kernel in self.kernels.items():
            row = KINDS[kind]
            if row.writes == "kv":
                value = _as_cells(keys, kernel(self.config, weights[kind], x, at.position))
                keys, values = _settled(_put_kv(keys, values, at, *value))
            else:
                if left and not self.parallel:
                    below = upcast(_handed_on(next(reversed(left.values())), at))
                reads = (at.position, _pages(keys, values, at)) if row.attends else ()
                value = left[kind] = _as_cells(residual, kernel(self.config, weights[kind], below, *reads))
            made.append(value)
        # What only the next sublayer of the same layer reads was handed on, and needs no cell.
        for kind in left if self.parallel else self.writers[-1:]:
            residual = _put(residual, self._plane(kind, at.layer), at, left[kind])
        return residual, keys, values, made

    def unembed(self, weights: Any, logits: Array, residual: Array, at: IndexArrays) -> Array:
        """Write the logits of the last layer's residual."""
        x = upcast(self.stream(residual, at))
        return self.kernel(self.config, weights, x, logits, at.token)

    def logits(self, logits: Array, at: IndexArrays) -> Array:
        """Read logits."""
        return _take(logits, at.token)

    def sample(
        self, tokens: Array, logits: Array, sampling: Sampling, at: IndexArrays
    ) -> tuple[Array, Array]:
        """Write the token that follows."""
        read, given = upcast(_take(logits, at.token)), _take(jnp.asarray(sampling.given), at.target, -1)
        value = self.kernel(self.config, read, at.position, given, sampling.temperature, sampling.seed)
        return tokens.at[at.target].set(value, mode="drop", wrap_negative_indices=False), value

    def stream(self, residual: Array, at: IndexArrays) -> Array:
        """Read the residual as a layer does: one plane, or the sum of what the layer below left."""
        if not self.parallel:
            return _settled(_take(residual[0], at.token))
        planes = (residual[self._plane(kind, at.layer - 1)] for kind in self.writers)
        first, *others = (upcast(_take(plane, at.token)) for plane in planes)
        return _as_cells(residual, sum(others, first))

    def _plane(self, kind: str, layer: Numbers | int) -> Numbers | int:
        return layer % 2 + 2 * self.writers.index(kind) if self.parallel else 0


def _pages(keys: Array, values: Array, at: IndexArrays) -> Pages:
    return Pages(keys, values, at.table, at.window, at.extent)


def _settled(value: Any) -> Any:
    return jax.lax.optimization_barrier(value)


def _as_cells(cells: Array, value: Any) -> Any:
    """Settle a kernel's result and downcast it to what cells hold: the value that all readers get."""
    return _settled(jax.tree.map(lambda part: downcast(part, cells.dtype), value))


def _handed_on(value: Array, at: IndexArrays) -> Array:
    """Return a value as the next kernel of the same dispatch reads it: the same bits, whatever made them.

    XLA's CPU backend drops barriers before it fuses. A kernel that ends in a product would have it
    computed again where the next one adds to it, and not rounded in between. Bits are whole numbers, and
    that no position is negative no compiler knows.
    """
    if not jnp.issubdtype(value.dtype, jnp.floating):
        return value
    unknown_zero = (at.position < 0).astype(jnp.uint32)[:, None]
    bits = jax.lax.bitcast_convert_type(value, jnp.uint32) ^ unknown_zero
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def _take(cells: Array, tokens: Int[Numbers, " rows"], fill: float | None = None) -> Array:
    fill = poison(cells.dtype) if fill is None else fill
    # Neither reads nor writes clamp an index that is off: a clamped one would hit a neighbour's cell.
    return cells.at[tokens].get(mode="fill", fill_value=fill, wrap_negative_indices=False)


def _put(residual: Array, plane: Numbers | int, at: IndexArrays, value: Array) -> Array:
    return residual.at[plane, at.token].set(value, mode="drop", wrap_negative_indices=False)


def _put_kv(keys: Array, values: Array, at: IndexArrays, k: Array, v: Array) -> tuple[Array, Array]:
    column = at.position % PAGE
    return (
        keys.at[at.page, :, :, column].set(k, mode="drop", wrap_negative_indices=False),
        values.at[at.page, :, column, :].set(v, mode="drop", wrap_negative_indices=False),
    )
