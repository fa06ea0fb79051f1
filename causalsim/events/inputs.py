"""Inputs of a graph: a wiring, lengths and prompts, checked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol, cast

import numpy as np

from causalsim.arguments import as_int, check_limit
from causalsim.errors import InputError
from causalsim.events.kinds import kinds_at
from causalsim.events.wiring import Wiring


class HasWiring(Protocol):
    """A configuration: whatever knows the wiring of its architecture."""

    @property
    def wiring(self) -> Wiring: ...


def checked_wiring(given: object) -> Wiring:
    """Return a wiring, or that of a configuration.

    Raises:
        InputError: It is anything else.

    >>> checked_wiring(Wiring(2)).n_layers
    2
    """
    wiring = given if isinstance(given, Wiring) else getattr(given, "wiring", None)
    if not isinstance(wiring, Wiring):
        raise InputError(
            "a graph is of a Wiring, or of a configuration that has one",
            got=repr(given),
            hint="Give Wiring(n_layers), a ModelConfig, or model.config of a loaded model.",
        )
    return wiring


def _per_request(name: str, given: int | Sequence[int], low: int) -> tuple[int, ...]:
    listed = given.reshape(-1) if isinstance(given, np.ndarray) and given.ndim < 2 else given
    if isinstance(listed, str | bytes) or not isinstance(listed, Sequence | np.ndarray):
        listed = (listed,)  # type: ignore[assignment]  # text is a sequence too, and one wrong length
    entries = cast("Sequence[object]", listed)
    numbers = [as_int(entry) for entry in entries]
    if any(number is None or number < low for number in numbers):
        raise InputError(f"{name} is a whole number of at least {low}, or one a request", got=repr(given))
    return tuple(number for number in numbers if number is not None)


def checked_lengths(length: int | Sequence[int]) -> tuple[int, ...]:
    """Return the positions of every request.

    Raises:
        InputError: There is no request, or one without positions.

    >>> checked_lengths(3), checked_lengths([3, 2])
    ((3,), (3, 2))
    """
    lengths = _per_request("length", length, 1)
    if not lengths:
        raise InputError("a graph holds at least one request", got="no lengths")
    return lengths


def check_countable(wiring: Wiring, lengths: tuple[int, ...]) -> None:
    """Raise ``LimitError`` for more events than Python counts.

    Raises:
        LimitError: There are more.

    >>> check_countable(Wiring(126), (131_072,))
    """
    # Python's len() counts no further.
    outside = len(kinds_at("below", "above", "feedback"))
    most = sum(lengths) * (len(wiring.sublayers) * wiring.n_layers + outside)
    rule = "a graph has a number of events that can be counted"
    hint = "Take shorter texts or fewer layers."
    check_limit(rule, most, sys.maxsize, got=f"about {most:,} events", hint=hint)


def checked_prompts(prompt: int | Sequence[int] | None, lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Return the given positions of every request, all of them where nothing is said.

    Raises:
        InputError: One is no number of 1 to the length of its text.

    >>> checked_prompts(None, (3, 2)), checked_prompts(1, (3, 2))
    ((3, 2), (1, 1))
    """
    if prompt is None:
        return lengths
    prompts = _per_request("prompt", prompt, 1)
    prompts = prompts if as_int(prompt) is None else prompts * len(lengths)
    if len(prompts) != len(lengths):
        raise InputError(
            "prompt has one entry a request", got=f"{len(prompts)} entries", expected=len(lengths)
        )
    for given, length in zip(prompts, lengths, strict=True):
        if given > length:
            raise InputError("a prompt is no longer than its text", got=given, expected=f"at most {length}")
    return prompts
