"""Campaigns: whatever ends them, what is done is kept, nothing is run twice, and the totals are the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.cli import BAD_INPUT, FAILS, HOLDS, INTERRUPTED, main
from causalsim.engine import compile
from causalsim.errors import CausalsimError
from causalsim.kernels import FIXED
from causalsim.sealed import checksum, from_line, to_line
from causalsim.testing import PlantedFault, Statement
from causalsim.testing.bits import Divergence, divergence
from causalsim.testing.suite import random_order
from causalsim.verification import Reproducer, replay, run_campaign, workers
from causalsim.verification import campaign as campaign_module
from causalsim.verification.chunks import Chunk, Spans
from causalsim.verification.faults import seeing_too_far
from causalsim.verification.journal import FORMAT, opened
from causalsim.verification.order_independence import controls
from causalsim.verification.provenance import Provenance
from causalsim.verification.target import Target
from causalsim.verification.workers import Job, Runner, in_processes
from tests.models.folders import PLAIN

IDS, ORDERS, CHUNK = [5, 2, 7], 30, 4
MODEL = cs.load(PLAIN)
GRAPH = cs.EventGraph(MODEL.config, len(IDS))
SLOWED = """
import sys, time
import causalsim as cs
from causalsim.verification import run_campaign

model, ids = cs.load(sys.argv[1]), [5, 2, 7]
run_campaign(model, ids, sys.argv[2], orders=120, chunk=4, processes=2, progress=lambda *_: time.sleep(0.3))
"""


@pytest.fixture(autouse=True, scope="module")
def _quick():
    """One batch size, in other processes too, and no kernels but those that are asked about."""
    seen = [PlantedFault("a planted fault", {"order": Statement("seen")})]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAUSALSIM_BUCKETS", "fixed")
        patch.setattr(campaign_module, "controls", lambda *_: iter(seen))
        yield


def run(path: Path, **options) -> campaign_module.Campaign:
    return run_campaign(MODEL, IDS, path, **{"orders": ORDERS, "chunk": CHUNK, **options})


def totals(found: campaign_module.Campaign) -> tuple:
    return found.orders, found.digests, found.failed, found.holds


def lines(path: Path) -> list[str]:
    return sorted(path.read_text().splitlines())


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[campaign_module.Campaign, bytes]:
    path = tmp_path_factory.mktemp("finished") / "whole.jsonl"
    return run(path), path.read_bytes()


@pytest.fixture
def whole(tmp_path, finished) -> Path:
    (tmp_path / "whole.jsonl").write_bytes(finished[1])
    return tmp_path / "whole.jsonl"


@pytest.fixture
def spans(monkeypatch) -> list[range]:
    """The chunks that are run in this process from now on."""
    found, before = [], Runner.run
    monkeypatch.setattr(Runner, "run", lambda self, span: (found.append(span), before(self, span))[1])
    return found


# -- the file alone ------------------------------------------------------------------------------------

HEADER = {"format": FORMAT, "orders": 10, "chunk": 3, "model": {"digest": "d"}, "seed": 0}
CHUNKS = [
    Chunk(0, (("a", 3),)), Chunk(6, (("a", 1), ("b", 1), ("a", 1)), (7,), "token"), Chunk(3, (("a", 3),))
]  # fmt: skip
SEAL = checksum(to_line(HEADER))


def kept(path: Path, *chunks: Chunk, header=HEADER) -> list[Chunk]:
    """Content of a campaign's file before these are added."""
    with opened(path, header) as journal:
        for chunk in chunks:
            journal.add(chunk)
        return list(journal.chunks)


@given(st.lists(st.sampled_from("abc"), min_size=1), st.integers(0, 10**9), st.data())
def test_a_chunk_says_of_each_order_what_it_gave(digests, start, data):
    numbers = range(start, start + len(digests))
    astray = sorted(data.draw(st.sets(st.sampled_from(numbers))))
    found = Chunk.of(start, digests, astray, None)
    assert Chunk.from_line(found.to_line(SEAL), SEAL) == found
    assert found.span == numbers and found.counts == Counter(digests)
    other = {number for number, digest in zip(numbers, digests, strict=True) if digest != "a"}
    assert found.failed("a") == tuple(sorted(other | {*astray}))


