"""A model ready to run: configuration, checked parameters, tokenizer, and weights as kernels want them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from causalsim.arguments import check_type
from causalsim.errors import InputError
from causalsim.kernels import CERTIFIED, Kernels
from causalsim.models import ModelConfig, Tokenizer, check_parameters, random_parameters, read_checkpoint

if TYPE_CHECKING:
    from causalsim.engine.calibration import Calibration


class Model:
    """A transformer: frozen configuration and float32 parameters, with or without a tokenizer.

    ``params`` maps the canonical names of ``causalsim.models.parameter_shapes`` to arrays;
    ``CheckpointError`` names the one that is missing, surplus or of the wrong shape.
    """

    def __init__(
        self, config: ModelConfig, params: Mapping[str, np.ndarray], tokenizer: Tokenizer | None = None
    ) -> None:
        check_type("a configuration", config, ModelConfig)
        check_type("the parameters", params, Mapping)
        self._config, self._tokenizer = config, tokenizer
        self._params = MappingProxyType(check_parameters(config, params))
        self._weights: dict[Callable[..., Any], Any] = {}

    @property
    def config(self) -> ModelConfig:
        return self._config

    @property
    def params(self) -> Mapping[str, np.ndarray]:
        return self._params

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self._tokenizer

    def __repr__(self) -> str:
        c = self.config
        return f"<Model of {c.n_layers} layers, width {c.d_model}, {c.n_heads}/{c.n_kv_heads} heads>"

    def weights(self, kernels: Kernels = CERTIFIED) -> Any:
        """The parameters in the layout of some kernels; made once."""
        check_type("a set of kernels", kernels, Kernels, "causalsim.kernels has CERTIFIED, FIXED and STOCK.")
        if kernels.prepare not in self._weights:
            self._weights[kernels.prepare] = kernels.prepare(self.config, dict(self.params))
        return self._weights[kernels.prepare]

    def warm(self, length: int | Sequence[int], kernels: Kernels | None = None) -> None:
        """Compile all that texts of these lengths can need: then no foliation compiles anything.

        ``length`` is as for ``EventGraph``: one number, or one a request that runs together.
        """
        from causalsim.engine.execution import warm

        warm(self, length, kernels)

    def calibrate(self, length: int | None = None) -> Calibration:
        """Measure on this machine which lane counts keep their bits and which are fast; kept for later runs.

        As ``causalsim.engine.calibrate``, which also tells how far it is.
        """
        from causalsim.engine.kept import calibrate

        return calibrate(self, length)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; ``InputError`` if the model came without a tokenizer."""
        return list(self._need_tokenizer().encode(text))

    def unread(self, text: str) -> tuple[str, ...]:
        """The pieces of a text that this model has no token for, where its tokenizer can tell."""
        tell = getattr(self.tokenizer, "unread", None)
        return () if tell is None else tuple(tell(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids."""
        return self._need_tokenizer().decode([int(token) for token in ids])

    def _need_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise InputError(
                "text needs a tokenizer",
                got="a model without one",
                cure="Give token ids, or Model(..., tokenizer).",
            )
        return self.tokenizer


def load(path_or_name: str | os.PathLike[str]) -> Model:
    """Read a model by a known name (``"glass"``, ``"smollm2"``), from a Hugging Face folder or a GGUF file.

    ``CheckpointError`` says what can be read, or what is wrong with what was named.
    """
    return Model(*read_checkpoint(path_or_name))


def random_model(config: ModelConfig, seed: int = 0) -> Model:
    """A model with random parameters, every one of which matters; the same for the same seed."""
    check_type("a configuration", config, ModelConfig, "ModelConfig(n_layers=2, ...) makes one.")
    return Model(config, random_parameters(config, seed))
