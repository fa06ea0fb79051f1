"""Tables between a pair of markers in the README, replaced by what was measured last."""

from __future__ import annotations

import os
import re
from pathlib import Path

from causalsim.verification import environment

README = Path(__file__).parent.parent / "README.md"


def replaced(page: str, name: str, text: str) -> str:
    """A page with other text between the two markers of a name."""
    markers = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    found, count = markers.subn(lambda pair: pair[1] + text + pair[2], page)
    if count != 1:
        raise ValueError(f"one pair of markers has a name: got {count} of {name!r}")
    return found


def write(name: str, text: str) -> None:
    """Put text between the README's markers of a name."""
    README.write_text(replaced(README.read_text(encoding="utf-8"), name, text), encoding="utf-8")


def measured_with() -> str:
    """The machine and versions that a table was measured on."""
    facts = environment()
    return f"JAX {facts['jax']}, {facts['backend']} ({facts['machine']}), {os.cpu_count()} cores"
