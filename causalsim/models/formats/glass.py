"""The trained weights and tokenizer that the package ``glassllm`` carries, read without its code.

The files are a NumPy archive of float16 tensors with the configuration as JSON inside, and
a JSON file with an alphabet and the merges of a byte-pair encoding over characters.
Source: glassllm 0.1.0 on PyPI, MIT.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from causalsim.errors import CheckpointError, InputError
from causalsim.models.config import ModelConfig
from causalsim.models.formats.conversions import halves_from_pairs
from causalsim.models.formats.packages import install, missing_package
from causalsim.models.parameters import check_parameters, check_tensors, parameter_shapes
from causalsim.models.pinned import check_digest, recorded_digest
from causalsim.models.tokenizer import BytePairTokenizer

if TYPE_CHECKING:
    import tokenizers
    from numpy.typing import NDArray

WEIGHTS, TOKENIZER = "en.npz", "en.tokenizer.json"
PACKAGE = "glassllm"
INSTALL = install("demo")
REINSTALL = f"pip install --force-reinstall --no-deps {PACKAGE}"

_CONFIG = "__config__"
# The configuration's fields in the file and here; None marks one that only training reads.
_FIELDS = {
    "n_layers": "n_layers",
    "n_heads": "n_heads",
    "n_kv_heads": "n_kv_heads",
    "d_model": "d_model",
    "vocab_size": "vocab_size",
    "max_len": "max_length",
    "rope_base": "rope_base",
    "eps": "norm_epsilon",
    "init_std": None,
}
_NAMES = {"embed": "E", "final_norm": "norm_f.gamma"}
_LAYER_NAMES = {
    "attn.norm": "norm1.gamma",
    "attn.q": "attn.W_Q",
    "attn.k": "attn.W_K",
    "attn.v": "attn.W_V",
    "attn.o": "attn.W_O",
    "mlp.norm": "norm2.gamma",
    "mlp.gate": "ffn.W1",
    "mlp.up": "ffn.W3",
    "mlp.down": "ffn.W2",
}

_SPACE, _UNKNOWN, _UNKNOWN_TEXT = "▁", "<unk>", "⁇"
_SPECIALS = ("<pad>", _UNKNOWN, "<bos>", "<eos>")
_CHUNKS = r"\n|▁*[^▁\n]+|▁+"


def read_glass(
    folder: Path | None = None,
) -> tuple[ModelConfig, dict[str, NDArray[np.float32]], BytePairTokenizer]:
    """Configuration, float32 parameters and tokenizer of the English glassllm model.

    Args:
        folder: The folder of the two files; by default the installed package's, whose record says what
            bytes they have.

    Returns:
        The three.

    Raises:
        CheckpointError: The package or a file is missing, damaged or inconsistent.
    """
    found = weights_folder() if folder is None else folder
    for path in (found / WEIGHTS, found / TOKENIZER):
        if (expected := recorded_digest(PACKAGE, path)) is not None:
            check_digest(path, expected, f"Reinstall it: {REINSTALL}")
    arrays = _read_arrays(found / WEIGHTS)
    config = _configuration(arrays.pop(_CONFIG, None), found / WEIGHTS)
    params = _parameters(config, arrays)
    tokenizer = _read_tokenizer(found / TOKENIZER)
    if tokenizer.vocab_size != config.vocab_size:
        raise CheckpointError(
            f"{found / TOKENIZER}: the tokenizer and the embedding have one vocabulary",
            got=f"{tokenizer.vocab_size} tokens",
            expected=f"{config.vocab_size}",
            hint=f"Reinstall: {INSTALL}",
        )
    return config, params, tokenizer


def weights_folder() -> Path:
    """The folder in which the installed package keeps its files; ``CheckpointError`` if there is none."""
    # Looking for the package runs none of its code, as importing it would.
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise CheckpointError(
            "the model 'glass' is read from the package glassllm",
            got="no such package",
            expected="glassllm 0.1",
            hint=f"Install it: {INSTALL}",
        )
    return Path(next(iter(spec.submodule_search_locations))) / "weights"


def _unreadable(path: Path, rule: str, got: object, expected: object) -> CheckpointError:
    return CheckpointError(f"{path}: {rule}", got=got, expected=expected, hint=f"Reinstall: {INSTALL}")


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        # np.load leaves a file that it opened itself open where it turns out to be damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise _unreadable(path, "the weights are there", "no such file", "a NumPy archive") from None
    # Damage shows as whatever the layer that meets it raises: zip, zlib, NumPy's header parser.
    except Exception as error:
        raise _unreadable(
            path, "the weights are a readable archive", _described(error), "a NumPy archive"
        ) from error


def _described(error: Exception) -> str:
    return f"{type(error).__name__} ({error})"


def _configuration(stored: NDArray[Any] | None, path: Path) -> ModelConfig:
    if stored is None:
        raise _unreadable(path, "the archive holds its configuration", "none", f"an entry {_CONFIG}")
    try:
        given = json.loads(str(stored))
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, "the configuration is JSON", _described(error), "an object") from error
    if not isinstance(given, dict) or set(given) != set(_FIELDS):
        raise _unreadable(path, "every field of the configuration is understood", given, ", ".join(_FIELDS))
    try:
        return _model_config(given)
    except InputError as error:
        raise _unreadable(path, "the configuration is consistent", error, "a model's sizes") from error


def _model_config(given: Mapping[str, Any]) -> ModelConfig:
    named = {here: given[there] for there, here in _FIELDS.items() if here is not None}
    # ModelConfig checks d_model itself; the width that follows from it must not fail before.
    width = 8 * named["d_model"] // 3 if isinstance(named["d_model"], int) else 1
    return ModelConfig(**named, d_ff=width, tied_embeddings=True)


def _parameters(config: ModelConfig, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """Check under the file's names, so that an error names what the file holds; then rename."""
    shapes = parameter_shapes(config)
    checked = check_tensors({_name_in_file(name): shape for name, shape in shapes.items()}, arrays)
    renamed = {name: checked[_name_in_file(name)] for name in shapes}
    for name in shapes:
        if name.endswith((".q", ".k")):
            renamed[name] = halves_from_pairs(renamed[name].T, config.d_head, config.d_head).T
    return check_parameters(config, renamed)


