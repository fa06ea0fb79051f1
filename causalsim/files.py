"""Files that are there whole or not at all."""

from __future__ import annotations

import secrets
from pathlib import Path


def write_whole(target: Path, content: bytes) -> None:
    """Write beside the target and move over it, so that nobody ever sees half a file."""
    # Named before it is made, so that no interruption falls between the two.
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            file.write(content)
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
