"""Measured tables between pairs of markers, in the README or among the results: scripts replace them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from causalsim.verification import environment

README = Path(__file__).parent.parent / "README.md"
RESULTS = Path(__file__).parent / "benchmarks" / "RESULTS.md"
PAGES = (README, RESULTS)


def replaced(page: str, name: str, text: str) -> str:
    """A page with other text between the two markers of a name."""
    markers = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    found, count = markers.subn(lambda pair: pair[1] + text + pair[2], page)
    if count != 1:
        raise ValueError(f"one pair of markers has a name: got {count} of {name!r}")
    return found


def page_of(name: str) -> Path:
    """The page on which the markers of a name stand."""
    found = [page for page in PAGES if f"<!-- {name}: " in page.read_text(encoding="utf-8")]
    if len(found) != 1:
        raise ValueError(f"one page has the markers of a name: got {len(found)} of {name!r}")
    return found[0]


def write(name: str, text: str) -> None:
    """Put text between the markers of a name, wherever they stand."""
    page = page_of(name)
    page.write_text(replaced(page.read_text(encoding="utf-8"), name, text), encoding="utf-8")


def measured_with() -> str:
    """The machine and versions that a table was measured on."""
    facts = environment()
    return f"JAX {facts['jax']}, {facts['backend']} ({facts['machine']}), {os.cpu_count()} cores"
