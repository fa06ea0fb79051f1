"""The reader of folders: exact numbers, shards, and what is missing, surplus or wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from causalsim.models import read_checkpoint
from causalsim.models.formats.hf_config import CONFIG
from causalsim.models.formats.hf_model import INDEX, WEIGHTS, read_folder
from tests.models.folders import (
    A_MATRIX,
    A_NORM,
    PLAIN,
    SHARDED,
    Arrays,
    edit,
    file_of,
    header_length,
    read_header,
    refused,
    rewrite,
    same,
)

# -- exact numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_types_are_read_exactly(folder: Path, dtype: Any) -> None:
    rounded = {name: tensor.astype(dtype) for name, tensor in load_file(folder / WEIGHTS).items()}
    _save_narrow(folder / WEIGHTS, rounded)
    narrow = read_folder(folder)[1]
    save_file({name: tensor.astype(np.float32) for name, tensor in rounded.items()}, folder / WEIGHTS)
    assert same(narrow, read_folder(folder)[1])
    assert all(tensor.dtype == np.float32 for tensor in narrow.values())


def _save_narrow(path: Path, tensors: Arrays) -> None:
    """The format by hand, because the library has no way to write bfloat16 from NumPy in all versions."""
    kinds = {"float16": "F16", "bfloat16": "BF16"}
    header, data = {}, b""
    for name, tensor in tensors.items():
        end = len(data) + tensor.nbytes
        header[name] = {
            "dtype": kinds[tensor.dtype.name], "shape": tensor.shape, "data_offsets": [len(data), end],
        }  # fmt: skip
        data += tensor.tobytes()
    path.write_bytes(file_of(json.dumps(header).encode(), data))


def test_subnormal_and_extreme_numbers_of_narrow_types_survive(folder: Path) -> None:
    every = np.arange(2**16, dtype=np.uint16).view(ml_dtypes.bfloat16)
    finite = every[np.isfinite(every.astype(np.float32))]
    tensors = load_file(folder / WEIGHTS)
    tensors["model.embed_tokens.weight"] = np.resize(finite, (2040, 32))
    tensors["lm_head.weight"] = np.resize(finite, (2040, 32))
    _save_narrow(folder / WEIGHTS, {name: t.astype(ml_dtypes.bfloat16) for name, t in tensors.items()})
    edit(folder / CONFIG, vocab_size=2040)
    bits = read_folder(folder)[1]["embed"].view(np.uint32)
    np.testing.assert_array_equal(
        bits.ravel(), np.resize(finite, 2040 * 32).view(np.uint16).astype("u4") << 16
    )


def test_shards_are_read_like_one_file(sharded: Path) -> None:
    config, params, _ = read_folder(sharded)
    whole: Arrays = {}
    for path in sharded.glob("model-*.safetensors"):
        whole |= load_file(path)
        path.unlink()
    (sharded / INDEX).unlink()
    save_file(whole, sharded / WEIGHTS)
    again, params_again, _ = read_folder(sharded)
    assert config == again and same(params, params_again)


def test_parameters_are_read_only(folder: Path) -> None:
    assert not any(tensor.flags.writeable for tensor in read_folder(folder)[1].values())


def test_a_folder_is_a_checkpoint(folder: Path) -> None:
    for path in (folder, str(folder)):
        checkpoint = read_checkpoint(path)
        assert checkpoint.tokenizer is None
        assert same(dict(checkpoint.params), read_folder(PLAIN)[1])


# -- missing, surplus, wrong ------------------------------------------------------------------


@pytest.mark.parametrize("name", [A_NORM, A_MATRIX, "lm_head.weight", "model.embed_tokens.weight"])
def test_a_missing_tensor_is_named_as_in_the_file(folder: Path, name: str) -> None:
    rewrite(folder, lambda arrays: arrays.pop(name))
    refused(folder, "every parameter is there", tensor=name)


@pytest.mark.parametrize("name", ["model.layers.2.self_attn.k_proj.weight", "score.weight", ""])
def test_a_surplus_tensor_is_named(folder: Path, name: str) -> None:
    rewrite(folder, lambda arrays: arrays.update({name: np.zeros(3, np.float32)}))
    refused(folder, "no other parameters", tensor=name)


@pytest.mark.parametrize("shape", [(), (24,), (24, 31), (32, 24), (1, 24, 32), (0, 2**60)])
def test_a_wrong_shape_is_named(folder: Path, shape: tuple[int, ...]) -> None:
    rewrite(folder, lambda arrays: arrays.update({A_MATRIX: np.zeros(shape, np.float32)}))
    refused(folder, "shapes follow", tensor=A_MATRIX)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named(folder: Path, value: float) -> None:
    rewrite(folder, lambda arrays: arrays.update({A_NORM: np.full(32, value, np.float32)}))
    refused(folder, "32 infinite or NaN", tensor=A_NORM)


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.int8, np.uint16, bool, np.complex64])
def test_another_type_is_named(folder: Path, dtype: Any) -> None:
    rewrite(folder, lambda arrays: arrays.update({A_NORM: np.ones(32, dtype)}))
    refused(folder, rf"{WEIGHTS}.*of a type that float32 holds", tensor=A_NORM)


def test_eight_bits_are_not_read(folder: Path) -> None:
    path = folder / WEIGHTS
    content = path.read_bytes()
    header = read_header(content)
    start, end = header[A_NORM]["data_offsets"]
    header[A_NORM] = {"dtype": "F8_E4M3", "shape": [end - start], "data_offsets": [start, end]}
    path.write_bytes(file_of(json.dumps(header).encode(), content[8 + header_length(content) :]))
    refused(folder, "of a type that float32 holds: got F8_E4M3", tensor=A_NORM)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, name)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_folder_in_place_of_a_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    refused(folder, name)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "3", "{", "[" * 10**5, '{"a": ' * 10**4, "\udcff", '{"n": ' + "9" * 5000 + "}"],
    ids=lambda text: text[:6].encode("utf-8", "replace").decode(),
)  # fmt: skip
@pytest.mark.parametrize("name", [CONFIG, INDEX])
def test_what_is_no_json_object_is_named(sharded: Path, name: str, text: str) -> None:
    (sharded / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(sharded, name)


def test_other_formats_are_told(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    refused(folder, rf"holds weights: got config.json, pytorch_model.bin, expected {WEIGHTS}")


@pytest.mark.parametrize("package", ["safetensors", "ml_dtypes"])
def test_a_missing_package_names_the_hint(
    folder: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    refused(folder, rf"{package}.*pip install 'causalsim\[models\]'")


# -- the index --------------------------------------------------------------------------------

FIRST, SECOND = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))


@pytest.mark.parametrize(
    "place",
    [
        *(f"../{FIRST}", f"a/{FIRST}", f"/etc/{FIRST}", f"..\\{FIRST}", "..", ".", "", "config.json"),
        *("x\0.safetensors", ".safetensors", "a\n.safetensors", 3, None, ["a"], {}),
    ],
    ids=repr,
)
def test_an_index_names_files_of_its_folder(sharded: Path, place: Any) -> None:
    places = json.loads((sharded / INDEX).read_text())["weight_map"]
    edit(sharded / INDEX, weight_map={**places, A_NORM: place})
    refused(sharded, f"{INDEX}.*files of its folder", tensor=A_NORM)


@pytest.mark.parametrize("map_", [None, [], {}, "a", 3], ids=repr)
def test_an_index_has_a_map(sharded: Path, map_: Any) -> None:
    edit(sharded / INDEX, weight_map=map_)
    refused(sharded, f"{INDEX}.*weight_map")


def test_a_shard_that_is_not_there_is_named(sharded: Path) -> None:
    (sharded / SECOND).unlink()
    refused(sharded, f"{SECOND}.*FileNotFoundError")


def test_a_tensor_in_another_shard_than_the_index_says_is_named(sharded: Path) -> None:
    places = json.loads((sharded / INDEX).read_text())["weight_map"]
    other = FIRST if places[A_NORM] == SECOND else SECOND
    edit(sharded / INDEX, weight_map={**places, A_NORM: other})
    refused(sharded, f"{INDEX} says: got it in {places[A_NORM]}, expected {other}", tensor=A_NORM)


def test_a_tensor_that_only_the_index_knows_is_named(sharded: Path) -> None:
    places = json.loads((sharded / INDEX).read_text())["weight_map"]
    edit(sharded / INDEX, weight_map={**places, "more": FIRST})
    refused(sharded, f"{INDEX} says: got it nowhere", tensor="more")


def test_a_tensor_in_two_shards_is_named(sharded: Path) -> None:
    both = {**load_file(sharded / FIRST), A_NORM: np.ones(32, np.float32)}
    save_file(both, sharded / FIRST)
    save_file({**load_file(sharded / SECOND), A_NORM: np.ones(32, np.float32)}, sharded / SECOND)
    refused(sharded, "a tensor is in one file", tensor=A_NORM)


def test_a_shard_may_be_a_link_out_of_the_folder(sharded: Path, tmp_path_factory: Any) -> None:
    """As in the caches of huggingface_hub."""
    target = tmp_path_factory.mktemp("blobs") / "blob"
    (sharded / FIRST).rename(target)
    (sharded / FIRST).symlink_to(target)
    assert same(read_folder(sharded)[1], read_folder(SHARDED)[1])
