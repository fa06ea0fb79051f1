"""Campaigns: whatever ends them, what is done is kept, nothing is run twice, and the totals are the same."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.engine import compile
from causalsim.kernels import FIXED
from causalsim.sealed import checksum, from_line, to_line
from causalsim.testing import PlantedFault
from causalsim.testing.bits import Divergence, divergence
from causalsim.testing.suite import random_order
from causalsim.verification import Reproducer, replay, run_campaign
from causalsim.verification import campaign as campaign_module
from causalsim.verification.faults import seeing_too_far
from causalsim.verification.order_independence import controls
from causalsim.verification.target import Target
from causalsim.verification.workers import Runner
from tests.verification.campaign.support import (
    CHUNK,
    GRAPH,
    IDS,
    MODEL,
    ORDERS,
    job,
    lines,
    other_digest,
    reference,
    rewritten,
    run,
    totals,
)


def test_all_orders_are_run_and_compared(whole):
    found = run(whole)
    assert (found.orders, found.resumed, found.failed, found.holds) == (ORDERS, ORDERS, (), True)
    (digest,) = found.digests
    assert digest == cs.run(MODEL, IDS, record=True).values_digest and found.digests[digest] == ORDERS
    told = json.loads(found.to_json())
    coverage = told["order_independence"]["coverage"]
    assert told["holds"] and coverage["text"].startswith("30 random orders with seed 0")


@settings(max_examples=6)
@given(st.data())
def test_a_campaign_cut_anywhere_comes_to_the_same_and_repeats_nothing(tmp_path_factory, finished, data):
    path = tmp_path_factory.mktemp("cut") / "campaign.jsonl"
    full, content = finished
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    there = {json.loads(line)["start"] for line in path.read_bytes().split(b"\n")[1:-1]}
    with pytest.MonkeyPatch.context() as patch:
        before, ran = Runner.run, []
        patch.setattr(Runner, "run", lambda self, span: (ran.append(span), before(self, span))[1])
        found = run(path)
    assert totals(found) == totals(full) and lines(path) == sorted(content.decode().splitlines())
    assert sorted([*there, *(span.start for span in ran)]) == list(range(0, ORDERS, CHUNK))
    assert found.resumed == sum(min(CHUNK, ORDERS - start) for start in there)


def test_an_interruption_keeps_what_is_done(tmp_path, spans):
    path = tmp_path / "campaign.jsonl"

    def stop(_stage: str, done: int, _total: int) -> None:
        if done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(path, progress=stop)
    assert [span.start for span in spans] == [0, 4, 8] and len(lines(path)) == 4
    assert run(path).resumed == 12 and [span.start for span in spans] == list(range(0, ORDERS, CHUNK))


def test_totals_do_not_depend_on_chunks(tmp_path, whole):
    expected = totals(run(whole))
    for chunk in (1, 7, ORDERS, 10 * ORDERS):
        assert totals(run(tmp_path / f"{chunk}.jsonl", chunk=chunk)) == expected


def test_progress_begins_where_the_file_ends(whole):
    *rest, last = whole.read_bytes().splitlines(keepends=True)
    whole.write_bytes(b"".join(rest))
    calls = []
    run(whole, progress=lambda *call: calls.append(call))
    assert calls == [("orders", ORDERS, ORDERS)] and whole.read_bytes().endswith(last)


def test_orders_that_fail_are_listed_and_the_first_can_be_replayed(tmp_path):
    path, faulty = tmp_path / "campaign.jsonl", seeing_too_far(FIXED)
    found = run(path, kernels=faulty, seed=3)
    target = Target(MODEL, GRAPH, (np.array(IDS, np.int32),), faulty)
    runs = [target.values(compile(random_order(GRAPH, number, 3)[1])) for number in range(ORDERS)]
    diverges = [divergence(target.reference, values) for values in runs]
    assert found.failed == tuple(number for number, where in enumerate(diverges) if where is not None)
    assert found.digests == Counter(values.digest() for values in runs) and not found.holds
    first = found.failed[0]
    assert str(found.verdict.witness).endswith(f"{first} diverges at {diverges[first]}")
    assert found.verdict.counterexample.is_swap
    tokens = [json.loads(line)["token"] for line in path.read_text().splitlines()[1:]]
    again = replay(next(filter(None, tokens)), kernels=faulty)
    assert again.as_recorded and again.divergence == diverges[first]
    assert totals(run(path, kernels=faulty, seed=3)) == totals(found)


@pytest.mark.parametrize("change", [other_digest, lambda record: {"astray": [record["start"]]}])
def test_an_altered_record_is_run_again_and_told(whole, finished, spans, change):
    before = totals(finished[0])
    rewritten(whole, 4, change, seal=False)
    altered = json.loads(whole.read_text().splitlines()[3])["start"]
    found = run(whole)
    assert [span.start for span in spans] == [altered] and found.resumed == ORDERS - len(spans[0])
    assert totals(found) == before and found.damaged == (4,) and json.loads(found.to_json())["damaged"] == [4]
    again = run(whole)
    assert totals(again) == before and again.damaged == () and again.resumed == ORDERS and len(spans) == 1


def test_what_was_altered_is_told_until_a_campaign_comes_to_its_end(whole, spans):
    rewritten(whole, 3, other_digest, seal=False)

    def stop(*_) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(whole, progress=stop)
    assert len(spans) == 1
    assert run(whole).damaged == (3,) and len(spans) == 1
    assert run(whole).damaged == ()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_line_of_another_campaign_is_run_again(tmp_path, whole, finished, spans, seed):
    run(tmp_path / "other.jsonl", seed=seed)
    foreign, every = (tmp_path / "other.jsonl").read_text().splitlines()[2], whole.read_text().splitlines()
    whole.write_text("".join(f"{line}\n" for line in [*every[:2], foreign, *every[3:]]))
    del spans[:]
    found = run(whole)
    assert found.damaged == (3,) and len(spans) == 1 and totals(found) == totals(finished[0])


@pytest.mark.parametrize(
    ("number", "token"), [(2, None), (5, None), (9, "no token"), (5, "of another order")]
)
def test_two_digests_that_are_recorded_fail(whole, spans, number, token):
    if token == "of another order":
        told = Divergence(cs.Event("mlp", 0, 0), 1, 1)
        token = Reproducer(job().provenance, cs.token_major(GRAPH), cs.earliest(GRAPH), told).to_token()
    rewritten(whole, number, lambda record: {**other_digest(record), "token": token}, seal=True)
    found = run(whole)
    record = from_line(
        whole.read_text().splitlines()[number - 1], checksum(whole.read_text().splitlines()[0])
    )
    last = record["start"] + sum(count for _, count in record["digests"]) - 1
    assert not found.holds and not found.verdict.holds and found.failed == (last,) and not spans
    assert found.digests == {reference(): ORDERS - 1, reference()[::-1]: 1}
    assert (
        f"1 order failed; random {'linear extension' if last % 2 else 'foliation'} {last} gave other bits"
        in str(found.verdict.witness)
    )
    assert found.damaged == () and not json.loads(found.to_json())["order_independence"]["holds"]


def test_two_records_that_contradict_each_other_fail(whole, spans):
    """As from two computers with one header, of which one miscounts."""
    every = whole.read_text().splitlines()
    record = from_line(every[3], checksum(every[0]))
    line = to_line({**record, **other_digest(record)}, checksum(every[0]))
    for order in ([*every, line], [every[0], line, *every[1:]]):
        whole.write_text("".join(f"{each}\n" for each in order))
        found = run(whole)
        assert not found.holds and len(found.failed) == 1 and len(found.digests) == 2 and not spans
        assert found.resumed == ORDERS


def test_a_record_of_an_order_that_went_astray_fails(whole):
    rewritten(whole, 3, lambda record: {"astray": [record["start"] + 1]}, seal=True)
    found = run(whole)
    assert len(found.failed) == 1 and "another order than asked for" in str(found.verdict.witness)
    assert not found.holds and len(found.digests) == 1 and found.verdict.counterexample is None


def test_a_campaign_does_not_hold_against_its_own_results(finished):
    for change in ({"failed": (3,)}, {"digests": {"a": 29, "b": 1}}, {"digests": {}}):
        assert not replace(finished[0], **change).holds


def test_an_engine_that_runs_another_order_fails(tmp_path, monkeypatch):
    values = Target.run
    monkeypatch.setattr(
        Target, "run", lambda self, program: values(self, compile(cs.token_major(self.graph)))
    )
    found = run(tmp_path / "campaign.jsonl", orders=4)
    assert found.failed == (0, 1, 2, 3) and len(found.digests) == 1
    assert "another order" in str(found.verdict.witness) and found.verdict.counterexample is None


def test_a_fault_that_goes_unseen_fails(whole, monkeypatch):
    monkeypatch.setattr(
        campaign_module, "controls", lambda *_: iter([PlantedFault("a fault", {"order": None})])
    )
    assert not run(whole).holds


@pytest.mark.slow
def test_planted_faults_are_seen(whole, monkeypatch):
    monkeypatch.setattr(campaign_module, "controls", controls)
    found = run(whole)
    assert found.holds and len(found.verdict.controls) > 2
    assert all(control.caught for control in found.verdict.controls)


@pytest.mark.parametrize(
    "options",
    [{"orders": 0}, {"orders": 2.5}, {"seed": -1}, {"processes": 0}, {"chunk": 0}, {"orders": True},
     {"kernels": FIXED, "processes": 2}],
)  # fmt: skip
def test_what_makes_no_campaign_leaves_no_file(tmp_path, options):
    with pytest.raises(cs.InputError, match="got"):
        run(tmp_path / "campaign.jsonl", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_campaign_is_kept_under_a_path():
    with pytest.raises(cs.InputError, match="the file of a campaign must be of type str or PathLike"):
        run(3)


def test_a_model_that_cannot_be_made_again_takes_one_process(tmp_path):
    built = cs.Model(MODEL.config, MODEL.params)
    with pytest.raises(cs.InputError, match="processes=1"):
        run_campaign(built, IDS, tmp_path / "campaign.jsonl", orders=2, processes=2)
