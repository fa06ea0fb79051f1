"""Copies of two golden folders: one with its tensors in one file, one in shards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.folders import (
    PLAIN,
    SHARDED,
    copied,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copied(PLAIN, tmp_path)


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return copied(SHARDED, tmp_path)
