"""Models from folders as Hugging Face's transformers saves them: config.json and safetensors files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from causalsim.errors import CheckpointError
from causalsim.models.config import ModelConfig
from causalsim.models.formats.hf_config import (
    CONFIG,
    FETCH_AGAIN,
    Limits,
    family_of,
    read_configuration,
    read_object,
    unreadable,
)
from causalsim.models.formats.hf_families import Family, Tensor
from causalsim.models.formats.hf_shards import Tensors
from causalsim.models.formats.packages import missing_package
from causalsim.models.parameters import check_parameters, check_tensors, parameter_shapes
from causalsim.models.tokenizer import BytePairTokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"
INDEX = f"{WEIGHTS}.index.json"


def read_folder(folder: Path) -> tuple[ModelConfig, dict[str, NDArray[np.float32]], BytePairTokenizer | None]:
    """Configuration, float32 parameters and tokenizer; ``CheckpointError`` if that fails.

    The error names the file, key or tensor that is missing, damaged or not understood. Source:
    transformers' ``from_pretrained``.

    Args:
        folder: The folder, as ``save_pretrained`` writes it.

    Returns:
        The three; the tokenizer is ``None`` where there is no tokenizer.json.
    """
    given = read_object(folder / CONFIG)
    with ExitStack() as stack:
        tensors = _open_weights(folder, stack)
        config = read_configuration(given, Limits(len(tensors), tensors.n_bytes))
        params = _parameters(family_of(given), config, tensors)
    return config, params, _read_tokenizer(folder / TOKENIZER)


def _open_weights(folder: Path, stack: ExitStack) -> Tensors:
    if (folder / WEIGHTS).exists():
        return Tensors([folder / WEIGHTS], stack)
    if not (folder / INDEX).exists():
        raise CheckpointError(
            f"{folder}: the folder holds weights",
            got=", ".join(sorted(path.name for path in folder.iterdir())),
            expected=f"{WEIGHTS} or {INDEX}",
            hint="save_pretrained of transformers writes them.",
        )
    places = _read_index(folder / INDEX)
    tensors = Tensors([folder / name for name in dict.fromkeys(places.values())], stack)
    for name, place in places.items():
        if name not in tensors or tensors.path(name).name != place:
            raise CheckpointError(
                f"{name}: a tensor is where {INDEX} says",
                tensor=name,
                got=f"it in {tensors.path(name).name}" if name in tensors else "it nowhere",
                expected=place,
                hint=FETCH_AGAIN,
            )
    return tensors


def _read_index(path: Path) -> dict[str, str]:
    places = read_object(path).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise CheckpointError(
            f"{path}: the index has a weight_map", got=type(places).__name__, hint=FETCH_AGAIN
        )
    for name, place in places.items():
        # A path would lead out of the folder.
        if not isinstance(place, str) or not re.fullmatch(r"[\w-][\w.-]*\.safetensors", place):
            raise CheckpointError(
                f"{path}: {name}: the index names files of its folder",
                tensor=name,
                got=repr(place),
                expected="the name of a safetensors file",
                hint=FETCH_AGAIN,
            )
    return places


def _parameters(family: Family, config: ModelConfig, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
    """Checked under the file's names, so that an error names what the file holds; then converted."""
    # Names begin with nothing where the model was saved without its head.
    prefix = "" if family.tensors["embed"].name in tensors else family.prefix
    shapes = parameter_shapes(config)
    sources = {name: _source(family, prefix, name) for name in shapes}
    in_file = {source.name: source.conversion.shape(shapes[name]) for name, source in sources.items()}
    checked = check_tensors(in_file, _Wanted(tensors, _beside(family, config, prefix, tensors)))
    converted = {}
    for name, source in sources.items():
        converted[name] = np.ascontiguousarray(source.conversion.take(checked[source.name], config.d_head))
        converted[name].flags.writeable = False  # Nobody else has it, so it need not be copied again.
    return check_parameters(config, converted)


class _Wanted(Mapping[str, "NDArray[Any]"]):
    """Tensors without those that are no parameters."""

    def __init__(self, tensors: Tensors, beside: set[str]) -> None:
        self._tensors, self._names = tensors, [name for name in tensors if name not in beside]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._tensors[name]

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _source(family: Family, prefix: str, name: str) -> Tensor:
    _, layer, part = name.split(".", 2) if name.startswith("layers.") else ("", "", name)
    source = family.tensors[part]
    # The output matrix stands beside the model that the prefix names.
    return source._replace(name=("" if part == "unembed" else prefix) + source.name.format(layer))


def _beside(family: Family, config: ModelConfig, prefix: str, tensors: Tensors) -> set[str]:
    """Names in a file that are no parameters: buffers of old files, and a second copy of a tied matrix."""
    buffers = re.compile(re.escape(prefix) + family.buffers)
    beside = {name for name in tensors if buffers.fullmatch(name)}
    embed, unembed = (_source(family, prefix, part).name for part in ("embed", "unembed"))
    if config.tied_embeddings and unembed in tensors and embed in tensors:
        if not np.array_equal(tensors[unembed], tensors[embed]):
            raise CheckpointError(
                f"{unembed}: tied embeddings are one matrix",
                tensor=unembed,
                got=f"another than {embed}",
                hint="Set tie_word_embeddings to false if they are two.",
            )
        beside.add(unembed)
    return beside


def _read_tokenizer(path: Path) -> BytePairTokenizer | None:
    if not path.exists():
        return None
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise missing_package("tokenizer.json is read by the package tokenizers") from None
    try:
        library = Tokenizer.from_file(str(path))
    # The library has no error class of its own.
    except Exception as error:
        raise unreadable(path, "the tokenizer is one that the library tokenizers reads", error) from error
    # Settings for training, under which a text would lose its end.
    library.no_truncation()
    library.no_padding()
    return BytePairTokenizer(library)
