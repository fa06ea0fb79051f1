"""The memory that a program runs on: poisoned when fresh, one cell for each thing still to be read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Num

from causalsim.events import EventGraph
from causalsim.kernels import PAGE
from causalsim.kernels.precision import poison, storage_dtype
from causalsim.models import ModelConfig

if TYPE_CHECKING:
    from causalsim.engine.model import Model

LEAST_TOKENS = 64
Numbers = Array | np.ndarray


@dataclass(frozen=True)
class Layout:
    """Where the positions of every request lie: a token each, and whole pages of K/V.

    Capacities are powers of two, so that texts of similar length share executables. Behind
    them lie one scratch token and one scratch page, where padding writes.
    """

    lengths: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens for positions, without the scratch token, whose index this is."""
        return _power_of_two(max(sum(self.lengths), LEAST_TOKENS))

    @property
    def pages(self) -> int:
        """Pages for K/V, without the scratch page, whose index this is."""
        return _power_of_two(sum(map(_pages, self.lengths)))

    def first_tokens(self) -> Int[np.ndarray, " requests"]:
        return np.concatenate([[0], np.cumsum(self.lengths)[:-1]]).astype(np.int32)

    def first_pages(self) -> Int[np.ndarray, " requests"]:
        return np.concatenate([[0], np.cumsum([_pages(length) for length in self.lengths])[:-1]]).astype(
            np.int32
        )

    def tables(self) -> Int[np.ndarray, "requests entries"]:
        """The pages of every request, in rising order of position; scratch behind them."""
        tables = np.full((len(self.lengths), self.pages), self.pages, np.int32)
        for request, (first, length) in enumerate(zip(self.first_pages(), self.lengths, strict=True)):
            tables[request, : _pages(length)] = np.arange(first, first + _pages(length))
        return tables


@dataclass(frozen=True)
class Sampling:
    """How ``sample`` events choose: the ids given (-1 for none), the temperature and the seed."""

    given: Int[np.ndarray, " tokens"]
    temperature: float = 0.0
    seed: int = 0


@dataclass
class State:
    """All mutable cells of a run of one model over one graph, with the layout that places them.

    Running on a state consumes its arrays: copy it first to keep it. ``keys`` and ``values``
    have an array a bank, a bank a layer; they are empty in a bare state, for which a program
    reserves as many ``banks`` as it needs while it runs. ``residual`` has one plane, or, for a
    parallel residual, two each for what attention and MLP leave behind, by the parity of the
    layer: the planes of a layer are read until the next but one is written. A bfloat16 model's
    cells hold bits, as ``kernels.precision`` says.
    """

    model: Model
    graph: EventGraph
    layout: Layout
    sampling: Sampling
    tokens: Int[Array, " tokens"]
    residual: Num[Array, "planes tokens d_model"]
    keys: list[Num[Array, "pages kv_heads d_head page"]]
    values: list[Num[Array, "pages kv_heads page d_head"]]
    logits: Num[Array, "tokens vocabulary"]
    banks: int

    @classmethod
    def fresh(
        cls,
        model: Model,
        graph: EventGraph,
        tokens: Iterable[np.ndarray],
        sampling: Sampling | None = None,
        *,
        bare: bool = False,
    ) -> State:
        """Poisoned memory: NaN everywhere, and ids beyond the vocabulary, but for the prompts' ids.

        A ``bare`` one has no K/V: a program reserves it, and gives it up, page by page.
        """
        config, layout = model.config, Layout(graph.lengths)
        count = layout.tokens + 1
        residual, logits = _poison(config, count, model.dtype)
        keys, values = fresh_kv(model, layout, 0 if bare else config.n_layers)
        return cls(
            model,
            graph,
            layout,
            sampling or Sampling(np.full(count, -1, np.int32)),
            jnp.asarray(_prompt_ids(config, graph, layout, tokens)),
            residual,
            keys,
            values,
            logits,
            len(keys),
        )

    @property
    def is_bare(self) -> bool:
        """Whether there is no K/V until a program runs."""
        return not self.keys

    @property
    def peak_bytes(self) -> int:
        """Bytes of all cells, with as many banks of K/V as there were at most."""
        config, pages = self.model.config, self.layout.pages + 1
        kv = 2 * pages * config.n_kv_heads * config.d_head * PAGE * self.residual.dtype.itemsize
        return self.tokens.nbytes + self.residual.nbytes + self.logits.nbytes + self.banks * kv

    def copy(self) -> State:
        """A state of its own arrays."""
        return replace(self, **_copied(self.cells()))

    def cells(self) -> dict[str, Any]:
        """The mutable arrays by name, for whoever compares or poisons them."""
        return {name: getattr(self, name) for name in ("tokens", "residual", "keys", "values", "logits")}


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


@partial(jax.jit, static_argnums=(0, 1, 2))
def _poison(config: ModelConfig, tokens: int, dtype: str) -> tuple[Array, Array]:
    """Residual and logits of which nothing is written yet."""
    planes = 4 if config.parallel_residual else 1
    shapes = (planes, tokens, config.d_model), (tokens, config.vocab_size)
    return _nan(shapes[0], dtype), _nan(shapes[1], dtype)


def fresh_kv(model: Model, layout: Layout, banks: int) -> tuple[list[Array], list[Array]]:
    """Banks of keys and of values of which nothing is written yet."""
    config = model.config
    shape = layout.pages + 1, config.n_kv_heads, config.d_head
    made = [_poison_kv(*shape, model.dtype) for _ in range(banks)]
    return [keys for keys, _ in made], [values for _, values in made]


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _poison_kv(pages: int, heads: int, d_head: int, dtype: str) -> tuple[Array, Array]:
    return _nan((pages, heads, d_head, PAGE), dtype), _nan((pages, heads, PAGE, d_head), dtype)


def _nan(shape: tuple[int, ...], dtype: str) -> Array:
    cells = storage_dtype(dtype)
    return jnp.full(shape, poison(cells), cells)


@partial(jax.jit, donate_argnums=(0, 1))
def poisoned_again(
    keys: Array, values: Array, places: Int[Numbers, " places"], count: Int[Numbers, ""]
) -> tuple[Array, Array]:
    """The same bank, with the first ``count`` of some pages as if never written."""

    def again(number: Array, cells: Array) -> Array:
        page = jnp.full((1, *cells.shape[1:]), poison(cells.dtype), cells.dtype)
        return jax.lax.dynamic_update_slice_in_dim(cells, page, places[number], axis=0)

    def both(number: Array, bank: tuple[Array, Array]) -> tuple[Array, Array]:
        return again(number, bank[0]), again(number, bank[1])

    # One page after another: a scatter of all takes as long as the batch that is to come.
    return jax.lax.fori_loop(0, count, both, (keys, values))


def _pages(length: int) -> int:
    return -(-length // PAGE)


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()
