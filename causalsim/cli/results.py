"""Writing results: a file is there whole or not at all, and a folder only when it has something in it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from causalsim.errors import InputError
from causalsim.files import write_whole

if TYPE_CHECKING:
    from rich.console import Console


def check_file(path: Path | None) -> None:
    """Refuse, before any work is done for it, a file that could not be written."""
    if path is not None and not path.parent.is_dir():
        raise InputError(
            "results are written to a file in a folder that is there",
            got=f"{path}, whose folder is missing",
            hint="Make the folder, or give another name.",
        )
    if path is not None:
        _check_no_folder(path)
        _check_writable(path.parent)


def check_files(*paths: Path | None) -> None:
    """Refuse files that could not be written, and one that stands for two results."""
    seen = set[Path]()
    for path in filter(None, paths):
        check_file(path)
        if path.absolute() in seen:
            raise InputError("every result has a file of its own", got=f"{path} twice")
        seen.add(path.absolute())


def check_folder(path: Path, names: Iterable[str], beside: Path | None = None) -> None:
    """Refuse, before any work is done for them, files in a folder that could not be written.

    ``beside`` is another result, which must not be one of them.

    Raises:
        InputError: Some file could not be written, or is written twice.
    """
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise InputError(
            "files are written to a folder",
            got=f"{there}, which is a file",
            hint="Give --out another folder.",
        )
    _check_writable(there)
    files = {path.absolute() / name for name in names}
    for file in sorted(files):
        _check_no_folder(file)
    if beside is not None and beside.absolute() in {path.absolute(), *files}:
        raise InputError(
            "every result has a file of its own", got=f"{beside} twice", hint="Give --json another name."
        )


def _check_no_folder(path: Path) -> None:
    if path.is_dir():
        raise InputError(
            "results are written to files", got=f"{path}, a folder", hint="Move it, or give another name."
        )


def _check_writable(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            "files are written where that is allowed",
            got=f"{folder}, which is not",
            hint="Give another place.",
        )


def write_text(path: Path, text: str) -> None:
    """Write a file, making its folder; whoever looks sees the old file or the new one, never half of one."""
    content = text.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)


def write_result(out: Console, path: Path | None, text: str) -> None:
    """Write a file that was asked for, and say so."""
    if path is not None:
        write_text(path, f"{text}\n")
        out.print(f"wrote {path}", markup=False)
