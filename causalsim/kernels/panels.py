"""Products whose rows do not depend on how many rows there are.

The lane rule asks that a row of ``x @ w`` has the same bits alone as among hundreds. XLA's
loops for a single row and for a block of rows agree as long as a contraction is short, so
long ones are cut into panels of fixed size whose products are added in fixed order. Panels
are a function of the contraction's length alone. The loops also part ways over the columns
that are left when their number is no multiple of the vector's length (the last token of a
vocabulary of 50,257), so columns are padded. See "What decides bits" in the README.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from causalsim.kernels.precision import to_memory, widened

LONGEST_PANEL = 192
COLUMNS = 16
# Above so many columns a matrix is cut into blocks of columns; from so many rows on, they go one by one.
WIDEST, BLOCK, MANY_ROWS = 8192, 2048, 64
# What is widened before it is multiplied goes one after another too, so many numbers of it at a time:
# they stay in a core's cache, and the matrix never lies in memory in float32.
WIDENED = 2**19


def panel_shape(length: int) -> tuple[int, int]:
    """Number and size of the panels of a contraction; together they may be longer than it.

    At least two: a batch of one would become a plain product, which sums a lone row differently.

    >>> panel_shape(768), panel_shape(341), panel_shape(64), panel_shape(1)
    ((4, 192), (2, 171), (2, 32), (2, 1))
    """
    for size in range(min(LONGEST_PANEL, length // 2), LONGEST_PANEL // 2, -1):
        if length % size == 0:
            return length // size, size
    number = max(2, -(-length // LONGEST_PANEL))
    return number, -(-length // number)


def block_width(length: int, columns: int, is_widened: bool) -> int:
    """Columns of a block of a matrix with so many rows, padding included.

    >>> block_width(768, 100, False), block_width(768, 50257, False), block_width(768, 3072, True)
    (112, 2048, 624)
    """
    if is_widened:
        columns = -(-columns // -(-length * columns // WIDENED))
    elif columns > WIDEST:
        return BLOCK
    return columns + -columns % COLUMNS


def panelled(w: np.ndarray) -> Num[Array, "*blocks panels size columns"]:
    """A weight matrix cut into panels, the last padded with zeros, as are the columns.

    A matrix of very many columns, such as that of a vocabulary, is also cut into blocks of them,
    and so is one that is widened, into smaller ones.
    """
    length, columns = w.shape
    number, size = panel_shape(length)
    width = block_width(length, columns, w.dtype != np.float32)
    padded = np.pad(to_memory(w), ((0, number * size - length), (0, -columns % width)))
    blocks = padded.reshape(number, size, -1, width).transpose(2, 0, 1, 3)
    return jnp.asarray(np.ascontiguousarray(blocks if len(blocks) > 1 else blocks[0]))


def linear(
    x: Float[Array, "lanes in"], w: Num[Array, "*blocks panels size columns"], out: int
) -> Float[Array, "lanes {out}"]:
    """``x @ w`` for a panelled ``w`` that has ``out`` columns without its padding."""
    panels = _split(x, w)
    if w.ndim == 3:
        return _added(_product(panels, w), axis=0)[:, :out]
    if _fits_at_once(x, w):
        return _all_blocks(panels, w)[:, :out]

    def beside(cells: Array, column: Array | int, product: Array) -> Array:
        return jax.lax.dynamic_update_slice(cells, product, (0, column))

    return _block_by_block(jnp.zeros((len(x), out), x.dtype), panels, w, beside)


def linear_into(
    cells: Num[Array, "rows out"],
    rows: Int[Array, " lanes"],
    x: Float[Array, "lanes in"],
    w: Num[Array, "*blocks panels size columns"],
    finish: Callable[[Array], Array],
) -> Num[Array, "rows out"]:
    """``cells`` with ``finish(x @ w)`` in some of its rows, ``finish`` going number by number.

    Many rows of very many columns are written block by block: neither the products of all panels
    nor a second copy of the result lie in memory then, which would take longer to write than to make.
    """
    if w.ndim == 3 or _fits_at_once(x, w):
        return _put(cells, rows, 0, finish(linear(x, w, cells.shape[1])))

    def into_rows(cells: Array, column: Array | int, product: Array) -> Array:
        return _put(cells, rows, column, finish(product))

    return _block_by_block(cells, _split(x, w), w, into_rows)


def _fits_at_once(x: Array, w: Array) -> bool:
    return len(x) < MANY_ROWS and w.dtype == x.dtype


def _split(
    x: Float[Array, "lanes in"], w: Num[Array, "*blocks panels size columns"]
) -> Float[Array, "panels lanes size"]:
    number, size = w.shape[-3:-1]
    padded = jnp.pad(x, ((0, 0), (0, number * size - x.shape[1])))
    return padded.reshape(x.shape[0], number, size).swapaxes(0, 1)


def _all_blocks(x: Float[Array, "panels rows size"], w: Num[Array, "blocks panels size columns"]) -> Array:
    blocks, number, size, columns = w.shape
    each = jnp.broadcast_to(x, (blocks, *x.shape)).reshape(blocks * number, -1, size)
    products = _product(each, w.reshape(blocks * number, size, columns)).reshape(blocks, number, -1, columns)
    return _added(products, axis=1).swapaxes(0, 1).reshape(x.shape[1], -1)


def _block_by_block(
    cells: Num[Array, "rows out"],
    x: Float[Array, "panels lanes size"],
    w: Num[Array, "blocks panels size columns"],
    put: Callable[[Array, Array | int, Array], Array],
) -> Num[Array, "rows out"]:
    """Put the product's columns into cells, one block after another, the last without its padding."""
    columns = w.shape[3]
    whole, rest = divmod(cells.shape[1], columns)

    def body(block: Array, cells: Array) -> Array:
        return put(cells, block * columns, _added(_product(x, w[block]), axis=0))

    cells = jax.lax.fori_loop(0, whole, body, cells)
    if not rest:
        return cells
    return put(cells, whole * columns, _added(_product(x, w[whole]), axis=0)[:, :rest])