def test_a_file_torn_at_any_byte_goes_on_from_its_last_whole_line(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)
    path = tmp_path / "campaign.jsonl"
    assert kept(path, *CHUNKS) == [] and kept(path) == CHUNKS
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        found = kept(path)
        assert found == CHUNKS[: max(0, content[:size].count(b"\n") - 1)]
        kept(path, *CHUNKS[len(found) :])
        assert path.read_bytes() == content


@given(st.integers(1, 60), st.integers(1, 20))
def test_spans_are_all_orders_once(orders, size):
    spans = Spans(orders, size)
    assert [number for span in spans for number in span] == list(range(orders))
    assert len(spans) == len(list(spans)) and all(span in spans for span in spans)
    outside = [range(orders, orders + size), range(1, size + 1), range(size + 1), range(-size, 0), "0"]
    assert not any(span in spans for span in outside if span not in list(spans))


def sealed(**change) -> str:
    """A line that the checksum fits, whatever it says."""
    return to_line({"start": 6, "digests": [["a", 3]], "astray": [], "token": None, **change}, SEAL)


OTHER = checksum(to_line({**HEADER, "seed": 1}))
DAMAGED = [
    "nonsense", "[]", "{}", "\0" * 40, "[" * 100_000, "\t",
    CHUNKS[1].to_line(), CHUNKS[1].to_line(OTHER), CHUNKS[1].to_line(SEAL)[:-1],
    CHUNKS[1].to_line(SEAL).replace('"b"', '"a"'), " " + CHUNKS[1].to_line(SEAL), to_line(HEADER),
    sealed(start=1), sealed(start=9), sealed(start=-3), sealed(start=6.0), sealed(start="6"),
    sealed(digests=[["a", 2]]), sealed(digests=[["a", 10**30]]), sealed(digests=[["a", 3.0]]),
    sealed(digests=[]),
    sealed(digests=[["a", 4], ["b", -1]]), sealed(digests=[[7, 3]]), sealed(digests=[["a"]]),
    sealed(digests=3), sealed(digests="aaa"), sealed(digests=[[["a"], 3]]),
    sealed(astray=[9]), sealed(astray=[True]), sealed(astray=None), sealed(token=7), sealed(more=1),
]  # fmt: skip


@pytest.mark.parametrize("line", DAMAGED, ids=lambda line: line[:40].replace("\0", "0"))
def test_a_damaged_line_counts_as_none_and_is_told_until_it_is_struck_out(tmp_path, line):
    path = tmp_path / "campaign.jsonl"
    kept(path, CHUNKS[0])
    with path.open("a") as file:
        file.write(f"{line}\n{CHUNKS[2].to_line(SEAL)}\n{{torn")
    before = path.read_bytes()
    for _ in range(2):
        with opened(path, HEADER) as journal:
            assert journal.damaged == (3,) and journal.chunks == (CHUNKS[0], CHUNKS[2])
    assert path.read_bytes() == before.removesuffix(b"{torn")
    with opened(path, HEADER) as journal:
        journal.add(CHUNKS[1])
        journal.strike_out()
        assert journal.damaged == (3,)
    assert path.read_text().splitlines()[2] == " " * len(line)
    with opened(path, HEADER) as journal:
        assert journal.damaged == () and journal.chunks == (CHUNKS[0], CHUNKS[2], CHUNKS[1])


@given(st.data())
@settings(max_examples=200)
def test_any_flipped_byte_is_told_refused_or_run_again(tmp_path_factory, data):
    """No other record is ever read than those that were written."""
    path = tmp_path_factory.mktemp("flipped") / "campaign.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        kept(path, *CHUNKS)
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        if at <= len(to_line(HEADER)):
            with pytest.raises(cs.InputError):
                kept(path)
            assert path.read_bytes() == content
            return
        with opened(path, HEADER) as journal:
            assert len(journal.chunks) < len(CHUNKS) and {*journal.chunks} < {*CHUNKS}
            # A line without its end is the torn one that a killed process leaves.
            assert journal.damaged or at == len(content) - 1


