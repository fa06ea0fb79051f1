"""The tokenizer of a GGUF file: by hand, and SmolLM2's against transformers where that is there."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from causalsim.errors import CheckpointError, InputError
from causalsim.models import Tokenizer, read_checkpoint
from causalsim.models.fetching import find
from causalsim.models.formats.gguf_tokenizer import byte_symbols, tokenizer_of
from tests.models.gguf_made import MERGES, SPECIAL, TOKENS, tokenizer

# A Python whose packages are transformers, torch, gguf and accelerate; the command to make one:
# python -m venv ORACLE && ORACLE/bin/pip install torch==2.13.0 transformers gguf accelerate
ORACLE = "CAUSALSIM_ORACLE_PYTHON"
PRE = ["gpt-2", "smollm", "llama-bpe", "qwen2"]


def _made(pre: str | None = "smollm", **changes: Any) -> Any:
    said = tokenizer(pre, **{"add_bos_token": False, **changes})
    lists = {key: np.array(value) for key, value in said.items() if key.endswith("token_type")}
    return tokenizer_of(Path("a.gguf"), said | lists, len(TOKENS))


def _tokens(made: Any, text: str) -> list[str]:
    return [TOKENS[token] for token in made.encode(text)]


# -- by hand ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pre", PRE)
@given(text=st.text() | st.lists(st.sampled_from([*TOKENS, " the", "12", "é"])).map("".join))
def test_text_comes_back(pre: str, text: str) -> None:
    made = MADE[pre]
    expected = text if made.backend.normalizer is None else made.backend.normalizer.normalize_str(text)
    assert made.decode(made.encode(text)) == expected
    assert made.unread(text) == ()


MADE = {pre: _made(pre) for pre in PRE}


def test_byte_symbols_are_one_each() -> None:
    symbols = byte_symbols()
    assert len(set(symbols)) == 256
    assert [byte for byte, symbol in enumerate(symbols) if ord(symbol) == byte][:3] == [33, 34, 35]
    assert symbols[0] == "Ā" and symbols[10] == "Ċ" and symbols[173] == "Ń"


@pytest.mark.parametrize("pre", PRE)
def test_merges(pre: str) -> None:
    assert _tokens(MADE[pre], "the thin") == ["the", "Ġ", "th", "in"]
    assert _tokens(MADE[pre], "in the") == ["in", "Ġthe"]


@pytest.mark.parametrize(
    ("pre", "text", "expected"),
    [
        ("gpt-2", " 12", ["Ġ12"]),
        ("smollm", " 12", ["Ġ", "1", "2"]),
        ("smollm", "x1234y", ["x", "1", "2", "3", "4", "y"]),
        ("smollm", "Ⅻ½", ["â\u0127«", "Â½"]),
        ("llama-bpe", "x1234", ["x", "123", "4"]),
        ("qwen2", "x1234", ["x", "1", "2", "3", "4"]),
        ("gpt-2", "it's IT'S", ["it", "'s", "ĠIT", "'", "S"]),
        ("llama-bpe", "it's IT'S", ["it", "'s", "ĠIT", "'S"]),
        ("qwen2", "a!b\n\nc", ["a", "!b", "ĊĊ", "c"]),
        ("smollm", "a!b\n\nc", ["a", "!", "b", "Ċ", "Ċ", "c"]),
        ("gpt-2", "a   b", ["a", "ĠĠ", "Ġb"]),
    ],
)
def test_text_is_cut_as_the_rule_says(pre: str, text: str, expected: list[str]) -> None:
    cut = [piece for piece, _ in MADE[pre].backend.pre_tokenizer.pre_tokenize_str(text)]
    assert cut == expected


@pytest.mark.parametrize("pre", PRE)
def test_special_tokens_are_found_in_text_and_shown(pre: str) -> None:
    made = MADE[pre]
    text = f"{SPECIAL[0]}in{SPECIAL[2]} the{SPECIAL[1]}"
    assert _tokens(made, text) == [SPECIAL[0], "in", SPECIAL[2], "Ġthe", SPECIAL[1]]
    assert made.decode([0, 1]) == SPECIAL[0] + SPECIAL[1]
    assert made.vocab_size == len(TOKENS)


def test_without_types_nothing_is_special() -> None:
    assert _tokens(_made(token_type=None), "<|end|>") == list("<|end|>")


def test_qwen_composes() -> None:
    assert MADE["qwen2"].encode("e\u0301") == MADE["qwen2"].encode("é") != MADE["gpt-2"].encode("e\u0301")


def test_a_token_as_it_stands_needs_no_merges_for_llama() -> None:
    tokens = ["abc" if token == "Ġ the".replace(" ", "") else token for token in TOKENS]
    merges = [merge for merge in MERGES if merge != "Ġ the"]
    assert _made("llama-bpe", tokens=tokens, merges=merges).encode("abc") == [tokens.index("abc")]
    assert len(_made("gpt-2", tokens=tokens, merges=merges).encode("abc")) == 3


@pytest.mark.parametrize(
    ("pre", "changes", "first", "last"),
    [
        ("llama-bpe", {"add_bos_token": None}, [0], []),
        ("llama-bpe", {"add_bos_token": True}, [0], []),
        ("qwen2", {"add_bos_token": None}, [], []),
        ("smollm", {"add_bos_token": True, "add_eos_token": True}, [0], [1]),
        ("smollm", {"add_eos_token": True}, [], [1]),
    ],
)
def test_ends_that_the_file_wants(pre: str, changes: Any, first: list[int], last: list[int]) -> None:
    assert _made(pre, **changes).encode("in") == [*first, TOKENS.index("in"), *last]


@given(st.text())
def test_a_pickled_copy_is_the_same(text: str) -> None:
    assert COPY.encode(text) == MADE["smollm"].encode(text)
    assert isinstance(COPY, Tokenizer)


COPY = pickle.loads(pickle.dumps(MADE["smollm"]))


def test_characters_without_their_bytes_are_unread() -> None:
    lost = byte_symbols()[0xA9]
    made = _made(tokens=["another" if token == lost else token for token in TOKENS])
    assert made.unread("é and é, ©") == ("é", "©")
    assert made.decode(made.encode("é")) != "é"


# -- what is not known ------------------------------------------------------------------------


@pytest.mark.parametrize("pre", [None, "default", "tekken"])
def test_an_unknown_rule_decodes_and_does_not_encode(pre: str | None) -> None:
    made = _made(pre)
    assert made.decode([0, TOKENS.index("Ġthe")]) == "<|start|> the"
    assert made.unread("é") == ()
    with pytest.raises(InputError, match=f"tokenizer.ggml.pre: got {pre!r}, expected 'gpt-2' or 'smollm'"):
        made.encode("the")


@pytest.mark.parametrize("said", [{}, {"tokenizer.ggml.model": "llama"}, {"tokenizer.ggml.model": ["gpt2"]}])
def test_other_tokenizers_are_none(said: dict[str, Any]) -> None:
    assert tokenizer_of(Path("a.gguf"), said, 3) is None


# -- SmolLM2 ----------------------------------------------------------------------------------

ASK = """
import json, sys
from pathlib import Path
from transformers import AutoTokenizer
from tokenizers.pre_tokenizers import Digits, Sequence
path = Path(sys.argv[1])
made = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
texts = json.load(sys.stdin)
before = [made(text)["input_ids"] for text in texts]
inner = made.backend_tokenizer
# transformers leaves tokenizer.ggml.pre unread: SmolLM2's digits are cut one by one.
inner.pre_tokenizer = Sequence([Digits(individual_digits=True), inner.pre_tokenizer])
after = [made(text)["input_ids"] for text in texts]
print(json.dumps([before, after, [made.decode(ids) for ids in after]]))
"""

TEXTS = [
    "", "Hello world", "It's 1234 + 56.", " don't  DON'T\n\n\tnow",
    "é 日本 👩‍🚀", "<|im_start|>user\nHi<|im_end|>\n",
    "def f(x):\n    return x ** 2", "½ Ⅻ ²", "\r\n\u00a0\u3000", "The quick brown fox" * 20,
]  # fmt: skip


@pytest.mark.slow
def test_smollm2_encodes_like_transformers() -> None:
    path, python = find("smollm2"), os.environ.get(ORACLE)
    if path is None or python is None:
        pytest.skip(f"needs causalsim models fetch smollm2, and {ORACLE}, a Python with transformers")
    made = read_checkpoint("smollm2").tokenizer
    assert made is not None
    done = subprocess.run(
        [python, "-c", ASK, str(path)], input=json.dumps(TEXTS), capture_output=True, text=True, check=True
    )
    plain, cut, decoded = json.loads(done.stdout.splitlines()[-1])
    for text, before, after, shown in zip(TEXTS, plain, cut, decoded, strict=True):
        assert made.encode(text) == after
        assert made.decode(after) == shown == text
        assert before == after or any(map(str.isnumeric, text))


@pytest.mark.slow
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.text())
def test_smollm2_gives_text_back(smollm2: Any, text: str) -> None:
    assert smollm2.decode(smollm2.encode(text)) == text or smollm2.unread(text)


@pytest.fixture(scope="module")
def smollm2() -> Any:
    try:
        return read_checkpoint("smollm2").tokenizer
    except CheckpointError as error:
        pytest.skip(str(error))
