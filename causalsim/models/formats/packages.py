"""Optional packages that readers need, and the error where one is missing."""

from __future__ import annotations

from causalsim.errors import CheckpointError


def install(extra: str = "models") -> str:
    """The command that installs an extra of causalsim."""
    return f"pip install 'causalsim[{extra}]'"


def missing_package(rule: str, name: str = "such package", extra: str = "models") -> CheckpointError:
    """The error where the package that a rule names is not installed."""
    return CheckpointError(rule, got=f"no {name}", hint=f"Install it: {install(extra)}")
