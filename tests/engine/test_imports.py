"""Imports and their time: the graph's side of the package never pulls in JAX."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

LIGHT = (
    "causalsim",
    "errors",
    "posets",
    "events",
    "foliations",
    "models",
    "rendering",
    "testing",
    "testing.invariance",
    "testing.order_check",
    "testing.trace_check",
    "verification",
)


def _loaded(statement: str) -> set[str]:
    """Top-level modules in memory after a statement in a fresh interpreter."""
    code = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("name", LIGHT)
def test_no_jax(name):
    module = name if name == "causalsim" else f"causalsim.{name}"
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not there")
    assert not _loaded(f"import {module}") & {"jax", "jaxlib", "beartype"}


def test_plain_import_has_no_networkx_either():
    assert not _loaded("import causalsim as cs; cs.__version__; dir(cs)") & {
        "jax",
        "jaxlib",
        "networkx",
        "numpy",
    }


def test_graphs_and_foliations_are_used_without_jax():
    use = "import causalsim as cs; cs.random_foliation(cs.EventGraph(cs.Wiring(2), 3), 0).to_json()"
    assert not _loaded(use) & {"jax", "jaxlib", "networkx"}
    config = "cs.ModelConfig(n_layers=1, n_heads=1, d_model=8, d_ff=8, vocab_size=9, max_length=9)"
    price = f"cs.peak_during(cs.layer_major(cs.EventGraph({config}, 3)), {config}.footprint('bfloat16'))"
    assert not _loaded(f"import causalsim as cs; {price}") & {"jax", "jaxlib"}


def test_the_engine_does_import_it():
    assert "jax" in _loaded("import causalsim as cs; cs.run")


def test_names_that_there_are_not():
    import causalsim

    with pytest.raises(AttributeError, match="has no attribute 'walk'"):
        causalsim.walk  # noqa: B018
    assert set(causalsim.__all__) <= set(dir(causalsim))
