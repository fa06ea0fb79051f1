"""Text to token ids and back."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from causalsim.arguments import as_int
from causalsim.errors import InputError

if TYPE_CHECKING:
    import tokenizers


@runtime_checkable
class Tokenizer(Protocol):
    """A tokenizer, as models ask for one: anything with these two methods."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids."""
        ...


@dataclass(frozen=True, slots=True)
class BytePairTokenizer:
    """A tokenizer of the ``tokenizers`` library, with the checks that it leaves out.

    ``normal_form`` normalises by the interpreter's Unicode tables before the library sees the
    text: the library's own are of an older Unicode, and reorder newer combining marks differently.
    """

    backend: tokenizers.Tokenizer
    normal_form: Literal["NFC", "NFD", "NFKC", "NFKD"] | None = None

    @property
    def vocab_size(self) -> int:
        """Number of token ids; they are 0 to ``vocab_size - 1``."""
        return self.backend.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, with the ends of the tokenizer's file; ``InputError`` if it is no Unicode."""
        return list(self.backend.encode(self.normalised(text)).ids)

    def unread(self, text: str) -> tuple[str, ...]:
        """The different pieces of a text that no token stands for: they become the unknown token."""
        normal = self.normalised(text)
        unknown = getattr(self.backend.model, "unk_token", None)
        found = self.backend.encode(normal)
        spans = (span for token, span in zip(found.tokens, found.offsets, strict=True) if token == unknown)
        return tuple(dict.fromkeys(normal[start:stop] for start, stop in spans))

    def normalised(self, text: str) -> str:
        _check_text(text)
        return unicodedata.normalize(self.normal_form, text) if self.normal_form else text

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids; ``InputError`` for one that is not in the vocabulary."""
        return self.backend.decode([self._checked(token) for token in ids])

    def _checked(self, token: int) -> int:
        whole = as_int(token)
        # The library drops an unknown id in silence.
        if whole is None or not 0 <= whole < self.vocab_size:
            raise InputError(
                "token ids are places in the vocabulary",
                got=repr(token),
                expected=f"0 to {self.vocab_size - 1}",
                hint="Were the ids made by another tokenizer?",
            )
        return whole


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise InputError(
            "a text is a string", got=type(text).__name__, expected="str", hint="Decode bytes first."
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            "a text has no lone surrogates",
            got=f"{text[error.start]!r} at index {error.start}",
            expected="Unicode that UTF-8 can hold",
            hint="Read the text with its true encoding, or text.encode('utf-8', 'replace').decode().",
        ) from None
