"""Parameters: the names and shapes, the check that refuses damage, and the random ones."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim.errors import CheckpointError, InputError
from causalsim.events.kinds import Kind, registered
from causalsim.models import (
    ModelConfig,
    check_parameters,
    count_parameters,
    parameter_shapes,
    random_parameters,
)
from causalsim.testing.strategies import configs

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
    given_seed = np.int64(seed) if abs(seed) < 2**63 else seed
    once, again = random_parameters(UNTIED, seed), random_parameters(UNTIED, given_seed)
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


LAYER_NORM = {"norm": "layer", "gated": False}
BIASES = {"qkv_biases": True, "out_biases": True, "mlp_biases": True}
# As they were before parameters became a table.
DRAWN: dict[str, tuple[dict[str, Any], str]] = {
    "llama": ({}, "22b4a1cb4290c583"),
    "grouped, tied": ({"n_kv_heads": 2, "tied_embeddings": True}, "ce6b31c51b695c00"),
    "one layer": ({"n_layers": 1}, "fa89b509a061cc40"),
    "qwen2": ({"qkv_biases": True, "n_kv_heads": 1}, "972d12fe96e20647"),
    "qwen3": ({"qk_norms": True}, "3c4af85be65cdfe6"),
    "gemma2": ({"post_norms": True, "tied_embeddings": True, "windows": [2, None, 3]}, "ad9e5463116143eb"),
    "gpt2": ({**LAYER_NORM, **BIASES, "positions": "learned", "tied_embeddings": True}, "3d5cf291eccf22d7"),
    "neox": ({**LAYER_NORM, **BIASES, "parallel_residual": True, "d_rotary": 2}, "208119deff4bb205"),
    "all": (
        {**BIASES, "norm": "layer", "post_norms": True, "qk_norms": True, "positions": "learned"},
        "8a5be53883b538e1",
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_random_parameters_keep_their_names_order_and_bits(name: str) -> None:
    fields, expected = DRAWN[name]
    sizes = {"n_heads": 4, "d_model": 24, "d_head": 6, "d_ff": 20, "vocab_size": 31, "max_length": 8}
    config = ModelConfig(**{"n_layers": 3, **sizes, **fields})
    whole = hashlib.sha256()
    for tensor, array in random_parameters(config, 2**70 + 5).items():
        whole.update(f"{tensor} {array.shape} {array.dtype} ".encode() + array.tobytes())
    assert whole.hexdigest().startswith(expected)


@given(configs(), seeds)
def test_a_random_tensor_is_the_draw_that_its_name_and_shape_say(config: ModelConfig, seed: int) -> None:
    for name, array in random_parameters(config, seed).items():
        key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
        normal = np.random.Generator(np.random.Philox(key=key)).standard_normal(array.shape, np.float32)
        part = name.rpartition(".")[2]
        if part.endswith("norm"):
            expected = np.float32(1) + np.float32(0.1) * normal
        elif name == "embed":
            expected = normal * np.float32(1 / math.sqrt(config.d_model) if config.tied_embeddings else 1)
        elif part == "positions" or part.endswith("bias"):
            expected = normal * np.float32(0.1)
        else:
            branch = math.sqrt(2 * config.n_layers) if part in ("o", "down") else 1.0
            expected = normal * np.float32(1 / math.sqrt(array.shape[0]) / branch)
        assert array.tobytes() == expected.tobytes(), name


ADAPTER = Kind(
    "adapter", "layer", ("residual",), "residual", (("d_model",),), "adapter", "ad", "#000000",
    parameters={"norm": ("d_model",), "into": ("d_model", "n_heads*d_head"), "gain": (), "shift": ("d_ff",)},
)  # fmt: skip
WITH_ADAPTER = ("kv", "attn", "adapter", "mlp")


@given(configs(), seeds)
def test_an_extra_kind_brings_its_parameters_and_moves_no_others(config: ModelConfig, seed: int) -> None:
    with registered(ADAPTER):
        more = dataclasses.replace(config, sublayers=WITH_ADAPTER)
        assert ModelConfig.from_dict(json.loads(json.dumps(more.to_dict()))) == more != config
        assert more.wiring.sublayers == WITH_ADAPTER
        shapes, params = parameter_shapes(more), random_parameters(more, seed)
        assert count_parameters(more) == sum(map(math.prod, shapes.values()))
        each = {
            "norm": (config.d_model,), "into": (config.d_model, config.n_heads * config.d_head), "gain": (),
            "shift": (config.d_ff,),
        }  # fmt: skip
        extra = {
            f"layers.{layer}.adapter.{name}": shape
            for layer in range(config.n_layers)
            for name, shape in each.items()
        }
        assert shapes == parameter_shapes(config) | extra
        assert list(check_parameters(more, params)) == list(shapes)
        assert all(np.abs(params[name]).max() > 0 for name in extra)
        for name, array in random_parameters(config, seed).items():
            assert array.tobytes() == params[name].tobytes()
        with pytest.raises(CheckpointError, match=r"adapter\.norm: every parameter is there"):
            check_parameters(more, random_parameters(config, seed))
        ours, theirs = more.footprint("float16"), config.footprint("float16")
        adapter = 2 * sum(math.prod(shape) for shape in extra.values()) // config.n_layers
        assert ours.weights == {
            **theirs.weights, "adapter": adapter, "block": theirs.weights["block"] + adapter,
        }  # fmt: skip
        assert ours.values == {**theirs.values, "adapter": 2 * config.d_model}
        assert ours.flops["adapter"] == adapter
    with pytest.raises(CheckpointError, match="no other parameters"):
        check_parameters(config, params)


def test_a_model_without_mlps_has_no_parameters_of_one() -> None:
    bare = dataclasses.replace(TIED, sublayers=("kv", "attn"))
    gone = set(parameter_shapes(TIED)) - set(parameter_shapes(bare))
    assert gone == {name for name in parameter_shapes(TIED) if ".mlp." in name}
    assert bare.footprint().weights["mlp"] == 0


@pytest.mark.parametrize(
    "sublayers", ["kv", ("attn", "kv"), ("kv", "attn", "no such"), (), None, 3], ids=repr
)
def test_refuses_sublayers_that_are_no_layer(sublayers: Any) -> None:
    with pytest.raises(InputError, match="a layer has each kind of event once"):
        dataclasses.replace(TIED, sublayers=sublayers)


def test_refuses_a_kind_whose_shapes_are_of_no_size() -> None:
    wrong = dataclasses.replace(ADAPTER, parameters={"gain": ("width",)})
    with registered(wrong), pytest.raises(InputError, match="sizes of a configuration: got 'width'"):
        dataclasses.replace(TIED, sublayers=WITH_ADAPTER)


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
