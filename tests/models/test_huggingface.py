"""The reader of folders: exact numbers, shards, and every kind of damage and lie."""

from __future__ import annotations

import json
import shutil
import struct
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from causalsim.errors import CheckpointError, InputError
from causalsim.models import read_checkpoint
from causalsim.models.huggingface import CONFIG, INDEX, TOKENIZER, WEIGHTS, read_folder

GOLDEN = Path(__file__).parents[1] / "golden"
PLAIN, SHARDED = GOLDEN / "llama_grouped", GOLDEN / "llama_multi_query"
Arrays = dict[str, np.ndarray[Any, Any]]
A_NORM, A_MATRIX = "model.norm.weight", "model.layers.1.self_attn.k_proj.weight"


def _copied(source: Path, into: Path) -> Path:
    for path in source.iterdir():
        if path.name != "expected.safetensors":
            shutil.copy(path, into)
    return into


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _copied(PLAIN, tmp_path)


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return _copied(SHARDED, tmp_path)


def _rewrite(folder: Path, change: Callable[[Arrays], object]) -> None:
    arrays = load_file(folder / WEIGHTS)
    change(arrays)
    save_file(arrays, folder / WEIGHTS)


def _refused(folder: Path, words: str, tensor: str | None = None) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        read_folder(folder)
    assert caught.value.tensor == tensor


def _same(ours: Arrays, theirs: Arrays) -> bool:
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


# -- exact numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_types_are_read_exactly(folder: Path, dtype: Any) -> None:
    rounded = {name: tensor.astype(dtype) for name, tensor in load_file(folder / WEIGHTS).items()}
    _save_narrow(folder / WEIGHTS, rounded)
    narrow = read_folder(folder)[1]
    save_file({name: tensor.astype(np.float32) for name, tensor in rounded.items()}, folder / WEIGHTS)
    assert _same(narrow, read_folder(folder)[1])
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
    path.write_bytes(_file(json.dumps(header).encode(), data))


def _file(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def test_subnormal_and_extreme_numbers_of_narrow_types_survive(folder: Path) -> None:
    every = np.arange(2**16, dtype=np.uint16).view(ml_dtypes.bfloat16)
    finite = every[np.isfinite(every.astype(np.float32))]
    tensors = load_file(folder / WEIGHTS)
    tensors["model.embed_tokens.weight"] = np.resize(finite, (2040, 32))
    tensors["lm_head.weight"] = np.resize(finite, (2040, 32))
    _save_narrow(folder / WEIGHTS, {name: t.astype(ml_dtypes.bfloat16) for name, t in tensors.items()})
    _edit(folder / CONFIG, vocab_size=2040)
    bits = read_folder(folder)[1]["embed"].view(np.uint32)
    np.testing.assert_array_equal(
        bits.ravel(), np.resize(finite, 2040 * 32).view(np.uint16).astype("u4") << 16
    )


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_shards_are_read_like_one_file(sharded: Path) -> None:
    config, params, _ = read_folder(sharded)
    whole: Arrays = {}
    for path in sharded.glob("model-*.safetensors"):
        whole |= load_file(path)
        path.unlink()
    (sharded / INDEX).unlink()
    save_file(whole, sharded / WEIGHTS)
    again, params_again, _ = read_folder(sharded)
    assert config == again and _same(params, params_again)


def test_parameters_are_read_only(folder: Path) -> None:
    assert not any(tensor.flags.writeable for tensor in read_folder(folder)[1].values())


def test_a_folder_is_a_checkpoint(folder: Path) -> None:
    for path in (folder, str(folder)):
        checkpoint = read_checkpoint(path)
        assert checkpoint.tokenizer is None
        assert _same(dict(checkpoint.params), read_folder(PLAIN)[1])


# -- missing, surplus, wrong ------------------------------------------------------------------


@pytest.mark.parametrize("name", [A_NORM, A_MATRIX, "lm_head.weight", "model.embed_tokens.weight"])
def test_a_missing_tensor_is_named_as_in_the_file(folder: Path, name: str) -> None:
    _rewrite(folder, lambda arrays: arrays.pop(name))
    _refused(folder, "every parameter is there", tensor=name)


@pytest.mark.parametrize("name", ["model.layers.2.self_attn.k_proj.weight", "score.weight", ""])
def test_a_surplus_tensor_is_named(folder: Path, name: str) -> None:
    _rewrite(folder, lambda arrays: arrays.update({name: np.zeros(3, np.float32)}))
    _refused(folder, "no other parameters", tensor=name)


@pytest.mark.parametrize("shape", [(), (24,), (24, 31), (32, 24), (1, 24, 32), (0, 2**60)])
def test_a_wrong_shape_is_named(folder: Path, shape: tuple[int, ...]) -> None:
    _rewrite(folder, lambda arrays: arrays.update({A_MATRIX: np.zeros(shape, np.float32)}))
    _refused(folder, "shapes follow", tensor=A_MATRIX)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named(folder: Path, value: float) -> None:
    _rewrite(folder, lambda arrays: arrays.update({A_NORM: np.full(32, value, np.float32)}))
    _refused(folder, "32 infinite or NaN", tensor=A_NORM)


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.int8, np.uint16, bool, np.complex64])
def test_another_type_is_named(folder: Path, dtype: Any) -> None:
    _rewrite(folder, lambda arrays: arrays.update({A_NORM: np.ones(32, dtype)}))
    _refused(folder, rf"{WEIGHTS}.*of a type that float32 holds", tensor=A_NORM)


