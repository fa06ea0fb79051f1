"""The tokenizer of a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from causalsim.errors import InputError
from causalsim.models.formats.hf_model import TOKENIZER, read_folder
from tests.models.folders import (
    refused,
)


def _tokenizer(folder: Path) -> Any:
    """Byte pairs with a special token, an end that is put after every text, and a cut for training."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*alphabet, "he"])}
    library = Tokenizer(models.BPE(vocab=vocabulary, merges=[("h", "e")]))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens(["<end>"])
    library.post_processor = processors.TemplateProcessing(single="$A <end>", special_tokens=[("<end>", 257)])
    library.enable_truncation(3)
    library.enable_padding(length=9)
    library.save(str(folder / TOKENIZER))
    return library


def test_a_tokenizer_puts_the_ends_that_its_file_wants_and_cuts_nothing(folder: Path) -> None:
    library = _tokenizer(folder)
    tokenizer = read_folder(folder)[2]
    assert tokenizer is not None
    ids = tokenizer.encode("hehe, he said")
    library.no_truncation()
    library.no_padding()
    assert ids == library.encode("hehe, he said").ids
    assert ids[:2] == [256, 256] and ids[-1] == 257
    assert tokenizer.decode(ids) == "hehe, he said"
    assert tokenizer.vocab_size == 258
    with pytest.raises(InputError, match="places in the vocabulary"):
        tokenizer.decode([258])


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": "1.0"}', "\udcff"], ids=repr)
def test_a_damaged_tokenizer_is_named(folder: Path, text: str) -> None:
    (folder / TOKENIZER).write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(folder, f"{TOKENIZER}: the tokenizer is one that")


def test_a_missing_tokenizer_library_names_the_hint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tokenizer(folder)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    refused(folder, r"tokenizers.*pip install 'causalsim\[models\]'")
