"""GGUF files that are damaged, lie, or say what is not understood: one error, in bounded space and time."""

from __future__ import annotations

import os
import struct
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalsim.errors import CheckpointError
from causalsim.models import parameter_shapes, random_parameters, read_checkpoint
from causalsim.models.formats.gguf_header import read_header
from causalsim.models.formats.gguf_model import read_gguf
from tests.models.gguf_made import LLAMA, TOKENS, llama, metadata, tensors, tokenizer, write

Made = dict[str, Any]

# Seconds for one tiny file on a busy machine, and bytes beyond those of the file and its numbers.
LONGEST, MOST = 5.0, 4_000_000


def _refused(path: Path, words: str, tensor: str | None = None) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        read_gguf(path)
    assert caught.value.tensor == tensor


# -- bytes ------------------------------------------------------------------------------------


@cache
def _content() -> bytes:
    with TemporaryDirectory() as folder:
        return llama(Path(folder) / "a.gguf").read_bytes()


@cache
def _data_start() -> int:
    with TemporaryDirectory() as folder:
        path = llama(Path(folder) / "a.gguf")
        with path.open("rb") as file:
            return read_header(path, file, path.stat().st_size).data_start


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damage") / "a.gguf"


def _survives(path: Path, content: bytes) -> bool:
    """True if a file is read: each is read whole or refused by name, soon and in little space."""
    path.write_bytes(content)
    began = time.monotonic()
    tracemalloc.start()
    try:
        config, params, _ = read_gguf(path)
    except CheckpointError as error:
        said = f"{error} {error.tensor}"
    else:
        assert {name: tensor.shape for name, tensor in params.items()} == parameter_shapes(config)
        assert all(np.isfinite(tensor).all() for tensor in params.values())
        said = None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST + 10 * len(content)
        assert time.monotonic() - began < LONGEST
    assert said is None or str(path) in said or not said.endswith("None")
    return said is None


def test_the_undamaged_file_is_read(path: Path) -> None:
    assert _survives(path, _content())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_file_cut_anywhere_is_refused(path: Path, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, _data_start()) | st.integers(0, len(_content()) - 1))
    assert not _survives(path, _content()[:kept])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipped_bytes_are_refused_or_harmless(path: Path, data: st.DataObject) -> None:
    content = bytearray(_content())
    # Most flips among the numbers give other numbers, which no format can tell.
    place = st.integers(0, _data_start() - 1)
    for at in data.draw(st.lists(place, min_size=1, max_size=4)):
        content[at] ^= data.draw(st.integers(1, 255))
    _survives(path, bytes(content))


LIES = [0, 1, 2**31 - 1, 2**32 - 1, 10**9, 2**40, 2**62, 2**63, 2**64 - 1]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_lie_of_eight_bytes_anywhere_is_refused_or_harmless(path: Path, data: st.DataObject) -> None:
    content, at = bytearray(_content()), data.draw(st.integers(4, _data_start() - 8))
    lie = data.draw(st.sampled_from([*LIES, len(content), len(content) - at]))
    content[at : at + 8] = struct.pack("<Q", lie)
    _survives(path, bytes(content))


def _lengths() -> Iterator[tuple[str, int]]:
    """Places of a count or a length of 64 bits: found by what follows it."""
    content = _content()
    yield from (("tensors", 8), ("metadata", 16))
    for name in (
        b"general.architecture",
        b"llama.block_count",
        b"tokenizer.ggml.tokens",
        b"token_embd.weight",
    ):
        yield name.decode(), content.index(name) - 8
    for name in (b"tokenizer.ggml.tokens", b"tokenizer.ggml.token_type", b"tokenizer.ggml.merges"):
        yield f"in {name.decode()}", content.index(name) + len(name) + 8
    yield "a token", content.index(b"<|start|>") - 8
    embed = content.index(b"token_embd.weight") + len(b"token_embd.weight") + 4
    yield from (("columns", embed), ("rows", embed + 8), ("offset", embed + 20))


