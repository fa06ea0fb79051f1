"""From a TOML file to a scenario, or to one clear message about what it cannot say."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from causalsim.arguments import nearest
from causalsim.errors import ScenarioError
from causalsim.scenario.problems import first_problem
from causalsim.scenario.schema import Scenario


def load(path: str | PathLike[str], **model: Any) -> Scenario:
    """Read a scenario file.

    Args:
        path: A ``.toml`` file.
        **model: Values that stand in place of the same keys of the file's ``[model]``.

    Returns:
        The scenario, its keys and types checked.

    Raises:
        ScenarioError: The file cannot be read, or a key is wrong; ``key`` says which.
    """
    return parse(_text(Path(path)), str(path), **model)


def parse(text: str, name: str = "the scenario", **model: Any) -> Scenario:
    """A scenario from the text of a file.

    Args:
        text: TOML.
        name: What messages call it.
        **model: Values that stand in place of the same keys of its ``[model]``.

    Returns:
        The scenario, its keys and types checked.

    Raises:
        ScenarioError: The text is no TOML, or a key is wrong; ``key`` says which.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(
            "a scenario is a TOML file",
            got=f"{name}, which is none: {error}",
            hint="See scenarios/ for examples.",
        ) from None
    if model and isinstance(data.get("model"), dict):
        data["model"].update(model)
    return check(data)


def check(data: Mapping[str, Any]) -> Scenario:
    """A scenario from its tables.

    Args:
        data: Tables and keys, as a file gives them.

    Returns:
        The scenario.

    Raises:
        ScenarioError: A key is wrong; ``key`` says which.
    """  # noqa: DOC501
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        raise first_problem(error, data, Scenario.model_fields) from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ScenarioError("a scenario is a text in UTF-8", got=str(path)) from None
    except OSError as error:
        raise ScenarioError(
            "a scenario is a file that can be read",
            got=f"{path}: {error.strerror}",
            hint=_beside(path) or "causalsim run takes the path of a .toml file.",
        ) from None


def _beside(path: Path) -> str | None:
    """The scenario of a similar name in the same folder."""
    found = sorted(str(file) for file in path.parent.glob("*.toml"))
    return None if path.exists() else nearest(str(path), found)
