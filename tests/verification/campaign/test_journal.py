"""A campaign's file alone: whatever happens to it, no other record is read than those that were written."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.sealed import checksum, to_line
from causalsim.verification.chunks import Chunk, Spans
from causalsim.verification.journal import FORMAT, opened

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
