"""Models in GGUF files, the format of llama.cpp: configuration, dequantised parameters, tokenizer.

Only gguf's block types and their dequantisation are used; the container is read here, because
gguf's reader believes whatever a file says. Names of keys and tensors: gguf 0.19,
``constants.py``; what they mean: llama.cpp, ``src/llama-model.cpp`` and ``convert_hf_to_gguf.py``.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from causalsim.errors import CheckpointError, InputError
from causalsim.models.config import ModelConfig
from causalsim.models.formats.conversions import halves_from_pairs
from causalsim.models.formats.gguf_config import FACTORS, config_of, names_in_file, stored_as_pairs
from causalsim.models.formats.gguf_header import MAGIC, Header, TensorEntry, read_header, refused
from causalsim.models.formats.gguf_tokenizer import tokenizer_of
from causalsim.models.formats.packages import missing_package
from causalsim.models.parameters import check_tensors, parameter_shapes
from causalsim.models.tokenizer import Tokenizer

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType
    from numpy.typing import NDArray

SUFFIX = ".gguf"
TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K")


def is_gguf(name: str) -> bool:
    """True if this names a GGUF file: by its ending, or by the first bytes of what is there.

    Args:
        name: A path, or any other text.

    Returns:
        The answer.

    >>> is_gguf("a.gguf"), is_gguf("no such file")
    (True, False)
    """
    if name.endswith(SUFFIX):
        return True
    # os.path, unlike Path, has an answer for names that no file can have.
    if not os.path.isfile(name):  # noqa: PTH113
        return False
    try:
        with Path(name).open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_gguf(path: Path) -> tuple[ModelConfig, dict[str, NDArray[np.float32]], Tokenizer | None]:
    """Configuration, float32 parameters and tokenizer, if it has one, of a GGUF file.

    Args:
        path: The file.

    Returns:
        The three.

    Raises:
        CheckpointError: The file is damaged, contradicts itself, or is of a model that is not understood;
            it names the byte, key or tensor.
    """
    _check_file(path)
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            header = read_header(path, file, size)
            tensors = _Tensors(path, file, header)
            config = config_of(path, header)
            config, params = _parameters(path, config, header, tensors)
    except OSError as error:
        hint = "Is it there, and yours to read?"
        raise CheckpointError(f"{path}: the file can be read", got=str(error), hint=hint) from error
    return config, params, tokenizer_of(path, header.metadata, config.vocab_size)


def _check_file(path: Path) -> None:
    # Opening a pipe would wait for whoever writes to it. See is_gguf for os.path.
    if not os.path.isfile(path):  # noqa: PTH113
        got = "something else" if os.path.exists(path) else "nothing there"  # noqa: PTH110
        raise refused(path, "a GGUF file is a file", got, hint="Was the name misspelt?")


def _parameters(
    path: Path, config: ModelConfig, header: Header, tensors: _Tensors
) -> tuple[ModelConfig, dict[str, NDArray[np.float32]]]:
    """Check under the file's names, so that an error names what the file holds; then rename and turn."""
    names = names_in_file(config)
    shapes = {names[name]: shape[::-1] for name, shape in parameter_shapes(config).items()}
    # Tables of rows are the only matrices that both store alike.
    shapes[names["embed"]] = (config.vocab_size, config.d_model)
    if FACTORS in tensors:
        shapes[FACTORS] = (config.d_rotary // 2,)
    checked = check_tensors(shapes, tensors)
    if FACTORS in checked:
        config = _with_factors(path, config, checked.pop(FACTORS))
    pairs = stored_as_pairs(header.metadata)
    # Popped one by one, so that the model is not in memory twice.
    return config, {name: _ours(config, name, checked.pop(names[name]), pairs) for name in names}


def _with_factors(path: Path, config: ModelConfig, factors: NDArray[np.float32]) -> ModelConfig:
    try:
        return dataclasses.replace(config, rope_factors=tuple(map(float, factors)))
    except InputError as error:
        raise refused(path, f"{FACTORS}: rotary factors are positive", error, tensor=FACTORS) from error


def _ours(config: ModelConfig, name: str, tensor: NDArray[np.float32], pairs: bool) -> NDArray[np.float32]:
    """A tensor in the shape that ``parameter_shapes`` says, read-only."""
    if pairs and name.endswith((".q", ".k", ".q_bias", ".k_bias")):
        tensor = halves_from_pairs(tensor, config.d_head, config.d_rotary)
    if tensor.ndim == 2 and name != "embed":
        tensor = tensor.T
    tensor = np.ascontiguousarray(tensor)
    tensor.flags.writeable = False
    return tensor


class _Tensors(Mapping[str, "NDArray[np.float32]"]):
    """The tensors of an open file, each read and dequantised when it is asked for.

    Building it checks that each is of a known type and lies in the file, where no other does:
    what a file can make its reader allocate is then bounded by its own size.
    """

    def __init__(self, path: Path, file: BinaryIO, header: Header) -> None:
        self._path, self._file, self._entries = path, file, header.tensors
        self._rows = {name: self._row(name, entry) for name, entry in header.tensors.items()}
        self._check_places(header)

    def _row(self, name: str, entry: TensorEntry) -> tuple[GGMLQuantizationType, int]:
        """The type of a tensor and the bytes of one of its rows."""
        kind, block, bytes_each = _block(self._path, name, entry.kind)
        if entry.shape[-1] % block:
            got, expected = f"rows of {entry.shape[-1]:,}", f"a multiple of {block}"
            raise self._refusal(name, f"rows are whole blocks of {kind.name}", got, expected)
        return kind, entry.shape[-1] // block * bytes_each

    def _bytes(self, name: str) -> int:
        return math.prod(self._entries[name].shape[:-1]) * self._rows[name][1]

    def _check_places(self, header: Header) -> None:
        before, end = "the header", header.data_start
        for name in sorted(self._entries, key=lambda name: self._entries[name].start):
            start = self._entries[name].start
            if start < end:
                got = f"byte {start:,}, where {before} still is"
                raise self._refusal(
                    name, "every number stands in a place of its own", got, f"{end:,} or later"
                )
            before, end = name, start + self._bytes(name)
            if end > header.size:
                got = f"bytes {start:,} to {end:,}"
                raise self._refusal(name, "a tensor lies in its file", got, f"at most {header.size:,}")

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        entry, (kind, row) = self._entries[name], self._rows[name]
        self._file.seek(entry.start)
        taken = self._file.read(self._bytes(name))
        if len(taken) != self._bytes(name):  # Someone shortened the file meanwhile.
            raise self._refusal(
                name, "the file keeps its size", f"{len(taken):,} bytes", f"{self._bytes(name):,}"
            )
        blocks = np.frombuffer(taken, np.uint8).reshape(*entry.shape[:-1], row)
        numbers = _dequantized(blocks, kind)
        numbers.flags.writeable = False
        return numbers

    def __contains__(self, name: object) -> bool:
        return name in self._entries  # A mapping's own would read the tensor.

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _refusal(self, name: str, rule: str, got: object, expected: object) -> CheckpointError:
        return refused(self._path, f"{name}: {rule}", got, expected, tensor=name)


def _block(path: Path, name: str, number: int) -> tuple[GGMLQuantizationType, int, int]:
    """A type of numbers, how many there are in a block of it, and the bytes of one."""
    try:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    except ImportError:
        raise missing_package("the blocks of GGUF files are read by the package gguf") from None
    kind = next((kind for kind in GGMLQuantizationType if kind == number), None)
    if kind is None or kind.name not in TYPES:
        rule = f"{name}: the type of a tensor is understood"
        got = f"type {number}" if kind is None else kind.name
        hint = "Take the file of another quantisation."
        raise refused(path, rule, got, " or ".join(TYPES), tensor=name, hint=hint)
    return kind, *GGML_QUANT_SIZES[kind]


def _dequantized(blocks: NDArray[np.uint8], kind: GGMLQuantizationType) -> NDArray[np.float32]:
    from gguf.quants import dequantize

    # A damaged scale is infinite or NaN; the check of the parameters says so.
    with np.errstate(all="ignore"):
        return dequantize(blocks, kind)
