"""All that bits are a property of, besides the model and the text."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

import jax

from causalsim.engine import executables, executor, joining, layout, placement, planning, program, state
from causalsim.engine.flags import numeric_flags
from causalsim.kernels import (
    CERTIFIED,
    Kernels,
    bundle,
    certified,
    elementwise,
    k_blocks,
    kinds,
    paged,
    precision,
    stock,
)

# In the order of preference: the widest vectors that a processor may say it has.
VECTORS = ("avx512f", "avx2", "asimd", "sse2")
# What decides the numbers: the kernels, and what reads and writes for them. Named by import, so that a file
# that is renamed cannot leave in silence.
SOURCES: tuple[ModuleType, ...] = (
    *(bundle, certified, elementwise, k_blocks, kinds, paged, precision, stock),
    *(executables, executor, joining, layout, placement, planning, program, state),
)
SHOWN = 12


def environment(kernels: Kernels = CERTIFIED, dtype: str = "float32") -> dict[str, str]:
    """Tell machine, versions, flags and sources; two results are compared in bits only where these agree.

    Args:
        kernels: The kernels that compute.
        dtype: What values are kept in.

    Returns:
        Facts by name.
    """
    options = ", ".join(f"{key}={value!r}" for key, value in kernels.compiler_options)
    return {
        **machine_facts(),
        # Both say how many threads a product runs on.
        "processors": str(_usable_processors()),
        "NPROC": os.environ.get("NPROC", ""),
        "dtype": dtype,
        **numeric_flags(),
        "kernels": kernels.name,
        "compiler options": options or "defaults",
        "batch sizes": ", ".join(map(str, kernels.buckets.sizes)) or "any",
        "calibration": kernels.calibration,
    }


@cache
def machine_facts() -> dict[str, str]:
    """Facts that stay the same as long as a process lives."""
    said = _said_by_processor()
    features = (said.get("flags") or said.get("Features") or "").split()
    return {
        "causalsim": f"{_version()}, sources {_digest(_sources())}",
        "jax": version("jax"),
        "jaxlib": version("jaxlib"),
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
        "processor": said.get("model name") or platform.processor() or "unknown",
        "vector instructions": next((name for name in VECTORS if name in features), "unknown"),
        "processor features": _digest(" ".join(sorted(features)).encode()) if features else "unknown",
    }


def _version() -> str:
    try:
        return version("causalsim")
    except PackageNotFoundError:  # Run from a folder that nobody installed.
        return "unknown"


def _said_by_processor() -> dict[str, str]:
    """The first processor's description of itself, where the system tells."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _sources() -> bytes:
    return b"".join(Path(str(module.__file__)).read_bytes() for module in SOURCES)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:SHOWN]


def _usable_processors() -> int:
    """Those that this process may run on: as many threads as XLA takes."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
