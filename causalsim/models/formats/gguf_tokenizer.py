"""The tokenizer that a GGUF file carries: a byte-level byte-pair encoding, built anew for ``tokenizers``.

How text is cut before it is merged is not in the file, only the name of a rule; the rules are
those of the Hugging Face tokenizers that the names stand for (llama.cpp, ``src/llama-vocab.cpp``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from causalsim.errors import CheckpointError, InputError
from causalsim.models.formats.gguf_header import Metadata, refused
from causalsim.models.formats.packages import missing_package
from causalsim.models.tokenizer import BytePairTokenizer, Tokenizer

if TYPE_CHECKING:
    import tokenizers
    from tokenizers.pre_tokenizers import PreTokenizer

_START = "tokenizer.ggml."
_BYTE_LEVEL = "gpt2"
_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = (
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"  # how many digits
)


def tokenizer_of(path: Path, metadata: Metadata, vocab_size: int) -> Tokenizer | None:
    """The tokenizer of a file; ``CheckpointError`` names the key that is damaged.

    Args:
        path: The file, for messages.
        metadata: Its metadata.
        vocab_size: The rows of its embedding.

    Returns:
        ``None`` if it has none or one that is no byte-level encoding. One whose rule for cutting text is
        not known decodes, and refuses to encode.
    """
    if metadata.get(f"{_START}model") != _BYTE_LEVEL:
        return None
    tokens = _tokens(path, metadata, vocab_size)
    merges = [_pair(path, merge) for merge in _texts(path, metadata, "merges")]
    library = _library(path, tokens, merges)
    _add_special(path, library, tokens, _types(path, metadata, len(tokens)))
    _add_ends(path, library, metadata, tokens)
    rule = metadata.get(f"{_START}pre")
    if isinstance(rule, str) and rule in _RULES:
        _RULES[rule](library)
        return ByteLevelTokenizer(library)
    return DecodeOnlyTokenizer(library, rule=repr(rule))


@dataclass(frozen=True, slots=True)
class ByteLevelTokenizer(BytePairTokenizer):
    """A byte-pair encoding of UTF-8: what it has no token for are single bytes, and it drops them."""

    def unread(self, text: str) -> tuple[str, ...]:
        """The different characters of a text that lose a byte, since no token stands for it."""
        known = self.backend.get_vocab()
        lost = {byte for byte, symbol in enumerate(byte_symbols()) if symbol not in known}
        return tuple(dict.fromkeys(each for each in self.normalised(text) if lost & set(each.encode())))


@dataclass(frozen=True, slots=True)
class DecodeOnlyTokenizer(BytePairTokenizer):
    """A tokenizer whose rule for cutting text is not known: guessing would give other tokens in silence."""

    rule: str = ""

    def encode(self, text: str) -> list[int]:
        """Always ``InputError``."""
        raise InputError(
            f"text is encoded by a known rule of {_START}pre",
            got=self.rule,
            expected=" or ".join(map(repr, _RULES)),
            hint="Give token ids, or a Model another tokenizer.",
        )

    def unread(self, text: str) -> tuple[str, ...]:
        """None, for no text is read."""
        return ()


def byte_symbols() -> list[str]:
    """The character that stands for each byte in a byte-level vocabulary.

    Printable Latin-1 stands for itself, the others follow from 256 on. Source: OpenAI's GPT-2,
    ``encoder.py``.

    Returns:
        256 characters, that of a byte at its number.

    >>> byte_symbols()[ord("a")], byte_symbols()[ord(" ")]
    ('a', 'Ġ')
    """
    printable = {
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    }
    others = (byte for byte in range(256) if byte not in printable)
    moved = {byte: 256 + place for place, byte in enumerate(others)}
    return [chr(moved.get(byte, byte)) for byte in range(256)]


# -- what the file says ----------------------------------------------------------------------


def _tokens(path: Path, metadata: Metadata, vocab_size: int) -> list[str]:
    tokens = _texts(path, metadata, "tokens")
    if len(tokens) != vocab_size or len(set(tokens)) != len(tokens):
        got = f"{len(tokens):,} tokens, {len(set(tokens)):,} different"
        raise _refusal(path, "tokens", "every row of the embedding has its token", got, f"{vocab_size:,}")
    return tokens


def _texts(path: Path, metadata: Metadata, key: str) -> list[str]:
    found = metadata.get(_START + key)
    if not isinstance(found, list):
        raise _refusal(path, key, "a byte-level tokenizer has a list of them", type(found).__name__, "texts")
    return found


def _pair(path: Path, merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    if not (left and right):
        raise _refusal(path, "merges", "a merge is of two tokens", repr(merge), "two, with a space between")
    return left, right


def _types(path: Path, metadata: Metadata, count: int) -> list[int]:
    types = metadata.get(f"{_START}token_type")
    if types is None:
        return [_NORMAL] * count
    if not isinstance(types, np.ndarray) or types.dtype.kind not in "iu" or len(types) != count:
        raise _refusal(
            path, "token_type", "every token has its type", type(types).__name__, f"{count:,} ints"
        )
    listed: list[int] = types.tolist()
    return listed


def _refusal(path: Path, key: str, rule: str, got: object, expected: object) -> CheckpointError:
    return refused(path, f"{_START}{key}: {rule}", got, expected)


# -- what the library makes of it ------------------------------------------------------------


def _library(path: Path, tokens: list[str], merges: list[tuple[str, str]]) -> tokenizers.Tokenizer:
    try:
        from tokenizers import Tokenizer, decoders, models
    except ImportError:
        raise missing_package(f"{path}: the tokenizer runs on the package tokenizers") from None
    try:
        model = models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges)
    except Exception as error:  # The library raises no narrower class.
        raise _refusal(
            path, "merges", "merges are of tokens, and give tokens", error, "such pairs"
        ) from error
    library = Tokenizer(model)
    library.decoder = decoders.ByteLevel()
    return library


def _add_special(path: Path, library: tokenizers.Tokenizer, tokens: list[str], types: list[int]) -> None:
    """Tokens that are found in a text before it is cut, and that decoding shows."""
    from tokenizers import AddedToken

    special = [token for token, kind in zip(tokens, types, strict=True) if kind in (_CONTROL, _USER_DEFINED)]
    if "" in special:
        raise _refusal(path, "tokens", "a special token has letters", "''", "a text")
    # As special ones of the library they would vanish from decoded text.
    library.add_tokens([AddedToken(token, normalized=False, special=False) for token in special])


def _add_ends(path: Path, library: tokenizers.Tokenizer, metadata: Metadata, tokens: list[str]) -> None:
    """The tokens that the file wants before and after every text."""
    from tokenizers import processors

    # llama.cpp adds the first one for this rule if the file does not say.
    begins = metadata.get(f"{_START}add_bos_token", metadata.get(f"{_START}pre") == "llama-bpe")
    ends = metadata.get(f"{_START}add_eos_token", False)
    first = [_end_token(path, metadata, tokens, "bos_token_id")] * (begins is True)
    last = [_end_token(path, metadata, tokens, "eos_token_id")] * (ends is True)
    if first or last:
        places = [place for _, place in (*first, *last)]
        single = [str(place) for _, place in first] + ["$A"] + [str(place) for _, place in last]
        special = [(str(place), place) for place in dict.fromkeys(places)]
        library.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)


def _end_token(path: Path, metadata: Metadata, tokens: list[str], key: str) -> tuple[str, int]:
    place = metadata.get(_START + key)
    if type(place) is not int or not 0 <= place < len(tokens):
        raise _refusal(path, key, "it is a place in the vocabulary", repr(place), f"0 to {len(tokens) - 1}")
    return tokens[place], place


def _cut_as_gpt2(library: tokenizers.Tokenizer) -> None:
    from tokenizers import pre_tokenizers

    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _cut_as_smollm(library: tokenizers.Tokenizer) -> None:
    from tokenizers import pre_tokenizers

    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    library.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2])


def _cut_as_llama(library: tokenizers.Tokenizer) -> None:
    library.pre_tokenizer = _words("{1,3}")
    # What is a token as it stands is one, even where the merges do not lead to it.
    library.model.ignore_merges = True


def _cut_as_qwen(library: tokenizers.Tokenizer) -> None:
    from tokenizers import normalizers

    library.pre_tokenizer = _words("")
    library.normalizer = normalizers.NFC()


def _words(digits: str) -> PreTokenizer:
    from tokenizers import Regex, pre_tokenizers

    cut = pre_tokenizers.Split(Regex(_CONTRACTIONS + _WORDS % digits), behavior="isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([cut, as_bytes])


_RULES: Mapping[str, Callable[[tokenizers.Tokenizer], None]] = {
    "gpt-2": _cut_as_gpt2,
    "smollm": _cut_as_smollm,
    "llama-bpe": _cut_as_llama,
    "qwen2": _cut_as_qwen,
}
