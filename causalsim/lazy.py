"""Names that a package has but fetches only when they are used (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any


def fetched(package: str, name: str, homes: Mapping[str, Iterable[str]]) -> Any:
    """The value of a name of a package, for its ``__getattr__``.

    Kept in the package, so that it is asked for once.

    Args:
        package: The name of the package.
        name: The name that is asked for.
        homes: Names by the module below the package that has them.

    Returns:
        What the module has under this name.

    Raises:
        AttributeError: No module has it.

    >>> fetched("causalsim", "Event", {"events": ["Event"]})
    <class 'causalsim.events.event.Event'>
    """
    home = next((home for home, names in homes.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    value = getattr(import_module(f"{package}.{home}"), name)
    setattr(sys.modules[package], name, value)
    return value
