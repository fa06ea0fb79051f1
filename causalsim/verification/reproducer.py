"""An order that gives other bits, as a token that somebody else can run again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from causalsim.engine import Model, compile
from causalsim.errors import InputError
from causalsim.events import EventGraph
from causalsim.events.event import parse_event
from causalsim.foliations import Foliation
from causalsim.kernels import Kernels
from causalsim.testing.bits import Divergence, divergence
from causalsim.verification.armour import from_line, to_line
from causalsim.verification.provenance import Difference, Provenance


@dataclass(frozen=True)
class Reproducer:
    """Two orders and where the bits of the one diverge from the other's, with all it takes to run them.

    Without a ``divergence`` the ``order`` was not the one that ran.
    """

    provenance: Provenance
    order: Foliation
    against: Foliation
    divergence: Divergence | None

    @property
    def example(self) -> str:
        """The order for hypothesis, to stand above a test that is given a foliation."""
        graph, wiring = self.order.graph, self.order.graph.wiring
        prompt = f", prompt={list(graph.prompts)}" if graph.has_feedback else ""
        made = f"cs.EventGraph(cs.{wiring}, {list(graph.lengths)}{prompt})"
        return f"@example(cs.Foliation({made}, {self.order.times.tolist()}))"

    def to_token(self) -> str:
        """One line of ASCII that holds all of it."""
        orders = {"order": self.order.times.tolist(), "against": self.against.times.tolist()}
        return to_line({**self.provenance.to_dict(), **orders, "divergence": _told(self.divergence)})

    @classmethod
    def from_token(cls, token: str) -> Reproducer:
        """Read what ``to_token`` wrote; ``InputError`` for anything else, cut or altered."""
        data = from_line(token)
        try:
            return cls._from_dict(data)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            got = f"something else ({' '.join(str(error).split())})"
            raise InputError("a token holds what causalsim wrote into it", got=got) from None

    @classmethod
    def _from_dict(cls, data: Mapping[str, Any]) -> Reproducer:
        # Before anything of the size is built that a graph says it has.
        if max(data["graph"]["n_layers"], *data["graph"]["lengths"]) > len(data["order"]):
            raise ValueError("an order has every event of its graph")
        provenance = Provenance.from_dict(data)
        order, against = (Foliation(provenance.graph, data[name]) for name in ("order", "against"))
        return cls(provenance, order, against, _divergence(provenance.graph, data["divergence"]))


@dataclass(frozen=True)
class Replayed:
    """The result of a token here, beside what was ``recorded`` there, and what is not the same here."""

    divergence: Divergence | None
    recorded: Divergence | None
    ran_as_asked: bool
    differences: tuple[Difference, ...]

    @property
    def holds(self) -> bool:
        """True if both orders gave the same bits here, and both ran."""
        return self.divergence is None and self.ran_as_asked

    @property
    def as_recorded(self) -> bool:
        """True if the token's verdict is the verdict here, event and distance included."""
        if self.recorded is None:
            return not self.ran_as_asked
        return self.ran_as_asked and self.divergence == self.recorded

    def to_json(self) -> str:
        """All of it as a JSON object."""
        facts = {"holds": self.holds, "as_recorded": self.as_recorded, "ran_as_asked": self.ran_as_asked}
        divergences = {"divergence": _told(self.divergence), "recorded": _told(self.recorded)}
        differences = [difference._asdict() for difference in self.differences]
        return json.dumps({**facts, **divergences, "differences": differences}, indent=2)

    def __str__(self) -> str:
        if not self.ran_as_asked:
            return "another order ran than was asked for"
        found = (
            "both orders give the same bits" if self.divergence is None else f"diverges at {self.divergence}"
        )
        if self.as_recorded:
            return f"{found}, as recorded"
        return f"{found}; recorded was {self.recorded or 'that another order ran'}"


def replay(
    token: str | Reproducer, *, model: Model | None = None, kernels: Kernels | None = None
) -> Replayed:
    """Run both orders of a token again and compare every event's bits.

    Args:
        token: What ``Counterexample.token`` gives, or what was read of it.
        model: By default the model that it names, loaded again.
        kernels: By default those that it names, except for faults that were planted.

    Returns:
        The divergence here beside the one there; what else differs here is named in ``differences``:
        bits may then differ legitimately.

    Raises:
        InputError: For a token that was cut or altered, and for a model that it does not fit.
    """
    found = token if isinstance(token, Reproducer) else Reproducer.from_token(token)
    target = found.provenance.target(model, kernels)
    orders = found.against, found.order
    (reference, *ran), (values, *also) = (target.run(compile(order)) for order in orders)
    as_asked = all(program.refines(order) for program, order in zip((*ran, *also), orders, strict=True))
    differences = found.provenance.differences(target)
    return Replayed(divergence(reference, values), found.divergence, as_asked, differences)


def _told(found: Divergence | None) -> dict[str, Any] | None:
    return None if found is None else {"event": str(found.event), "ulps": found.ulps, "events": found.events}


def _divergence(graph: EventGraph, told: Mapping[str, Any] | None) -> Divergence | None:
    if told is None:
        return None
    event = parse_event(told["event"], graph.wiring.n_layers)
    graph.check(event)
    ulps, events = told["ulps"], told["events"]
    if not (ulps is None or type(ulps) is int) or type(events) is not int:
        raise TypeError("distances and counts are whole numbers")
    return Divergence(event, ulps, events)