@pytest.mark.parametrize("lie", LIES[1:])
@pytest.mark.parametrize(("what", "at"), list(_lengths()), ids=[what for what, _ in _lengths()])
def test_no_count_or_length_is_believed(path: Path, what: str, at: int, lie: int) -> None:
    content = bytearray(_content())
    content[at : at + 8] = struct.pack("<Q", lie)
    assert not _survives(path, bytes(content)), what


@pytest.mark.parametrize(
    ("what", "least"),
    [
        ("tensors", "24,000,000,000"),
        ("metadata", "13,000,000,000"),
        ("in tokenizer.ggml.tokens", "8,000,000,000"),
    ],
)
def test_a_count_that_cannot_be_is_refused_before_anything_is_read(path: Path, what: str, least: str) -> None:
    content, at = bytearray(_content()), dict(_lengths())[what]
    content[at : at + 8] = struct.pack("<Q", 10**9)
    path.write_bytes(content)
    name = what.removeprefix("in ")
    _refused(path, f"what a file announces is in it: got {name} of at least {least} bytes")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"byte 0: .*the first four letters.*at most 0"),
        (b"GGU", "byte 0"),
        (b"GGML" + bytes(100), "byte 4: .*b'GGML'"),
        (b"PK\x03\x04" + bytes(100), "begins with its name"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(100), "version.*got 1, expected 2 or 3"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(100), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "general.architecture.*got None"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + bytes(26), "no name stands twice"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + bytes(26), "architecture"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_the_byte_is_named(path: Path, content: bytes, words: str) -> None:
    path.write_bytes(content)
    _refused(path, words)


@pytest.mark.parametrize("kind", ["folder", "nothing", "pipe"])
def test_what_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    given = tmp_path / "a.gguf"
    if kind == "folder":
        given.mkdir()
    elif kind == "pipe":
        if sys.platform == "win32":
            pytest.skip("Windows has no named pipes among its files.")
        os.mkfifo(given)
    _refused(given, "a GGUF file is a file")


# -- metadata ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"llama.expert_count": 8}, r"understood.*llama.expert_count = 8, expected 0"),
        ({"llama.rope.scaling.type": "yarn"}, r"llama.rope.scaling.type = 'yarn', expected 'none'"),
        ({"llama.rope.scaling.factor": 8.0}, r"llama.rope.scaling.factor = 8.0, expected no such key"),
        ({"llama.attention.causal": False}, "llama.attention.causal = False"),
        ({"llama.attention.causal": 1}, "llama.attention.causal = 1"),
        ({"llama.attn_logit_softcapping": 50.0}, "llama.attn_logit_softcapping = 50.0"),
        ({"llama.attention.sliding_window": 8}, "llama.attention.sliding_window = 8"),
        ({"llama.new": [1, 2]}, "llama.new"),
        ({"general.alignment": 48}, "power of two.*48"),
        ({"general.alignment": "32"}, "power of two.*'32'"),
        ({"llama.block_count": 10**9}, "block_count 1000000000 with 20 tensors"),
        ({"llama.block_count": 0}, "block_count 0"),
        ({"llama.block_count": [2, 2]}, "block_count array"),
        ({"llama.embedding_length": 2**32 - 1}, "configuration|shapes follow"),
        ({"llama.embedding_length": 0}, "d_model=0"),
        ({"llama.embedding_length": "32"}, "d_model='32'"),
        ({"llama.attention.head_count": 3}, "n_heads divides d_model"),
        ({"llama.attention.head_count": 0}, "n_heads=0"),
        ({"llama.attention.head_count_kv": 3}, "n_kv_heads divides n_heads"),
        ({"llama.attention.head_count_kv": [2, 2]}, r"n_kv_heads=\[2, 2\]"),
        ({"llama.feed_forward_length": [40, 40]}, r"d_ff=\[40, 40\]"),
        ({"llama.attention.value_length": 16}, "values are as wide as keys.*16, expected 8"),
        ({"llama.attention.value_length": [8, 8]}, "values are as wide as keys"),
        ({"llama.rope.dimension_count": 7}, "pairs"),
        ({"llama.rope.freq_base": float("nan")}, "rope_base=nan"),
        ({"llama.attention.layer_norm_rms_epsilon": -1.0}, "norm_epsilon=-1.0"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_key_that_is_wrong_or_not_understood_is_named(change: Made, words: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        read_gguf(llama(tmp_path / "a.gguf", **change))
    assert "a.gguf" in str(caught.value) or caught.value.tensor


@pytest.mark.parametrize("key", ["block_count", "embedding_length", "attention.layer_norm_rms_epsilon"])
def test_a_missing_size_is_named(key: str, tmp_path: Path) -> None:
    said = metadata(LLAMA)
    del said[f"llama.{key}"]
    _refused(write(tmp_path / "a.gguf", said, tensors(LLAMA, random_parameters(LLAMA, 0))), f"no llama.{key}")


@pytest.mark.parametrize("architecture", ["mamba", "llama4", "Llama"])
def test_another_architecture_is_named(architecture: str, tmp_path: Path) -> None:
    said = metadata(LLAMA, architecture)
    _refused(write(tmp_path / "a.gguf", said, {}, architecture), f"'{architecture}', expected llama or qwen2")


# -- tensors ----------------------------------------------------------------------------------


def _put(name: str, value: Any) -> Callable[[Made], object]:
    return lambda made: made.update({name: value})


NORM = "output_norm.weight"
NARROW = np.zeros((16, 32), np.float32)


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        (lambda made: made.pop("token_embd.weight"), "token_embd.weight", "every parameter is there"),
        (lambda made: made.pop("blk.1.ffn_up.weight"), "blk.1.ffn_up.weight", "every parameter is there"),
        (_put("blk.2.attn_q.weight", NARROW), "blk.2.attn_q.weight", "no other parameters"),
        (_put("blk.1.attn_q.bias", NARROW[0]), "blk.1.attn_q.bias", "no other parameters"),
        (_put("blk.0.attn_q.bias", NARROW[0]), "blk.0.attn_k.bias", "every parameter is there"),
        (_put("blk.1.attn_q.weight", NARROW), "blk.1.attn_q.weight", r"got \(16, 32\), expected \(32, 32\)"),
        (_put("token_embd.weight", NARROW), "token_embd.weight", r"expected \(264, 32\)"),
        (_put(NORM, np.full(32, np.nan, np.float32)), NORM, "32 infinite or NaN"),
        (_put(NORM, np.full(32, np.inf, np.float16)), NORM, "32 infinite or NaN"),
        (_put(NORM, np.ones(32, np.float64)), NORM, "got F64, expected F32 or"),
        (_put(NORM, np.ones(32, np.int8)), NORM, "got I8"),
        (_put(NORM, (np.zeros(22, np.uint8), "Q5_0")), NORM, "got Q5_0"),
        (_put(NORM, (np.full(34, 255, np.uint8), "Q8_0")), NORM, "infinite or NaN"),
        (_put("rope_freqs.weight", np.ones(3, np.float32)), "rope_freqs.weight", "shapes follow"),
        (_put("rope_freqs.weight", np.zeros(4, np.float32)), "rope_freqs.weight", "factors are positive"),
    ],
)  # fmt: skip
def test_a_tensor_that_is_wrong_is_named(
    change: Callable[[Made], object], name: str, words: str, tmp_path: Path
) -> None:
    made: Made = dict(tensors(LLAMA, random_parameters(LLAMA, 0)))
    change(made)
    _refused(write(tmp_path / "a.gguf", metadata(LLAMA), made), words, tensor=name)


def _at_entry(name: bytes, field: str, value: int) -> bytes:
    """The file with another dimension, type or offset of a vector."""
    content, code = bytearray(_content()), "I" if field in ("count", "type") else "Q"
    at = content.index(struct.pack("<Q", len(name)) + name) + 8 + len(name)
    at += {"count": 0, "rows": 4, "type": 12, "offset": 16}[field]
    content[at : at + struct.calcsize(code)] = struct.pack(f"<{code}", value)
    return bytes(content)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("count", 0, "has dimensions: got output_norm.weight with 0"),
        ("count", 5, "has dimensions: got output_norm.weight with 5"),
        ("rows", 2**63, "a tensor lies in its file"),
        ("rows", 31, "shapes follow"),
        ("rows", 0, "a tensor has numbers: got output_norm.weight of shape"),
        ("type", 14, "rows are whole blocks of Q6_K"),
        ("type", 4, "type 4, expected F32"),
        ("type", 99, "type 99, expected F32"),
        ("type", 10, "got Q2_K, expected F32"),
        ("offset", 2**63, "a tensor lies in its file"),
        ("offset", 32 * 10**9, "a tensor lies in its file"),
        ("offset", 0, "every number stands in a place of its own"),
        ("offset", 7, "multiples of general.alignment: got offset 7"),
    ],
)
def test_a_lie_about_a_tensor_is_named(field: str, value: int, words: str, path: Path) -> None:
    path.write_bytes(_at_entry(b"output_norm.weight", field, value))
    with pytest.raises(CheckpointError, match=words) as caught:
        read_gguf(path)
    assert "output_norm.weight" in str(caught.value) or caught.value.tensor


