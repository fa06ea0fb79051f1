"""Models without arithmetic: configuration, parameters, tokenizer and checkpoint formats."""

from causalsim.models.checkpoint import Checkpoint, known_names, read_checkpoint
from causalsim.models.checks import known_dtype
from causalsim.models.config import ModelConfig
from causalsim.models.known import known_config, read_config
from causalsim.models.parameters import (
    check_parameters,
    check_tensors,
    count_parameters,
    parameter_shapes,
    random_parameters,
)
from causalsim.models.tokenizer import BytePairTokenizer, Tokenizer

__all__ = [
    "BytePairTokenizer",
    "Checkpoint",
    "ModelConfig",
    "Tokenizer",
    "check_parameters",
    "check_tensors",
    "count_parameters",
    "known_config",
    "known_dtype",
    "known_names",
    "parameter_shapes",
    "random_parameters",
    "read_checkpoint",
    "read_config",
]
