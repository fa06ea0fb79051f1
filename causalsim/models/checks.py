"""Checks of single fields of a configuration, each given back in Python's own types."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, SupportsFloat

import numpy as np

from causalsim.arguments import as_int
from causalsim.errors import InputError

# What parameters, cells and values can be kept in; arithmetic is float32 for all of them.
DTYPES = ("float32", "bfloat16")


def _refused(name: str, rule: str, value: object, expected: str, hint: str) -> InputError:
    return InputError(f"{name} {rule}", got=f"{name}={value!r}", expected=expected, hint=hint)


def check_divides(part: str, divisor: int, whole: str, number: int, hint: str) -> None:
    """``InputError`` unless one size divides another."""
    if number % divisor:
        raise InputError(
            f"{part} divides {whole}",
            got=f"{part}={divisor} and {whole}={number}",
            expected=f"{whole} a multiple of {part}",
            hint=hint,
        )


def positive_int(name: str, value: object) -> int:
    """A whole number of at least 1; ``InputError`` for anything else."""
    number = as_int(value)
    if number is None or number < 1:
        hint = f"Give {name} as a positive int."
        raise _refused(name, "is a size", value, "a whole number of at least 1", hint)
    return number


def positive_float(name: str, value: object) -> float:
    """A finite number above 0; ``InputError`` for anything else."""
    number = math.nan
    if isinstance(value, SupportsFloat) and not isinstance(value, bool | np.bool_ | np.ndarray):
        number = float(value)
    if not (math.isfinite(number) and number > 0):
        hint = f"Leave {name} out for Llama's default."
        raise _refused(name, "is a positive, finite number", value, "a float above 0", hint)
    return number


def switch(name: str, value: object) -> bool:
    """True or False; ``InputError`` for anything else, 0 and 1 included."""
    if not isinstance(value, bool | np.bool_):
        hint = f"Leave {name} out for False."
        raise _refused(name, "is a switch", value, "True or False", hint)
    return bool(value)


def one_of(name: str, value: object, known: tuple[str, ...]) -> str:
    """One of the known names; ``InputError`` lists them."""
    if value not in known:
        hint = f"Leave {name} out for {known[0]!r}."
        raise _refused(name, "is a known one", value, " or ".join(map(repr, known)), hint)
    return str(value)


def known_dtype(dtype: Any) -> str:
    """The name of a type that models are kept in, however it is given.

    Args:
        dtype: A name, or anything that NumPy takes for a type.

    Returns:
        ``"float32"`` or ``"bfloat16"``.

    Raises:
        InputError: It is another type, or none.
    """
    try:
        # A name stays one: NumPy knows bfloat16 only once ml_dtypes is imported.
        name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    except (TypeError, ValueError):
        name = ""
    if name not in DTYPES:
        raise InputError(
            "a model's numbers are of a known type",
            got=f"dtype={dtype!r}",
            expected=" or ".join(map(repr, DTYPES)),
            hint=f"Leave dtype out for {DTYPES[0]!r}.",
        )
    return name


def plain_factors(name: str, value: object, count: int) -> tuple[float, ...] | None:
    """So many positive numbers, or ``None``; ``InputError`` for anything else."""
    if value is None:
        return None
    listed = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | Mapping) else ()
    if len(listed) != count:
        hint = f"Leave {name} out for frequencies as they are."
        raise _refused(name, "are one a frequency", value, f"{count} numbers, or None", hint)
    return tuple(positive_float(name, number) for number in listed)
