"""Models without arithmetic: configuration, parameters, tokenizer and, in ``formats``, their files.

What needs only sizes imports no reader of files: names are fetched when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from causalsim.lazy import fetched

if TYPE_CHECKING:
    from causalsim.models.checks import known_dtype
    from causalsim.models.config import ModelConfig
    from causalsim.models.formats.checkpoint import Checkpoint, known_names, read_checkpoint
    from causalsim.models.known import known_config, read_config
    from causalsim.models.parameters import (
        check_parameters,
        check_tensors,
        count_parameters,
        parameter_shapes,
        random_parameters,
    )
    from causalsim.models.tokenizer import BytePairTokenizer, Tokenizer

_HOMES = {
    "checks": ["known_dtype"],
    "config": ["ModelConfig"],
    "formats.checkpoint": ["Checkpoint", "known_names", "read_checkpoint"],
    "known": ["known_config", "read_config"],
    "parameters": [
        "check_parameters", "check_tensors", "count_parameters", "parameter_shapes", "random_parameters",
    ],
    "tokenizer": ["BytePairTokenizer", "Tokenizer"],
}  # fmt: skip

__all__ = [
    "BytePairTokenizer", "Checkpoint", "ModelConfig", "Tokenizer", "check_parameters", "check_tensors",
    "count_parameters", "known_config", "known_dtype", "known_names", "parameter_shapes", "random_parameters",
    "read_checkpoint", "read_config",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    return fetched(__name__, name, _HOMES)
