"""Runs of every family against transformers, layer by layer; no torch here.

Oracle: the values in ``tests/golden``, which ``python -m tests.golden.make`` has made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import causalsim as cs
from causalsim.kernels import CERTIFIED, STOCK, Kernels

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = sorted(path.parent.name for path in GOLDEN.glob("*/config.json"))
BOUND = 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_that_of_transformers(name: str) -> None:
    _assert_close(name, CERTIFIED)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "gemma2_grouped", "qwen3_grouped"])
def test_stock_kernels_compute_the_same_families(name: str) -> None:
    _assert_close(name, STOCK)


def _assert_close(name: str, kernels: Kernels) -> None:
    expected = load_file(GOLDEN / name / "expected.safetensors")
    run = cs.run(cs.load(GOLDEN / name), expected.pop("ids").tolist(), record=True, kernels=kernels)
    assert expected
    for value, theirs in expected.items():
        error = np.abs(_value(run, value) - theirs).max() / max(1.0, np.abs(theirs).max())
        assert error <= BOUND, f"{value}: {error}"


def _value(run: cs.Run, name: str) -> Any:
    if run.model.config.parallel_residual and "hook_resid" in name:
        layer = int(name.split(".")[1])
        return _parallel_residual(run, layer - 1 if name.endswith("pre") else layer)
    return run.values[name]


def _parallel_residual(run: cs.Run, layer: int) -> Any:
    """Attention and MLP of a layer add to the same input, each in an event of its own."""
    if layer < 0:
        return run.values["hook_embed"]
    positions = range(len(run.tokens))
    attended = np.stack([run.values[cs.Event("attn", layer, position)] for position in positions])
    return attended + run.values[f"blocks.{layer}.hook_mlp_out"]


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "gemma2_grouped"])
def test_families_are_order_independent(name: str) -> None:
    model = cs.load(GOLDEN / name)
    ids = load_file(GOLDEN / name / "expected.safetensors")["ids"].tolist()
    graph = cs.EventGraph(model.config, len(ids))
    runs = [cs.run(model, ids, order(graph)) for order in (cs.layer_major, cs.token_major, cs.wavefront)]
    assert len({run.digest for run in runs}) == 1
