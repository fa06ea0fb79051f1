"""Sealed records: read back as they were, noticed when any byte is another one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim.sealed import KEY, checksum, from_line, to_line

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
RECORDS = st.dictionaries(st.text().filter(lambda name: name != KEY), VALUES, max_size=5)
SEALS = st.sampled_from(["", checksum("one"), checksum("another")])


@given(RECORDS, SEALS)
def test_a_record_is_read_back_as_it_was(record, of):
    line = to_line(record, of)
    assert from_line(line, of) == record == from_line(line.encode(), of)
    assert line.isascii() and len(line.splitlines()) == 1


@given(RECORDS, SEALS, st.data())
def test_any_flipped_byte_is_noticed(record, of, data):
    content = bytearray(to_line(record, of).encode())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError):  # noqa: PT011  whatever the decoder meets first
        from_line(bytes(content), of)


@given(RECORDS, st.permutations([checksum("one"), checksum("another"), ""]))
def test_a_record_of_something_else_does_not_fit(record, seals):
    with pytest.raises(ValueError, match="altered, or no part of this"):
        from_line(to_line(record, seals[0]), seals[1])


@pytest.mark.parametrize(
    "line",
    [
        "", "[]", "7", "{}", '{"a":1}', '{"a":1,"checksum":null}', "[" * 100_000, '{"a":' * 100_000,
        to_line({"a": 1}) + "\n", " " + to_line({"a": 1}), to_line({"a": 1}).replace(":", ": "),
        to_line({"a": "é"}).replace("\\u00e9", "\\u00E9"), to_line({"a": "é"}).replace("\\u00e9", "é"),
        to_line({"a": 1e30}).replace("1e+30", "1E+30"), to_line({"a": 1}).replace("{", '{"a":0,', 1),
        json.dumps({KEY: checksum('{"a":1}'), "a": 1}, separators=(",", ":")), b"\xff\xfe\x00", "9" * 5000,
    ],
    ids=lambda line: repr(line[:24]),
)  # fmt: skip
def test_other_spellings_and_other_things_are_refused(line):
    with pytest.raises(ValueError):  # noqa: PT011
        from_line(line)
