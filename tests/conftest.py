"""Fixtures of every test: shapes are checked, and hypothesis has one profile here and one in CI."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
from hypothesis import HealthCheck, settings

import tests.shapes  # noqa: F401  the import hook looks its checker up by name

LONGEST = ("verification/test_verify", "engine/", "kernels/", "scenario/", "cli/")

# Tests of our own plugin run pytest on small projects.
pytest_plugins = ["pytester"]

# Packages whose arguments and results carry shapes.
SHAPE_CHECKED = ("causalsim.kernels", "causalsim.engine", "causalsim.foliations")

if early := sorted(name for name in SHAPE_CHECKED if name in sys.modules):
    raise RuntimeError(f"imported before their shapes could be checked: {', '.join(early)}")
jaxtyping.install_import_hook(list(SHAPE_CHECKED), "tests.shapes.checked")

# Collected for doctests like every module, but importing them takes the extra ``oracle``.
collect_ignore = ["golden/make.py", "benchmarks/transformers_sides.py", "testing/watched.py"]

# What somebody calibrated on this machine must not decide what is tested; nor in subprocesses.
os.environ["CAUSALSIM_BUCKETS"] = "certified"

settings.register_profile("causalsim", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("causalsim"), derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "causalsim"))


# Every executable takes some mappings of memory, of which Linux lets a process have 65,530.
MOST_MAPPINGS = 30_000


@pytest.fixture(autouse=True, scope="module")
def few_mappings() -> Iterator[None]:
    """Executables of earlier files are given up before there are too many."""
    yield
    maps = Path("/proc/self/maps")
    if "jax" in sys.modules and maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPPINGS:
        sys.modules["jax"].clear_caches()


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Shape checks off, as for a user: what is refused is then refused by causalsim itself."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long campaigns run when asked for, by ``-m slow`` or by name; what takes longest runs first."""
    asked = config.option.markexpr or any("::" in argument for argument in config.args)
    if not asked:
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
    # A file that one worker begins last would leave the other waiting for it.
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    return next((n for n, part in enumerate(LONGEST) if part in item.nodeid), len(LONGEST))
