"""Calibration: what is measured, what is chosen, and that no choice changes a bit."""

from __future__ import annotations

import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.calibration import calibrate, measured
from causalsim.engine import Calibration, calibrations, run_orders
from causalsim.engine.calibrations import Measurement, forget, kinds_of_dispatch, plain, trials
from causalsim.engine.environment import environment
from causalsim.foliations import random_orders
from causalsim.kernels import CERTIFIED, CERTIFIED_BUCKETS, FIXED, FIXED_BUCKETS, STOCK, Buckets
from causalsim.sealed import from_line, to_line
from causalsim.verification.faults import sampling_for_neighbour, with_batch_size, with_neighbour
from tests.engine.processes import answer, start
from tests.engine.support import ids
from tests.models_for_tests import tiny, wide

MODEL = tiny(2, 2, 1)
FEW = Buckets((1, 16))
CARRIED = kinds_of_dispatch()
# The package has a function of the same name.
MODULE = sys.modules["causalsim.calibration.storing"]
# Two pages of K/V, and no batch of sixteen that is not full.
LENGTH = 256


def made(
    model=MODEL, dropped=(), dispatches=tuple(CARRIED), sizes=CERTIFIED_BUCKETS.sizes, seed=0
) -> Calibration:
    """A calibration as if it had been measured, with random times."""
    rng = np.random.default_rng(seed)
    rows = tuple(
        Measurement(dispatch, size, size not in dropped, float(rng.uniform(1, 9)))
        for dispatch, size in trials({name: CARRIED[name] for name in dispatches}, sizes)
    )
    return Calibration(environment(), plain(model.config), 192, rows)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and nothing that overrides what is kept there."""
    monkeypatch.setenv("CAUSALSIM_CACHE", str(tmp_path))
    monkeypatch.delenv("CAUSALSIM_BUCKETS")
    return tmp_path


def file_of(model):
    return calibrations.file_of(model.config, model.dtype)


def is_damaged(model) -> bool:
    return calibrations.is_damaged(model.config, model.dtype)


def stored(model) -> Calibration | None:
    return calibrations.stored(model.config, model.dtype)


def kernels_for(model, kernels=None):
    return model.kernels_or(kernels)


def keep(found: Calibration, model=MODEL) -> None:
    path = file_of(model)
    path.parent.mkdir(exist_ok=True)
    path.write_text(found.to_json())


# -- what is measured --------------------------------------------------------------------------------


def few(kernels):
    return replace(kernels, buckets=FEW)


def test_every_kind_of_dispatch_keeps_its_bits():
    calls = []
    found = measured(MODEL, LENGTH, kernels=few(CERTIFIED), progress=lambda *a: calls.append(a))
    assert found.holds and found.buckets.sizes == (1, 16)
    tried = [(row.dispatch, row.size) for row in found.measurements]
    assert set(tried) == {(name, n) for name in CARRIED for n in (1, 16)} - {("several layers", 16)}
    assert all(row.microseconds > 0 for row in found.measurements)
    assert [done for _, done, _ in calls] == list(range(19)) and {total for *_, total in calls} == {19}


def in_its_place(kernels):
    """An MLP whose rows know where they stand."""

    def mlp(config, weights, x):
        return (
            kernels.mlp(config, weights, x) * (1 + jnp.arange(len(x), dtype=jnp.float32) * 2.0**-20)[:, None]
        )

    return replace(kernels, mlp=mlp)


def without_numbers(kernels):
    def mlp(config, weights, x):
        return kernels.mlp(config, weights, x) * jnp.float32(np.nan)

    return replace(kernels, mlp=mlp)


def peeping(kernels):
    """An MLP that adds nothing from its neighbour unless that is poison."""

    def mlp(config, weights, x):
        return kernels.mlp(config, weights, x) + 0 * jnp.roll(x, 1, axis=0)

    return replace(kernels, mlp=mlp)


@pytest.mark.parametrize(
    ("fault", "dispatches", "dropped"),
    [
        (with_batch_size, ("mlp", "layer"), {1}),
        (with_batch_size, ("several layers",), {1}),
        (with_neighbour, ("mlp",), {1, 16}),
        (in_its_place, ("mlp",), {1, 16}),
        (without_numbers, ("mlp",), {1, 16}),
        (peeping, ("mlp",), {16}),
        (sampling_for_neighbour, ("sample",), {1, 16}),
    ],
)
def test_planted_faults_are_seen(fault, dispatches, dropped):
    found = measured(MODEL, LENGTH, kernels=few(fault(CERTIFIED)), dispatches=dispatches)
    failed = {(row.dispatch, row.size) for row in found.measurements if not row.same_bits}
    assert failed == {(name, size) for name in dispatches for size in dropped}
    assert found.buckets == FIXED_BUCKETS and not found.holds


def test_stock_kernels_at_width_768_are_seen():
    dispatches = ("kv", "mlp")
    found = measured(wide(), kernels=few(STOCK), dispatches=dispatches)
    assert {row.dispatch for row in found.measurements if not row.same_bits} == {*dispatches}


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 768, 2048, 4096])
def test_every_kind_of_dispatch_at_every_batch_size_keeps_its_bits(width):
    heads = max(2, width // 64)
    sizes = {"n_heads": heads, "n_kv_heads": max(1, heads // 4), "d_model": width, "d_ff": 4 * width}
    config = cs.ModelConfig(n_layers=2, vocab_size=1000, max_length=256, **sizes)
    found = measured(cs.random_model(config))
    assert found.holds, found.dropped
    assert found.sizes == CERTIFIED_BUCKETS.sizes


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("length", [0, -1, 1.5, True, "8", 513])
def test_lengths_that_the_model_has_no_room_for_are_refused(length, cache):
    with pytest.raises(cs.InputError, match="got"):
        calibrate(MODEL, length)
    assert not list(cache.rglob("*.json"))


# -- what is chosen ----------------------------------------------------------------------------------


def test_only_batch_sizes_that_hold_for_every_kind_of_dispatch_are_chosen():
    found = made(dropped=(8, 256))
    assert (found.buckets.sizes, found.dropped) == ((1, 16, 32, 64, 128), (8, 256))
    assert found.buckets.costs == tuple(map(found.microseconds, found.buckets.sizes))
    one = replace(found, measurements=(*made().measurements[:-1], Measurement("sample", 256, False, 1.0)))
    assert one.dropped == (256,)


@pytest.mark.parametrize("dropped", [(16,), (1, 8, 32, 64, 128, 256), CERTIFIED_BUCKETS.sizes])
def test_where_nothing_else_holds_rows_are_fixed(dropped):
    assert made(dropped=dropped).buckets == FIXED_BUCKETS


def test_a_column_costs_every_layer_of_it():
    model = tiny(2, 4, 2)
    costs = {"embed": 1, "kv": 2, "attn": 4, "mlp": 8, "unembed": 16}
    rows = [Measurement(name, 8, True, costs.get(name, 0)) for name, _ in trials(CARRIED, (8,))]
    found = replace(made(model), measurements=tuple(rows))
    assert found.microseconds(8) == 1 + 2 * (2 + 4 + 8) + 16


@settings(max_examples=15)
@given(st.data())
def test_no_choice_changes_a_bit(data):
    """Any batch sizes beside sixteen, at any cost: runs split otherwise, and give the same."""
    dropped = data.draw(st.sets(st.sampled_from([1, 8, 16])))
    found = made(dropped={*dropped, 32, 64, 128, 256}, seed=data.draw(st.integers(0, 99)))
    tokens = ids(MODEL, 20)
    graph = cs.EventGraph(MODEL.config, len(tokens))
    foliation = cs.random_foliation(graph, data.draw(st.integers(0, 3)))
    ran = cs.run(MODEL, tokens, foliation, record=True, kernels=found.kernels)
    assert ran.program.refines(foliation)
    assert ran.values_digest == cs.run(MODEL, tokens, record=True).values_digest


class Seen(Exception):
    """The request is known, and need not be fulfilled."""


@pytest.mark.parametrize(("kernels", "rows"), [(CERTIFIED, 64), (FIXED, 16), (STOCK, 64)])
def test_many_orders_in_step_run_in_rows_that_are_allowed(kernels, rows, monkeypatch):
    asked = []

    def plan(_graph, _orders, rows):
        asked.append(rows)
        raise Seen

    monkeypatch.setattr("causalsim.engine.many.plan_of", plan)
    orders = random_orders(cs.EventGraph(MODEL.config, 4), seed=0, count=2)
    with pytest.raises(Seen):
        run_orders(MODEL, ids(MODEL, 4), orders, kernels=kernels)
    assert asked == [rows]


@pytest.mark.slow
def test_many_orders_in_rows_of_sixteen_give_the_same_bits():
    tokens = ids(MODEL, 4)
    orders = random_orders(cs.EventGraph(MODEL.config, 4), seed=0, count=20)
    assert {*run_orders(MODEL, tokens, orders, kernels=FIXED).digests} == {cs.run(MODEL, tokens).digest}


# -- what is kept ------------------------------------------------------------------------------------


def test_a_calibration_is_read_back_as_it_was():
    found = made(dropped=(8,))
    again = Calibration.from_json(found.to_json())
    assert again == found and again.identity == found.identity and again.kernels == found.kernels
    assert made(seed=1).identity != made(seed=2).identity


@pytest.mark.usefixtures("cache")
def test_calibrate_are_fixed_on_a_backend_where_nothing_was_measured(monkeypatch):
    assert kernels_for(MODEL) is CERTIFIED
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    assert kernels_for(MODEL) is FIXED
    monkeypatch.setenv("CAUSALSIM_BUCKETS", "certified")
    assert kernels_for(MODEL) is CERTIFIED


@pytest.mark.usefixtures("cache")
def test_runs_use_what_is_kept():
    """A batch of 20 events is split as the kept costs ask for, and reports name the calibration."""
    tokens = ids(MODEL, 20)
    before = cs.run(MODEL, tokens)
    assert kernels_for(MODEL) == CERTIFIED and stored(MODEL) is None
    keep(made(dropped=(32, 64, 128, 256)))
    assert kernels_for(MODEL) == CERTIFIED, "looked up once a process"
    assert kernels_for(tiny(1, 2, 1, seed=7)) == CERTIFIED, "and a configuration"
    forget()
    found = stored(MODEL)
    after = cs.run(MODEL, tokens)
    assert kernels_for(MODEL) == found.kernels == made(dropped=(32, 64, 128, 256)).kernels
    assert len(after.program) > len(before.program) and after.digest == before.digest
    facts = environment(kernels_for(MODEL))
    assert facts["calibration"] == found.identity and facts["batch sizes"] == "1, 8, 16"
    assert kernels_for(tiny()) == CERTIFIED, "another model"


@pytest.mark.usefixtures("cache")
def test_calibrating_keeps_it_for_this_process_too(monkeypatch):
    monkeypatch.setattr(MODULE, "measured", lambda model, length, progress: made(model))
    assert kernels_for(MODEL) == CERTIFIED
    found = calibrate(MODEL)
    assert kernels_for(MODEL) == found.kernels != CERTIFIED
    assert Calibration.from_json(file_of(MODEL).read_text().removesuffix("\n")) == found == stored(MODEL)


@pytest.mark.parametrize(("asked", "kernels"), [("fixed", FIXED), ("certified", CERTIFIED)])
@pytest.mark.usefixtures("cache")
def test_a_flag_overrides_what_is_kept(asked, kernels, monkeypatch):
    keep(made())
    forget()
    monkeypatch.setenv("CAUSALSIM_BUCKETS", asked)
    assert kernels_for(MODEL) == kernels
    assert kernels_for(MODEL, STOCK) == STOCK
    tokens = ids(MODEL, 20)
    batches = {len(batch) for batch in cs.run(MODEL, tokens).program.batches}
    assert batches == ({16, 4} if asked == "fixed" else {20})


@pytest.mark.parametrize("asked", ["fast", "16", "Fixed"])
def test_a_flag_that_says_something_else_is_refused(asked, monkeypatch):
    monkeypatch.setenv("CAUSALSIM_BUCKETS", asked)
    for call in (lambda: cs.run(MODEL, [1, 2]), lambda: MODEL.warm(2), lambda: cs.verify(MODEL, [1, 2])):
        with pytest.raises(cs.InputError, match="'fixed' or 'certified'"):
            call()


def changed(**facts):
    """Of another machine or model, under this one's name, with a checksum that is right."""
    return lambda text: to_line({**from_line(text), **facts})


