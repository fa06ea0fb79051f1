"""Records as lines of JSON with a checksum: whoever reads one back sees whether it is as it was written.

A checksum tells damage and mix-ups; it is no signature, and keeps out nobody who can compute one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

KEY = "checksum"
DIGITS = 16


def checksum(content: str, of: str = "") -> str:
    """The first digits of a SHA-256, of a content alone or of one that belongs to something.

    Args:
        content: The text.
        of: The checksum of what it belongs to, if it does.

    Returns:
        ``DIGITS`` hexadecimal digits.
    """
    return hashlib.sha256(f"{of}{content}".encode()).hexdigest()[:DIGITS]


def to_line(record: Mapping[str, Any], of: str = "") -> str:
    """One line of ASCII, without its end, whose last entry is the checksum of the others.

    Args:
        record: Entries that JSON can hold.
        of: The checksum of what the record belongs to, if it does.

    Returns:
        The line.

    >>> to_line({"seed": 0})
    '{"seed":0,"checksum":"bd0488843468e63c"}'
    """
    return _plain({**record, KEY: checksum(_plain(record), of)})


def from_line(line: str | bytes, of: str = "") -> dict[str, Any]:
    """Read what ``to_line`` wrote.

    Args:
        line: The line, without its end.
        of: The checksum of what the record belongs to, if it does.

    Returns:
        The record.

    Raises:
        ValueError: It is anything else, another spelling of a record included.

    >>> from_line(to_line({"seed": 0}, of="a campaign"), of="a campaign")
    {'seed': 0}
    >>> from_line(to_line({"seed": 0}, of="a campaign"), of="another")
    Traceback (most recent call last):
    ValueError: altered, or no part of this
    """
    text = line if isinstance(line, str) else line.decode("ascii")
    try:
        record = json.loads(text)
        if not isinstance(record, dict):
            raise ValueError("no record")
        record.pop(KEY, None)
        # Compared as text, since JSON has several ways to write the same thing.
        if to_line(record, of) != text:
            raise ValueError("altered, or no part of this")
    except RecursionError as error:
        raise ValueError("no record") from error
    return record


def _plain(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"))
