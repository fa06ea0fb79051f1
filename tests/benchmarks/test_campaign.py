"""The campaign among the results: told from its file, and only if it holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from causalsim.verification import run_campaign
from tests.benchmarks import campaign
from tests.models_for_tests import tiny


@pytest.fixture
def found(tmp_path):
    return run_campaign(tiny(), [1, 2], tmp_path / "orders.jsonl", orders=3)


def test_the_row_says_what_was_found_and_where(found):
    row = campaign.table(found, 1234).splitlines()[2]
    assert "| 3 | 1,234 | 1 | 0 | 3 of 3 |" in row
    assert f"jaxlib {found.environment['jaxlib']}" in campaign.table(found, 1)


def test_a_campaign_that_fails_is_not_told(found):
    failing = replace(found, verdict=replace(found.verdict, witness="diverges"))
    with pytest.raises(SystemExit, match="diverges"):
        campaign.table(failing, 1)
