"""Models whose layers are alike share their executables, whatever their depth and their windows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from causalsim.engine.executables import executable
from causalsim.kernels import CERTIFIED
from tests.models_for_tests import tiny


@pytest.mark.parametrize("kind", ["kv", "attn", "mlp", "layers"])
def test_depth_and_windows_need_no_executables_of_their_own(kind):
    config = tiny().config
    other = replace(config, n_layers=5, windows=(1, 2, None, 7, 9))
    assert executable(other, CERTIFIED, kind) is executable(config, CERTIFIED, kind)


@pytest.mark.parametrize("change", [{"parallel_residual": True}, {"d_ff": 32}, {"attention_cap": 2.0}])
def test_what_a_kernel_computes_does(change):
    config = tiny().config
    assert executable(replace(config, **change), CERTIFIED, "mlp") is not executable(config, CERTIFIED, "mlp")
