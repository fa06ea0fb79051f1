"""The type checker behind the shapes: beartype, with an int where a float is asked for, as in Python."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

_beartyped = beartype(conf=BeartypeConf(is_pep484_tower=True))
_dice = random.Random(0)


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that checks its arguments and result.

    Of a sequence beartype looks at one random entry. The dice are our own: hypothesis forbids
    strategies to touch the global ones, and foliations are built inside strategies.
    """
    guarded = _beartyped(function)
    defaults = getattr(guarded, "__kwdefaults__", None) or {}
    for name, value in defaults.items():
        if value == random.getrandbits:
            defaults[name] = _dice.getrandbits
    return guarded
