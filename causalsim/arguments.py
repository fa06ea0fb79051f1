"""Checks of arguments: whole numbers of whatever integer type, and things of one class."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, cast

import numpy as np

from causalsim.errors import InputError, LimitError

SHOWN = 60


def as_int(value: object) -> int | None:
    """A whole number of any integer type as an int, ``None`` for anything else.

    Truth values are not numbers here.

    Args:
        value: Anything.

    Returns:
        The number, or ``None``.

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


def check_whole(name: str, value: object, low: int, hint: str | None = None) -> int:
    """A whole number of at least ``low`` as an int; anything else is refused.

    Args:
        name: The argument, in the words of the message.
        value: The argument that was given, of any integer type.
        low: The least that it may be.
        hint: What to do about an error.

    Returns:
        The number.

    Raises:
        InputError: It is no whole number, or less than ``low``.

    >>> check_whole("a count", np.int8(3), 0), check_whole("a count", 0, 0)
    (3, 0)
    >>> check_whole("a count", 1.5, 0)
    Traceback (most recent call last):
    causalsim.errors.InputError: a count is a whole number of at least 0: got 1.5.
    """
    number = as_int(value)
    if number is None or number < low:
        raise InputError(f"{name} is a whole number of at least {low}", got=shown(value), hint=hint)
    return number


def shown(value: object) -> str:
    """A value for a message, cut short.

    Args:
        value: Anything.

    Returns:
        At most ``SHOWN`` characters of its ``repr`` on one line.

    >>> shown("x" * 1000)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def check_type(name: str, value: object, kind: type | tuple[type, ...], hint: str | None = None) -> None:
    """Refuse a value of another class, in the words of every other error.

    Args:
        name: The argument, in the words of the message.
        value: The argument that was given.
        kind: The class, or the classes, of which it may be.
        hint: What to do about an error.

    Raises:
        InputError: It is of another class.

    >>> check_type("a length", "4", int)
    Traceback (most recent call last):
    causalsim.errors.InputError: a length must be of type int: got '4', which is of type str.
    """
    if not isinstance(value, kind):
        got = f"{shown(value)}, which is of type {type(value).__name__}"
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(each.__name__ for each in kinds)
        raise InputError(f"{name} must be of type {names}", got=got, hint=hint)


def check_limit(rule: str, reached: int, bound: int, **clauses: str) -> None:
    """Refuse an exact computation that would pass a bound.

    Args:
        rule: What is computed, and why that has a bound.
        reached: The size that it would reach.
        bound: The most that it may.
        **clauses: What was got, what was expected and the hint, where there is more to say.

    Raises:
        LimitError: It would pass the bound.

    >>> check_limit("orders are listed one by one", 3, 2)
    Traceback (most recent call last):
    causalsim.errors.LimitError: orders are listed one by one: got at least 3, expected at most 2.
    """
    if reached > bound:
        raise LimitError(rule, reached=reached, bound=bound, **clauses)


def nearest(word: object, known: Iterable[str]) -> str | None:
    """Ask if the known word nearest to a misspelt one was meant.

    Args:
        word: What was given.
        known: What there is.

    Returns:
        The question, or ``None`` if nothing is near.

    >>> nearest("velocty", ["size", "velocity"])
    "Did you mean 'velocity'?"
    """
    found = get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f"Did you mean {found[0]!r}?" if found else None
