"""Readers of single keys of a config.json, and of the groups of keys that are read together."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np

from causalsim.arguments import as_int
from causalsim.errors import CheckpointError

Fields = dict[str, Any]
Given = Mapping[str, Any]

MISSING = "none"
_CORRECT = "Correct it in config.json, if this model is another than the file says."

# Names outside an object, GPT-NeoX's own included, and inside.
_ROPE_NAMES = {
    "rope_theta": "rope_theta",
    "rotary_emb_base": "rope_theta",
    "partial_rotary_factor": "partial_rotary_factor",
    "rotary_pct": "partial_rotary_factor",
}
_FULL, _SLIDING = "full_attention", "sliding_attention"
_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}


class Key(NamedTuple):
    """The fields of ``ModelConfig`` that a key sets, and how its value is read.

    A key without a default has to be there; the default is what transformers takes.
    """

    fields: tuple[str, ...]
    read: Callable[[str, object], Any]
    default: tuple[object, ...] = ()


class Group(NamedTuple):
    """Keys that say something only together; ``read`` gets all keys and the fields known so far."""

    keys: tuple[str, ...]
    read: Callable[[Given, Fields], Fields]


def refuse(key: str, rule: str, got: object, expected: object, hint: str = _CORRECT) -> NoReturn:
    """``CheckpointError`` about a key; what was got is shown shortened."""
    shown = got if got is MISSING else reprlib.repr(got)
    raise CheckpointError(f"configuration key {key!r} {rule}", got=shown, expected=expected, hint=hint)


def size(key: str, value: object) -> int:
    """A key that counts something: a whole number of at least 1."""
    number = as_int(value)
    # No tensor is longer, and a lie costs no memory.
    if number is None or not 1 <= number < 2**31:
        refuse(key, "is a size", value, "a whole number of at least 1")
    return number


def number(key: str, value: object) -> float:
    """A key that measures something: a finite number above 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Compared before it is converted: a whole number of JSON can be too large for a float.
    if not (is_number and 1e-300 < value < 1e300):  # type: ignore[operator]
        refuse(key, "is a positive, finite number", value, "a number above 0")
    return float(value)  # type: ignore[arg-type]