def test_a_line_that_is_struck_out_halfway_is_still_damaged(tmp_path):
    path, line = tmp_path / "campaign.jsonl", CHUNKS[0].to_line(SEAL).replace('"a"', '"b"')
    kept(path)
    head = path.read_text()
    for blank in range(len(line)):
        path.write_text(f"{head}{' ' * blank}{line[blank:]}\n")
        with opened(path, HEADER) as journal:
            assert journal.damaged == (2,) and journal.chunks == ()


def test_what_has_the_files_name_by_now_is_left_alone(tmp_path):
    path = tmp_path / "campaign.jsonl"
    kept(path)
    with path.open("a") as file:
        file.write("damaged\n")
    with opened(path, HEADER) as journal:
        path.rename(tmp_path / "moved.jsonl")
        path.write_text("a diary" * 100)
        journal.strike_out()
    assert path.read_text() == "a diary" * 100


def test_the_same_record_twice_is_one_and_a_contradiction_is_two(tmp_path):
    path = tmp_path / "campaign.jsonl"
    other = replace(CHUNKS[0], digests=(("a", 2), ("b", 1)))
    kept(path, CHUNKS[0], CHUNKS[0], other)
    assert kept(path) == [CHUNKS[0], other]


@pytest.mark.parametrize("older", ["causalsim.campaign/1", "causalsim.campaign/3"])
def test_a_file_of_another_format_is_refused_by_name(tmp_path, older):
    path = tmp_path / "campaign.jsonl"
    path.write_text(json.dumps({**HEADER, "format": older}) + "\n")
    before = path.read_bytes()
    with pytest.raises(cs.InputError, match=rf"format '{older}', expected {FORMAT}.*another name"):
        kept(path)
    assert path.read_bytes() == before


def test_a_damaged_first_line_is_refused(tmp_path):
    path = tmp_path / "campaign.jsonl"
    kept(path, *CHUNKS)
    path.write_text(path.read_text().replace('"orders":10', '"orders":11', 1))
    for orders in (10, 11):
        with pytest.raises(cs.InputError, match="whose first line is damaged"):
            kept(path, header={**HEADER, "orders": orders})


@pytest.mark.parametrize(
    "content", [b"a diary", b"a diary\nof mine\n", b"{}\n", b'{"format":"x"}', b"\xff\0\n"]
)
def test_another_file_is_left_as_it_is(tmp_path, content):
    path = tmp_path / "diary"
    path.write_bytes(content)
    with pytest.raises(cs.InputError, match="holds something else"):
        kept(path)
    assert path.read_bytes() == content


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero"), Path(os.devnull)):
        with pytest.raises(cs.InputError, match="a campaign is kept in a file: got"):
            kept(path)


def test_another_campaign_is_refused_fact_by_fact(tmp_path):
    path = tmp_path / "campaign.jsonl"
    kept(path, *CHUNKS)
    before = path.read_bytes()
    for change, words in (
        ({"seed": 1}, r"\(seed: 0 there, 1 here\)"),
        ({"orders": 11, "chunk": 4}, r"orders: 10 there, 11 here; chunk: 3 there, 4 here"),
        ({"model": {"digest": "e"}}, r"model\.digest: d there, e here"),
        ({"dtype": "bfloat16"}, r"dtype: nothing there, bfloat16 here"),
        ({f"fact {n}": "x" for n in range(6)}, "and 2 more"),
    ):
        with pytest.raises(cs.InputError, match=words):
            kept(path, header={**HEADER, **change})
    assert path.read_bytes() == before
    # Its digest says which model it is.
    named = {**HEADER, "model": {"digest": "d", "name": "elsewhere"}}
    assert kept(path, header=named) == CHUNKS
    kept(path, Chunk(9, (("a", 1),)), header=named)
    assert len(kept(path)) == 4


def test_one_command_at_a_time(tmp_path):
    path = tmp_path / "campaign.jsonl"
    with opened(path, HEADER), pytest.raises(cs.InputError, match="another one is writing"):
        kept(path)
    assert kept(path) == []


# -- orders --------------------------------------------------------------------------------------------


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


def reference() -> str:
    return cs.run(MODEL, IDS, record=True).values_digest


