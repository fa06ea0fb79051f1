"""Flags of JAX and XLA: those that change numbers are named, known bad ones refused, debug flags kept out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
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
    # Without fused multiply and add.
    "--xla_cpu_max_isa": {"sse4_2", "avx"},
}


def numeric_flags() -> dict[str, str]:
    """Flags that can change numbers, by name."""
    own = {name: str(_value(name)) for name in NUMERIC}
    return {"XLA_FLAGS": " ".join(_xla_words()), **own}


def _xla_words() -> list[str]:
    """The flags of XLA_FLAGS, which XLA reads from a file where it begins with no dash."""
    given = os.environ.get("XLA_FLAGS", "").strip()
    if given and not given.startswith("-"):
        with suppress(OSError, UnicodeDecodeError):
            return Path(given).read_text(encoding="utf-8").split()
    return given.split()


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
    last = {word.partition("=")[0]: word for word in _xla_words()}
    for name, word in last.items():
        if word.partition("=")[2].lower() in _BAD_IN_XLA.get(name, ()):
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