def flag(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        refuse(key, "is a switch", value, "true or false")
    return value


def activation(key: str, value: object) -> str:
    if not isinstance(value, str) or value not in _ACTIVATIONS:
        refuse(key, "names a supported activation", value, ", ".join(_ACTIVATIONS))
    return _ACTIVATIONS[value]


def inverse_root(key: str, value: object) -> float:
    return float(number(key, value) ** -0.5)


def optional(read: Callable[[str, object], Any]) -> Callable[[str, object], Any]:
    """A value that may also be null."""
    return lambda key, value: None if value is None else read(key, value)


def rotary(given: Given, fields: Fields) -> Fields:
    """The rotary embedding of whole heads."""
    read = part_rotary(given, fields, 1.0)
    if read["d_rotary"] != _d_head(fields):
        refuse("partial_rotary_factor", "is 1 in this family", read["d_rotary"] / _d_head(fields), "1")
    return read


def part_rotary(given: Given, fields: Fields, share: float = 0.25) -> Fields:
    """Base, turned coordinates and factors; GPT-NeoX turns a part, by default a quarter, of each head."""
    rope = _rope_parameters(given)
    kind = rope.get("rope_type", "default")
    if not isinstance(kind, str) or kind not in _FACTORS:
        refuse("rope_type", "is a supported one", kind, ", ".join(_FACTORS))
    factors, needed = _FACTORS[kind]
    for key in rope.keys() - {*needed, "rope_type", "rope_theta", "partial_rotary_factor"}:
        refuse(key, f"is not understood with rope_type {kind!r}", rope[key], ", ".join(needed) or "none")
    base = number("rope_theta", rope.get("rope_theta", 10000))
    turned = int(_d_head(fields) * _share(rope.get("partial_rotary_factor", share)))
    frequencies = [base ** (-2 * i / turned) for i in range(turned // 2)]
    values = {key: _rope_number(rope, key, fields) for key in needed}
    return {"rope_base": base, "d_rotary": turned, "rope_factors": factors(frequencies, values)}


def _share(value: object) -> float:
    share = number("partial_rotary_factor", value)
    if share > 1:
        refuse("partial_rotary_factor", "is a part of a head", share, "at most 1")
    return share


def _rope_parameters(given: Given) -> dict[str, Any]:
    """All keys of before and since transformers 5 together; they may not contradict each other."""
    old = _object(given, "rope_scaling")
    top = {name: given[key] for key, name in _ROPE_NAMES.items() if given.get(key) is not None}
    said: dict[str, Any] = {}
    for source in (_object(given, "rope_parameters"), old, top):
        for key, value in source.items():
            name = "rope_type" if key == "type" else key
            if said.setdefault(name, value) != value:
                refuse(name, "has one value", [said[name], value], "the same wherever it is given")
    return said


def _object(given: Given, key: str) -> dict[str, Any]:
    value = given.get(key)
    if value is not None and not isinstance(value, dict):
        refuse(key, "is an object", value, "an object, or null")
    return value or {}


def _rope_number(rope: Given, key: str, fields: Fields) -> float:
    if key == "original_max_position_embeddings" and key not in rope:
        return float(fields["max_length"])
    if key not in rope:
        refuse(key, "is there", MISSING, f"a number, for rope_type {rope['rope_type']!r}")
    return number(key, rope[key])


def _d_head(fields: Fields) -> int:
    d_head = fields.get("d_head")
    return int(d_head or fields["d_model"] // fields["n_heads"])


def _llama3(frequencies: list[float], values: Mapping[str, float]) -> list[float]:
    """Low frequencies are divided by the factor, high ones are not, those between partly."""
    # Source: _compute_llama3_parameters in transformers' modeling_rope_utils.py.
    low, high = values["low_freq_factor"], values["high_freq_factor"]
    if low >= high:
        refuse("high_freq_factor", "is above low_freq_factor", high, f"more than {low}")
    length = values["original_max_position_embeddings"]

    def factor(frequency: float) -> float:
        turns = length * frequency / (2 * math.pi)
        kept = min(max((turns - low) / (high - low), 0.0), 1.0)
        return 1 / ((1 - kept) / values["factor"] + kept)

    return [factor(frequency) for frequency in frequencies]


_Factors = Callable[[list[float], Mapping[str, float]], list[float] | None]
_FACTORS: Mapping[str, tuple[_Factors, tuple[str, ...]]] = {
    "default": (lambda frequencies, values: None, ()),
    "linear": (lambda frequencies, values: [values["factor"]] * len(frequencies), ("factor",)),
    "llama3": (
        _llama3,
        ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    ),
}


def one_window(given: Given, fields: Fields) -> Fields:
    """The same window in every layer (Mistral)."""
    if "sliding_window" not in given:
        refuse("sliding_window", "is there", MISSING, "a whole number, or null")
    return {"windows": optional(size)("sliding_window", given["sliding_window"])}


def upper_windows(given: Given, fields: Fields) -> Fields:
    """Windows from ``max_window_layers`` upwards, if they are used at all (Qwen)."""
    used = flag("use_sliding_window", given.get("use_sliding_window", False))
    first = as_int(given.get("max_window_layers", 28))
    if first is None or first < 0:
        refuse("max_window_layers", "counts layers", given["max_window_layers"], "at least 0")
    stored = optional(size)("sliding_window", given.get("sliding_window"))
    window = stored if used else None
    below = min(first, fields["n_layers"]) if window else fields["n_layers"]
    kinds = [_FULL] * below + [_SLIDING] * (fields["n_layers"] - below)
    return {"windows": _windows(given, window, kinds)}


def alternating_windows(given: Given, fields: Fields) -> Fields:
    """Windows in every second layer, the first one's included, unless ``layer_types`` says else (Gemma 2)."""
    kinds = [(_SLIDING, _FULL)[layer % 2] for layer in range(fields["n_layers"])]
    return {"windows": _windows(given, one_window(given, fields)["windows"], kinds)}


def _windows(given: Given, window: int | None, kinds: list[str]) -> list[int | None]:
    listed = given.get("layer_types")
    listed = kinds if listed is None else listed
    known = isinstance(listed, list) and all(kind in (_FULL, _SLIDING) for kind in listed)
    if not known or len(listed) != len(kinds):
        refuse("layer_types", "is one a layer", listed, f"{len(kinds)} of {_FULL} or {_SLIDING}")
    if window is None and _SLIDING in listed:
        refuse("sliding_window", "is there where layers slide", MISSING, "a whole number")
    return [window if kind == _SLIDING else None for kind in listed]


def scaled_embedding(given: Given, fields: Fields) -> Fields:
    """Embeddings times the root of their width, which Gemma rounds to float32 as all else."""
    return {"embedding_scale": float(np.float32(math.sqrt(fields["d_model"])))}
