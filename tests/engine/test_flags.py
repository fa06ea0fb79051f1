"""Flags of JAX and XLA: bad ones are refused by name, those of debugging change nothing."""

from __future__ import annotations

from contextlib import ExitStack

import jax
import pytest

import causalsim as cs
from causalsim.engine import event_function
from causalsim.engine.environment import environment
from causalsim.engine.flags import NUMERIC
from tests.engine.processes import ask
from tests.models_for_tests import tiny

TOKENS = [1, 2, 3, 4, 5]


def _digest() -> str:
    model = tiny(2, 2, 1)
    return cs.run(model, TOKENS, cs.token_major(cs.EventGraph(model.config, 5)), record=True).values_digest


def test_a_run_without_jit_is_refused():
    with jax.disable_jit(), pytest.raises(cs.InputError, match="jax_disable_jit"):
        _digest()


@pytest.mark.parametrize(
    "flag",
    [
        "--xla_cpu_enable_fast_math=true",
        "--xla_backend_optimization_level=0",
        "--xla_cpu_max_isa=SSE4_2",
        '--xla_cpu_enable_fast_math="true"',
    ],
)
def test_bad_flags_of_xla_are_refused(flag, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"--xla_dump_to= {flag}")
    with pytest.raises(cs.InputError, match=flag):
        _digest()
    with pytest.raises(cs.InputError, match=flag):
        cs.generate(tiny(2, 2, 1), TOKENS, 2)


def test_of_a_flag_that_is_given_twice_the_last_counts(monkeypatch):
    name = "--xla_cpu_enable_fast_math"
    monkeypatch.setenv("XLA_FLAGS", f"{name}=true {name}=false")
    _digest()
    monkeypatch.setenv("XLA_FLAGS", f"{name}=false {name}")
    with pytest.raises(cs.InputError, match=name):
        _digest()


def test_a_file_of_flags_is_read_and_told(monkeypatch, tmp_path):
    file = tmp_path / "flags"
    file.write_text("--xla_dump_to=\n--xla_backend_optimization_level=0\n")
    monkeypatch.setenv("XLA_FLAGS", str(file))
    with pytest.raises(cs.InputError, match="--xla_backend_optimization_level=0 in XLA_FLAGS"):
        _digest()
    assert environment()["XLA_FLAGS"] == "--xla_dump_to= --xla_backend_optimization_level=0"
    monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "none"))
    _digest()


def test_an_event_function_refuses_bad_flags_but_where_it_is_differentiated():
    model, event = tiny(2, 2, 1), cs.Event("mlp", 0, 0)
    run = cs.run(model, TOKENS, record=True)
    function = event_function(model.config, model.weights(), event)
    (before,) = function.predecessors
    with jax.disable_jit():
        with pytest.raises(cs.InputError, match="jax_disable_jit"):
            function(run.values)
        jax.jvp(lambda x: function({before: x}), (run.values[before],), (run.values[before],))


# Of those that are let through, the ones that could have been bad: each alone, in a process of its own.
LET_THROUGH = (
    "XLA_FLAGS=--xla_backend_optimization_level=1",
    "XLA_FLAGS=--xla_allow_excess_precision=false",
    "XLA_FLAGS=--xla_cpu_prefer_vector_width=128",
    "XLA_FLAGS=--xla_cpu_max_isa=AVX2",
    "XLA_FLAGS=--xla_cpu_multi_thread_eigen=false",
    "XLA_FLAGS=--xla_force_host_platform_device_count=4",
    "JAX_ENABLE_X64=True",
    "JAX_DEFAULT_MATMUL_PRECISION=bfloat16",
    "JAX_OPTIMIZATION_LEVEL=O0",
)


@pytest.mark.slow
@pytest.mark.parametrize("setting", LET_THROUGH)
def test_flags_that_are_let_through_keep_bits_the_same_in_every_order(setting):
    name, _, value = setting.partition("=")
    found = ask("under_flags", **{name: value})
    told = found["flags"]["XLA_FLAGS" if name == "XLA_FLAGS" else name.lower()]
    assert value in told, "the flag has arrived"
    assert [len({*digests}) for digests in found["digests"]] == [1, 1, 1]


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
