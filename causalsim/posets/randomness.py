"""Exact random integers from a generator."""

from __future__ import annotations

import numpy as np

from causalsim.arguments import as_int, check_type, shown
from causalsim.errors import InputError


def checked_generator(rng: object) -> np.random.Generator:
    """Return a NumPy generator, or raise ``InputError`` for anything else.

    >>> checked_generator(None)
    Traceback (most recent call last):
    causalsim.errors.InputError: a generator must be of type Generator: got None, which is of type \
NoneType. np.random.default_rng(0) makes one.
    """
    check_type("a generator", rng, np.random.Generator, "np.random.default_rng(0) makes one.")
    assert isinstance(rng, np.random.Generator)
    return rng


def draw_below(bound: int, rng: np.random.Generator) -> int:
    """Return an integer in ``range(bound)``, each equally likely, however large the bound is.

    >>> draw_below(1, np.random.default_rng(0))
    0
    """
    rng = checked_generator(rng)
    # Rejection keeps the draw exact: reducing modulo the bound would favour small ranks.
    bits = (bound - 1).bit_length()
    size = (bits + 7) // 8
    while True:
        draw = int.from_bytes(rng.bytes(size), "little") >> 8 * size - bits
        if draw < bound:
            return draw


def checked_rank(of: str, rank: object, count: int) -> int:
    """Return a rank in ``range(count)`` as an int.

    Raises:
        InputError: It is anything else.

    >>> checked_rank("a down-set", np.int64(2), 3)
    2
    """
    number = as_int(rank)
    if number is None or not 0 <= number < count:
        raise InputError(f"a rank numbers {of}", got=shown(rank), expected=f"0 to {count - 1}")
    return number
