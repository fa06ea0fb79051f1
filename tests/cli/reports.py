"""Reports made by hand, for what the command line does with them."""

from __future__ import annotations

from causalsim.verification import Control, Report, Verdict


def report(witness: str | None = None) -> Report:
    control = Control("a planted fault", True, "attn(0,1)")
    first, *rest = (
        Verdict(name, "sampled", "Two orders.", (), (control,), None)
        for name in ("order independence", "causal invariance", "lane rule")
    )
    failed = Verdict(first.name, first.method, first.coverage, (), (control,), witness)
    return Report(failed, *rest, {})