def rewritten(path: Path, number: int, change, seal: bool) -> None:
    """A line of the file, counted from one, says something else; its checksum may be right all the same."""
    every = path.read_text().splitlines()
    record = from_line(every[number - 1], checksum(every[0]))
    spoilt = {**record, **change(record)}
    line = to_line(spoilt, checksum(every[0]))
    kept_sum = json.loads(every[number - 1])["checksum"]
    every[number - 1] = line if seal else line.replace(json.loads(line)["checksum"], kept_sum)
    path.write_text("".join(f"{each}\n" for each in every))


def other_digest(record) -> dict:
    (digest, count), *_ = record["digests"]
    return {"digests": [[digest, count - 1], [digest[::-1], 1]]}


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


# -- processes -----------------------------------------------------------------------------------------


def job() -> Job:
    target = Target(MODEL, GRAPH, (np.array(IDS, np.int32),), FIXED)
    return Job(Provenance.of(target), 0, target.reference.digest())


def test_a_process_refuses_another_environment():
    there = job()
    assert workers.runner_of(Job.from_dict(json.loads(json.dumps(there.to_dict())))).job == there
    other = replace(there.provenance, environment={**there.provenance.environment, "jaxlib": "0.1"})
    with pytest.raises(CausalsimError, match="one environment: got jaxlib"):
        workers.runner_of(replace(there, provenance=other))
    with pytest.raises(CausalsimError, match="bits of the reference order"):
        workers.runner_of(replace(there, reference="other"))


def test_a_process_that_ends_is_an_error_and_ends_the_others(monkeypatch):
    monkeypatch.setattr(workers, "START", "import json, sys; sys.exit(3); ")
    with pytest.raises(CausalsimError, match="ended with status 3"):
        list(in_processes(job(), Spans(8, 4), 2))


@pytest.mark.parametrize(
    "answer", ["no record", Chunk(4, (("a", 4),)).to_line(), Chunk(0, (("a", 3),)).to_line()]
)
def test_a_process_that_answers_with_something_else_is_an_error(monkeypatch, answer):
    says = f"sys.stdin.readline(); print({answer!r}, flush=True); sys.stdin.read(); sys.exit(); "
    monkeypatch.setattr(workers, "START", f"import sys; {says}")
    with pytest.raises(CausalsimError, match="results of the orders it was given"):
        list(in_processes(job(), Spans(4, 4), 1))


def test_killed_in_the_middle_it_comes_to_the_same(tmp_path, spans):
    """By another process, at any moment; both of its own processes end with it."""
    path, other = tmp_path / "killed.jsonl", tmp_path / "whole.jsonl"
    command = [sys.executable, "-c", SLOWED, str(PLAIN), str(path)]
    root = Path(__file__).parents[2]
    options = {"cwd": root, "env": {**os.environ, "PYTHONPATH": str(root)}, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **options) as process:
        while not (path.exists() and path.read_bytes().count(b"\n") > 5) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)  # Its own processes have the pipe, too: they have ended.
    assert process.returncode == -signal.SIGKILL
    there = [json.loads(line)["start"] for line in path.read_bytes().split(b"\n")[1:-1]]
    assert 4 < len(there) < 30
    found = run(path, orders=120)
    assert sorted([*there, *(span.start for span in spans)]) == list(range(0, 120, 4))
    assert totals(found) == totals(run(other, orders=120)) and lines(path) == lines(other)
    assert found.resumed == 4 * len(there)


def test_two_processes_write_the_lines_of_one(tmp_path, whole):
    both = tmp_path / "both.jsonl"
    assert totals(run(both, processes=2)) == totals(run(whole)) and lines(both) == lines(whole)


# -- on the command line -------------------------------------------------------------------------------


@pytest.fixture
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_here")
def test_the_command_runs_goes_on_and_reports(monkeypatch, capsys, tmp_path):
    asked, answer = [], run(tmp_path / "made.jsonl")

    def campaign(model, text, path, **options):
        asked.append((model.config.n_layers, text, str(path), options["orders"], options["seed"]))
        return replace(
            answer, verdict=replace(answer.verdict, witness=None if len(asked) < 2 else Statement("broken"))
        )

    monkeypatch.setattr("causalsim.verification.run_campaign", campaign)
    command = ["verify", "Oh no", "--orders", "100000", "--campaign", "c.jsonl", "--json", "c.json"]
    assert main(command) == HOLDS
    assert "30 random orders" in " ".join(capsys.readouterr().out.split())
    assert json.loads((tmp_path / "c.json").read_text())["order_independence"]["holds"]
    assert main(command) == FAILS
    assert asked == [(4, "Oh no", "c.jsonl", 100000, 0)] * 2


