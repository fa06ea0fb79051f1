"""Reports made by hand, for what the command line does with them."""

from __future__ import annotations

from dataclasses import replace

from causalsim.verification import Control, Report, Verdict


def report(witness: str | None = None) -> Report:
    control = Control("a planted fault", True, "attn(0,1)")
    first, *rest = (
        Verdict(name, "sampled", "all agree", "Two orders", (), (control,))
        for name in ("order independence", "causal invariance", "batch invariance")
    )
    return Report(replace(first, witness=witness), *rest, {})
