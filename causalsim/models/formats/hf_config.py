"""From the keys of a config.json to a configuration, by the table of families."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from causalsim.errors import CheckpointError, InputError
from causalsim.models.config import ModelConfig
from causalsim.models.formats.hf_families import FAMILIES, Family
from causalsim.models.formats.hf_keys import MISSING, Fields, Given, refuse

CONFIG = "config.json"
FETCH_AGAIN = "Fetch the file again."

_BOUNDED = ("n_heads", "n_kv_heads", "d_model", "d_head", "d_ff", "vocab_size")


class Limits(NamedTuple):
    """Bounds by the size of a file: no configuration of its model has more layers, or a larger size."""

    tensors: int
    numbers: int
    reason: str = "by the size of the weights"


# A configuration alone is believed, as long as somebody could have such a model.
WITHOUT_WEIGHTS = Limits(10_000, 2**24, "as no model has more")


def family_of(given: Given) -> Family:
    """The family that a config.json names; ``CheckpointError`` lists the known ones."""
    kind = given.get("model_type", MISSING)
    if not isinstance(kind, str) or kind not in FAMILIES:
        refuse("model_type", "names a supported family", kind, ", ".join(FAMILIES))
    return FAMILIES[kind]


def read_configuration(given: Mapping[str, Any], limits: Limits) -> ModelConfig:
    """The configuration that the keys describe.

    Args:
        given: The keys of a config.json.
        limits: Bounds that the file with the weights sets to any size.

    Returns:
        The configuration.

    Raises:
        CheckpointError: A key, which it names, is not understood, is missing, or has a value that is not
            supported or that its weights cannot have.
    """
    family = family_of(given)
    _check_keys(family, given)
    fields = {**family.constants, **_fields(family, given)}
    _check_sizes(fields, limits)
    for group in family.groups:
        fields |= group.read(given, fields)
    if fields["d_ff"] is None:  # GPT-2's usual width.
        fields["d_ff"] = 4 * fields["d_model"]
    try:
        return ModelConfig(**fields)
    except InputError as error:
        raise CheckpointError(
            "the keys of config.json are consistent",
            got=error,
            hint="Correct the key, or fetch the file again.",
        ) from error


def _check_keys(family: Family, given: Given) -> None:
    for key, value in given.items():
        if not family.is_understood(key):
            refuse(key, "is not understood", value, "no such key", "What it changes is not supported.")
    for key, values in family.all_fixed.items():
        if key in given and given[key] not in values:
            refuse(key, "has a supported value", given[key], " or ".join(map(repr, values)))


def _fields(family: Family, given: Given) -> Fields:
    fields: Fields = {}
    for name, key in family.keys.items():
        if name not in given and not key.default:
            refuse(name, "is there", MISSING, "a value")
        fields |= dict.fromkeys(key.fields, key.read(name, given.get(name, *key.default)))
    return fields


def _check_sizes(fields: Fields, limits: Limits) -> None:
    """Sizes that the file is too small for, before anything is made of such a size."""
    bounds = {"n_layers": limits.tensors, **dict.fromkeys(_BOUNDED, limits.numbers)}
    for field, bound in bounds.items():
        value = fields.get(field)
        if value is not None and value > bound:
            raise CheckpointError(
                "the weights are as many as the configuration says",
                got=f"{field}={value}",
                expected=f"at most {bound}, {limits.reason}",
                hint="Is the file whole, and the configuration its own?",
            )


def read_object(path: Path) -> dict[str, Any]:
    """The keys of a JSON file; ``CheckpointError`` if it is missing, damaged or holds something else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: the file is there", got="no such file", hint=FETCH_AGAIN) from None
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(path, "the file is readable JSON", error) from error
    if not isinstance(data, dict):
        rule, got = f"{path}: the file holds an object", type(data).__name__
        raise CheckpointError(rule, got=got, expected="keys", hint=FETCH_AGAIN)
    return data


def unreadable(path: Path, rule: str, error: Exception) -> CheckpointError:
    """The error about a damaged file."""
    return CheckpointError(f"{path}: {rule}", got=f"{type(error).__name__} ({error})", hint=FETCH_AGAIN)
