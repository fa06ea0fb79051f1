"""An empty cache of calibrations."""

from __future__ import annotations

import pytest


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and nothing that overrides what is kept there."""
    monkeypatch.setenv("CAUSALSIM_CACHE", str(tmp_path))
    monkeypatch.delenv("CAUSALSIM_BUCKETS")
    return tmp_path
