"""Data as one line of ASCII that survives copying, or is seen not to have."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any

from causalsim.arguments import check_type
from causalsim.errors import InputError
from causalsim.sealed import checksum

VERSION = "causalsim-replay-1"
# Of what a token holds; that of some hundred thousand events.
MOST_BYTES = 2**24
SHOWN = 24

_SHAPE = re.compile(
    r"(?P<signed>(?P<version>causalsim-replay-\d+)\.(?P<body>[\w-]+))\.(?P<checksum>[0-9a-f]{16})", re.A
)


def to_line(data: Any) -> str:
    """Return JSON-able data as version, compressed body and checksum.

    >>> from_line(to_line([1, "two"]))
    [1, 'two']
    """
    packed = zlib.compress(json.dumps(data, separators=(",", ":")).encode(), 9)
    signed = f"{VERSION}.{base64.urlsafe_b64encode(packed).decode().rstrip('=')}"
    return f"{signed}.{checksum(signed)}"


def from_line(line: str) -> Any:
    """Read what ``to_line`` wrote, line breaks and blanks aside; ``InputError`` if it was cut or altered."""
    check_type("a token", line, str)
    found = _SHAPE.fullmatch("".join(line.split()))
    if found is None or checksum(found["signed"]) != found["checksum"]:
        raise InputError(
            "a token is copied whole and unchanged",
            got=f"{len(line):,} characters that begin with {line[:SHOWN]!r}",
            expected=f"{VERSION}.(what it holds).(its checksum)",
            hint="Copy it again, from its first letter to its last.",
        )
    if found["version"] != VERSION:
        raise InputError("a token is of this version", got=found["version"], expected=VERSION)
    try:
        return json.loads(_inflated(found["body"]))
    except (ValueError, zlib.error, RecursionError):
        raise InputError("a token holds what causalsim wrote into it", got="something else") from None


def _inflated(body: str) -> bytes:
    packed = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    inflate = zlib.decompressobj()
    content = inflate.decompress(packed, MOST_BYTES)
    if not inflate.eof:
        raise ValueError("cut, or of more bytes than a token holds")
    return content
