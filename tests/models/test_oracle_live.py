"""Families against transformers itself, at seeds that no golden file has; needs the extra ``oracle``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import causalsim as cs
from causalsim.models import read_checkpoint
from tests.models.textbook import forward

BOUND = 1e-5
NAMES = sorted(path.parent.name for path in (Path(__file__).parents[1] / "golden").glob("*/config.json"))
ONE_EACH = ["gemma2_grouped", "gpt2", "gpt_neox", "llama_llama3", "mistral_grouped", "qwen2_grouped"]
# Libraries that only the oracle needs may warn.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def _made(name: str, folder: Path, seed: int) -> dict[str, np.ndarray]:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.golden.make import EXPECTED, make

    make(name, folder, seed)
    return load_file(folder / EXPECTED)


def _error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max()))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_what_was_saved_now_is_read(name: str, seed: int, tmp_path: Path) -> None:
    expected = _made(name, tmp_path, seed)
    config, params, _ = read_checkpoint(tmp_path)
    ours = forward(config, params, expected.pop("ids"))
    assert expected and max(_error(ours[value], expected[value]) for value in expected) <= BOUND


@pytest.mark.parametrize("name", ONE_EACH)
def test_what_was_saved_now_runs(name: str, tmp_path: Path) -> None:
    expected = _made(name, tmp_path, seed=4)
    run = cs.run(cs.load(tmp_path), expected["ids"].tolist())
    assert _error(np.asarray(run.logits), expected["logits"]) <= BOUND
