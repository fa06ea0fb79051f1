"""Pictures as files, drawn by the Graphviz program at hand; a failure leaves no file behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import graphviz

from causalsim.arguments import check_type
from causalsim.errors import CausalsimError, InputError
from causalsim.files import write_whole

BUNDLED = "graphviz-pure"
SYSTEM = ("dot", "neato")


def render(digraph: graphviz.Digraph, path: str | os.PathLike[str]) -> Path:
    """Draw a picture into a file, in the format that its suffix names; gives the path.

    ``.svg``, ``.png`` and ``.dot`` always, ``.pdf`` with a system Graphviz. The file appears
    whole or not at all. Touches no state of the process, so threads may render at once.

    Args:
        digraph: A picture.
        path: The file to write.

    Returns:
        The path.

    Raises:
        InputError: Another suffix, or a folder that does not exist.
        CausalsimError: There is no Graphviz program, or it fails.
    """
    check_type("a picture", digraph, graphviz.Digraph, "to_graphviz(graph or foliation) makes one.")
    check_type("the path of a picture", path, (str, os.PathLike))
    target = Path(path)
    suffix = format_of(target)
    if not target.parent.is_dir():
        raise InputError("a picture is written into a folder that exists", got=str(target.parent))
    picture = digraph.source.encode() if suffix == "dot" else _draw(digraph.source, suffix)
    write_whole(target, picture)
    return target


def formats() -> tuple[str, ...]:
    """The suffixes that can be written here.

    Returns:
        Suffixes without the dot.
    """
    return ("svg", "png", "dot", "pdf") if system_program() else ("svg", "png", "dot")


def format_of(path: Path) -> str:
    """The format that a suffix names; ``InputError`` for one that cannot be written here."""
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in formats():
        hint = "Install Graphviz for pdf." if suffix == "pdf" else "Give the path one of these suffixes."
        raise InputError(
            "a picture is written in the format that its suffix names",
            got=repr(path.name),
            expected=", ".join(f".{known}" for known in formats()),
            hint=hint,
        )
    return suffix


def bundled_program() -> str | None:
    return shutil.which(BUNDLED, path=sysconfig.get_path("scripts")) or shutil.which(BUNDLED)


def system_program() -> str | None:
    """Find a Graphviz program of the system, if there is one."""
    return next(filter(None, map(shutil.which, SYSTEM)), None)


def program_for(suffix: str) -> str:
    """Find a Graphviz program that writes files of a type, or refuse."""
    found = system_program() if suffix == "pdf" else bundled_program() or system_program()
    if found is None:
        raise CausalsimError(
            "pictures are drawn by a Graphviz program",
            got=f"neither {BUNDLED} nor {' nor '.join(SYSTEM)}",
            hint=f"Install it with: pip install {BUNDLED}",
        )
    return found


def _draw(source: str, suffix: str) -> bytes:
    # SVG scales by itself; at any other resolution its coordinates would no longer be points.
    resolution = ["-Gdpi=72"] if suffix == "svg" else []
    command = [program_for(suffix), "-Kneato", "-n2", f"-T{suffix}", *resolution]
    done = subprocess.run(command, input=source.encode(), capture_output=True, check=False)
    if done.returncode or not done.stdout:
        raise CausalsimError(
            "Graphviz draws the picture",
            got=f"exit status {done.returncode}: {_complaint(done.stderr)}",
            hint=f"Write a .dot file and run {' '.join(command[1:])} on it to see more.",
        )
    return done.stdout


def _complaint(stderr: bytes) -> str:
    lines = [line for line in stderr.decode(errors="replace").splitlines() if "Warning" not in line]
    return "; ".join(lines[:3]) or "no message"
