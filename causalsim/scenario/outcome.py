"""What a scenario came to: rows that say what was seen, and checks that say whether it had to be so."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from causalsim.verification import Report


@dataclass(frozen=True)
class OrderRow:
    """One order: its shape, and where it ran its cost and the sha256 of its logits."""

    name: str
    slices: int
    widest: int
    peak_bytes: int | None = None
    seconds: float | None = None
    digest: str | None = None


@dataclass(frozen=True)
class RouteRow:
    """How many routes lead from one event to another."""

    source: str
    target: str
    count: int


@dataclass(frozen=True)
class Check:
    """One thing that had to hold, whether it did, and what was found."""

    name: str
    holds: bool
    found: str


@dataclass(frozen=True)
class Outcome:
    """The result of a scenario. ``continuations`` are the texts that it generated, one a request.

    ``unread`` are the pieces of its texts that the model had no token for.
    """

    title: str
    about: str
    graph: str
    orders: tuple[OrderRow, ...] = ()
    routes: tuple[RouteRow, ...] = ()
    continuations: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    report: Report | None = field(default=None, repr=False)

    @property
    def holds(self) -> bool:
        """Whether everything that had to hold did."""
        return all(check.holds for check in self.checks)

    def to_json(self) -> str:
        """The whole outcome as a JSON object."""
        names = ("title", "about", "graph", "continuations", "unread")
        shown: dict[str, Any] = {"holds": self.holds, **{name: getattr(self, name) for name in names}}
        for name in ("orders", "routes", "checks"):
            shown[name] = [asdict(row) for row in getattr(self, name)]
        shown["report"] = json.loads(self.report.to_json()) if self.report else None
        return json.dumps(shown, indent=2, ensure_ascii=False)
