"""The score: which of the faults that were planted were caught, by which checks, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Mutation:
    """A fault that was planted, and what each check that has to see it said: ``None`` if nothing."""

    kind: str
    name: str
    seen: Mapping[str, str | None]

    @property
    def caught(self) -> bool:
        """Whether all saw it that have to."""
        return bool(self.seen) and None not in self.seen.values()

    def __str__(self) -> str:
        blind = [check for check, words in self.seen.items() if words is None]
        return f"{self.name}: not seen by the check of {' and '.join(blind)}" if blind else self.name


@dataclass(frozen=True)
class Score:
    """Every mutation, and whether it was seen; prints as a table with ``rich``.

    >>> seen, blind = {"order": "diverges at attn(0,1)"}, {"order": "diverges", "certificate": None}
    >>> print(Score((Mutation("dropped", "an edge", seen), Mutation("dropped", "another", blind))))
    1 of 2 mutations caught
      missed: another: not seen by the check of certificate
    """

    mutations: tuple[Mutation, ...]

    @property
    def missed(self) -> tuple[Mutation, ...]:
        return tuple(mutation for mutation in self.mutations if not mutation.caught)

    @property
    def kinds(self) -> dict[str, list[Mutation]]:
        """Mutations by what they break."""
        found: dict[str, list[Mutation]] = {}
        for mutation in self.mutations:
            found.setdefault(mutation.kind, []).append(mutation)
        return found

    def to_json(self) -> str:
        """The whole score as a JSON object."""
        caught = len(self.mutations) - len(self.missed)
        return json.dumps({"caught": caught, "of": len(self.mutations), **asdict(self)}, indent=2)

    def __str__(self) -> str:
        names = "".join(f"\n  missed: {mutation}" for mutation in self.missed)
        return f"{_share(self.mutations)} mutations caught{names}"

    def __rich__(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        table = Table(show_lines=True)
        for heading in ("planted", "caught", "first seen"):
            table.add_column(heading, vertical="top")
        for kind, mutations in (*self.kinds.items(), ("all", self.mutations)):
            style = "bold green" if all(mutation.caught for mutation in mutations) else "bold red"
            words = _first_seen(mutations) if kind != "all" else ""
            table.add_row(Text(kind), Text(_share(mutations), style), Text(words))
        return table


def _share(mutations: Sequence[Mutation]) -> str:
    return f"{sum(mutation.caught for mutation in mutations)} of {len(mutations)}"


def _first_seen(mutations: Sequence[Mutation]) -> str:
    """What was missed, or else what each check said of the first."""
    if missed := [mutation for mutation in mutations if not mutation.caught]:
        return "\n".join(f"MISSED: {mutation}" for mutation in missed)
    first = mutations[0]
    return "\n".join([first.name, *(f"  {check}: {words}" for check, words in first.seen.items())])
