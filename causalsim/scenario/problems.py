"""Errors for a file that is not a scenario: the key, what was got, and what is near it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from causalsim.errors import CausalsimError, ScenarioError

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

REFUSED = "refused"


@contextmanager
def at(key: str) -> Iterator[None]:
    """Whatever is refused inside is refused as what the file says at ``key``."""
    try:
        yield
    except CausalsimError as error:
        inner = getattr(error, "key", None)
        raise located(error, f"{key}.{inner}" if inner else key) from error


def located(error: CausalsimError, key: str, hint: str | None = None) -> ScenarioError:
    """An error as one of the file, with the key at which it lies."""
    rule = error.rule.removeprefix(f"{getattr(error, 'key', None)}: ")
    return ScenarioError(f"{key}: {rule}", key=key, **{**error.clauses, "hint": hint or error.hint})


def first_problem(error: ValidationError, data: object, outer: Container[str | None]) -> ScenarioError:
    """Return pydantic's first finding in the words of every other error.

    ``outer`` are keys that stand above all tables, and that a file may give too far down.
    """
    problems = error.errors(include_url=False)
    refusal = next((problem for problem in problems if problem["type"] == REFUSED), None)
    if refusal is not None:
        return _refusal(refusal, _key(refusal, data), outer)
    key, alike = _deepest(problems, data)
    if alike[0]["type"] == "missing":
        return ScenarioError(f"{key}: a scenario needs this key", key=key, got="none", hint=f"Give {key}.")
    expected = dict.fromkeys(problem["msg"].removeprefix("Input should be ") for problem in alike)
    got = repr(alike[0]["input"])
    return ScenarioError(
        f"{key}: a value of the right kind", key=key, got=got, expected=" or ".join(expected)
    )


def _refusal(problem: ErrorDetails, key: str, outer: Container[str | None]) -> ScenarioError:
    context = problem["ctx"]
    if key and context.get("key") in outer:
        context["hint"] = f"{context['key']} stands above the first [table] of the file."
    key = ".".join(filter(None, [key, context.get("key")]))
    clauses = {name: context[name] for name in ("got", "expected", "hint") if context.get(name)}
    return ScenarioError(f"{key}: {context['rule']}" if key else context["rule"], key=key, **clauses)


def _deepest(problems: list[ErrorDetails], data: object) -> tuple[str, list[ErrorDetails]]:
    """Return the first key at which something is wrong, and all that is: where several kinds of value
    are allowed, the kind that came furthest is the one that was meant.
    """
    keys = [_key(problem, data) for problem in problems]
    deepest = max((key for key in keys if key.startswith(keys[0])), key=len)
    return deepest, [problem for key, problem in zip(keys, problems, strict=True) if key == deepest]


def _key(problem: ErrorDetails, data: Any) -> str:
    """Return the key of a problem, with tables of a list counted from 1.

    pydantic puts the branches of unions among the keys: what leads nowhere in the data is one.
    """
    written = ""
    for part in problem["loc"]:
        if isinstance(part, int) and isinstance(data, Sequence) and part < len(data):
            written, data = f"{written}[{part + 1}]", data[part]
        elif isinstance(data, dict) and (part in data or problem["type"] == "missing"):
            written, data = f"{written}.{part}" if written else str(part), data.get(part)
    return written
