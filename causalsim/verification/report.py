"""What a verification found: three verdicts, each with its coverage and the controls that had to fail."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

    from causalsim.verification.certificate import Certificate
    from causalsim.verification.counterexample import Counterexample


@dataclass(frozen=True)
class Control:
    """A fault planted on purpose, and whether the check saw it; a check that cannot fail shows nothing."""

    name: str
    caught: bool
    witness: str


@dataclass(frozen=True)
class Verdict:
    """One claim, by which argument, over what (``coverage``), and what that does not cover.

    ``witness`` says where the claim was refuted, and ``counterexample``, where there is one, by the
    least that refutes it. A ``certificate`` is an argument for all orders, with its conditions. It
    ``holds`` only if it was not refuted and every negative control was caught.
    """

    name: str
    method: str
    claim: str
    coverage: str
    excludes: tuple[str, ...]
    controls: tuple[Control, ...]
    witness: str | None = None
    counterexample: Counterexample | None = None
    certificate: Certificate | None = None

    @property
    def holds(self) -> bool:
        return self.witness is None and bool(self.controls) and not self.missed

    @property
    def missed(self) -> tuple[Control, ...]:
        """The planted faults that the check did not see: its word then counts for nothing."""
        return tuple(control for control in self.controls if not control.caught)

    @property
    def summary(self) -> str:
        """What was tried and what came of it, in a sentence or two."""
        found = self.claim if self.witness is None else f"but {self.witness}"
        blind = "".join(f" The check did not see a planted fault: {control.name}." for control in self.missed)
        return f"{self.coverage}: {found}.{blind}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        found = {name: getattr(self, name) for name in ("counterexample", "certificate")}
        plain = asdict(replace(self, counterexample=None, certificate=None))
        return {"holds": self.holds, **plain, **{name: it.to_dict() for name, it in found.items() if it}}


@dataclass(frozen=True)
class Report:
    """Whether the bits of a model's results depend on the order of its events, with the evidence.

    *Order independence*: every order gave the same bits. *Causal invariance*: what events were
    seen to read is what the graph declares. *Batch invariance*: an event's bits do not depend on the
    batch that carries it. The first follows from the other two; each is tested on its own.
    """

    order_independence: Verdict
    causal_invariance: Verdict
    batch_invariance: Verdict
    environment: dict[str, str]

    @property
    def verdicts(self) -> tuple[Verdict, Verdict, Verdict]:
        return self.order_independence, self.causal_invariance, self.batch_invariance

    @property
    def holds(self) -> bool:
        """Whether all three verdicts hold."""
        return all(verdict.holds for verdict in self.verdicts)

    def to_json(self) -> str:
        """The whole report as a JSON object."""
        keys = ("order_independence", "causal_invariance", "batch_invariance")
        verdicts = {key: verdict.to_dict() for key, verdict in zip(keys, self.verdicts, strict=True)}
        return json.dumps({"holds": self.holds, **verdicts, "environment": self.environment}, indent=2)

    def __rich__(self) -> RenderableType:
        return table_of(self.verdicts)


def table_of(verdicts: Iterable[Verdict]) -> RenderableType:
    """A row a verdict: by which method, what was tried, and what had to be caught."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=True)
    for heading in ("verdict", "what was tried", "planted faults that had to be caught"):
        table.add_column(heading, vertical="top")
    for verdict in verdicts:
        controls = "\n".join(map(_control, verdict.controls))
        head = Text.assemble(headline(verdict.name, verdict.holds), f"\n({verdict.method})")
        table.add_row(head, Text(_coverage(verdict)), Text(controls))
    return table


def headline(name: str, holds: bool) -> Any:
    """What is claimed, and whether it holds."""
    from rich.text import Text

    style, word = ("bold green", "holds") if holds else ("bold red", "FAILS")
    return Text.assemble(name, "\n", (word, style))


def _coverage(verdict: Verdict) -> str:
    excludes = [f"Not covered: {'; '.join(verdict.excludes)}."] if verdict.excludes else []
    return "\n".join([verdict.summary, *excludes])


def _control(control: Control) -> str:
    if not control.caught:
        return f"MISSED: {control.name}"
    return f"caught: {control.name} ({control.witness})"