def test_eight_bits_are_not_read(folder: Path) -> None:
    path = folder / WEIGHTS
    content = path.read_bytes()
    header = _header(content)
    start, end = header[A_NORM]["data_offsets"]
    header[A_NORM] = {"dtype": "F8_E4M3", "shape": [end - start], "data_offsets": [start, end]}
    path.write_bytes(_file(json.dumps(header).encode(), content[8 + _header_length(content) :]))
    _refused(folder, "of a type that float32 holds: got F8_E4M3", tensor=A_NORM)


def _header_length(content: bytes) -> int:
    return int.from_bytes(content[:8], "little")


def _header(content: bytes) -> dict[str, Any]:
    return json.loads(content[8 : 8 + _header_length(content)])


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    _refused(folder, name)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_folder_in_place_of_a_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    _refused(folder, name)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "3", "{", "[" * 10**5, '{"a": ' * 10**4, "\udcff", '{"n": ' + "9" * 5000 + "}"],
    ids=lambda text: text[:6].encode("utf-8", "replace").decode(),
)  # fmt: skip
@pytest.mark.parametrize("name", [CONFIG, INDEX])
def test_what_is_no_json_object_is_named(sharded: Path, name: str, text: str) -> None:
    (sharded / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    _refused(sharded, name)


def test_other_formats_are_told(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    _refused(folder, rf"holds weights: got config.json, pytorch_model.bin, expected {WEIGHTS}")


@pytest.mark.parametrize("package", ["safetensors", "ml_dtypes"])
def test_a_missing_package_names_the_cure(
    folder: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    _refused(folder, rf"{package}.*pip install 'causalsim\[models\]'")


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
    _edit(sharded / INDEX, weight_map={**places, A_NORM: place})
    _refused(sharded, f"{INDEX}.*files of its folder", tensor=A_NORM)


@pytest.mark.parametrize("map_", [None, [], {}, "a", 3], ids=repr)
def test_an_index_has_a_map(sharded: Path, map_: Any) -> None:
    _edit(sharded / INDEX, weight_map=map_)
    _refused(sharded, f"{INDEX}.*weight_map")


def test_a_shard_that_is_not_there_is_named(sharded: Path) -> None:
    (sharded / SECOND).unlink()
    _refused(sharded, f"{SECOND}.*FileNotFoundError")


def test_a_tensor_in_another_shard_than_the_index_says_is_named(sharded: Path) -> None:
    places = json.loads((sharded / INDEX).read_text())["weight_map"]
    other = FIRST if places[A_NORM] == SECOND else SECOND
    _edit(sharded / INDEX, weight_map={**places, A_NORM: other})
    _refused(sharded, f"{INDEX} says: got it in {places[A_NORM]}, expected {other}", tensor=A_NORM)


def test_a_tensor_that_only_the_index_knows_is_named(sharded: Path) -> None:
    places = json.loads((sharded / INDEX).read_text())["weight_map"]
    _edit(sharded / INDEX, weight_map={**places, "more": FIRST})
    _refused(sharded, f"{INDEX} says: got it nowhere", tensor="more")


def test_a_tensor_in_two_shards_is_named(sharded: Path) -> None:
    both = {**load_file(sharded / FIRST), A_NORM: np.ones(32, np.float32)}
    save_file(both, sharded / FIRST)
    save_file({**load_file(sharded / SECOND), A_NORM: np.ones(32, np.float32)}, sharded / SECOND)
    _refused(sharded, "a tensor is in one file", tensor=A_NORM)


def test_a_shard_may_be_a_link_out_of_the_folder(sharded: Path, tmp_path_factory: Any) -> None:
    """As in the caches of huggingface_hub."""
    target = tmp_path_factory.mktemp("blobs") / "blob"
    (sharded / FIRST).rename(target)
    (sharded / FIRST).symlink_to(target)
    assert _same(read_folder(sharded)[1], read_folder(SHARDED)[1])


# -- lies -------------------------------------------------------------------------------------

MEGABYTE = 2**20


def _a_tensor(**changes: Any) -> bytes:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}
    return json.dumps({A_NORM: entry}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        _file(b"{}", length=2**63),
        _file(b"{}", length=2**31),
        _file(b"{}", length=3),
        _file(b"[]"),
        _file(b"\xff\xfe"),
        _file(b"[" * 10**5),
        _file(b'{"__metadata__": {"format": 3}}'),
        _file(_a_tensor(), bytes(7)),
        _file(_a_tensor(), bytes(9)),
        _file(_a_tensor(shape=[2**40]), bytes(8)),
        _file(_a_tensor(shape=[2**62, 8]), bytes(8)),
        _file(_a_tensor(shape=[-2]), bytes(8)),
        _file(_a_tensor(shape=[2**40], data_offsets=[0, 2**42]), bytes(8)),
        _file(_a_tensor(data_offsets=[8, 0]), bytes(8)),
        _file(_a_tensor(data_offsets=[8, 16]), bytes(16)),
        _file(_a_tensor(data_offsets=[-8, 0]), bytes(8)),
        _file(_a_tensor(dtype="F33"), bytes(8)),
        _file(_a_tensor(dtype=None), bytes(8)),
    ],
)
def test_a_lying_header_is_refused_and_costs_nothing(folder: Path, content: bytes) -> None:
    (folder / WEIGHTS).write_bytes(content)
    assert _peak(lambda: _refused(folder, f"{WEIGHTS}: the weights are a readable")) < 2 * MEGABYTE


def _peak(act: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "key",
    [
        "num_hidden_layers",
        "hidden_size",
        "head_dim",
        "vocab_size",
        "intermediate_size",
        "num_attention_heads",
    ],
)
@pytest.mark.parametrize("value", [10**5, 2**31 - 2, 2**40])
def test_a_lying_size_is_refused_and_costs_nothing(folder: Path, key: str, value: int) -> None:
    _edit(folder / CONFIG, **{key: value})

    def refused() -> None:
        with pytest.raises(CheckpointError):
            read_folder(folder)

    assert _peak(refused) < 8 * MEGABYTE


# -- damage at random -------------------------------------------------------------------------

PLAIN_PARAMS = {PLAIN: read_folder(PLAIN), SHARDED: read_folder(SHARDED)}


def _damaged(content: bytes, data: st.DataObject) -> bytes:
    """Cut off somewhere, or with bytes flipped where they describe the rest: numbers have no checksum."""
    described = 8 + _header_length(content) if content[8:9] == b"{" else len(content)
    if data.draw(st.booleans()):
        return content[: data.draw(st.integers(0, len(content) - 1) | st.integers(0, described))]
    flipped = bytearray(content)
    for at in data.draw(st.lists(st.integers(0, described - 1), min_size=1, max_size=4)):
        flipped[at] ^= data.draw(st.integers(1, 255) | st.sampled_from([1, 2, 4, 8, 16, 32]))
    return bytes(flipped)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), source=st.sampled_from([PLAIN, SHARDED]))
