"""The list of mutations fits today's sources and tests, and what was run is accounted for."""

from __future__ import annotations

import ast

import pytest

from tests.mutants import results
from tests.mutants.catalogue import MUTATIONS
from tests.mutants.mutation import ROOT, Mutation
from tests.mutants.results import Result

# So many of the list have no result yet; their number only falls.
WAITING = 0
NAMES = {each.name for each in MUTATIONS}


def test_every_mutation_changes_one_place_of_todays_source():
    for each in MUTATIONS:
        changed = each.applied()
        assert changed != each.source
        ast.parse(changed)
    assert len(NAMES) == len(MUTATIONS) >= 100


def test_every_mutation_has_tests_that_exist():
    for test in {test for each in MUTATIONS for test in each.tests}:
        file, _, name = test.partition("::")
        source = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert not name or f"def {name.partition('[')[0]}(" in source, test


def test_mutations_were_run_and_none_survives_without_a_reason():
    kept = results.read()
    assert kept.keys() <= NAMES and len(kept) >= 100
    assert len(NAMES - kept.keys()) <= WAITING
    assert [str(each) for each in results.survivors(MUTATIONS, kept)] == []


def test_a_text_that_is_not_there_or_more_than_once_is_refused():
    for text in ("no such text", "self"):
        with pytest.raises(ValueError, match="occurs once: got"):
            Mutation("posets/growth.py", text, "", ()).applied()


def test_results_are_kept_while_file_and_tests_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results.json")
    one, other = MUTATIONS[:2]
    kept = {one.name: Result(one.version, "a test", 1.0), other.name: Result(other.version, "", 1.0)}
    results.write(kept)
    assert results.read() == kept
    assert results.stale([one, other], kept) == [other] == results.survivors([one, other], kept)
    assert results.stale([one], {one.name: Result("an older file", "a test", 1.0)}) == [one]
    assert "tests see 1; 0 change nothing, 1 survive" in results.score([one, other], kept)
    assert "Of 1 single" in (told := results.score([one, other], {one.name: kept[one.name]}))
    assert "1 are not tried yet" in told
    assert "a test" in results.table([one, other], kept) and "SURVIVED" in results.table([other], kept)
