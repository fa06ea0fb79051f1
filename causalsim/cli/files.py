"""Writing results: a file is there whole or not at all, and a folder only when it has something in it."""

from __future__ import annotations

import os
from pathlib import Path

from causalsim.errors import InputError
from causalsim.files import write_whole


def check_file(path: Path | None) -> None:
    """Refuse, before any work is done for it, a file that could not be written."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise InputError(
            "results are written to a file in a folder that is there",
            got=f"{path}, {'a folder' if path.is_dir() else 'whose folder is missing'}",
            cure="Give the name of a file.",
        )
    if path is not None:
        _check_writable(path.parent)


def check_folder(path: Path) -> None:
    """Refuse, before any work is done for it, a folder that could not be made or written to."""
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise InputError(
            "files are written to a folder",
            got=f"{there}, which is a file",
            cure="Give --out another folder.",
        )
    _check_writable(there)


def _check_writable(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            "files are written where that is allowed",
            got=f"{folder}, which is not",
            cure="Give another place.",
        )


def write_text(path: Path, text: str) -> None:
    """Write a file, making its folder; whoever looks sees the old file or the new one, never half of one."""
    content = text.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
