"""The page that ``causalsim`` shows by itself: its commands in the order in which one meets them.

It stands apart from the commands because to load what reads their arguments takes longer than to read it.
"""

from __future__ import annotations

ABOUT = (
    "A transformer is one causal graph of events; every schedule is a foliation of it, and none changes "
    "a bit."
)

# Each is the first line of its command's own help, or the beginning of it.
COMMANDS = {
    "demo": "Start here: a trained transformer in many orders, the same bits.",
    "run": "Run the experiment that a file describes.",
    "verify": "Try to change a model's bits by changing the order.",
    "draw": "Draw a graph, or the slices of a foliation, as SVG or PNG.",
    "paths": "Count the ways from one event to another, and show the first of them.",
    "plan": "Say what schedules of a model cost before anything runs, and which of them fit.",
    "calibrate": "Measure which batch sizes keep a model's bits on this machine and which are fast.",
    "invariance": "Find the classes of equal bits of a row-wise function of yours.",
    "models": "The trained models that are known by name, and where they are.",
}


def overview() -> str:
    """The page, for a terminal of 80 columns and more."""
    first, second = ABOUT.split("; ")
    listed = [f"  {name:<12}{words}" for name, words in COMMANDS.items()]
    return "\n".join(
        [
            "Usage: causalsim COMMAND",
            "",
            f"{first};",
            second,
            "",
            *listed,
            "",
            "causalsim COMMAND --help says more. Start with: causalsim demo",
        ]
    )