def _name_in_file(name: str) -> str:
    if name in _NAMES:
        return _NAMES[name]
    _, layer, part = name.split(".", 2)
    return f"blocks.{layer}.{_LAYER_NAMES[part]}"


def _read_tokenizer(path: Path) -> BytePairTokenizer:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _unreadable(path, "the tokenizer is there", "no such file", "a JSON file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, "the tokenizer is readable JSON", _described(error), "a JSON file") from error
    if not _is_tokenizer(data):
        raise _unreadable(
            path,
            "the tokenizer is an alphabet and its merges",
            "something else",
            "version 1, characters, and pairs of tokens that occur before, no token twice",
        )
    return BytePairTokenizer(_library_tokenizer(data["alphabet"], data["merges"]), normal_form="NFC")


def _is_tokenizer(data: object) -> bool:
    if not isinstance(data, dict) or set(data) != {"version", "alphabet", "merges"} or data["version"] != 1:
        return False
    alphabet, merges = data["alphabet"], data["merges"]
    return (
        isinstance(alphabet, list)
        and all(map(_is_character, alphabet))
        and isinstance(merges, list)
        and all(isinstance(pair, list) and len(pair) == 2 for pair in merges)
        and _tokens_are_sound(alphabet, merges)
    )


def _is_character(entry: object) -> bool:
    # JSON can escape a lone surrogate, which no text has.
    return isinstance(entry, str) and len(entry) == 1 and not "\ud800" <= entry <= "\udfff"


def _tokens_are_sound(alphabet: list[str], merges: list[list[Any]]) -> bool:
    known = set(alphabet)
    for left, right in merges:
        if not (isinstance(left, str) and isinstance(right, str) and {left, right} <= known):
            return False
        known.add(left + right)
    return len(known | set(_SPECIALS)) == len(_SPECIALS) + len(alphabet) + len(merges)


def _library_tokenizer(alphabet: list[str], merges: list[list[str]]) -> tokenizers.Tokenizer:
    try:
        from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    except ImportError:
        raise missing_package(
            "the tokenizer of 'glass' runs on the package tokenizers", extra="demo"
        ) from None
    vocabulary = [*_SPECIALS, *alphabet, *(left + right for left, right in merges)]
    ids = {token: index for index, token in enumerate(vocabulary)}
    pairs = [(left, right) for left, right in merges]
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=pairs, unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_CHUNKS), behavior="isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(*shown) for shown in _shown_as().items()])
    return tokenizer


def _shown_as() -> dict[str, str]:
    """Texts that decoding shows for the tokens that do not show as themselves."""
    return {**dict.fromkeys(_SPECIALS, ""), _UNKNOWN: _UNKNOWN_TEXT, _SPACE: " "}
