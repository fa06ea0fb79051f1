"""Checkpoints by name or path: the choice among the readers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from causalsim.errors import CheckpointError
from causalsim.models.config import ModelConfig
from causalsim.models.fetching import located
from causalsim.models.formats.gguf_model import is_gguf, read_gguf
from causalsim.models.formats.glass import read_glass
from causalsim.models.formats.hf_config import CONFIG
from causalsim.models.formats.hf_model import read_folder
from causalsim.models.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Checkpoint(NamedTuple):
    """Content of a checkpoint: the configuration, checked float32 parameters, and the tokenizer, if any."""

    config: ModelConfig
    params: Mapping[str, NDArray[np.float32]]
    tokenizer: Tokenizer | None


_Read = tuple[ModelConfig, Mapping[str, "NDArray[np.float32]"], Tokenizer | None]
_NAMED: Mapping[str, Callable[[], _Read]] = {
    "glass": read_glass,
    "smollm2": lambda: read_gguf(located("smollm2")),
}


def known_names() -> tuple[str, ...]:
    """Names that ``read_checkpoint`` knows.

    Returns:
        The names.

    >>> known_names()
    ('glass', 'smollm2')
    """
    return tuple(_NAMED)


def read_checkpoint(path_or_name: str | os.PathLike[str]) -> Checkpoint:
    """Read a model by its known name, from a GGUF file, or from a folder as transformers saves it.

    Args:
        path_or_name: A known name, or where the model is kept.

    Returns:
        Configuration, checked float32 parameters, and the tokenizer, if there is one.

    Raises:
        CheckpointError: The name is not known, or its files are missing, damaged or not understood; it
            lists what can be read, or names the key or tensor.
    """
    name = _as_text(path_or_name)
    if name in _NAMED:
        return Checkpoint(*_NAMED[name]())
    if os.path.exists(os.path.join(name, CONFIG)):  # noqa: PTH110, PTH118
        return Checkpoint(*read_folder(Path(name)))
    if is_gguf(name):
        return Checkpoint(*read_gguf(Path(name)))
    # os.path.exists, unlike Path.exists, has an answer for names that no file can have.
    there = os.path.exists(name)  # noqa: PTH110
    raise CheckpointError(
        "a checkpoint is of a format that can be read" if there else "a checkpoint is a known name",
        got=f"{name!r}, "
        + ("a path of another format" if there else "neither a known name nor an existing path"),
        expected=f"one of the names {', '.join(map(repr, _NAMED))}, a .gguf file, or a folder with {CONFIG}",
        hint=f"Use {next(iter(_NAMED))!r}, or build the model from a configuration and parameters.",
    )


def _as_text(path_or_name: object) -> str:
    if isinstance(path_or_name, str | os.PathLike):
        name = os.fspath(path_or_name)
        if isinstance(name, str):
            return name
    raise CheckpointError(
        "a checkpoint is given by a name or a path",
        got=repr(path_or_name),
        expected=f"a string, for example {next(iter(_NAMED))!r}",
        hint="Model(config, params) makes a model of what is in memory.",
    )
