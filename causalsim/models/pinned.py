"""Files of known models against the SHA-256 that was written down when they were published."""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import FileHash, PackageNotFoundError, distribution
from pathlib import Path

from causalsim.errors import CheckpointError


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(path: Path, expected: str, hint: str) -> None:
    """Refuse a file with other bytes; one that cannot be read is left to its reader, who says why."""
    try:
        found = digest_of(path)
    except OSError:
        return
    if found != expected:
        raise CheckpointError(
            f"{path}: the file has the bytes that were published",
            got=f"sha256 {found}",
            expected=expected,
            hint=f"It was altered or damaged. {hint}",
        )


def recorded_digest(package: str, path: Path) -> str | None:
    """The SHA-256 that an installed package's own record (PEP 376) gives for a file; ``None`` without one."""
    try:
        for file in distribution(package).files or ():
            if file.name == path.name and Path(str(file.locate())).resolve() == path.resolve():
                return _hexadecimal(file.hash)
    except (PackageNotFoundError, ValueError):
        pass  # No record, or one that is none.
    return None


def _hexadecimal(found: FileHash | None) -> str | None:
    if found is None or found.mode != "sha256":
        return None
    return base64.urlsafe_b64decode(found.value + "=" * (-len(found.value) % 4)).hex() or None
