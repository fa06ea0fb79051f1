"""The configuration: what it derives, what it refuses, and that asking for it starts no JAX."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim.errors import InputError
from causalsim.events import Wiring
from causalsim.models import ModelConfig, parameter_shapes
from causalsim.testing.strategies import configs

SMALL: dict[str, Any] = {
    "n_layers": 2,
    "n_heads": 4,
    "d_model": 32,
    "d_ff": 48,
    "vocab_size": 50,
    "max_length": 16,
}
LLAMA: dict[str, Any] = {
    "norm": "rms", "post_norms": False, "qk_norms": False, "positions": "rotary", "gated": True,
    "qkv_biases": False, "out_biases": False, "mlp_biases": False,
}  # fmt: skip


@given(configs())
def test_survives_pickle_and_json_and_hashes(config: ModelConfig) -> None:
    copies = [
        pickle.loads(pickle.dumps(config)),
        ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))),
    ]
    assert copies == [config, config]
    assert {config, *copies} == {config}


@given(configs())
def test_wiring_is_what_the_graph_needs(config: ModelConfig) -> None:
    expected = Wiring(config.n_layers, windows=config.windows, parallel_residual=config.parallel_residual)
    assert config.wiring == expected
    assert config.windows == expected.windows


@given(configs(**LLAMA))
def test_footprint_weights_are_the_weights_of_the_checkpoint(config: ModelConfig) -> None:
    footprint = config.footprint("float64")
    sizes = {name: 8 * int(np.prod(shape)) for name, shape in parameter_shapes(config).items()}
    layer = sum(size for name, size in sizes.items() if name.startswith("layers.0."))
    norm, table = sizes["layers.0.attn.norm"], sizes["embed"]
    assert footprint.weights["block"] == layer
    assert footprint.weights["kv"] == norm + sizes["layers.0.attn.k"] + sizes["layers.0.attn.v"]
    assert footprint.weights["attn"] == norm + sizes["layers.0.attn.q"] + sizes["layers.0.attn.o"]
    assert footprint.weights["kv"] + footprint.weights["attn"] + footprint.weights["mlp"] == layer + norm
    assert footprint.weights["unembed"] == sizes["final_norm"] + table
    assert footprint.weights["embed"] * config.vocab_size == table
    assert footprint.weights["sample"] == 0


def test_footprint_values() -> None:
    values = ModelConfig(**SMALL, n_kv_heads=2).footprint().values
    assert dict(values) == {
        "embed": 128, "attn": 128, "mlp": 128, "block": 128, "kv": 128, "unembed": 200, "sample": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "size"), [("float16", 2), ("bfloat16", 2), ("float32", 4), (np.float32, 4), (np.dtype("f8"), 8)]
)
def test_footprint_in_every_floating_type(dtype: Any, size: int) -> None:
    footprint = ModelConfig(**SMALL).footprint(dtype)
    assert footprint.values["embed"] == 32 * size
    assert footprint.values["sample"] == 4


@pytest.mark.parametrize("dtype", ["int8", "no such type", np.int64, object, "complex64"])
def test_footprint_refuses_what_is_not_floating(dtype: Any) -> None:
    with pytest.raises(InputError, match="floating"):
        ModelConfig(**SMALL).footprint(dtype)


def test_defaults_are_llamas() -> None:
    config = ModelConfig(**SMALL)
    assert (config.n_kv_heads, config.d_head) == (4, 8)
    assert (config.rope_base, config.norm_epsilon) == (10000.0, 1e-6)
    assert not (config.tied_embeddings or config.parallel_residual)
    assert config.windows is None
    assert config == ModelConfig(**SMALL, n_kv_heads=None, d_head=None)  # type: ignore[arg-type]


def test_numpy_scalars_become_plain_and_equal() -> None:
    sizes: dict[str, Any] = {name: np.int64(value) for name, value in SMALL.items()}
    config = ModelConfig(**sizes, rope_base=np.float64(1e4))
    assert config == ModelConfig(**SMALL)
    assert {type(getattr(config, name)) for name in SMALL} == {int}
    assert type(config.rope_base) is float


@given(configs(), st.sampled_from([np.int16, np.uint32, np.int64]))
def test_integers_of_numpy_make_the_same_configuration(config: ModelConfig, kind: type[np.integer]) -> None:
    def as_numpy(value: Any) -> Any:
        if isinstance(value, list):
            return [as_numpy(each) for each in value]
        return kind(value) if type(value) is int else value

    same = ModelConfig(**{name: as_numpy(value) for name, value in config.to_dict().items()})
    assert same == config
    assert json.dumps(same.to_dict()) == json.dumps(config.to_dict())


@pytest.mark.parametrize(
    "windows",
    [4, [4, 4], (4, 4), np.array([4, 4]), np.int32(4), iter([4, 4])],
    ids=lambda w: type(w).__name__,
)
def test_equal_windows_make_equal_configurations(windows: Any) -> None:
    assert ModelConfig(**SMALL, windows=windows) == ModelConfig(**SMALL, windows=(4, 4))


BAD: list[tuple[dict[str, Any], str]] = [
    *(({name: value}, name) for name in SMALL for value in (0, -1, True, 2.0, "2", None, np.array([2, 3]))),
    ({"n_kv_heads": 3}, "n_kv_heads divides n_heads"),
    ({"n_kv_heads": 8}, "n_kv_heads divides n_heads"),
    ({"n_kv_heads": 0}, "n_kv_heads"),
    ({"d_head": 7}, "rotary"),
    *(({"positions": "learned", "d_rotary": value}, "rotary") for value in (2, "0", 0.0, False, -2)),
    ({"d_head": 0}, "d_head"),
    ({"d_model": 12}, "rotary"),
    ({"d_model": 30}, "n_heads divides d_model"),
    *(
        ({name: value}, name)
        for name in ("rope_base", "norm_epsilon")
        for value in (0.0, -1.0, float("nan"), float("inf"), True, "1", None, 1j, np.array([1.0]))
    ),
    *(
        ({name: value}, name)
        for name in ("tied_embeddings", "parallel_residual")
        for value in (1, 0, None, "no")
    ),
    *(({"windows": value}, "window") for value in (0, -3, True, 2.5, "44", b"44", [4], [4, 4, 4], [4, 0])),
    *(({"windows": value}, "window") for value in ([4, 2.5], [4, "4"], [True, 4], {1: 4, 2: 4}, b"4")),
]


@pytest.mark.parametrize(("change", "rule"), BAD, ids=repr)
def test_refuses(change: dict[str, Any], rule: str) -> None:
    with pytest.raises(InputError, match=rule) as caught:
        ModelConfig(**{**SMALL, **change})
    assert caught.value.got is not None


@pytest.mark.parametrize("change", [{"bias": True}, {3: 4}])
def test_from_dict_refuses_unknown_fields(change: dict[Any, Any]) -> None:
    with pytest.raises(InputError, match=str(next(iter(change)))):
        ModelConfig.from_dict({**SMALL, **change})


@pytest.mark.parametrize("name", SMALL)
def test_from_dict_names_the_missing_field(name: str) -> None:
    with pytest.raises(InputError, match=f"missing {name}"):
        ModelConfig.from_dict({field: value for field, value in SMALL.items() if field != name})


def test_fields_cannot_be_reassigned() -> None:
    with pytest.raises(AttributeError):
        ModelConfig(**SMALL).n_layers = 3  # type: ignore[misc]


def _loaded(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


READERS = {f"causalsim.models.formats.{name}" for name in ("hf_model", "hf_shards", "gguf_model", "glass")}


@pytest.mark.parametrize(
    "statement",
    [
        "from causalsim.models import ModelConfig",
        "from causalsim.models import known_config; known_config('gpt2').footprint('bfloat16')",
        "from causalsim.models import read_config; read_config('llama-3.1-8b').wiring",
    ],
)
def test_configurations_need_neither_heavy_libraries_nor_readers(statement: str) -> None:
    heavy = {"jax", "ml_dtypes", "glassllm", "tokenizers", "safetensors", "gguf", "torch", "networkx"}
    assert not _loaded(statement) & (heavy | READERS)


def test_a_reader_is_imported_where_a_checkpoint_is_read() -> None:
    assert _loaded("from causalsim.models import read_checkpoint") >= READERS
