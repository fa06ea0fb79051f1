"""Bad input to the engine: one clear message with what was got and what was expected, and no run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import causalsim as cs
from tests.models_for_tests import glass, tiny

MODEL = tiny()
WIRING = MODEL.config.wiring
pytestmark = pytest.mark.usefixtures("unchecked")


def _layer_major(wiring=WIRING, length=3, **more):
    return cs.layer_major(cs.EventGraph(wiring, length, **more))


BAD_TEXTS = [
    ("", "without one.*Give token ids"),
    ("a word", "without one.*Give token ids"),
    ([], r"at least one token: got an empty text \(request 0\)"),
    ([[1], []], r"got an empty text \(request 1\)"),
    (np.empty(0, np.int32), "got an empty text"),
    (np.empty((0, 3), np.int32), "at least one"),
    ([1, 40], r"got 40, expected 0\.\.39"),
    ([1, -1], r"got -1, expected 0\.\.39"),
    ([2**40], rf"got {2**40}, expected 0\.\.39"),
    ([2**70], "row of integers: got .*"),
    ([1.5, 2], "row of integers: got .*float64"),
    ([1, 2.5], "row of integers: got .*float64"),
    ([True, False], "row of integers: got .*bool"),
    (["1", "2"], "without one.*Give token ids"),
    ([[1, 2], 3], "row of integers"),
    ([[1, [2]], [3]], "row of integers"),
    ([[[1, 2]]], r"row of integers: got shape \(1, 2\)"),
    (np.zeros((2, 2, 2), np.int64), "row of integers"),
    (np.zeros(3), "row of integers: got .*float64"),
    (3, "a string or a sequence of token ids.*got int"),
    (None, "a string or a sequence of token ids.*got NoneType"),
    ({1: 2}, "a string or a sequence of token ids.*got dict"),
    (b"bytes", "a string or a sequence of token ids.*got bytes"),
    (list(range(40)) * 13, r"got 520 tokens \(request 0\), expected at most 512"),
    ([[1], [0] * 513], r"got 513 tokens \(request 1\), expected at most 512"),
]


@pytest.mark.parametrize(("tokens", "words"), BAD_TEXTS, ids=[str(text)[:20] for text, _ in BAD_TEXTS])
def test_texts_that_cannot_be_run(tokens, words):
    with pytest.raises(cs.InputError, match=f"(?s){words}"):
        cs.run(MODEL, tokens)
    with pytest.raises(cs.InputError, match=f"(?s){words}"):
        cs.generate(MODEL, tokens, 1)


def test_an_empty_text_of_a_model_that_reads_text():
    with pytest.raises(cs.InputError, match=r"at least one token: got an empty text.*Give a word"):
        cs.run(glass(), "")
    with pytest.raises(cs.InputError, match=r"got an empty text \(request 1\)"):
        cs.run(glass(), ["words", ""])
    with pytest.raises(cs.InputError, match=r"got \d+ tokens .*expected at most 128"):
        cs.run(glass(), "word " * 200)


BAD_FOLIATIONS = [
    (_layer_major(cs.Wiring(3)), "own wiring: got .*expected"),
    (_layer_major(cs.Wiring(2, windows=2)), "own wiring: got .*expected"),
    (_layer_major(cs.Wiring(2, parallel_residual=True)), "own wiring: got .*expected"),
    (_layer_major(length=4), r"own lengths: got lengths \(4,\), expected \(3,\)"),
    (_layer_major(length=(3, 3)), r"own lengths: got lengths \(3, 3\), expected \(3,\)"),
]


@pytest.mark.parametrize(("foliation", "words"), BAD_FOLIATIONS)
def test_foliations_of_something_else(foliation, words):
    with pytest.raises(cs.InputError, match=words):
        cs.run(MODEL, [1, 2, 3], foliation)
    with pytest.raises(cs.InputError, match=words):
        cs.generate(MODEL, [1, 2], 1, foliation)


@pytest.mark.parametrize("graph", [{}, {"granularity": "block"}, {"prompt": 1}])
def test_generation_wants_a_graph_that_waits_for_its_tokens(graph):
    foliation = cs.token_major(cs.EventGraph(WIRING, 3, **graph))
    with pytest.raises(cs.InputError, match=r"waits for it: got .*expected .*prompt=\(2,\)"):
        cs.generate(MODEL, [1, 2], 1, foliation)


@pytest.mark.parametrize("foliation", ["layer_major", cs.layer_major, 3, [0, 1, 2]])
def test_what_is_no_foliation(foliation):
    with pytest.raises(cs.InputError, match="got"):
        cs.run(MODEL, [1, 2, 3], foliation)


@pytest.mark.parametrize("n", [0, -1, True, 1.0, "3", None])
def test_numbers_of_tokens(n):
    with pytest.raises(cs.InputError, match="at least 1 tokens: got"):
        cs.generate(MODEL, [1, 2], n)


@pytest.mark.parametrize("temperature", [float("nan"), float("inf"), -0.1, "1", None, 1j, True])
def test_temperatures(temperature):
    with pytest.raises(
        cs.InputError, match=r"not negative and a finite float32: got .*expected 0 for greedy"
    ):
        cs.generate(MODEL, [1, 2], 1, temperature=temperature)


@pytest.mark.parametrize("seed", [-1, 2**31, 1.0, True, "0", None])
def test_seeds(seed):
    with pytest.raises(cs.InputError, match=r"whole number: got .*expected 0 \.\. "):
        cs.generate(MODEL, [1, 2], 1, seed=seed)


@pytest.mark.parametrize("temperature", [np.float32(0.5), np.float64(0.5), 1, np.int64(1)])
def test_numbers_of_numpy_are_numbers(temperature):
    run = cs.generate(
        MODEL, np.array([1, 2], np.uint16), np.int64(2), temperature=temperature, seed=np.int32(3)
    )
    assert run.digest == cs.generate(MODEL, [1, 2], 2, temperature=float(temperature), seed=3).digest


def test_more_tokens_than_the_context_holds():
    with pytest.raises(cs.InputError, match=r"got 513 tokens .*expected at most 512"):
        cs.generate(MODEL, [1, 2], 511)


@pytest.mark.parametrize("length", [0, -1, 1.5, True, "3", None, [], [3, 0], 513, [3, 513]])
def test_lengths_to_warm(length):
    with pytest.raises(cs.InputError, match="got"):
        MODEL.warm(length)


def test_values_are_asked_for_by_what_there_is():
    run = cs.run(MODEL, [1, 2, 3], record=True)
    with pytest.raises(cs.InputError, match=r"recorded runs: got .*record=True"):
        cs.run(MODEL, [1, 2, 3]).values_digest  # noqa: B018
    for name in ("hook_resid", "blocks.2.hook_resid_pre", "blocks.0.hook_z", "blocks.-1.hook_resid_pre", ""):
        with pytest.raises(cs.InputError, match=r"known hook name: got .*expected hook_embed"):
            run.values[name]
    with pytest.raises(cs.InputError, match="position 3 lies outside"):
        run.values[cs.Event("attn", 0, 3)]
    for request in (1, -1):
        with pytest.raises(cs.InputError, match=rf"asked for: got {request}, expected 0\.\.0"):
            run.values.stack("hook_embed", request)
    for key in (3, ("attn", 0, 0), None):
        with pytest.raises(cs.InputError, match="got"):
            run.values[key]


def test_hooks_of_several_requests_need_to_be_told_whose():
    run = cs.run(MODEL, [[1, 2], [3]], record=True)
    with pytest.raises(cs.InputError, match=r"one text: got .*2 requests.*stack"):
        run.values["hook_embed"]
    assert run.values.stack("hook_embed", 1).shape == (1, 32)


def test_text_of_a_model_without_tokenizer():
    for use in (lambda: MODEL.encode("x"), lambda: MODEL.decode([1]), lambda: cs.run(MODEL, [1]).text):
        with pytest.raises(cs.InputError, match="needs a tokenizer: got a model without one"):
            use()


def test_models_are_checked_when_built():
    params = dict(MODEL.params)
    with pytest.raises(cs.CheckpointError, match="final_norm"):
        cs.Model(MODEL.config, {**params, "final_norm": np.zeros(3, np.float32)})
    with pytest.raises(cs.CheckpointError, match="layers"):
        cs.Model(replace(MODEL.config, n_layers=3), params)
    with pytest.raises(cs.CheckpointError, match="nobody"):
        cs.load("nobody")


OF_ANOTHER_CLASS = [
    (lambda: cs.run("glass", "hi"), "a model must be of type Model: got 'glass'.*load"),
    (lambda: cs.generate(None, "hi", 3), "a model must be of type Model: got None"),
    (lambda: cs.verify("glass", "hi"), "a model must be of type Model"),
    (lambda: cs.run(MODEL, [1], kernels="stock"), "a set of kernels must be of type Kernels: got 'stock'"),
    (lambda: cs.run(MODEL, np.array(3)), r"a row of integers: got shape \(\)"),
    (lambda: cs.random_model({}), "a configuration must be of type ModelConfig"),
    (lambda: cs.Model({}, {}), "a configuration must be of type ModelConfig"),
    (lambda: cs.Model(MODEL.config, None), "the parameters must be of type Mapping"),
]


@pytest.mark.parametrize(("call", "words"), OF_ANOTHER_CLASS)
def test_things_of_another_class(call, words):
    with pytest.raises(cs.InputError, match=words):
        call()


def test_a_random_model_that_no_memory_holds():
    config = replace(MODEL.config, n_layers=10**9)
    with pytest.raises(cs.LimitError, match="random parameters fit into memory") as caught:
        cs.random_model(config)
    assert caught.value.reached > caught.value.bound


def test_a_model_that_claims_any_length_needs_no_more_memory_for_it():
    """A configuration is not believed with gigabytes about its context."""
    model = cs.random_model(replace(MODEL.config, max_length=2**40))
    assert cs.run(model, [1, 2, 3]).digest == cs.run(MODEL, [1, 2, 3]).digest
    with pytest.raises(cs.InputError, match="at most 262,144"):
        model.warm(2**18 + 1)
