"""Recorded values: by event, by hook name, as arrays with their head axis, as one digest."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import causalsim as cs
from causalsim.engine.digests import digest_of
from tests.engine.support import architectures, bits, ids
from tests.models_for_tests import tiny

LENGTH = 6


def _run(model: cs.Model, **graph) -> cs.Run:
    made = cs.EventGraph(model.config, LENGTH, **graph)
    return cs.run(model, ids(model, LENGTH), cs.random_foliation(made, 1), record=True)


@pytest.mark.parametrize("model", architectures())
def test_shapes_of_events(model):
    config, run = model.config, _run(model, prompt=4)
    head = (config.n_kv_heads, config.d_head)
    for event, value in run.values.items():
        if event.kind == "kv":
            assert [part.shape for part in value] == [head, head]
        elif event.kind == "sample":
            assert value == run.tokens[event.position + 1]
        else:
            assert value.shape == ((config.vocab_size,) if event.kind == "unembed" else (config.d_model,))
    assert list(run.values) == list(run.graph)
    assert len(run.values) == len(run.graph)


@pytest.mark.parametrize("granularity", ["sublayer", "block"])
def test_hook_names_stack_the_rows_of_events(granularity):
    model = tiny()
    run, plain = _run(model, granularity=granularity), _run(model)
    names = {"hook_resid_pre": ("mlp", -1), "hook_resid_mid": ("attn", 0), "hook_resid_post": ("mlp", 0)}
    for layer in range(2):
        for name, (kind, below) in names.items():
            event = (kind, layer + below) if layer + below >= 0 else ("embed", -1)
            expected = np.stack([plain.values[cs.Event(*event, p)] for p in range(LENGTH)])
            if granularity == "block" and (name == "hook_resid_mid" or event[0] == "embed"):
                with pytest.raises(cs.InputError):
                    run.values[f"blocks.{layer}.{name}"]
                continue
            assert bits(run.values[f"blocks.{layer}.{name}"]) == bits(expected)
        if granularity == "sublayer":
            for name, part in (("attn.hook_rot_k", 0), ("attn.hook_v", 1)):
                stacked = np.stack([run.values[cs.Event("kv", layer, p)][part] for p in range(LENGTH)])
                assert bits(run.values[f"blocks.{layer}.{name}"]) == bits(stacked)
                assert stacked.shape == (LENGTH, 2, 8)
    if granularity == "sublayer":
        assert bits(run.values["logits"]) == bits(run.logits)
        assert bits(run.values["hook_embed"]) == bits(model.params["embed"][run.tokens])


def test_keys_turned_back_are_the_plain_projection():
    model = tiny(2, 4, 2, windows=(None, 3))
    run = _run(model)
    for layer in range(2):
        x = run.values[f"blocks.{layer}.hook_resid_pre"].astype(np.float64)
        gain = model.params[f"layers.{layer}.attn.norm"]
        hidden = x / np.sqrt((x * x).mean(axis=1, keepdims=True) + model.config.norm_epsilon) * gain
        for name, part in (("k", "attn.hook_k"), ("v", "attn.hook_v")):
            expected = (hidden @ model.params[f"layers.{layer}.attn.{name}"]).reshape(LENGTH, 2, 8)
            np.testing.assert_allclose(run.values[f"blocks.{layer}.{part}"], expected, atol=1e-5)


def test_hooks_that_a_parallel_residual_does_not_have():
    run = _run(tiny(2, 4, 1, parallel_residual=True))
    assert run.values["blocks.1.attn.hook_v"].shape == (LENGTH, 1, 8)
    with pytest.raises(cs.InputError, match="known hook name"):
        run.values["blocks.0.hook_resid_mid"]


def test_digests_are_as_defined():
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(2, dtype=np.int32)]
    plain = hashlib.sha256()
    for array, dtype in zip(arrays, ("<f4", "<i4"), strict=True):
        plain.update(f"{array.shape} {dtype} ".encode() + array.astype(dtype).tobytes())
    expected = plain.hexdigest()
    assert digest_of(arrays) == expected
    assert digest_of([array.astype(array.dtype.newbyteorder(">")) for array in arrays]) == expected
    assert digest_of([np.asfortranarray(array) for array in arrays]) == expected
    for other in (
        arrays[::-1],
        arrays[:1],
        [arrays[0].T, arrays[1]],
        [arrays[0].astype(np.float64), arrays[1]],
    ):
        assert digest_of(other) != expected


def test_a_digest_sees_one_bit():
    run = _run(tiny())
    logits = run.logits.copy()
    assert digest_of([logits]) == run.digest
    logits.view(np.int32)[3, 7] ^= 1
    assert digest_of([logits]) != run.digest


def test_a_values_digest_sees_one_bit_of_any_event():
    run = _run(tiny(1, 2, 1), prompt=4)
    flat = [part for event in run.graph for part in _parts(run.values[event])]
    assert digest_of(flat) == run.values_digest
    for i, part in enumerate(flat):
        changed = np.array(part)
        changed.reshape(-1).view(np.int32)[0] ^= 1
        assert digest_of([*flat[:i], changed, *flat[i + 1 :]]) != run.values_digest


def _parts(value):
    return value if isinstance(value, tuple) else (np.asarray(value),)
