"""The score: the planted faults that were caught, by which checks, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from causalsim.testing.findings import PlantedFault, plain, table

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Score:
    """Every mutation, and whether it was seen; prints as a table with ``rich``.

    >>> from causalsim.testing import Statement
    >>> seen = {"order": Statement("diverges at attn(0,1)")}
    >>> blind = {**seen, "certificate": None}
    >>> print(Score((PlantedFault("an edge", seen, "dropped"), PlantedFault("another", blind, "dropped"))))
    1 of 2 mutations caught
      missed: another: not seen by certificate
    """

    mutations: tuple[PlantedFault, ...]

    @property
    def missed(self) -> tuple[PlantedFault, ...]:
        return tuple(mutation for mutation in self.mutations if not mutation.caught)

    @property
    def kinds(self) -> dict[str, list[PlantedFault]]:
        """Mutations by what they break."""
        found: dict[str, list[PlantedFault]] = {}
        for mutation in self.mutations:
            found.setdefault(mutation.kind, []).append(mutation)
        return found

    def to_json(self) -> str:
        """The whole score as a JSON object."""
        caught, mutations = len(self.mutations) - len(self.missed), plain(self.mutations)
        return json.dumps({"caught": caught, "of": len(mutations), "mutations": mutations}, indent=2)

    def __str__(self) -> str:
        names = "".join(f"\n  missed: {mutation}" for mutation in self.missed)
        return f"{_share(self.mutations)} mutations caught{names}"

    def __rich__(self) -> RenderableType:
        from rich.text import Text

        rows = []
        for kind, mutations in (*self.kinds.items(), ("all", self.mutations)):
            style = "bold green" if all(mutation.caught for mutation in mutations) else "bold red"
            words = _first_seen(mutations) if kind != "all" else ""
            rows.append((kind, Text(_share(mutations), style), words))
        return table(("planted", "caught", "first seen"), rows)


def _share(mutations: Sequence[PlantedFault]) -> str:
    return f"{sum(mutation.caught for mutation in mutations)} of {len(mutations)}"


def _first_seen(mutations: Sequence[PlantedFault]) -> str:
    """All that was missed, or else what each check said of the first."""
    if missed := [mutation for mutation in mutations if not mutation.caught]:
        return "\n".join(f"MISSED: {mutation}" for mutation in missed)
    first = mutations[0]
    return "\n".join([first.name, *(f"  {check}: {seen}" for check, seen in first.seen.items())])