def test_damage_is_refused_or_harmless(tmp_path: Path, data: st.DataObject, source: Path) -> None:
    """No damage escapes as another error or as much memory; what reads at all reads right."""
    _empty(tmp_path)
    folder = _copied(source, tmp_path)
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    path.write_bytes(_damaged(path.read_bytes(), data))
    whole = sum(file.stat().st_size for file in folder.iterdir())

    def read() -> None:
        try:
            config, params, _ = read_folder(folder)
        except CheckpointError:
            return
        expected = PLAIN_PARAMS[source]
        # A flipped digit of an epsilon is a configuration like any other.
        assert path.name == CONFIG or config == expected[0]
        assert _same(params, expected[1])

    assert _peak(read) < 4 * MEGABYTE + 8 * whole


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_lies_in_the_header_are_refused_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    """Well-formed JSON that describes something else than what is there."""
    _empty(tmp_path)
    folder = _copied(PLAIN, tmp_path)
    content = (folder / WEIGHTS).read_bytes()
    header = _header(content)
    name = data.draw(st.sampled_from(sorted(header.keys() - {"__metadata__"})))
    sizes = st.integers(-1, 2**64) | st.integers(0, 300)
    lie = {
        "dtype": st.sampled_from(["F16", "BF16", "F64", "I32", "U8", "F4", "BOOL", "", None]),
        "shape": st.lists(sizes, max_size=4),
        "data_offsets": st.lists(sizes, min_size=0, max_size=3),
    }
    key = data.draw(st.sampled_from(sorted(lie)))
    told = data.draw(lie[key])
    truth, header[name][key] = header[name][key], told
    lied = json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(_file(lied, content[8 + _header_length(content) :]))

    def read() -> None:
        if told == truth:
            assert _same(read_folder(folder)[1], PLAIN_PARAMS[PLAIN][1])
        else:
            with pytest.raises(CheckpointError):
                read_folder(folder)

    assert _peak(read) < 4 * MEGABYTE


