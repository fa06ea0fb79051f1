"""Flags of JAX and XLA: those that change numbers are named, known bad ones refused, debug flags kept out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

import jax

from causalsim.errors import InputError

# Flags of JAX that can change numbers, or how they are compiled.
NUMERIC = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_optimization_level",
    "jax_exec_time_optimization_effort",
    "jax_memory_fitting_effort",
    "jax_numpy_dtype_promotion",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
)
# Under these an event may have several bits: kernels are not compiled as they were measured.
_BAD_IN_JAX = {"jax_disable_jit": False, "jax_disable_most_optimizations": False}
_BAD_IN_XLA = {
    "--xla_cpu_enable_fast_math": {"", "1", "true"},
    "--xla_backend_optimization_level": {"0"},
    # These have no fused multiply-add: rows of different batches then differ.
    "--xla_cpu_max_isa": {"sse4_2", "avx"},
}


def numeric_flags() -> dict[str, str]:
    """Flags that can change numbers, by name."""
    own = {name: str(_value(name)) for name in NUMERIC}
    return {"XLA_FLAGS": " ".join(_xla_words(os.environ.get("XLA_FLAGS", ""))), **own}


@lru_cache
def _xla_words(given: str) -> tuple[str, ...]:
    """The flags in XLA_FLAGS; a value that begins with no dash is the name of a file with them."""
    # XLA, too, reads the file once.
    if given.strip() and not given.strip().startswith("-"):
        with suppress(OSError, UnicodeDecodeError):
            return tuple(Path(given).read_text(encoding="utf-8").split())
    return tuple(given.split())


def _value(name: str) -> object:
    """The value in this thread, where a flag has one for each; else the only one."""
    return getattr(jax.config, name) if hasattr(jax.config, name) else jax.config.values.get(name)


def check_flags() -> None:
    """Refuse flags under which bits depend on the order.

    Raises:
        InputError: One of them is set; it is named.
    """
    for name, expected in _BAD_IN_JAX.items():
        if (got := _value(name)) != expected:
            _refuse(f"{name}={got}", f"{name}={expected}")
    # Of a flag that is given twice, the last counts.
    last = {word.partition("=")[0]: word for word in _xla_words(os.environ.get("XLA_FLAGS", ""))}
    for name, word in last.items():
        # XLA takes quotes off.
        if word.partition("=")[2].strip("'\"").lower() in _BAD_IN_XLA.get(name, ()):
            _refuse(f"{word} in XLA_FLAGS", f"no {name}")


def _refuse(got: str, expected: str) -> NoReturn:
    raise InputError(
        "bits are compared only under flags that keep them the same in every order",
        got=got,
        expected=expected,
        hint="Unset it and start again.",
    )


@contextmanager
def debugging_off() -> Iterator[None]:
    """JAX's checks of numbers and ranks off: memory that is not written is NaN on purpose."""
    with ExitStack() as stack:
        stack.enter_context(jax.debug_nans(False))
        stack.enter_context(jax.debug_infs(False))
        stack.enter_context(jax.numpy_rank_promotion("allow"))
        stack.enter_context(jax.numpy_dtype_promotion("standard"))
        yield
