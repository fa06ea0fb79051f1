"""A real engine's trace: transformers reads in chunks, then writes on with its cache; needs ``oracle``.

Its events are a foliation of the graph of its checkpoint, its values are those of our own run, and
what is spoilt on purpose is found where it was spoilt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import causalsim as cs
from causalsim.testing import check_trace, trace_of_steps

NAMES = ["llama_grouped", "mistral_grouped", "qwen3_grouped", "gpt2", "gemma2_grouped"]
PROMPT = [7, 1, 44, 3, 28, 9, 9, 15, 50]
WRITTEN = 5
TOLERANCE = 1e-5
# Libraries that only the oracle needs may warn.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(params=NAMES)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.golden.make import make

    make(request.param, tmp_path, seed=5)
    return tmp_path


def _watch(checkpoint: Path, chunk: int, **more: Any) -> Any:
    from tests.testing.watched import load, watch

    return watch(load(checkpoint), PROMPT, chunk, WRITTEN, **more)


def _reference(checkpoint: Path, tokens: list[int]) -> cs.Run:
    model = cs.load(checkpoint)
    graph = cs.EventGraph(model.config, len(tokens), prompt=len(PROMPT))
    return cs.run(model, tokens, cs.token_major(graph), record=True)


@pytest.mark.parametrize(
    ("chunk", "family", "sizes"),
    [(9, "chunked(9)", (9,)), (4, "chunked(4)", (4, 4, 1)), (1, "token_major", (1,) * 9)],
)
def test_prefill_and_decode_of_transformers_are_a_foliation_with_our_values(
    checkpoint: Path, chunk: int, family: str, sizes: tuple[int, ...]
) -> None:
    seen = _watch(checkpoint, chunk)
    run = _reference(checkpoint, seen.tokens)
    check = check_trace(run.graph, seen.trace, values=seen.values, reference=run, tolerance=TOLERANCE)
    assert check.holds, str(check.faults) + str(check.values)
    assert check.family == family and check.chunks == ((*sizes, *(1,) * WRITTEN),)
    assert check.values is not None and check.values.compared == len(run.graph)
    assert check_trace(run.graph, trace_of_steps(run.graph, seen.steps)).foliation == check.foliation


def test_a_fault_is_found_where_it_was_planted(checkpoint: Path) -> None:
    """In the prompt's first chunk, in its last, and in what was decoded, at every layer."""
    sound = _watch(checkpoint, 4)
    run = _reference(checkpoint, sound.tokens)
    rng = np.random.default_rng(0)
    for layer in range(run.model.config.n_layers):
        for positions in (range(4), range(4, 9), range(9, 14)):
            planted = cs.Event("attn", layer, int(rng.choice(positions)))
            spoilt = _watch(checkpoint, 4, given=sound.tokens, altered=planted)
            check = check_trace(
                run.graph, spoilt.trace, values=spoilt.values, reference=run, tolerance=TOLERANCE
            )
            assert not check.faults and check.family == "chunked(4)"
            assert check.divergence is not None and check.divergence.event == planted
            assert check.values is not None and check.values.inputs_agree
            # A difference within the tolerance may grow past it further on; none does so before.
            assert check.values.origins[0] == planted
