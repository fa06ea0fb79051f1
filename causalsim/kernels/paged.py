"""K/V in pages, and attention that reads them page by page.

A page holds a fixed number of positions of one request at one layer. Attention goes over
the pages that its lanes can see, in rising order, with a running softmax; a page that a
lane cannot see leaves its running sums exactly as they were. So a lane's bits depend
neither on how long the text is, nor on the buffer, nor on what its neighbours can see.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from causalsim.kernels.elementwise import capped
from causalsim.kernels.panels import contract
from causalsim.kernels.precision import poison, widened

PAGE = 128
TILE = 128


class Pages(NamedTuple):
    """K/V of one layer, and which pages of it hold the request at hand.

    ``table[i]`` is the page of positions ``i * PAGE`` and up; one table a lane where the lanes
    are of different requests. A text's only page may be narrower. ``window`` is the number of
    positions that an attention sees, its own counted. Keys and values are as they lie in memory:
    ``widened`` gives the numbers.
    """

    keys: Num[Array, "pages kv_heads d_head page"]
    values: Num[Array, "pages kv_heads page d_head"]
    table: Int[Array, "*lanes entries"]
    window: Int[Array, ""]


class _Running(NamedTuple):
    greatest: Float[Array, "kv_heads rows"]
    weight: Float[Array, "kv_heads rows"]
    mixed: Float[Array, "kv_heads rows d_head"]
    tainted: Bool[Array, "kv_heads rows"]


def attend(
    queries: Float[Array, "lanes kv_heads group d_head"],
    positions: Int[Array, " lanes"],
    pages: Pages,
    cap: float | None = None,
) -> Float[Array, "lanes kv_heads group d_head"]:
    """Softmax attention of every lane over the positions that it sees; queries come scaled.

    Many lanes go in tiles, each of which leaves out the pages that none of its lanes can see.
    A lane that sees a position whose K/V is not finite (not written yet) comes out NaN.
    """
    if len(queries) <= TILE or len(queries) % TILE:
        return _attend_tile(queries, positions, pages, cap)
    tiles = queries.reshape(-1, TILE, *queries.shape[1:]), positions.reshape(-1, TILE)
    return jax.lax.map(lambda tile: _attend_tile(tile[0], tile[1], pages, cap), tiles).reshape(queries.shape)


def _attend_tile(
    queries: Float[Array, "lanes kv_heads group d_head"],
    positions: Int[Array, " lanes"],
    pages: Pages,
    cap: float | None,
) -> Float[Array, "lanes kv_heads group d_head"]:
    lanes, kv_heads, group, d_head = queries.shape
    rows = queries.transpose(1, 0, 2, 3).reshape(kv_heads, lanes * group, d_head)
    row_positions = jnp.repeat(positions, group)
    first = jnp.maximum(positions.min() - pages.window + 1, 0) // PAGE
    last = positions.max() // PAGE
    start = _Running(
        jnp.full(rows.shape[:2], -jnp.inf, rows.dtype),
        jnp.zeros(rows.shape[:2], rows.dtype),
        jnp.zeros_like(rows),
        jnp.zeros(rows.shape[:2], bool),
    )
    done = jax.lax.fori_loop(
        first, last + 1, lambda i, so_far: _page(rows, row_positions, pages, cap, i, so_far), start
    )
    mixed = jnp.where(done.tainted[..., None], jnp.nan, done.mixed / done.weight[..., None])
    return mixed.reshape(kv_heads, lanes, group, d_head).transpose(1, 0, 2, 3)


def _page(
    rows: Float[Array, "kv_heads rows d_head"],
    positions: Int[Array, " rows"],
    pages: Pages,
    cap: float | None,
    number: Int[Array, ""],
    so_far: _Running,
) -> _Running:
    sees = _visible(positions, number, pages)
    keys, values, written = _read(pages, number)
    scores = jnp.where(sees, capped(contract(rows, keys), cap), -jnp.inf)
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
    positions: Int[Array, " rows"], number: Int[Array, ""], pages: Pages
) -> Bool[Array, "rows page"]:
    there = number * PAGE + jnp.arange(pages.keys.shape[3])
    distance = positions[:, None] - there[None, :]
    return (distance >= 0) & (distance < pages.window)


def _read(pages: Pages, number: Int[Array, ""]) -> tuple[Array, Array, Bool[Array, "kv_heads page"]]:
    """The one place where K/V enters arithmetic: what is not finite is zero there and told apart.

    Zeros, because a weight of zero times NaN would carry a neighbour's missing value over.
    """
    page = pages.table.at[number].get(mode="fill", fill_value=-1)
    keys, values = (_page_of(cells, page) for cells in (pages.keys, pages.values))
    written = jnp.isfinite(keys).all(axis=1) & jnp.isfinite(values).all(axis=2)
    return jnp.where(written[:, None, :], keys, 0), jnp.where(written[:, :, None], values, 0), written


def _page_of(cells: Num[Array, "pages *shape"], page: Int[Array, ""]) -> Float[Array, "*shape"]:
    found = cells.at[page].get(mode="fill", fill_value=poison(cells.dtype), wrap_negative_indices=False)
    return widened(found)
