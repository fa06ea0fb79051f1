"""Folders of checkpoints to damage, and how a refusal is looked at."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from causalsim.errors import CheckpointError
from causalsim.models.formats.hf_model import WEIGHTS, read_folder

GOLDEN = Path(__file__).parents[1] / "golden"
PLAIN, SHARDED = GOLDEN / "llama_grouped", GOLDEN / "llama_multi_query"
Arrays = dict[str, np.ndarray[Any, Any]]
A_NORM, A_MATRIX = "model.norm.weight", "model.layers.1.self_attn.k_proj.weight"


def copied(source: Path, into: Path) -> Path:
    for path in source.iterdir():
        if path.name != "expected.safetensors":
            shutil.copy(path, into)
    return into


def rewrite(folder: Path, change: Callable[[Arrays], object]) -> None:
    arrays = load_file(folder / WEIGHTS)
    change(arrays)
    save_file(arrays, folder / WEIGHTS)


def refused(folder: Path, words: str, tensor: str | None = None) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        read_folder(folder)
    assert caught.value.tensor == tensor


def same(ours: Arrays, theirs: Arrays) -> bool:
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def file_of(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def header_length(content: bytes) -> int:
    return int.from_bytes(content[:8], "little")


def read_header(content: bytes) -> dict[str, Any]:
    return json.loads(content[8 : 8 + header_length(content)])
