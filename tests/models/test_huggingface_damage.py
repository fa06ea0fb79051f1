"""Folders that lie or were damaged at random are refused by name, and cost nothing."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from causalsim.errors import CheckpointError
from causalsim.models.formats.hf_config import CONFIG
from causalsim.models.formats.hf_model import WEIGHTS, read_folder
from tests.models.folders import (
    A_NORM,
    PLAIN,
    SHARDED,
    copied,
    edit,
    file_of,
    header_length,
    read_header,
    refused,
    same,
)

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
        file_of(b"{}", length=2**63),
        file_of(b"{}", length=2**31),
        file_of(b"{}", length=3),
        file_of(b"[]"),
        file_of(b"\xff\xfe"),
        file_of(b"[" * 10**5),
        file_of(b'{"__metadata__": {"format": 3}}'),
        file_of(_a_tensor(), bytes(7)),
        file_of(_a_tensor(), bytes(9)),
        file_of(_a_tensor(shape=[2**40]), bytes(8)),
        file_of(_a_tensor(shape=[2**62, 8]), bytes(8)),
        file_of(_a_tensor(shape=[-2]), bytes(8)),
        file_of(_a_tensor(shape=[2**40], data_offsets=[0, 2**42]), bytes(8)),
        file_of(_a_tensor(data_offsets=[8, 0]), bytes(8)),
        file_of(_a_tensor(data_offsets=[8, 16]), bytes(16)),
        file_of(_a_tensor(data_offsets=[-8, 0]), bytes(8)),
        file_of(_a_tensor(dtype="F33"), bytes(8)),
        file_of(_a_tensor(dtype=None), bytes(8)),
    ],
)
def test_a_lying_header_is_refused_and_costs_nothing(folder: Path, content: bytes) -> None:
    (folder / WEIGHTS).write_bytes(content)
    assert _peak(lambda: refused(folder, f"{WEIGHTS}: the weights are a readable")) < 2 * MEGABYTE


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
    edit(folder / CONFIG, **{key: value})

    def refused() -> None:
        with pytest.raises(CheckpointError):
            read_folder(folder)

    assert _peak(refused) < 8 * MEGABYTE


# -- damage at random -------------------------------------------------------------------------

PLAIN_PARAMS = {PLAIN: read_folder(PLAIN), SHARDED: read_folder(SHARDED)}


def _damaged(content: bytes, data: st.DataObject) -> bytes:
    """Cut off somewhere, or with bytes flipped where they describe the rest: numbers have no checksum."""
    described = 8 + header_length(content) if content[8:9] == b"{" else len(content)
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
    folder = copied(source, tmp_path)
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
        assert same(params, expected[1])

    assert _peak(read) < 4 * MEGABYTE + 8 * whole


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_lies_in_the_header_are_refused_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    """Well-formed JSON that describes something else than what is there."""
    _empty(tmp_path)
    folder = copied(PLAIN, tmp_path)
    content = (folder / WEIGHTS).read_bytes()
    header = read_header(content)
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
    (folder / WEIGHTS).write_bytes(file_of(lied, content[8 + header_length(content) :]))

    def read() -> None:
        if told == truth:
            assert same(read_folder(folder)[1], PLAIN_PARAMS[PLAIN][1])
        else:
            with pytest.raises(CheckpointError):
                read_folder(folder)

    assert _peak(read) < 4 * MEGABYTE
