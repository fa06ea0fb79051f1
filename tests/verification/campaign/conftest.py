"""Fixtures of campaigns: no kernels but those that are asked about, and a finished one."""

from __future__ import annotations

from pathlib import Path

import pytest

from causalsim.testing import PlantedFault, Statement
from causalsim.verification import campaign as campaign_module
from causalsim.verification.workers import Runner
from tests.verification.campaign.support import (
    run,
)


@pytest.fixture(autouse=True, scope="module")
def _quick():
    """One batch size, in other processes too, and no kernels but those that are asked about."""
    seen = [PlantedFault("a planted fault", {"order": Statement("seen")})]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAUSALSIM_BUCKETS", "fixed")
        patch.setattr(campaign_module, "controls", lambda *_: iter(seen))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[campaign_module.Campaign, bytes]:
    path = tmp_path_factory.mktemp("finished") / "whole.jsonl"
    return run(path), path.read_bytes()


@pytest.fixture
def whole(tmp_path, finished) -> Path:
    (tmp_path / "whole.jsonl").write_bytes(finished[1])
    return tmp_path / "whole.jsonl"


@pytest.fixture
def spans(monkeypatch) -> list[range]:
    """The chunks that are run in this process from now on."""
    found, before = [], Runner.run
    monkeypatch.setattr(Runner, "run", lambda self, span: (found.append(span), before(self, span))[1])
    return found
