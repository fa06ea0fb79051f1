"""A footprint: what costs need to know of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from causalsim.arguments import as_int, check_type, check_whole, shown
from causalsim.errors import InputError
from causalsim.foliations.foliation import Foliation

HINT = "ModelConfig(...).footprint() makes one."


class _ByKind(dict[str, int]):
    """Numbers by kind; one that is asked for and not there is told as every other error is."""

    def __missing__(self, kind: str) -> int:
        raise InputError(
            "a footprint has a number for each kind of event that is asked about",
            got=f"those of {', '.join(self) or 'none'}",
            expected=f"those of {kind} among them",
            hint="ModelConfig(...).footprint() has all.",
        )


@dataclass(frozen=True)
class Footprint:
    """Bytes and FLOPs by kind of event: all that costs need to know of a model.

    ``weights`` and ``flops`` that are left empty are not counted.

    Attributes:
        values: Bytes of one value by the kind of event that makes it; ``"kv"`` in blocks, too.
        weights: Bytes of the weights that an event of each kind reads.
        flops: Floating-point operations of an event of each kind.
        flops_per_read: Those of an attention for each position whose K/V it reads.

    Raises:
        InputError: A number is not whole or is negative, or something is no mapping.

    >>> Footprint({"kv": 8}, {"block": 100}).values["kv"]
    8
    """

    values: Mapping[str, int]
    weights: Mapping[str, int]
    flops: Mapping[str, int] = field(default_factory=dict)
    flops_per_read: int = 0

    def __post_init__(self) -> None:
        for name in ("values", "weights", "flops"):
            given = getattr(self, name)
            check_type(f"{name} of a footprint", given, Mapping, "Name kinds of events.")
            for kind, number in given.items():
                check_whole(f"{name} of {shown(kind)} in a footprint", number, 0)
            object.__setattr__(self, name, _ByKind({kind: as_int(n) or 0 for kind, n in given.items()}))
        reads = check_whole("flops_per_read of a footprint", self.flops_per_read, 0)
        object.__setattr__(self, "flops_per_read", reads)


def number_of(by_kind: Mapping[str, int], kind: str) -> int:
    """Return the weights or FLOPs of a kind, 0 where a footprint has none at all.

    >>> number_of({}, "attn"), number_of({"attn": 3}, "attn")
    (0, 3)
    """
    return by_kind[kind] if by_kind else 0


def check_costed(foliation: Foliation, footprint: Footprint) -> None:
    """Refuse what is no foliation, or no footprint.

    >>> from causalsim.events import EventGraph, Wiring
    >>> check_costed(Foliation(EventGraph(Wiring(1), 1), range(5)), Footprint({}, {}))
    """
    check_type("a foliation", foliation, Foliation)
    check_type("a footprint", footprint, Footprint, HINT)