def first_row(**values):
    def damage(text):
        content = from_line(text)
        content["measurements"][0].update(values)
        return to_line(content)

    return damage


DAMAGES = {
    "empty": lambda text: "",
    "half": lambda text: text[: len(text) // 2],
    "no object": lambda text: "[]",
    "a number": lambda text: "7",
    "deep": lambda text: "[" * 100_000,
    "another digit": lambda text: text.replace('"size":8,', '"size":9,', 1),
    "a faster batch": lambda text: re.sub(r'"microseconds":\d', '"microseconds":0', text, count=1),
    "a bit that was another": lambda text: text.replace('"same_bits":false', '"same_bits":true', 1),
    "an older version": lambda text: json.dumps(from_line(text), indent=1),
    "other spelling": lambda text: text.replace(":", ": "),
    "no text": lambda text: b"\xff\xfe\x00",
    "surplus": changed(more=1),
    "no rows": changed(measurements=[]),
    "rows that are none": changed(measurements=7),
    "rows twice": lambda text: changed(measurements=json.loads(text)["measurements"] * 2)(text),
    "another machine": changed(environment={**environment(), "processor": "another"}),
    "another version": changed(environment={**environment(), "jaxlib": "0.0"}),
    "another model": changed(model=plain(tiny().config)),
    "no length": changed(length="long"),
    "free time": first_row(microseconds=0.0),
    "no time": first_row(microseconds=float("nan")),
    "endless": first_row(microseconds=1e300),
    "time in words": first_row(microseconds="9"),
    "another dispatch": first_row(dispatch="head"),
    "no dispatch": first_row(dispatch=[]),
    "half a row": first_row(size=1.0),
    "another size": first_row(size=2),
    "maybe": first_row(same_bits=1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.usefixtures("cache")
def test_a_file_that_is_damaged_or_foreign_is_as_good_as_none(damage, monkeypatch):
    keep(made(dropped=(8,)))
    path = file_of(MODEL)
    assert not is_damaged(MODEL)
    spoilt = damage(path.read_text())
    assert spoilt != path.read_text()
    path.write_bytes(spoilt if isinstance(spoilt, bytes) else spoilt.encode())
    forget()
    assert kernels_for(MODEL) == CERTIFIED and stored(MODEL) is None and is_damaged(MODEL)
    assert environment(kernels_for(MODEL))["calibration"] == environment()["calibration"]
    monkeypatch.setattr(MODULE, "measured", lambda model, length, progress: made(model))
    calibrate(MODEL)
    assert kernels_for(MODEL) == made().kernels and not is_damaged(MODEL), "and replaced"


@settings(max_examples=50)
@given(st.data())
def test_any_flipped_byte_of_a_file_is_noticed(data):
    content = bytearray(made().to_json().encode())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError):  # noqa: PT011  whatever the decoder meets first
        Calibration.from_json(bytes(content))


@pytest.mark.usefixtures("cache")
def test_no_file_is_no_damage():
    assert not is_damaged(MODEL)


@pytest.mark.usefixtures("cache")
def test_a_folder_in_its_place_is_as_good_as_none():
    file_of(MODEL).mkdir(parents=True)
    forget()
    assert kernels_for(MODEL) == CERTIFIED


@pytest.mark.parametrize("layers", ['"n_layerz": 2', '"n_layers": "2"', '"n_layers": null'])
def test_a_file_without_the_depth_of_its_model_is_refused(layers):
    text = json.dumps(from_line(made().to_json()))
    spoilt = re.sub(r'"n_layers": \d+', layers, text)
    assert spoilt != text
    with pytest.raises(ValueError, match="no calibration"):
        Calibration.from_json(to_line(json.loads(spoilt)))


@settings(max_examples=50)
@given(st.data())
def test_whatever_a_file_says_it_is_read_or_refused(data):
    """With a checksum that is right, as nothing but a program can have it."""
    text = json.dumps(from_line(made().to_json()))
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(start + 20, len(text))))
    spoilt = text[:start] + data.draw(st.text(max_size=8)) + text[stop:]
    try:
        found = Calibration.from_json(to_line(dict(json.loads(spoilt))))
    except ValueError:
        return
    assert 16 in found.buckets.sizes and found.identity


