"""Products whose rows do not depend on how many rows there are.

Batch invariance asks that a row of ``x @ w`` has the same bits alone as among hundreds. XLA's
loops for a single row and for a block of rows agree as long as a contraction is short, so
long ones are cut into K-blocks of fixed size whose products are added in fixed order. K-blocks
are a function of the contraction's length alone. The loops also part ways over the columns
that are left when their number is no multiple of the vector's length (the last token of a
vocabulary of 50,257), so columns are padded.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from causalsim.kernels.precision import to_storage, upcast

# Eigen may split a contraction among an even number of threads where each gets more than 32 terms. Of 128
# terms four threads get 32 each, so it does not; two threads were never seen to split one.
LONGEST_K_BLOCK = 128
COLUMNS = 16
# Above so many columns a matrix is cut into blocks of columns; from so many rows on, they go one by one.
WIDEST, BLOCK, MANY_ROWS = 8192, 2048, 32
# What is upcast before it is multiplied goes one after another too, so many numbers of it at a time:
# they stay in a core's cache, and the matrix never lies in memory in float32.
UPCAST = 2**19


def k_block_shape(length: int) -> tuple[int, int]:
    """Return the number and the size of the K-blocks of a contraction; together they may be longer than it.

    At least two: a batch of one would become a plain product, which sums a lone row differently.

    >>> k_block_shape(768), k_block_shape(341), k_block_shape(64), k_block_shape(1)
    ((6, 128), (3, 114), (2, 32), (2, 1))
    """
    for size in range(min(LONGEST_K_BLOCK, length // 2), LONGEST_K_BLOCK // 2, -1):
        if length % size == 0:
            return length // size, size
    number = max(2, -(-length // LONGEST_K_BLOCK))
    return number, -(-length // number)


def block_width(length: int, columns: int, is_upcast: bool) -> int:
    """Return how many columns a block has of a matrix with so many rows, padding included.

    >>> block_width(768, 100, False), block_width(768, 50257, False), block_width(768, 3072, True)
    (112, 2048, 624)
    """
    if is_upcast:
        columns = -(-columns // -(-length * columns // UPCAST))
    elif columns > WIDEST:
        return BLOCK
    return columns + -columns % COLUMNS


def k_blocked(w: np.ndarray) -> Num[Array, "*blocks k_blocks size columns"]:
    """Return a weight matrix cut into K-blocks, the last padded with zeros, as are the columns.

    A matrix of very many columns, such as that of a vocabulary, is also cut into blocks of them,
    and so is one that is upcast, into smaller ones.
    """
    length, columns = w.shape
    number, size = k_block_shape(length)
    width = block_width(length, columns, w.dtype != np.float32)
    padded = np.pad(to_storage(w), ((0, number * size - length), (0, -columns % width)))
    blocks = padded.reshape(number, size, -1, width).transpose(2, 0, 1, 3)
    return jnp.asarray(np.ascontiguousarray(blocks if len(blocks) > 1 else blocks[0]))


def linear(
    x: Float[Array, "rows in"], w: Num[Array, "*blocks k_blocks size columns"], out: int
) -> Float[Array, "rows {out}"]:
    """``x @ w`` for a k_blocked ``w`` that has ``out`` columns without its padding."""
    k_blocks = _split(x, w)
    if w.ndim == 3:
        return _added(_product(k_blocks, w), axis=0)[:, :out]
    if _fits_at_once(x, w):
        return _all_blocks(k_blocks, w)[:, :out]

    def beside(cells: Array, column: Array | int, product: Array) -> Array:
        return jax.lax.dynamic_update_slice(cells, product, (0, column))

    return _block_by_block(jnp.zeros((len(x), out), x.dtype), k_blocks, w, beside)


def linear_into(
    cells: Num[Array, "tokens out"],
    targets: Int[Array, " rows"],
    x: Float[Array, "rows in"],
    w: Num[Array, "*blocks k_blocks size columns"],
    finish: Callable[[Array], Array],
) -> Num[Array, "tokens out"]:
    """Return ``cells`` with ``finish(x @ w)`` in some of them, ``finish`` going number by number.

    Many rows of very many columns are written block by block: neither the products of all K-blocks
    nor a second copy of the result lie in memory then, which would take longer to write than to make.
    """
    if w.ndim == 3 or _fits_at_once(x, w):
        return _put(cells, targets, 0, finish(linear(x, w, cells.shape[1])))

    def into_rows(cells: Array, column: Array | int, product: Array) -> Array:
        return _put(cells, targets, column, finish(product))

    return _block_by_block(cells, _split(x, w), w, into_rows)


def _fits_at_once(x: Array, w: Array) -> bool:
    return len(x) < MANY_ROWS and w.dtype == x.dtype


def _split(
    x: Float[Array, "rows in"], w: Num[Array, "*blocks k_blocks size columns"]
) -> Float[Array, "k_blocks rows size"]:
    number, size = w.shape[-3:-1]
    padded = jnp.pad(x, ((0, 0), (0, number * size - x.shape[1])))
    return padded.reshape(x.shape[0], number, size).swapaxes(0, 1)


def _all_blocks(
    x: Float[Array, "k_blocks rows size"], w: Num[Array, "blocks k_blocks size columns"]
) -> Array:
    blocks, number, size, columns = w.shape
    each = jnp.broadcast_to(x, (blocks, *x.shape)).reshape(blocks * number, -1, size)
    products = _product(each, w.reshape(blocks * number, size, columns)).reshape(blocks, number, -1, columns)
    return _added(products, axis=1).swapaxes(0, 1).reshape(x.shape[1], -1)


def _block_by_block(
    cells: Num[Array, "tokens out"],
    x: Float[Array, "k_blocks rows size"],
    w: Num[Array, "blocks k_blocks size columns"],
    put: Callable[[Array, Array | int, Array], Array],
) -> Num[Array, "tokens out"]:
    """Put the product's columns into cells, one block after another, the last without its padding."""
    columns = w.shape[3]
    whole, rest = divmod(cells.shape[1], columns)

    def body(block: Array, cells: Array) -> Array:
        return put(cells, block * columns, _added(_product(x, w[block]), axis=0))

    cells = jax.lax.fori_loop(0, whole, body, cells)
    if not rest:
        return cells
    return put(cells, whole * columns, _added(_product(x, w[whole]), axis=0)[:, :rest])


