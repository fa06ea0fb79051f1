"""Digests of all events of models in many orders: not one bit may change when the house is rebuilt.

``python -m tests.golden.digests`` records them into ``digests.json``, with the environment that they
are a property of; ``pytest -m slow tests/golden/test_digests.py`` compares them on the same machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

import causalsim as cs
from causalsim.engine.environment import environment
from tests.models_for_tests import SENTENCE, glass, tiny, wide

FOLDER = Path(__file__).parent
FILE = FOLDER / "digests.json"
STORY = "Once upon a time there was an old king who had three daughters,"
FAMILIES = ("gemma2_grouped", "gpt2", "gpt_neox")

Digests = Iterator[tuple[str, str]]


def named(graph: cs.EventGraph) -> dict[str, cs.Foliation]:
    """Every named family that is valid on a graph, and a random foliation and linear extension."""
    found = {
        "layer_major": cs.layer_major,
        "token_major": cs.token_major,
        "chunked 4": lambda g: cs.chunked(g, 4),
        "wavefront": cs.wavefront,
        "earliest": cs.earliest,
        "latest": cs.latest,
        "random foliation": lambda g: cs.random_foliation(g, 3),
        "Kahn": lambda g: cs.random_linear_extension(g, 3, method="kahn"),
    }
    valid: dict[str, cs.Foliation] = {}
    for name, make in found.items():
        with suppress(cs.CausalityError):
            valid[name] = make(graph)
    return valid


def small_ones() -> Digests:
    """Glass in all named families, and at block granularity."""
    for granularity in ("sublayer", "block"):
        graph = cs.EventGraph(glass().config, len(glass().encode(SENTENCE)), granularity=granularity)
        for name, foliation in named(graph).items():
            run = cs.run(glass(), SENTENCE, foliation, record=True)
            yield f"glass, {granularity}, {name}", run.values_digest


def families() -> Digests:
    """Golden checkpoints of three families, and a wide model, in both dtypes."""
    for dtype in ("float32", "bfloat16"):
        loaded = {name: cs.load(FOLDER / name, dtype=dtype) for name in FAMILIES}
        for name, model in {**loaded, "width 768": wide(dtype)}.items():
            ids = np.random.default_rng(0).integers(model.config.vocab_size, size=12).tolist()
            for order, foliation in named(cs.EventGraph(model.config, len(ids))).items():
                yield f"{name}, {dtype}, {order}", cs.run(model, ids, foliation, record=True).values_digest


def several_requests() -> Digests:
    """Three requests that wait for their own tokens, with windows and a parallel residual."""
    for name, model in {
        "windows": tiny(2, 4, 2, windows=(None, 3)),
        "parallel": tiny(3, 2, 2, windows=(2, None, 3), parallel_residual=True),
    }.items():
        texts = [
            np.random.default_rng(n).integers(40, size=length).tolist() for n, length in enumerate((9, 5, 7))
        ]
        graph = cs.EventGraph(model.config, (9, 5, 7), prompt=(4, 5, 2))
        for order, foliation in named(graph).items():
            yield (
                f"three requests, {name}, {order}",
                cs.run(model, texts, foliation, record=True).values_digest,
            )


def generations() -> Digests:
    """Texts written on, greedily and with temperature."""
    for temperature in (0.0, 0.8):
        story = cs.generate(glass(), SENTENCE, 12, temperature=temperature, seed=5, record=True)
        again = cs.generate(
            glass(), SENTENCE, 12, cs.random_foliation(story.graph, 1), temperature=temperature, seed=5
        )
        yield f"generation at {temperature}", story.values_digest
        yield f"generation at {temperature}, random order, logits", again.digest


def smollm2() -> Digests:
    """SmolLM2-135M over 40 tokens and over 140, which is more than a page of K/V."""
    model = cs.load("smollm2")
    for length in (40, 140):
        ids = np.random.default_rng(length).integers(model.config.vocab_size, size=length).tolist()
        graph = cs.EventGraph(model.config, length)
        for order in (
            cs.layer_major,
            cs.wavefront,
            lambda g: cs.chunked(g, 50),
            lambda g: cs.random_foliation(g, 2),
        ):
            foliation = order(graph)
            run = cs.run(model, ids, foliation, record=True)
            yield f"SmolLM2, {length} tokens, {foliation.depth} slices", run.values_digest
        yield f"SmolLM2, {length} tokens, logits of cs.run", cs.run(model, ids).digest
    yield "SmolLM2, generation", cs.generate(model, STORY, 8, temperature=0.8, seed=1).digest


PARTS = {part.__name__: part for part in (small_ones, families, several_requests, generations, smollm2)}


def recorded() -> dict[str, dict[str, str]]:
    """Every digest by its part and name."""
    return {name: dict(part()) for name, part in PARTS.items()}


def main() -> None:
    """Write what this machine gives."""
    content = {"environment": environment(), "digests": recorded()}
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
