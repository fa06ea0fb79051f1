"""Flags of JAX and XLA: bad ones are refused by name, those of debugging change nothing."""

from __future__ import annotations

from contextlib import ExitStack

import jax
import pytest

import causalsim as cs
from causalsim.engine.environment import environment
from causalsim.engine.flags import NUMERIC
from tests.models_for_tests import tiny

TOKENS = [1, 2, 3, 4, 5]


def _digest() -> str:
    model = tiny(2, 2, 1)
    return cs.run(model, TOKENS, cs.token_major(cs.EventGraph(model.config, 5)), record=True).values_digest


def test_a_run_without_jit_is_refused():
    with jax.disable_jit(), pytest.raises(cs.InputError, match="jax_disable_jit"):
        _digest()


@pytest.mark.parametrize("flag", ["--xla_cpu_enable_fast_math=true", "--xla_backend_optimization_level=0"])
def test_bad_flags_of_xla_are_refused(flag, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"--xla_dump_to= {flag}")
    with pytest.raises(cs.InputError, match=flag):
        _digest()
    with pytest.raises(cs.InputError, match=flag):
        cs.generate(tiny(2, 2, 1), TOKENS, 2)


def test_flags_of_debugging_change_nothing():
    plain = _digest()
    with ExitStack() as stack:
        for flag in (
            *(jax.debug_nans(True), jax.debug_infs(True)),
            *(jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict")),
        ):
            stack.enter_context(flag)
        jax.clear_caches()
        assert _digest() == plain


def test_every_flag_that_changes_numbers_is_known_to_jax_and_told():
    assert {*NUMERIC} <= {*jax.config.values} and {*NUMERIC} <= {*environment()}


def test_the_environment_tells_a_run_without_jit():
    before = environment()
    with jax.disable_jit():
        assert environment() != before