def _put(cells: Array, targets: Array, column: Array | int, value: Array) -> Array:
    """Rows of values, from some column on; a row that is not there is dropped."""
    starts = jnp.stack([targets, jnp.full_like(targets, column)], axis=1)
    axes = jax.lax.ScatterDimensionNumbers(
        update_window_dims=(1,), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0, 1)
    )
    return jax.lax.scatter(cells, starts, value, axes, mode=jax.lax.GatherScatterMode.FILL_OR_DROP)


def contract(
    a: Float[Array, "batch rows inner"], b: Float[Array, "batch inner columns"]
) -> Float[Array, "batch rows columns"]:
    """A batch of products over an inner dimension that is cut into K-blocks on the fly where it must be."""
    (batch, rows, inner), columns = a.shape, b.shape[2]
    # One K-block where its loops agree: in a batch, of whole vectors (6 terms of 3 heads were seen not to).
    is_whole = batch > 1 and inner <= LONGEST_K_BLOCK and inner % COLUMNS == 0
    number, size = (1, inner) if is_whole else k_block_shape(inner)
    spare, wide = number * size - inner, columns + -columns % COLUMNS
    left = jnp.pad(a, ((0, 0), (0, 0), (0, spare))).reshape(batch, rows, number, size).swapaxes(1, 2)
    right = jnp.pad(b, ((0, 0), (0, spare), (0, wide - columns))).reshape(batch, number, size, wide)
    flat = _product(left.reshape(-1, rows, size), right.reshape(-1, size, wide))
    return _added(flat.reshape(batch, number, rows, wide), axis=1)[:, :, :columns]


def _product(x: Float[Array, "k_blocks rows size"], w: Num[Array, "k_blocks size out"]) -> Array:
    axes = (((2,), (1,)), ((0,), (0,)))
    # Whole numbers where a backend would round them first; a CPU never does.
    product = jax.lax.dot_general(x, upcast(w), axes, precision=jax.lax.Precision.HIGHEST)
    # Without it XLA may fuse the additions into the product of a lone row.
    return jax.lax.optimization_barrier(product)


def _added(products: Array, axis: int) -> Array:
    total, *rest = (
        jax.lax.index_in_dim(products, i, axis, keepdims=False) for i in range(products.shape[axis])
    )
    for product in rest:
        total = total + product
    return total
