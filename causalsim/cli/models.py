"""``causalsim models``: which there are, and bringing one here."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from causalsim.cli.exit_codes import HOLDS
from causalsim.cli.tables import Indented, plain_table
from causalsim.cli.terminal import console, progress
from causalsim.errors import CheckpointError
from causalsim.models import known_names
from causalsim.models.fetching import KNOWN, find
from causalsim.models.fetching import fetch as bring
from causalsim.models.formats.glass import weights_folder


def listed() -> int:
    """``causalsim models``: a line a known name."""
    table = plain_table("model")
    table.add_column("where it is", overflow="fold")
    for name in known_names():
        table.add_row(Text(name), Text(_where(name)))
    console().print(Indented(table))
    return HOLDS


def _where(name: str) -> str:
    if name in KNOWN:
        return str(find(name) or f"not here yet: causalsim models fetch {name}")
    try:
        return str(weights_folder())
    except CheckpointError as error:
        return f"not here yet: {error.hint}"


def fetch(name: str) -> int:
    """``causalsim models fetch``: what was done, and where the file is."""
    out = console()
    with progress(out) as watch:
        path, was_there = bring(name, watch)
    out.print(Text(f"{name} {'was already here' if was_there else 'is here now'}: {_size(path)}"))
    out.print(Text(f"{path}"), soft_wrap=True)
    return HOLDS


def _size(path: Path) -> str:
    return f"{path.stat().st_size:,} bytes, checked by their sha256"