# -- tokenizers -------------------------------------------------------------------------------


def _tokenizer(folder: Path) -> Any:
    """Byte pairs with a special token, an end that is put after every text, and a cut for training."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*alphabet, "he"])}
    library = Tokenizer(models.BPE(vocab=vocabulary, merges=[("h", "e")]))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens(["<end>"])
    library.post_processor = processors.TemplateProcessing(single="$A <end>", special_tokens=[("<end>", 257)])
    library.enable_truncation(3)
    library.enable_padding(length=9)
    library.save(str(folder / TOKENIZER))
    return library


def test_a_tokenizer_puts_the_ends_that_its_file_wants_and_cuts_nothing(folder: Path) -> None:
    library = _tokenizer(folder)
    tokenizer = read_folder(folder)[2]
    assert tokenizer is not None
    ids = tokenizer.encode("hehe, he said")
    library.no_truncation()
    library.no_padding()
    assert ids == library.encode("hehe, he said").ids
    assert ids[:2] == [256, 256] and ids[-1] == 257
    assert tokenizer.decode(ids) == "hehe, he said"
    assert tokenizer.vocab_size == 258
    with pytest.raises(InputError, match="places in the vocabulary"):
        tokenizer.decode([258])


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": "1.0"}', "\udcff"], ids=repr)
def test_a_damaged_tokenizer_is_named(folder: Path, text: str) -> None:
    (folder / TOKENIZER).write_bytes(text.encode("utf-8", "surrogateescape"))
    _refused(folder, f"{TOKENIZER}: the tokenizer is one that")


def test_a_missing_tokenizer_library_names_the_cure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tokenizer(folder)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    _refused(folder, r"tokenizers.*pip install 'causalsim\[models\]'")
