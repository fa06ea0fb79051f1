"""Reports made by hand, for what the command line does with them."""

from __future__ import annotations

from dataclasses import replace

from causalsim.testing import Finding, PlantedFault, Statement
from causalsim.verification import Report


def report(witness: str | None = None) -> Report:
    control = PlantedFault("a planted fault", {"order independence": Statement("attn(0,1)")})
    first, *rest = (
        Finding(name, "sampled", "all agree", Statement("Two orders"), controls=(control,))
        for name in ("order independence", "causal invariance", "batch invariance")
    )
    return Report(replace(first, witness=witness and Statement(witness)), *rest, {})
