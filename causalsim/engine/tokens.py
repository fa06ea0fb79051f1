"""Texts as users give them: a string, token ids, or one of these a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Integer

from causalsim.arguments import check_type
from causalsim.engine.model import Model
from causalsim.engine.warming import check_room
from causalsim.errors import InputError

# The underscore: requests that stand together have lengths of their own.
Ids = Int[np.ndarray, " _position"]
Text = str | Sequence[int] | Integer[np.ndarray, " _position"]
Texts = Text | Sequence[Text] | Integer[np.ndarray, "_request _position"]


def encode_texts(model: Model, tokens: Texts) -> tuple[Ids, ...]:
    """The ids of every request; ``InputError`` for an empty or too long text or an unknown id."""
    check_type("a model", model, Model, 'load("glass") or random_model(config) gives one.')
    return tuple(_checked(model, number, text) for number, text in enumerate(_requests(tokens)))


def _requests(tokens: Texts) -> Sequence[Text]:
    if not isinstance(tokens, str | Sequence | np.ndarray) or isinstance(tokens, bytes):
        raise InputError(
            "a text is a string or a sequence of token ids, or several of these", got=type(tokens).__name__
        )
    return list(tokens) if _are_several(tokens) else [tokens]  # type: ignore[arg-type, list-item]


def _are_several(tokens: Texts) -> bool:
    if isinstance(tokens, np.ndarray):
        return tokens.ndim > 1
    return not isinstance(tokens, str) and len(tokens) > 0 and not isinstance(tokens[0], int | np.integer)


def _checked(model: Model, number: int, text: Text) -> Ids:
    ids = _array(model.encode(text) if isinstance(text, str) else text)
    if ids.size == 0:
        raise InputError(
            "a text has at least one token", got=f"an empty text (request {number})", hint="Give a word."
        )
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise InputError("token ids are a row of integers", got=f"shape {ids.shape}, dtype {ids.dtype}")
    check_length(model, number, ids.size)
    vocabulary = model.config.vocab_size
    if (wrong := ids[(ids < 0) | (ids >= vocabulary)]).size:
        raise InputError(
            "token ids are places in the vocabulary", got=int(wrong[0]), expected=f"0..{vocabulary - 1}"
        )
    return ids.astype(np.int32)


def _array(ids: Any) -> np.ndarray:
    try:
        return np.asarray(ids)
    except ValueError:  # Rows of different length; what follows refuses an object.
        return np.array(ids, object)


def check_length(model: Model, number: int, length: int) -> None:
    """Refuse what is longer than the context that the model was made for."""
    check_room(model.config, number, length)
