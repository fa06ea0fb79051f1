"""The tokenizer of the glass model, against the package's own as oracle."""

from __future__ import annotations

import pickle
import unicodedata
from typing import Any

import glassllm
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from causalsim.errors import InputError
from causalsim.models import Tokenizer, read_checkpoint

ORACLE = glassllm.load_pretrained("en")[1]
OURS = read_checkpoint("glass").tokenizer

# Combining marks that Unicode got after the tables of the tokenizers library were made.
NEW_MARKS = "\u07fd\u0898\u08ca\u1abf\u1df6\U00011938"
PIECES = [
    *ORACLE.vocab,
    *" \n▁⁇\t\r",
    "  ",
    "\n\n",
    "\r\n",
    "\u0300",
    "\u0327",
    "\u0301",
    "é",
    "ﬁ",
    "각",
    "👩‍🚀",
    *NEW_MARKS,
]
texts = st.text() | st.text(alphabet=ORACLE.alphabet) | st.lists(st.sampled_from(PIECES)).map("".join)
ids = st.lists(st.integers(0, ORACLE.vocab_size - 1))


@given(texts)
@example("")
@example("It was the best of times, it was the worst of times")
@example("  two  spaces and\n\n a line ▁ with the marker itself ▁▁\n▁")
@example("<unk><pad><bos></s><|endoftext|>")
@example("u\u0300 \u00f9 u\u0327\u0300")
@example("u\u1abf\u0300")
@example("aaaaaaa eeeee sssssssss")
@example("日本語 and 👩‍🚀")
def test_encodes_like_the_oracle(text: str) -> None:
    assert OURS.encode(text) == ORACLE.encode(text)


@given(ids)
@example([])
@example([0, 1, 2, 3])
@example(list(range(ORACLE.vocab_size)))
def test_decodes_like_the_oracle(tokens: list[int]) -> None:
    assert OURS.decode(tokens) == ORACLE.decode(tokens)


@given(st.text(alphabet=[character for character in ORACLE.alphabet if character != "▁"] + [" "]))
def test_known_text_comes_back(text: str) -> None:
    assert OURS.decode(OURS.encode(text)) == unicodedata.normalize("NFC", text)


@given(texts)
def test_a_pickled_copy_is_the_same_tokenizer(text: str) -> None:
    assert COPY.encode(text) == OURS.encode(text)


COPY = pickle.loads(pickle.dumps(OURS))


def test_answers_to_the_protocol() -> None:
    assert isinstance(OURS, Tokenizer)
    assert isinstance(ORACLE, Tokenizer)
    assert not isinstance("text", Tokenizer)


def test_ids_are_plain_ints() -> None:
    assert {type(token) for token in OURS.encode("the end")} == {int}


@given(ids, st.integers(max_value=-1) | st.integers(min_value=ORACLE.vocab_size), ids)
def test_refuses_ids_outside_the_vocabulary(before: list[int], bad: int, after: list[int]) -> None:
    with pytest.raises(InputError, match="vocabulary") as caught:
        OURS.decode([*before, bad, *after])
    assert caught.value.got == str(bad)


@given(st.text(), st.characters(categories=["Cs"]), st.text())
def test_refuses_lone_surrogates(before: str, surrogate: str, after: str) -> None:
    with pytest.raises(InputError, match=f"at index {len(before)}"):
        OURS.encode(before + surrogate + after)


@pytest.mark.parametrize("text", [None, b"bytes", 3, ["a", "b"]], ids=repr)
def test_refuses_what_is_not_text(text: Any) -> None:
    with pytest.raises(InputError, match="string"):
        OURS.encode(text)


@pytest.mark.parametrize("token", [True, 1.0, "1", None], ids=repr)
def test_refuses_what_is_not_an_id(token: Any) -> None:
    with pytest.raises(InputError, match="vocabulary"):
        OURS.decode([token])


@given(texts)
@example("café / 🙂")
def test_unread_are_the_pieces_that_become_the_unknown_token(text: str) -> None:
    unread = OURS.unread(text)
    normal = unicodedata.normalize("NFC", text)
    known = {*ORACLE.alphabet, " "}
    assert unread == tuple(dict.fromkeys(character for character in normal if character not in known))
