"""Whole numbers of whatever integer type."""

from __future__ import annotations

import operator
from typing import Any, cast

import numpy as np


def as_int(value: object) -> int | None:
    """A whole number of any integer type as an int, ``None`` for anything else.

    Truth values are not numbers here.

    >>> as_int(np.int32(3)), as_int(3.0), as_int(True)
    (3, None, None)
    """
    if type(value) is int:
        return value
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return operator.index(cast("Any", value))
    except TypeError:
        return None