def test_a_cache_where_nothing_can_be_kept_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAUSALSIM_CACHE", str(tmp_path / "file"))
    with pytest.raises(cs.InputError, match="Set CAUSALSIM_CACHE to a folder of yours"):
        calibrate(MODEL)
    monkeypatch.setenv("CAUSALSIM_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(cs.InputError, match="not writable"):
        calibrate(MODEL)


@pytest.mark.usefixtures("cache")
def test_whoever_looks_while_many_calibrate_sees_a_whole_file(monkeypatch):
    turns = iter(range(40))
    monkeypatch.setattr(MODULE, "measured", lambda model, length, progress: made(model, seed=next(turns)))
    calibrate(MODEL)
    path = file_of(MODEL)
    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(calibrate, MODEL) for _ in range(39)]
        while not all(writer.done() for writer in writers):
            Calibration.from_json(path.read_text().removesuffix("\n"))
    known = {writer.result().identity for writer in writers}
    assert stored(MODEL).identity in known
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.slow
def test_two_processes_that_calibrate_at_once_give_the_same_bits(tmp_path):
    flags = {"CAUSALSIM_CACHE": str(tmp_path), "CAUSALSIM_BUCKETS": ""}
    found = [answer(process) for process in [start("calibration", **flags) for _ in range(2)]]
    assert all(each["holds"] for each in found)
    identities = {each["identity"] for each in found}
    assert {each["used"] for each in found} <= identities
    assert {each["digest"] for each in found} == {cs.run(MODEL, list(range(20)), record=True).values_digest}
    (path,) = tmp_path.rglob("*.json")
    assert Calibration.from_json(path.read_text().removesuffix("\n")).identity in identities


@pytest.mark.usefixtures("cache")
def test_what_decides_bits_is_part_of_the_name(monkeypatch):
    here = file_of(MODEL)
    assert file_of(tiny()) != here
    for name, value in {"XLA_FLAGS": "--xla_cpu_use_thunk_runtime=false", "NPROC": "1"}.items():
        with monkeypatch.context() as other:
            other.setenv(name, value)
            assert file_of(MODEL) != here
    assert file_of(MODEL) == here


@pytest.mark.usefixtures("unchecked")
def test_a_model_is_asked_for():
    with pytest.raises(cs.InputError, match="a model must be"):
        calibrate("glass")
