"""Digests: two results are the same if and only if their bits are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np


def digest_of(arrays: Iterable[np.ndarray]) -> str:
    """Return the sha256 over shape, dtype and little-endian C-order bytes of each array.

    >>> digest_of([np.zeros(2, np.float32)]) == digest_of([-np.zeros(2, np.float32)])
    False
    """
    digest = hashlib.sha256()
    for array in arrays:
        plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{array.shape} {plain.dtype.str} ".encode())
        digest.update(plain.tobytes())
    return digest.hexdigest()
