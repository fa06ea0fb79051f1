"""Names that a package has but fetches only when they are used (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any


def fetched(package: str, name: str, homes: Mapping[str, Iterable[str]]) -> Any:
    """What a package's ``__getattr__`` gives for a name: ``homes`` lists names by the module that has them.

    Kept in the package, so that it is asked for once. Raises ``AttributeError`` for other names.

    >>> fetched("causalsim", "Event", {"events": ["Event"]})
    <class 'causalsim.events.event.Event'>
    """
    home = next((home for home, names in homes.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    value = getattr(import_module(f"{package}.{home}"), name)
    setattr(sys.modules[package], name, value)
    return value
