"""Errors that cyclopts finds in a command line, in the clauses of every other error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cyclopts import CycloptsError, Token, UnusedCliTokensError

from causalsim.errors import InputError


def whole(_type: Any, tokens: Sequence[Token]) -> int:
    """Convert an argument to a whole number; cyclopts by itself rounds 1.5."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is no whole number") from None


def byte_count(_type: Any, tokens: Sequence[Token]) -> int:
    """Return an argument in bytes, which is a whole number of them or a number with a unit.

    Raises:
        ValueError: It is neither.

    >>> from types import SimpleNamespace as Given
    >>> [byte_count(int, [Given(value=text)]) for text in ("1000", "1.5KiB", "80 GB")]
    [1000, 1536, 80000000000]
    """
    from fractions import Fraction

    text = tokens[0].value
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *(?:([KMGTP])(i)?)?B?", text, re.IGNORECASE)
    if found is None:
        raise ValueError(f"{text!r} is no number of bytes such as 80GB or 24GiB")
    number, unit, binary = found.groups()
    power = 1 + "KMGTP".index(unit.upper()) if unit else 0
    return int(Fraction(number) * (1024 if binary else 1000) ** power)


def as_input_error(error: CycloptsError) -> InputError:
    """A refused command line as what causalsim raises: what is wrong, what was expected, the hint."""
    words = " ".join(str(error).split())
    called = " ".join(("causalsim", *(error.command_chain or ())))
    if isinstance(error, UnusedCliTokensError):
        hint = f"A text of several words stands in quotation marks; {called} --help says the rest."
        return InputError(f"{called} takes no more words", got=_after("Unused Tokens:", words), hint=hint)
    rule = re.split(r"\. |\.$", words)[0]
    expected = _after("Must be", words) or _after("Available commands:", words)
    meant = re.search(r"Did you mean \"?(.+?)\"?\?", words)
    hint = f"Did you mean {meant[1]!r}?" if meant else f"{called} --help says what there is."
    return InputError(rule, expected=expected, hint=hint)


def _after(start: str, words: str) -> str | None:
    found = re.search(re.escape(start) + r" (.+?)\.(?: |$)", words)
    return found[1] if found else None
