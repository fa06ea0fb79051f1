"""Errors, each with the rule that was broken, what was got, what was expected and the usual hint."""

from __future__ import annotations

from typing import Any, Protocol


class Witness(Protocol):
    """A causal edge, as ``causalsim.events.Edge`` is one: ``target`` reads over ``stream``."""

    @property
    def source(self) -> Any: ...

    @property
    def target(self) -> Any: ...

    @property
    def stream(self) -> str: ...


class CausalsimError(Exception):
    """Base of every error that causalsim raises on purpose.

    The message is one sentence a clause: the rule that was broken, what was got,
    what was expected, and the hint.
    """

    def __init__(
        self, rule: str, *, got: object = None, expected: object = None, hint: str | None = None
    ) -> None:
        self.rule, self.got, self.expected, self.hint = rule, got, expected, hint
        super().__init__(_sentence(rule, got, expected, hint))

    @property
    def clauses(self) -> dict[str, Any]:
        """All but the rule, to raise it again as another error."""
        return {"got": self.got, "expected": self.expected, "hint": self.hint}

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments do not survive Exception's own pickling, and campaigns cross processes.
        return _rebuild, (type(self), self.args, self.__dict__)


class InputError(CausalsimError, ValueError):
    """An argument that the rules of the graph, the foliation or the model exclude."""


class CausalityError(InputError):
    """A time function that runs against a causal edge; ``edge`` is the witness."""

    def __init__(self, rule: str, *, edge: Witness, **clauses: Any) -> None:
        super().__init__(rule, **clauses)
        self.edge = edge


class CheckpointError(CausalsimError):
    """Weights or a tokenizer that are missing, damaged or not of the configuration's shape."""

    def __init__(self, rule: str, *, tensor: str | None = None, **clauses: Any) -> None:
        super().__init__(rule, **clauses)
        self.tensor = tensor


class ScenarioError(CausalsimError):
    """A scenario file that says something a scenario cannot say; ``key`` is the place."""

    def __init__(self, rule: str, *, key: str | None = None, **clauses: Any) -> None:
        super().__init__(rule, **clauses)
        self.key = key


class MissingPackageError(CausalsimError, ImportError):
    """A package that only some of causalsim needs, and that is not installed."""


class LimitError(CausalsimError):
    """An exact computation that would pass a stated bound: ``reached`` against ``bound``."""

    def __init__(self, rule: str, *, reached: int, bound: int, **clauses: Any) -> None:
        clauses.setdefault("got", f"at least {reached:,}")
        clauses.setdefault("expected", f"at most {bound:,}")
        super().__init__(rule, **clauses)
        self.reached, self.bound = reached, bound


def _sentence(rule: str, got: object, expected: object, hint: str | None) -> str:
    facts = [f"got {got}"] * (got is not None) + [f"expected {expected}"] * (expected is not None)
    head = f"{rule}: {', '.join(facts)}." if facts else f"{rule}."
    return f"{head} {hint}" if hint else head


def _rebuild(kind: type[CausalsimError], args: tuple[Any, ...], state: dict[str, Any]) -> CausalsimError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error
