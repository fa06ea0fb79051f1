"""Writes what a campaign came to among the results: ``python -m tests.benchmarks.campaign FILE``.

The file is of the command that stands there; what it lacks is run before it is told.
"""

from __future__ import annotations

import sys

import causalsim as cs
from causalsim.verification import Campaign, run_campaign
from tests import markers
from tests.models_for_tests import glass

TEXT = "a small dog"
ORDERS = 100_000
SEED = 0
TOLD = ("jax", "jaxlib", "backend", "machine", "processor", "vector instructions", "processors", "dtype")


def table(found: Campaign, events: int) -> str:
    """One row, with its seed and environment; a campaign that fails leaves what was there."""
    if not found.holds:
        raise SystemExit(found.to_json())
    controls = found.verdict.controls
    caught = f"{sum(control.caught for control in controls)} of {len(controls)}"
    cells = f"{found.orders:,}", f"{events:,}", str(len(found.digests)), str(len(found.failed)), caught
    facts = ", ".join(f"{name} {found.environment[name]}" for name in TOLD)
    return "\n".join(
        [
            "| text | random orders | events, all compared | sets of bits | failed | planted faults caught |",
            "|---|---|---|---|---|---|",
            f'| glass, "{TEXT}" | {" | ".join(cells)} |',
            "",
            f"Seed {SEED}; {facts}.",
            "",
        ]
    )


def main(path: str) -> None:
    model = glass()
    found = run_campaign(model, TEXT, path, orders=ORDERS, seed=SEED, processes=2)
    text = table(found, len(cs.run(model, TEXT).graph))
    markers.write("campaign", text)
    print(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
