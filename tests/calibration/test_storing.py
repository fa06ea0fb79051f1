"""Calibrations that are kept: read back whole, or refused."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.calibration import calibrate
from causalsim.engine import Calibration
from causalsim.engine.calibrations import forget, plain
from causalsim.engine.environment import environment
from causalsim.kernels import CERTIFIED, FIXED, STOCK
from causalsim.sealed import from_line, to_line
from tests.calibration.support import (
    MODEL,
    MODULE,
    file_of,
    is_damaged,
    keep,
    kernels_for,
    made,
    stored,
)
from tests.engine.processes import answer, start
from tests.engine.support import ids
from tests.models_for_tests import tiny


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
