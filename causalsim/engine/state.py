"""Memory that a plan runs on, as a pytree: poisoned when fresh, a cell for each thing still to be read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from causalsim.engine.layout import Layout
from causalsim.events import KINDS, EventGraph
from causalsim.kernels import PAGE
from causalsim.kernels.precision import poison, storage_dtype
from causalsim.models import ModelConfig

Numbers = Array | np.ndarray
ARRAYS = ("tokens", "residual", "keys", "values", "logits")


class Sampling(NamedTuple):
    """The way in which ``sample`` events choose.

    Attributes:
        given: The id that each token gets, ``Int[tokens]``; -1 for one that is drawn.
        temperature: 0 for the greatest logit, else that of the draw; ``Float[]``.
        seed: Of the draws; ``Int[]``.
    """

    given: Int[Numbers, " tokens"]
    temperature: Float[Numbers, ""] | float = 0.0
    seed: Int[Numbers, ""] | int = 0

    def on_device(self) -> Sampling:
        """Make the arrays that executables get."""
        return Sampling(jnp.asarray(self.given), jnp.float32(self.temperature), jnp.int32(self.seed))


@partial(
    jax.tree_util.register_dataclass,
    data_fields=[*ARRAYS, "sampling"],
    meta_fields=["graph", "layout"],
)
@dataclass(frozen=True, eq=False)
class State:
    """All cells of a run of one model over one graph; a pytree of arrays.

    Running on a state consumes its arrays: copy it first to keep it. ``tokens`` counts positions of all
    requests, with one of scratch at the end, ``pages`` those of a pool, with one of scratch. A bfloat16
    model's cells hold bits, as ``kernels.precision`` says.

    Attributes:
        tokens: Token ids, ``Int[tokens]``; the size of the vocabulary where none is known yet.
        residual: ``Num[planes, tokens, d_model]``. One plane, or, for a parallel residual, two for each
            kind of sublayer that writes it, by the parity of the layer: the planes of a layer are read
            until the next but one is written.
        keys: A pool each, ``Num[pages, kv_heads, d_head, page]``.
        values: A pool each, ``Num[pages, kv_heads, page, d_head]``.
        logits: ``Num[tokens, vocabulary]``.
        sampling: How ``sample`` events choose; never written.
        graph: The graph whose events run on it; no array.
        layout: Where the positions of the graph lie; no array.
    """

    tokens: Int[Array, " tokens"]
    residual: Num[Array, "planes tokens d_model"]
    keys: tuple[Num[Array, "pages kv_heads d_head page"], ...]
    values: tuple[Num[Array, "pages kv_heads page d_head"], ...]
    logits: Num[Array, "tokens vocabulary"]
    sampling: Sampling
    graph: EventGraph = field(repr=False)
    layout: Layout

    @classmethod
    def fresh(
        cls,
        config: ModelConfig,
        dtype: str,
        graph: EventGraph,
        tokens: Iterable[np.ndarray],
        sampling: Sampling | None = None,
        *,
        pools: int | None = None,
        layout: Layout | None = None,
    ) -> State:
        """Make poisoned memory: NaN everywhere, and ids beyond the vocabulary, but for the prompts' ids.

        Args:
            config: The model's configuration.
            dtype: What values are kept in.
            graph: The graph whose events will run.
            tokens: The ids of each request, of which the prompt's are written.
            sampling: How samples choose, by default freely and greedily.
            pools: How many pools of K/V, by default one a layer.
            layout: Where positions lie, by default as short as the graph allows.

        Returns:
            A state of its own arrays.
        """
        chosen = Layout(graph.lengths) if layout is None else layout
        count = chosen.tokens + 1
        residual, logits = _poisoned(planes_of(config), count, config.d_model, config.vocab_size, dtype)
        shape = chosen.pages + 1, config.n_kv_heads, config.d_head
        each = [_poisoned_kv(*shape, dtype) for _ in range(config.n_layers if pools is None else pools)]
        return cls(
            jnp.asarray(_prompt_ids(config, graph, chosen, tokens)),
            residual,
            tuple(keys for keys, _ in each),
            tuple(values for _, values in each),
            logits,
            (sampling or Sampling(np.full(count, -1, np.int32))).on_device(),
            graph,
            chosen,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all cells."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self.cells()))

    def copy(self) -> State:
        """Make a state of its own arrays."""
        return replace(self, **_copied(self.cells()))

    def cells(self) -> dict[str, Any]:
        """List the arrays that are written by name, for whoever compares or poisons them."""
        return {name: getattr(self, name) for name in ARRAYS}


def planes_of(config: ModelConfig) -> int:
    """Count the planes of the residual: two for each sublayer that writes a parallel one."""
    if not config.parallel_residual:
        return 1
    return 2 * sum(KINDS[kind].writes == "residual" for kind in config.wiring.sublayers)


@jax.jit
def _copied(cells: dict[str, Any]) -> dict[str, Any]:
    return jax.tree.map(jnp.copy, cells)


def _prompt_ids(
    config: ModelConfig, graph: EventGraph, layout: Layout, tokens: Iterable[np.ndarray]
) -> Int[np.ndarray, " tokens"]:
    ids = np.full(layout.tokens + 1, config.vocab_size, np.int32)
    for first, prompt, given in zip(layout.first_tokens(), graph.prompts, tokens, strict=True):
        ids[first : first + prompt] = given[:prompt]
    return ids


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _poisoned(planes: int, tokens: int, d_model: int, vocabulary: int, dtype: str) -> tuple[Array, Array]:
    """Residual and logits of which nothing is written yet."""
    return _nan((planes, tokens, d_model), dtype), _nan((tokens, vocabulary), dtype)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _poisoned_kv(pages: int, heads: int, d_head: int, dtype: str) -> tuple[Array, Array]:
    """A pool of keys and one of values of which nothing is written yet."""
    return _nan((pages, heads, d_head, PAGE), dtype), _nan((pages, heads, PAGE, d_head), dtype)


def _nan(shape: tuple[int, ...], dtype: str) -> Array:
    cells = storage_dtype(dtype)
    return jnp.full(shape, poison(cells), cells)


@partial(jax.jit, donate_argnums=(0, 1))
def poisoned_again(
    keys: Array, values: Array, places: Int[Numbers, " places"], count: Int[Numbers, ""]
) -> tuple[Array, Array]:
    """Poison the first ``count`` of some pages of a pool, which it consumes, as if never written."""

    def again(number: Array, cells: Array) -> Array:
        page = jnp.full((1, *cells.shape[1:]), poison(cells.dtype), cells.dtype)
        return jax.lax.dynamic_update_slice_in_dim(cells, page, places[number], axis=0)

    def both(number: Array, pool: tuple[Array, Array]) -> tuple[Array, Array]:
        return again(number, pool[0]), again(number, pool[1])

    # One page after another: a scatter of all takes as long as the batch that is to come.
    return jax.lax.fori_loop(0, count, both, (keys, values))
