"""Findings: what a check saw, as data, and the one place where it becomes text, a table or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from causalsim.events import Edge, Event
from causalsim.testing.bits import divergence

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text


@dataclass(frozen=True)
class Statement:
    """Facts by name, and the sentence that is made of them.

    ``event``, ``edge`` and ``cell`` name what is at fault, where something is. Facts that the
    sentence does not mention are told in JSON.

    >>> found = Statement.of("{order} diverges after {runs:,} runs", order="wavefront", runs=1200, ulps=3)
    >>> print(found)
    wavefront diverges after 1,200 runs
    >>> found.ulps
    3
    """

    template: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, template: str, /, **facts: Any) -> Statement:
        """A sentence with gaps, as ``str.format`` fills them, and its facts."""
        return cls(template, facts)

    def __getattr__(self, name: str) -> Any:
        facts = self.__dict__.get("facts", {})
        if name not in facts:
            raise AttributeError(f"no such fact: {name}; there are {', '.join(facts)}")
        return facts[name]

    def __str__(self) -> str:
        return self.template.format(**self.facts)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"text": str(self), **plain(self.facts)}


@dataclass(frozen=True)
class PlantedFault:
    """A fault planted on purpose, and what each check that has to see it saw: ``None`` if nothing."""

    name: str
    seen: Mapping[str, Statement | None]
    kind: str = ""

    @property
    def caught(self) -> bool:
        """True if every check that has to see it did; one that nobody looks for is not caught."""
        return bool(self.seen) and None not in self.seen.values()

    def __str__(self) -> str:
        if self.caught:
            return f"{self.name} ({'; '.join(map(str, self.seen.values()))})"
        blind = [check for check, seen in self.seen.items() if seen is None]
        return f"{self.name}: not seen by {' and '.join(blind) or 'anybody'}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"name": self.name, "kind": self.kind, "caught": self.caught, "seen": plain(self.seen)}


@dataclass(frozen=True)
class Finding:
    """The evidence on one claim: by which method, over what, and what that does not cover.

    ``witness`` refutes the claim, ``counterexample`` is the least that does. ``parts`` are findings
    from which this one follows. ``controls`` are the faults that the check had to see; ``None`` where
    it has its controls as a part of another. A check that could not fail shows nothing: a finding
    ``holds`` only if nothing refutes it or a part, and all controls, at least one, were caught.
    """

    name: str
    method: str = ""
    claim: str = ""
    coverage: Statement = Statement("")
    excludes: tuple[str, ...] = ()
    witness: Statement | None = None
    controls: tuple[PlantedFault, ...] | None = None
    parts: tuple[Finding, ...] = ()
    counterexample: Any = None

    @property
    def holds(self) -> bool:
        """True if the claim stands, and the check would have seen it fall."""
        return self.refutation is None and self.controls != () and not self.missed

    @property
    def refutation(self) -> Statement | None:
        """The finding's own witness, or that of the first part that is refuted."""
        refuted = (Statement.of("{part}: {witness}", part=part.name, witness=part.refutation)
                   for part in self.parts if part.refutation)  # fmt: skip
        return self.witness or next(refuted, None)

    @property
    def planted(self) -> tuple[PlantedFault, ...]:
        """The controls, those of its parts included."""
        return sum((part.planted for part in self.parts), self.controls or ())

    @property
    def missed(self) -> tuple[PlantedFault, ...]:
        """The planted faults that the check did not see: its word then counts for nothing."""
        return tuple(control for control in self.planted if not control.caught)

    @property
    def summary(self) -> str:
        """A sentence or two: over what, and what came of it."""
        found = self.claim if self.refutation is None else f"but {self.refutation}"
        blind = "".join(f" The check did not see a planted fault: {control.name}." for control in self.missed)
        return f"{self.coverage}: {found}.{blind}"

    def __str__(self) -> str:
        return self.summary

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"holds": self.holds, **{each.name: plain(getattr(self, each.name)) for each in fields(self)}}

    def to_json(self) -> str:
        """The whole finding as a JSON object."""
        return json.dumps(self.to_dict(), indent=2)

    def __rich__(self) -> RenderableType:
        return table_of(self.parts or (self,))


def diverging(
    reference: Mapping[Event, Any], values: Mapping[Event, Any], template: str, /, **facts: Any
) -> Statement | None:
    """A sentence about the first event that diverges, if one does: ``{event}`` and ``{divergence}``."""
    found = divergence(reference, values)
    return Statement(template, {**facts, "event": found.event, "divergence": found}) if found else None


def plain(value: Any) -> Any:
    """A value as JSON has it: without NaN and infinity, and with names for events and edges."""
    if isinstance(value, Event | Edge):
        return str(value)
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if type(value) in (tuple, list, frozenset):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)


def table_of(findings: Iterable[Finding]) -> RenderableType:
    """A row a finding: by which method, over what, and what had to be caught, where something had to."""
    findings = tuple(findings)
    planted = any(finding.controls is not None for finding in findings)
    headings = ("claim", "what was tried", "planted faults that had to be caught")
    rows = [(_headline(each), _told(each), "\n".join(map(_control, each.planted))) for each in findings]
    return table(headings[: 2 + planted], [row[: 2 + planted] for row in rows])


def table(headings: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> RenderableType:
    """Rows of plain text with lines between them."""
    from rich.table import Table
    from rich.text import Text

    found = Table(show_lines=True)
    for heading in headings:
        found.add_column(heading, vertical="top")
    for row in rows:
        found.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return found


def headline(name: str, holds: bool) -> Text:
    """A claim's name, and whether it holds."""
    from rich.text import Text

    style, word = ("bold green", "holds") if holds else ("bold red", "FAILS")
    return Text.assemble(name, "\n", (word, style))


def _headline(finding: Finding) -> Text:
    found = headline(finding.name, finding.holds)
    return found.append(f"\n({finding.method})") if finding.method else found


def _told(finding: Finding) -> str:
    if not finding.claim:
        return "\n".join(map(str, filter(None, (finding.coverage, finding.refutation))))
    excludes = [f"Not covered: {'; '.join(finding.excludes)}."] if finding.excludes else []
    return "\n".join([finding.summary, *excludes])


def _control(control: PlantedFault) -> str:
    return f"{'caught' if control.caught else 'MISSED'}: {control}"
