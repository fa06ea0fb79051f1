"""Functions of other array libraries, called with NumPy arrays and giving NumPy arrays back.

No library is imported that the caller did not name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import ml_dtypes
import numpy as np

from causalsim.errors import InputError, MissingPackageError
from causalsim.testing.bits import Arrays

LIBRARIES = ("numpy", "jax", "torch")

_BFLOAT16, _BITS = np.dtype(ml_dtypes.bfloat16), np.dtype(np.int16)


@dataclass(frozen=True)
class Adapted:
    """A function of arrays of one library, on copies of NumPy arrays; whole numbers go in as they are.

    Gives the array that the function returns, or those of a tuple, list or mapping, as a tuple.
    Raises ``InputError`` for what it raises, and for what is no array of real numbers.

    >>> Adapted(lambda x: (x + 1, x.sum()), "numpy")(np.array([1, 2]))
    (array([2, 3]), array(3))
    """

    function: Callable[..., Any]
    arrays: str = "numpy"

    def __call__(self, *given: np.ndarray | int) -> Arrays:
        convert = _CONVERTERS[self.arrays]
        arguments = [each if isinstance(each, int) else convert(each) for each in given]
        try:
            # What neighbours hold may overflow; that is no concern of the row that is looked at.
            with np.errstate(all="ignore"):
                returned = self.function(*arguments)
        except (Exception, SystemExit) as error:
            shapes = ", ".join(str(each if isinstance(each, int) else each.shape) for each in given)
            words = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(
                "a function takes rows of the shape that it is said to take",
                got=f"{words[:300]} (called with shapes {shapes})",
                hint="Check the shape, the dtype and the library of its arrays.",
            ) from error
        return tuple(as_numpy("results of a function", part) for part in parts_of_value(returned))


def check_library(name: str) -> str:
    """The name of a known array library, or ``InputError``."""
    if name not in LIBRARIES:
        raise InputError("arrays are of a known library", got=repr(name), expected=", ".join(LIBRARIES))
    return name


def parts_of_value(value: Any) -> tuple[Any, ...]:
    """The arrays of a value, one by one: of a tuple, list or mapping, or the only one."""
    if isinstance(value, Mapping):
        return tuple(value.values())
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def as_numpy(name: str, value: Any) -> np.ndarray:
    """Return a copy of an array of any library as NumPy's, bit for bit.

    ``name`` says what it is, in the plural.

    Raises:
        InputError: It holds no real numbers.
    """
    if hasattr(value, "detach"):
        value = _from_torch(value.detach().cpu())
    try:
        found = np.array(value)
    except (TypeError, ValueError, RuntimeError):
        found = np.array(None)
    if not _is_real(found.dtype):
        kind = type(value).__name__ if found.dtype.hasobject else f"numbers of type {found.dtype}"
        raise InputError(f"{name} are arrays of real numbers", got=kind)
    return found


def _is_real(dtype: np.dtype) -> bool:
    """Say if bits of this type are those of real numbers; a long double has some that nobody sets."""
    return not dtype.hasobject and dtype.kind not in "cSUMm" and dtype.type not in (np.void, np.longdouble)


def _from_torch(tensor: Any) -> np.ndarray:
    # NumPy has bfloat16 only from ml_dtypes, which torch does not know.
    if str(tensor.dtype) == "torch.bfloat16":
        return np.asarray(tensor.view(_library("torch").int16)).view(_BFLOAT16)
    return np.asarray(tensor)


def _to_torch(array: np.ndarray) -> Any:
    torch = _library("torch")
    if array.dtype == _BFLOAT16:
        return torch.from_numpy(array.view(_BITS).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())


def _to_jax(array: np.ndarray) -> Any:
    kept = np.dtype(_library("jax").dtypes.canonicalize_dtype(array.dtype))  # JAX narrows with a warning.
    found = _library("jax.numpy").array(array.astype(kept, copy=False))
    if found.dtype != array.dtype:
        raise InputError(
            "arrays keep their dtype on the way into a library",
            got=f"{found.dtype} of jax",
            expected=array.dtype,
            hint="Set JAX_ENABLE_X64=1, or take a narrower dtype.",
        )
    return found


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise MissingPackageError(
            f"arrays of {package} need the package {package}", got="no such package", hint="Install it."
        ) from None


_CONVERTERS: dict[str, Callable[[np.ndarray], Any]] = {"numpy": np.array, "jax": _to_jax, "torch": _to_torch}
