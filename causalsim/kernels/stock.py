"""The same on XLA's defaults, as one would write it at first: the negative control.

Plain products and a plain softmax over the whole buffer. How many rows stand together
changes its bits, at widths that real models have.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from causalsim.kernels.elementwise import capped
from causalsim.kernels.kinds import Arithmetic
from causalsim.kernels.paged import PAGE, Pages
from causalsim.kernels.precision import upcast


def attend(
    queries: Float[Array, "rows kv_heads group d_head"],
    positions: Int[Array, " rows"],
    pages: Pages,
    cap: float | None = None,
) -> Float[Array, "rows kv_heads group d_head"]:
    """Attention over the whole buffer at once, masked."""
    keys, values = (upcast(cells[pages.table]) for cells in (pages.keys, pages.values))
    there = (jnp.arange(len(pages.table)) * PAGE)[:, None] + jnp.arange(keys.shape[3])
    distance = positions[:, None, None] - there
    sees = (distance >= 0) & (distance < pages.window)
    scores = capped(jnp.einsum("lhgd,nhdp->lhgnp", queries, keys), cap)
    scores = jnp.where(sees[:, None, None], scores, -jnp.inf)
    shares = jax.nn.softmax(scores, axis=(-2, -1))
    seen = sees.any(axis=0)[:, None, :, None]
    return jnp.einsum("lhgnp,nhpd->lhgd", shares, jnp.where(seen, values, 0))


def product(x: Float[Array, "rows in"], w: Float[Array, "in out"], out: int) -> Float[Array, "rows out"]:
    """``x @ w``."""
    return x @ w


def product_into(
    cells: Num[Array, "tokens out"],
    targets: Int[Array, " rows"],
    x: Float[Array, "rows in"],
    w: Float[Array, "in out"],
    finish: Callable[[Array], Array],
) -> Num[Array, "tokens out"]:
    """``cells`` with ``finish(x @ w)`` in some of the cells."""
    return cells.at[targets].set(finish(x @ w), mode="drop", wrap_negative_indices=False)


PLAIN = Arithmetic(pack=jnp.asarray, product=product, product_into=product_into, attend=attend)
