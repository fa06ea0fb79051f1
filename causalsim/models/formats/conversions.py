"""Conversions of a file's tensors into ours: from transposed, fused, less one, or in rotary pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shape = tuple[int, ...]


class Conversion(NamedTuple):
    """The shape in the file of a tensor of ours, and what makes ours of the file's.

    ``take`` gets the file's tensor and the size of a head.
    """

    shape: Callable[[Shape], Shape]
    take: Callable[[NDArray[np.float32], int], NDArray[np.float32]]


def _same_shape(shape: Shape) -> Shape:
    return shape


def _reversed(shape: Shape) -> Shape:
    return shape[::-1]


AS_IS = Conversion(_same_shape, lambda tensor, d_head: tensor)
# torch.nn.Linear multiplies by the transpose of what it keeps.
TRANSPOSED = Conversion(_reversed, lambda tensor, d_head: tensor.T)
# Gemma's norms keep what is added to one.
LESS_ONE = Conversion(_same_shape, lambda tensor, d_head: np.float32(1) + tensor)


def third(index: int) -> Conversion:
    """One of three matrices (in, out), or of their biases, side by side as in GPT-2.

    Args:
        index: Which of the three, 0 to 2.

    Returns:
        The conversion.

    >>> third(1).shape((2, 4)), third(1).take(np.arange(6.0), 1)
    ((2, 12), array([2., 3.]))
    """

    def take(tensor: NDArray[np.float32], d_head: int) -> NDArray[np.float32]:
        return np.split(tensor, 3, axis=-1)[index]

    return Conversion(lambda shape: (*shape[:-1], 3 * shape[-1]), take)


def third_of_each_head(index: int) -> Conversion:
    """One of three matrices (out, in), or of their biases, that take turns head by head as in GPT-NeoX.

    Args:
        index: Which of the three, 0 to 2.

    Returns:
        The conversion.

    >>> third_of_each_head(1).shape((2, 4)), third_of_each_head(1).take(np.arange(12.0), 2)
    ((12, 2), array([2., 3., 8., 9.]))
    """

    def take(tensor: NDArray[np.float32], d_head: int) -> NDArray[np.float32]:
        heads = tensor.reshape(-1, 3, d_head, *tensor.shape[1:])
        return heads[:, index].reshape(-1, *tensor.shape[1:]).T

    return Conversion(lambda shape: (3 * shape[-1], *shape[:-1]), take)


def halves_from_pairs(tensor: NDArray[Any], d_head: int, d_rotary: int) -> NDArray[Any]:
    """Reorder the rows of each head from rotary pairs (2i, 2i + 1) to pairs (i, i + d_rotary / 2).

    Scores keep their value, queries and keys being permuted alike.

    Args:
        tensor: A matrix (heads * d_head, in), or its bias.
        d_head: Rows of a head.
        d_rotary: Rows of a head that are turned, the first ones.

    Returns:
        The same rows in another order.

    >>> halves_from_pairs(np.array([0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]), d_head=6, d_rotary=4)
    array([ 0,  2,  1,  3,  4,  5, 10, 12, 11, 13, 14, 15])
    """
    order = np.concatenate([np.arange(d_rotary).reshape(-1, 2).T.ravel(), np.arange(d_rotary, d_head)])
    heads = tensor.reshape(-1, d_head, *tensor.shape[1:])
    return heads[:, order].reshape(tensor.shape)
