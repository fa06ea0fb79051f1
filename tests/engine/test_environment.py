"""The identity of the environment: no source that decides bits can leave it, whatever it is called."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from causalsim import engine, kernels
from causalsim.engine import environment as environments
from causalsim.engine.environment import SOURCES, environment

LEFT_OUT = {
    "calibrations": "chooses batch sizes, which are named by themselves and by the calibration's identity",
    "cells": "poisons and compares the cells of others; no run calls it",
    "digests": "reads values that are made",
    "environment": "tells, and computes nothing",
    "flags": "refuses and names flags, which the environment tells",
    "event_function": "stands beside execution; its bits are compared with those in its tests",
    "many": "stands above what is named here; its bits are compared with those of runs in its tests",
    "model": "holds the parameters, which the model's digest names; kernels lay them out",
    "runs": "puts the others together",
    "tokens": "checks ids, and passes them on",
    "values": "holds values that are made",
    "warming": "runs the same executables on scratch",
}


def _modules(package: ModuleType) -> set[str]:
    return {module.name for module in pkgutil.iter_modules(package.__path__)}


def _named(package: ModuleType) -> set[str]:
    start = f"{package.__name__}."
    return {m.__name__.removeprefix(start) for m in SOURCES if m.__name__.startswith(start)}


def test_every_module_of_the_kernels_is_named():
    assert _named(kernels) == _modules(kernels)


def test_every_module_of_the_engine_is_named_or_left_out_for_a_reason():
    assert not _named(engine) & {*LEFT_OUT}
    assert _named(engine) | {*LEFT_OUT} == _modules(engine)


def test_nothing_is_named_twice_or_from_elsewhere():
    assert len({*SOURCES}) == len(SOURCES)
    assert len(_named(kernels)) + len(_named(engine)) == len(SOURCES)
    assert all(import_module(module.__name__) is module for module in SOURCES)


def test_what_computes_but_is_not_named_does_not_run_in_a_run():
    """Whoever is left out and jits something is known here."""
    jitting = {name for name in LEFT_OUT if "jax.jit" in _source(f"causalsim.engine.{name}")}
    assert jitting <= {"event_function", "many"}


def _source(name: str) -> str:
    return Path(str(import_module(name).__file__)).read_text(encoding="utf-8")


@pytest.mark.parametrize("module", SOURCES, ids=lambda module: module.__name__)
def test_a_source_that_changes_changes_the_identity(module, monkeypatch, tmp_path):
    environments.machine_facts.cache_clear()
    before = environment()
    changed = tmp_path / "renamed.py"
    changed.write_text(f"{_source(module.__name__)}# one more line\n", encoding="utf-8")
    monkeypatch.setattr(module, "__file__", str(changed))
    environments.machine_facts.cache_clear()
    after = environment()
    monkeypatch.undo()
    environments.machine_facts.cache_clear()
    assert after["causalsim"] != before["causalsim"]
    assert {**after, "causalsim": ""} == {**before, "causalsim": ""}
    assert environment() == before


def test_a_file_that_is_renamed_alone_changes_nothing(monkeypatch, tmp_path):
    environments.machine_facts.cache_clear()
    before = environment()
    renamed = tmp_path / "another_name.py"
    renamed.write_bytes(Path(str(SOURCES[0].__file__)).read_bytes())
    monkeypatch.setattr(SOURCES[0], "__file__", str(renamed))
    environments.machine_facts.cache_clear()
    assert environment() == before
