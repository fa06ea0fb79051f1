"""The bits of every event, as they were recorded on this machine: a rebuilt engine changes none of them.

Slow, ``pytest -m slow tests/golden/test_digests.py``. Bits are a property of machine and versions, so that
another machine records its own first, from a tree that it trusts: ``python -m tests.golden.digests``.
"""

from __future__ import annotations

import json

import pytest

from causalsim.engine.environment import environment
from causalsim.models.fetching import find
from tests.golden import digests

# What names the code itself; all else has to be the same.
OF_THE_CODE = {"causalsim"}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("part", digests.PARTS)
def test_not_one_bit_has_changed(part):
    if part == "smollm2" and find("smollm2") is None:
        pytest.skip("needs causalsim models fetch smollm2")
    stored = json.loads(digests.FILE.read_text(encoding="utf-8"))
    if (
        differing := {
            name for name, value in environment().items() if stored["environment"].get(name) != value
        }
        - OF_THE_CODE
    ):
        pytest.skip(f"recorded elsewhere: {', '.join(sorted(differing))} differ")
    assert dict(digests.PARTS[part]()) == stored["digests"][part]
