"""Parameters: the names and shapes, the check that refuses damage, and the random ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim.errors import CheckpointError, InputError
from causalsim.models import (
    ModelConfig,
    check_parameters,
    count_parameters,
    parameter_shapes,
    random_parameters,
)

TIED = ModelConfig(
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    d_model=24,
    d_head=6,
    d_ff=20,
    vocab_size=31,
    max_length=8,
    tied_embeddings=True,
)
UNTIED = ModelConfig.from_dict({**TIED.to_dict(), "tied_embeddings": False, "n_layers": 3})
both = pytest.mark.parametrize("config", [TIED, UNTIED], ids=["tied", "untied"])
names = st.sampled_from(sorted(parameter_shapes(UNTIED)))
seeds = st.integers(-(2**70), 2**70)


def test_names_and_shapes() -> None:
    assert list(parameter_shapes(TIED).items())[:11] == [
        ("embed", (31, 24)),
        ("layers.0.attn.norm", (24,)),
        ("layers.0.attn.q", (24, 24)),
        ("layers.0.attn.k", (24, 12)),
        ("layers.0.attn.v", (24, 12)),
        ("layers.0.attn.o", (24, 24)),
        ("layers.0.mlp.norm", (24,)),
        ("layers.0.mlp.gate", (24, 20)),
        ("layers.0.mlp.up", (24, 20)),
        ("layers.0.mlp.down", (20, 24)),
        ("layers.1.attn.norm", (24,)),
    ]
    assert list(parameter_shapes(TIED))[-1] == "final_norm"
    assert parameter_shapes(UNTIED)["unembed"] == (24, 31)


@both
def test_the_count_is_that_of_the_shapes(config: ModelConfig) -> None:
    assert count_parameters(config) == sum(map(math.prod, parameter_shapes(config).values()))


@both
def test_random_parameters_pass_the_check(config: ModelConfig) -> None:
    params = random_parameters(config, 0)
    checked = check_parameters(config, params)
    assert list(checked) == list(params) == list(parameter_shapes(config))
    for name, array in checked.items():
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert not array.flags.writeable
        np.testing.assert_array_equal(array, params[name])


@given(names, seeds)
def test_a_random_tensor_depends_on_seed_and_name_only(name: str, seed: int) -> None:
    once, again = random_parameters(UNTIED, seed), random_parameters(UNTIED, seed)
    np.testing.assert_array_equal(once[name], again[name])
    assert not np.array_equal(once[name], random_parameters(UNTIED, seed + 1)[name])
    # A tensor that other shapes and switches leave alone is the same in another model.
    wider = ModelConfig.from_dict({**UNTIED.to_dict(), "vocab_size": 90, "max_length": 4, "windows": 2})
    if name not in ("embed", "unembed"):
        np.testing.assert_array_equal(once[name], random_parameters(wider, seed)[name])


@given(seeds)
def test_random_tensors_differ_from_each_other(seed: int) -> None:
    params = random_parameters(UNTIED, seed)
    flat = {array.ravel()[:12].tobytes() for array in params.values()}
    assert len(flat) == len(params)


@both
def test_random_scales(config: ModelConfig) -> None:
    big = ModelConfig.from_dict({**config.to_dict(), "d_model": 256, "d_ff": 512, "vocab_size": 300})
    params = random_parameters(big, 3)
    branch = np.sqrt(2 * big.n_layers)
    assert params["layers.1.attn.q"].std() == pytest.approx(1 / 16, rel=0.1)
    assert params["layers.1.mlp.down"].std() == pytest.approx(1 / np.sqrt(512) / branch, rel=0.1)
    assert params["embed"].std() == pytest.approx(1 / 16 if big.tied_embeddings else 1, rel=0.1)
    norm = params["layers.1.mlp.norm"]
    assert norm.mean() == pytest.approx(1, abs=0.05)
    assert norm.std() == pytest.approx(0.1, rel=0.3)


@pytest.mark.parametrize("seed", [True, 1.5, "0", None, np.bool_(True)], ids=repr)
def test_refuses_seeds_that_are_not_whole(seed: Any) -> None:
    with pytest.raises(InputError, match="seed"):
        random_parameters(TIED, seed)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "bfloat16"])
def test_converts_floating_types_to_float32(dtype: str) -> None:
    import ml_dtypes

    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    given_params = {name: array.astype(kind) for name, array in random_parameters(TIED, 1).items()}
    for name, array in check_parameters(TIED, given_params).items():
        assert array.dtype == np.dtype("<f4") or array.dtype == np.float32
        np.testing.assert_array_equal(array, given_params[name].astype(np.float32))


def test_the_check_leaves_the_given_arrays_writable() -> None:
    params = random_parameters(TIED, 1)
    check_parameters(TIED, params)
    assert all(array.flags.writeable for array in params.values())


@given(names)
def test_refuses_a_missing_tensor(name: str) -> None:
    params = random_parameters(UNTIED, 0)
    del params[name]
    _refused(params, name, "every parameter is there")


@given(st.text().filter(lambda name: name not in parameter_shapes(UNTIED)))
def test_refuses_a_surplus_tensor(name: str) -> None:
    _refused({**random_parameters(UNTIED, 0), name: np.zeros(1, np.float32)}, name, "no other parameters")


def test_a_tied_model_has_no_unembed() -> None:
    params = random_parameters(TIED, 0)
    with pytest.raises(CheckpointError, match="no other") as caught:
        check_parameters(TIED, {**params, "unembed": params["embed"].T})
    assert caught.value.tensor == "unembed"


@given(names, st.sampled_from(["transpose", "flat", "longer"]))
def test_refuses_a_wrong_shape(name: str, how: str) -> None:
    params = random_parameters(UNTIED, 0)
    right = params[name]
    wrong = {"transpose": right.T, "flat": right.ravel()[None], "longer": np.concatenate([right, right])}[how]
    if wrong.shape == right.shape:  # A square matrix, or one whose transpose nobody can tell apart.
        wrong = wrong[:-1]
    _refused({**params, name: wrong}, name, "shapes follow")


@given(names, st.sampled_from(["int32", "int8", "bool", "object", "complex64", "U4"]))
def test_refuses_what_is_not_floating(name: str, dtype: str) -> None:
    params = random_parameters(UNTIED, 0)
    _refused({**params, name: np.zeros(params[name].shape, dtype)}, name, "floating-point")


@given(names, st.sampled_from([np.nan, np.inf, -np.inf, 1e39]), st.data())
def test_refuses_what_is_not_finite(name: str, value: float, data: st.DataObject) -> None:
    params = random_parameters(UNTIED, 0)
    damaged = params[name].astype(np.float64)
    damaged.flat[data.draw(st.integers(0, damaged.size - 1))] = value
    _refused({**params, name: damaged}, name, "1 infinite or NaN")


def _refused(params: dict[str, Any], name: str, rule: str) -> None:
    with pytest.raises(CheckpointError, match=rule) as caught:
        check_parameters(UNTIED, params)
    assert caught.value.tensor == name
