"""Outcomes of a scenario: rows that say what was seen, and checks that say if it had to be so."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from causalsim.testing.findings import Finding, Statement

if TYPE_CHECKING:
    from causalsim.verification import Report


@dataclass(frozen=True)
class FoliationRow:
    """One foliation: its shape, and where it ran its cost and the sha256 of its logits.

    Attributes:
        name: The name that the scenario gives it.
        slices: How many it has.
        widest: Events of the widest.
        peak_bytes: Bytes live at most while its events run one by one.
        seconds: The time of a run, once compiled.
        digest: The sha256 of the logits.
    """

    name: str
    slices: int
    widest: int
    peak_bytes: int | None = None
    seconds: float | None = None
    digest: str | None = None


@dataclass(frozen=True)
class RouteRow:
    """The number of routes from one event to another."""

    source: str
    target: str
    count: int


def checked(name: str, holds: bool, found: str) -> Finding:
    """A finding whose claim is its name, and which what was found bears out or refutes."""
    seen = Statement.of("{found}", found=found)
    return Finding(name, coverage=seen, witness=None if holds else seen)


def check_row(check: Finding) -> dict[str, Any]:
    """One thing that had to hold, if it did, and what was found."""
    caught = sum(control.caught for control in check.planted)
    verdict = f"{check.summary} {caught} of {len(check.planted)} planted faults caught."
    found = str(check.coverage) if check.controls is None else verdict
    return {"name": check.name, "holds": check.holds, "found": found}


@dataclass(frozen=True)
class Outcome:
    """The result of a scenario.

    Attributes:
        title: The scenario's title.
        about: The question that it asks.
        graph: The graph in words.
        foliations: A row a foliation that ran.
        routes: A row a route that it counts.
        continuations: Texts that it generated, one a request.
        unread: Pieces of its texts that the model had no token for.
        checks: What had to hold.
        report: The three verdicts, where it asks for them.
    """

    title: str
    about: str
    graph: str
    foliations: tuple[FoliationRow, ...] = ()
    routes: tuple[RouteRow, ...] = ()
    continuations: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    checks: tuple[Finding, ...] = ()
    report: Report | None = field(default=None, repr=False)

    @property
    def holds(self) -> bool:
        """True if everything that had to hold did."""
        return all(check.holds for check in self.checks)

    def to_json(self) -> str:
        """The whole outcome as a JSON object."""
        names = ("title", "about", "graph", "continuations", "unread")
        shown: dict[str, Any] = {"holds": self.holds, **{name: getattr(self, name) for name in names}}
        for name in ("foliations", "routes"):
            shown[name] = [asdict(row) for row in getattr(self, name)]
        shown["checks"] = [check_row(check) for check in self.checks]
        shown["report"] = json.loads(self.report.to_json()) if self.report else None
        return json.dumps(shown, indent=2, ensure_ascii=False)
