"""A model ready to run: configuration, checked parameters, tokenizer, and weights as kernels want them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from causalsim.arguments import check_type
from causalsim.engine.calibrations import default_kernels
from causalsim.engine.digests import digest_of
from causalsim.engine.executor import Computation
from causalsim.engine.warming import warm
from causalsim.errors import InputError
from causalsim.kernels import CERTIFIED, Kernels
from causalsim.models import (
    ModelConfig,
    Tokenizer,
    check_parameters,
    known_dtype,
    random_parameters,
    read_checkpoint,
)


class Model:
    """A transformer: frozen configuration and parameters, with or without a tokenizer.

    ``params`` maps the canonical names of ``causalsim.models.parameter_shapes`` to arrays;
    ``CheckpointError`` names the one that is missing, surplus or of the wrong shape.

    ``dtype``, ``"float32"`` or ``"bfloat16"``, is what lies in memory: parameters, and the value of
    every event. Kernels compute in float32 from what they read, exactly, and what they write is
    downcast once, to nearest even. ``InputError`` for any other type.
    """

    def __init__(
        self,
        config: ModelConfig,
        params: Mapping[str, np.ndarray],
        tokenizer: Tokenizer | None = None,
        *,
        dtype: DTypeLike = "float32",
    ) -> None:
        check_type("a configuration", config, ModelConfig)
        check_type("the parameters", params, Mapping)
        self._config, self._tokenizer, self._dtype = config, tokenizer, known_dtype(dtype)
        self._params = MappingProxyType(check_parameters(config, params, self._dtype))
        self._weights: dict[Callable[..., Any], Any] = {}
        self._origin: Mapping[str, Any] = MappingProxyType({})

    @property
    def config(self) -> ModelConfig:
        return self._config

    @property
    def params(self) -> Mapping[str, np.ndarray]:
        return self._params

    @property
    def dtype(self) -> str:
        """The type of parameters and values: ``"float32"`` or ``"bfloat16"``."""
        return self._dtype

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self._tokenizer

    @property
    def origin(self) -> Mapping[str, Any]:
        """Facts by which another process makes it again: the ``name`` that was loaded, or the ``seed``.

        Empty for a model that was built from parameters.
        """
        return self._origin

    @cached_property
    def digest(self) -> str:
        """sha256 over configuration and parameters, in the type in which they are kept."""
        names = sorted(self.params)
        arrays = digest_of(self.params[name] for name in names)
        facts = json.dumps([self.config.to_dict(), self.dtype, names, arrays])
        return hashlib.sha256(facts.encode()).hexdigest()

    def __repr__(self) -> str:
        c = self.config
        heads = f"{c.n_heads}/{c.n_kv_heads} heads"
        return f"<Model of {c.n_layers} layers, width {c.d_model}, {heads}, {self.dtype}>"

    def weights(self, kernels: Kernels = CERTIFIED) -> Any:
        """The parameters in the layout of some kernels; made once."""
        check_type("a set of kernels", kernels, Kernels, "causalsim.kernels has CERTIFIED, FIXED and STOCK.")
        if kernels.prepare not in self._weights:
            self._weights[kernels.prepare] = kernels.prepare(self.config, dict(self.params))
        return self._weights[kernels.prepare]

    def warm(self, length: int | Sequence[int], kernels: Kernels | None = None) -> None:
        """Compile all that texts of these lengths can need: then no foliation compiles anything.

        Args:
            length: As for ``EventGraph``: one number, or one a request that runs together.
            kernels: The kernels that will run, by default those that ``run`` takes.
        """
        warm(self.computation(self.kernels_or(kernels)), self.dtype, length)

    def kernels_or(self, kernels: Kernels | None) -> Kernels:
        """Choose the kernels given, or by default those of the model's calibration on this machine."""
        return default_kernels(self.config, self.dtype, kernels)

    def computation(self, kernels: Kernels = CERTIFIED) -> Computation:
        """Make what the executor computes with."""
        return Computation(self.config, kernels, self.weights(kernels))

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
                hint="Give token ids, or Model(..., tokenizer).",
            )
        return self.tokenizer


def load(path_or_name: str | os.PathLike[str], *, dtype: DTypeLike = "float32") -> Model:
    """Read a model, with its tokenizer where it has one.

    Args:
        path_or_name: A known name (``"glass"``, ``"smollm2"``), a Hugging Face folder or a GGUF file.
        dtype: The dtype that the model is kept in, float32 or bfloat16, whatever the file holds.

    Returns:
        The model.

    Raises:
        CheckpointError: There is no such model, or something is wrong with its files.
    """
    kept = known_dtype(dtype)  # What is refused is refused before a file is read.
    found = Model(*read_checkpoint(path_or_name), dtype=kept)
    found._origin = MappingProxyType({"name": os.fspath(path_or_name)})
    return found


def random_model(config: ModelConfig, seed: int = 0, *, dtype: DTypeLike = "float32") -> Model:
    """Make a model with random parameters, every one of which matters.

    Args:
        config: The architecture.
        seed: Of the draw; the same seed gives the same parameters.
        dtype: float32 or bfloat16, whose parameters are those of float32, downcast.

    Returns:
        A model without tokenizer.

    Raises:
        InputError: No configuration, or an unknown dtype.
    """
    check_type("a configuration", config, ModelConfig, "ModelConfig(n_layers=2, ...) makes one.")
    kept = known_dtype(dtype)
    found = Model(config, random_parameters(config, seed), dtype=kept)
    found._origin = MappingProxyType({"seed": int(seed)})
    return found
