"""Results of mutations as they are kept from run to run, and the score that the README shows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.mutants.mutation import Mutation

RESULTS = Path(__file__).parent / "results.json"


class Result(NamedTuple):
    """The outcome of a mutation.

    Attributes:
        version: Of the file and the tests, as ``Mutation.version`` has it.
        killed_by: The test that failed, or ``"time limit"`` or ``"crash"``; empty if it survived.
        seconds: How long that took.
    """

    version: str
    killed_by: str
    seconds: float


def read() -> dict[str, Result]:
    """Outcomes that are kept, by name of the mutation."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return {name: Result(**each) for name, each in kept.items()}


def write(results: Mapping[str, Result]) -> None:
    """Keep results."""
    held = {name: result._asdict() for name, result in sorted(results.items())}
    RESULTS.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


def stale(mutations: Iterable[Mutation], results: Mapping[str, Result]) -> list[Mutation]:
    """Those that must be run: never run, of a file or tests that changed, or not seen by any test yet."""
    return [each for each in mutations if not _is_fresh(each, results.get(each.name))]


def _is_fresh(mutation: Mutation, result: Result | None) -> bool:
    if result is None or result.version != mutation.version:
        return False
    return bool(result.killed_by or mutation.equivalent)


def survivors(mutations: Iterable[Mutation], results: Mapping[str, Result]) -> list[Mutation]:
    """Those that no test has seen though one should."""
    ran = [each for each in mutations if each.name in results]
    return [each for each in ran if not results[each.name].killed_by and not each.equivalent]


def table(mutations: Iterable[Mutation], results: Mapping[str, Result]) -> str:
    """A line for each mutation that was run: where, what, and which test sees it."""
    lines = []
    for each in mutations:
        if (result := results.get(each.name)) is not None:
            seen = result.killed_by or (f"equivalent: {each.equivalent}" if each.equivalent else "SURVIVED")
            lines.append(f"{each.name}  {result.seconds:.1f} s\n    {each}\n    {seen}")
    return "\n".join(lines)


def score(mutations: Sequence[Mutation], results: Mapping[str, Result]) -> str:
    """The sentence of the README."""
    ran = [each for each in mutations if each.name in results]
    killed = sum(bool(results[each.name].killed_by) for each in ran)
    equivalent = sum(bool(each.equivalent) and not results[each.name].killed_by for each in ran)
    files = len({each.path for each in ran})
    left, waiting = len(ran) - killed - equivalent, len(mutations) - len(ran)
    not_tried = f" {waiting} are not tried yet." * (waiting > 0)
    return (
        f"Of {len(ran)} single changes to [{files} files of our own](tests/mutants/catalogue.py), tests see "
        f"{killed}; {equivalent} change nothing, {left} survive.{not_tried} "
    )