@pytest.mark.usefixtures("_here")
def test_the_command_fails_of_what_is_recorded_and_tells_what_was_altered(monkeypatch, capsys, tmp_path):
    """The line in which somebody changed one digit of a digest, and one that really was another one."""
    path = tmp_path / "t.jsonl"
    run(path)
    monkeypatch.setattr(cs.engine, "load", lambda *_, **__: MODEL)
    monkeypatch.setattr("causalsim.cli.verify.encode_texts", lambda *_: [IDS])
    before = campaign_module.run_campaign

    def campaign(model, _text, path, **options):
        return before(model, IDS, path, chunk=CHUNK, **options)

    monkeypatch.setattr("causalsim.verification.run_campaign", campaign)
    command = ["verify", "Oh no", "--orders", str(ORDERS), "--campaign", "t.jsonl", "--json", "t.json"]
    every = path.read_text().splitlines()
    first = reference()[0]
    every[4] = every[4].replace(f'[["{first}', f'[["{"0" if first != "0" else "1"}', 1)
    path.write_text("".join(f"{line}\n" for line in every))
    assert main(command) == HOLDS
    out = " ".join(capsys.readouterr().out.split())
    assert "Note: 1 record of t.jsonl had been altered, or of another campaign (line 5)" in out
    told = json.loads((tmp_path / "t.json").read_text())
    assert told["damaged"] == [5] and len(told["digests"]) == 1
    assert main(command) == HOLDS and "Note" not in capsys.readouterr().out
    rewritten(path, 2, other_digest, seal=True)
    assert main(command) == FAILS
    out = " ".join(capsys.readouterr().out.split())
    assert "FAILS" in out and "Something does not hold" in out
    told = json.loads((tmp_path / "t.json").read_text())
    assert not told["holds"] and len(told["failed"]) == 1
    assert told["order_independence"]["witness"]["text"].startswith("1 order failed")


@pytest.mark.usefixtures("_here")
def test_the_command_says_how_to_go_on(monkeypatch, capsys):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("causalsim.verification.run_campaign", stop)
    assert main(["verify", "Oh no", "--campaign", "c.jsonl"]) == INTERRUPTED
    assert "kept in c.jsonl; the same command goes on" in capsys.readouterr().err


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--processes", "2"], "--processes without --campaign"),
        (["--processes", "0", "--campaign", "c.jsonl"], "expected: >= 1"),
        (["--campaign", "no/c.jsonl"], "whose folder is missing"),
        (["--campaign", "c.json", "--json", "c.json"], "a file of its own"),
        (["--campaign", "c.svg", "--picture", "c.svg"], "a file of its own"),
        (["--campaign", "c.jsonl", "--replay", "token"], "a token carries its text"),
    ],
)
def test_what_the_command_refuses(options, words, capsys, tmp_path):
    assert main(["verify", *options]) == BAD_INPUT
    assert words in " ".join(capsys.readouterr().err.split()) and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_interrupted_command_goes_on(tmp_path):
    """Ctrl-C, as a terminal sends it to the whole group."""
    command = [sys.executable, "-m", "causalsim", "verify", "Oh no", "--orders", "400", "--processes", "2"]
    command += ["--campaign", str(tmp_path / "c.jsonl")]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with ExitStack() as stack:
        first = stack.enter_context(subprocess.Popen(command, start_new_session=True, **options))
        while not list(tmp_path.glob("c.jsonl")) and first.poll() is None:
            time.sleep(0.01)
        os.killpg(first.pid, signal.SIGINT)
        _, err = first.communicate()
    assert first.returncode == INTERRUPTED and "Traceback" not in err and "goes on" in err
    done = subprocess.run(command, check=False, **options)
    assert done.returncode == HOLDS and "400 random orders" in " ".join(done.stdout.split())
