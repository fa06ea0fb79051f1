"""K/V in pages, and attention that reads them page by page.

A page holds a fixed number of positions of one request at one layer. Attention goes over
the pages that its rows can see, in rising order, with a running softmax; a page that a
row cannot see leaves its running sums exactly as they were. So a row's bits depend
neither on how long the text is, nor on the buffer, nor on what its neighbours can see.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from causalsim.kernels.elementwise import capped
from causalsim.kernels.k_blocks import contract
from causalsim.kernels.precision import poison, upcast

Positions = Array | np.ndarray | np.integer[Any]
PAGE = 128
TILE = 128


class Pages(NamedTuple):
    """K/V of one layer, and which pages of it hold the request at hand.

    ``table[i]`` is the page of positions ``i * PAGE`` and up; one table a row where the rows
    are of different requests. A text's only page may be narrower. ``window`` is the number of
    positions that an attention sees, its own counted. ``extent`` tells the entries to go over, the first
    and the end, for each tile of rows; without it rows say themselves what they see. Keys and values
    are as they lie in memory: ``upcast`` gives the numbers.
    """

    keys: Num[Array, "pages kv_heads d_head page"]
    values: Num[Array, "pages kv_heads page d_head"]
    table: Int[Array, "*rows entries"]
    window: Int[Array, ""]
    extent: Int[Array, "tiles 2"] | None = None


class KV(NamedTuple):
    """Key and value, which a ``kv`` event makes.

    Attributes:
        k: The key, after norm and rotary embedding, ``Float[..., kv_heads, d_head]``.
        v: The value, of the same shape.
    """

    k: Num[Array, "*rows kv_heads d_head"]
    v: Num[Array, "*rows kv_heads d_head"]


class _Running(NamedTuple):
    greatest: Float[Array, "kv_heads queries"]
    weight: Float[Array, "kv_heads queries"]
    mixed: Float[Array, "kv_heads queries d_head"]
    tainted: Bool[Array, "kv_heads queries"]


def attend(
    queries: Float[Array, "rows kv_heads group d_head"],
    positions: Int[Array, " rows"],
    pages: Pages,
    cap: float | None = None,
) -> Float[Array, "rows kv_heads group d_head"]:
    """Return the softmax attention of every row over the positions that it sees; queries come scaled.

    Many rows go in tiles, each of which leaves out the pages that none of its rows can see.
    A row that sees a position whose K/V is not finite (not written yet) comes out NaN.
    """
    size = tile_of(len(queries))
    split = (part.reshape(-1, size, *part.shape[1:]) for part in (queries, positions))
    tiles = *split, pages.extent

    def tile(each: tuple[Array, Array, Array | None]) -> Array:
        return _attend_tile(*each[:2], pages._replace(extent=each[2]), cap)

    if len(queries) == size:
        return tile(jax.tree.map(lambda part: part[0], tiles))
    return jax.lax.map(tile, tiles).reshape(queries.shape)


def tile_of(rows: int) -> int:
    """Return how many rows of so many go over the same pages.

    >>> tile_of(32), tile_of(256), tile_of(200)
    (32, 128, 200)
    """
    return min(rows, TILE) if rows % TILE == 0 else rows


def extent_of(positions: Positions, window: Positions | int) -> tuple[Positions, Positions]:
    """Return the first page that one of some rows sees, and the end of those that they see."""
    return (positions.min() - window + 1).clip(0) // PAGE, positions.max() // PAGE + 1


def _attend_tile(
    queries: Float[Array, "rows kv_heads group d_head"],
    positions: Int[Array, " rows"],
    pages: Pages,
    cap: float | None,
) -> Float[Array, "rows kv_heads group d_head"]:
    rows, kv_heads, group, d_head = queries.shape
    stacked = queries.transpose(1, 0, 2, 3).reshape(kv_heads, rows * group, d_head)
    query_positions = jnp.repeat(positions, group)
    first, end = extent_of(positions, pages.window) if pages.extent is None else pages.extent
    start = _Running(
        jnp.full(stacked.shape[:2], -jnp.inf, stacked.dtype),
        jnp.zeros(stacked.shape[:2], stacked.dtype),
        jnp.zeros_like(stacked),
        jnp.zeros(stacked.shape[:2], bool),
    )
    done = jax.lax.fori_loop(
        first, end, lambda i, so_far: _page(stacked, query_positions, pages, cap, i, so_far), start
    )
    mixed = jnp.where(done.tainted[..., None], jnp.nan, done.mixed / done.weight[..., None])
    return mixed.reshape(kv_heads, rows, group, d_head).transpose(1, 0, 2, 3)


def _page(
    stacked: Float[Array, "kv_heads queries d_head"],
    positions: Int[Array, " queries"],
    pages: Pages,
    cap: float | None,
    number: Int[Array, ""],
    so_far: _Running,
) -> _Running:
    sees = _visible(positions, number, pages)
    keys, values, written = _read(pages, number)
    scores = jnp.where(sees, capped(contract(stacked, keys), cap), -jnp.inf)
    greatest = jnp.maximum(so_far.greatest, scores.max(axis=2))
    # Where nothing has been seen yet the maximum is -inf, and -inf - -inf would be NaN.
    level = jnp.where(jnp.isneginf(greatest), 0, greatest)
    shares = jnp.exp(scores - level[..., None])
    fade = jnp.exp(so_far.greatest - level)
    return _Running(
        greatest,
        so_far.weight * fade + shares.sum(axis=2),
        so_far.mixed * fade[..., None] + contract(shares, values),
        so_far.tainted | (sees[None] & ~written[:, None, :]).any(axis=2),
    )


def _visible(
    positions: Int[Array, " queries"], number: Int[Array, ""], pages: Pages
) -> Bool[Array, "queries page"]:
    there = number * PAGE + jnp.arange(pages.keys.shape[3])
    distance = positions[:, None] - there[None, :]
    return (distance >= 0) & (distance < pages.window)


def _read(pages: Pages, number: Int[Array, ""]) -> tuple[Array, Array, Bool[Array, "kv_heads page"]]:
    """Return K/V as it enters arithmetic, here alone: what is not finite is zero and told apart.

    Zeros, because a weight of zero times NaN would carry a neighbour's missing value over.
    """
    page = pages.table.at[number].get(mode="fill", fill_value=-1)
    keys, values = (_page_of(cells, page) for cells in (pages.keys, pages.values))
    written = jnp.isfinite(keys).all(axis=1) & jnp.isfinite(values).all(axis=2)
    return jnp.where(written[:, None, :], keys, 0), jnp.where(written[:, :, None], values, 0), written


def _page_of(cells: Num[Array, "pages *shape"], page: Int[Array, ""]) -> Float[Array, "*shape"]:
    found = cells.at[page].get(mode="fill", fill_value=poison(cells.dtype), wrap_negative_indices=False)
    return upcast(found)