def _put(cells: Array, rows: Array, column: Array | int, value: Array) -> Array:
    """Rows of values, from some column on; a row that is not there is dropped."""
    starts = jnp.stack([rows, jnp.full_like(rows, column)], axis=1)
    axes = jax.lax.ScatterDimensionNumbers(
        update_window_dims=(1,), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0, 1)
    )
    return jax.lax.scatter(cells, starts, value, axes, mode=jax.lax.GatherScatterMode.FILL_OR_DROP)


def contract(
    a: Float[Array, "batch rows inner"], b: Float[Array, "batch inner columns"]
) -> Float[Array, "batch rows columns"]:
    """A batch of products over an inner dimension that is cut into panels on the fly where it must be."""
    (batch, rows, inner), columns = a.shape, b.shape[2]
    # One panel where its loops agree: in a batch, of whole vectors (6 terms of 3 heads were seen not to).
    is_whole = batch > 1 and inner <= LONGEST_PANEL and inner % COLUMNS == 0
    number, size = (1, inner) if is_whole else panel_shape(inner)
    spare, wide = number * size - inner, columns + -columns % COLUMNS
    left = jnp.pad(a, ((0, 0), (0, 0), (0, spare))).reshape(batch, rows, number, size).swapaxes(1, 2)
    right = jnp.pad(b, ((0, 0), (0, spare), (0, wide - columns))).reshape(batch, number, size, wide)
    flat = _product(left.reshape(-1, rows, size), right.reshape(-1, size, wide))
    return _added(flat.reshape(batch, number, rows, wide), axis=1)[:, :, :columns]


def _product(x: Float[Array, "panels rows size"], w: Num[Array, "panels size out"]) -> Array:
    axes = (((2,), (1,)), ((0,), (0,)))
    # Whole numbers where a backend would round them first; a CPU never does.
    product = jax.lax.dot_general(x, widened(w), axes, precision=jax.lax.Precision.HIGHEST)
    # Without it XLA may fuse the additions into the product of a lone row.
    return jax.lax.optimization_barrier(product)


def _added(products: Array, axis: int) -> Array:
    total, *rest = (
        jax.lax.index_in_dim(products, i, axis, keepdims=False) for i in range(products.shape[axis])
    )
    for product in rest:
        total = total + product
    return total