@pytest.mark.parametrize("name", ["a\0b.gguf", "x" * 5000 + ".gguf", ".gguf"])
def test_a_name_that_no_file_can_have(name: str) -> None:
    with pytest.raises(CheckpointError, match="nothing there"):
        read_checkpoint(name)


def test_a_file_that_is_shortened_while_it_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(_content())

    def shortened(*arguments: Any) -> Any:
        header = read_header(*arguments)
        os.truncate(path, header.data_start + 100)
        return header

    monkeypatch.setattr("causalsim.models.formats.gguf_model.read_header", shortened)
    with pytest.raises(CheckpointError, match="keeps its size"):
        read_gguf(path)


def test_without_gguf_the_hint_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(_content())
    monkeypatch.setitem(sys.modules, "gguf", None)
    _refused(path, r"package gguf.*pip install 'causalsim\[models\]'")


# -- the tokenizer ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tokens": TOKENS[:-1]}, "tokens: .*got 263 tokens, 263 different, expected 264"),
        ({"tokens": [*TOKENS[:-1], TOKENS[0]]}, "tokens: .*264 tokens, 263 different"),
        ({"tokens": ["", *TOKENS[1:]]}, "tokens: a special token has letters"),
        ({"tokens": None}, "tokens: .*NoneType"),
        ({"tokens": [1, 2, 3]}, "tokens: .*ndarray"),
        ({"merges": None}, "merges: .*NoneType"),
        ({"merges": ["th"]}, "merges: .*'th'"),
        ({"merges": ["t zz"]}, "merges: merges are of tokens"),
        ({"merges": ["t t"]}, "merges: merges are of tokens"),
        ({"token_type": [1, 2]}, "token_type: every token has its type"),
        ({"token_type": "normal"}, "token_type: every token has its type"),
        ({"add_bos_token": True, "bos_token_id": 264}, "bos_token_id: .*264"),
        ({"add_bos_token": True, "bos_token_id": None}, "bos_token_id: .*None"),
        ({"add_eos_token": True, "eos_token_id": "</s>"}, "eos_token_id: .*'</s>'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_damaged_tokenizer_is_named(change: Made, words: str, tmp_path: Path) -> None:
    said = metadata(LLAMA) | tokenizer(**change)
    made = tensors(LLAMA, random_parameters(LLAMA, 0))
    with pytest.raises(CheckpointError, match=r"a\.gguf: tokenizer\.ggml\." + words):
        read_gguf(write(tmp_path / "a.gguf", said, made))


def test_without_tokenizers_the_hint_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(_content())
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    _refused(path, r"package tokenizers.*pip install 'causalsim\[models\]'")
