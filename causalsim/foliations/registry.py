"""The registry of families of foliations: scenario files, the command line, names and suites read it.

An entry says what a family is called, the function that makes it, its arguments and their text forms,
how its foliations are recognised, and with which arguments it is tried by default. A new family is an
entry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from causalsim.arguments import check_type, check_whole, nearest, shown
from causalsim.errors import CausalityError, InputError, ScenarioError
from causalsim.events import EventGraph, parse_event
from causalsim.foliations.families import (
    as_velocity,
    chunked,
    earliest,
    latest,
    layer_major,
    tilted,
    token_major,
    wavefront,
)
from causalsim.foliations.foliation import Foliation, from_slices
from causalsim.foliations.recognition import chunks_of, velocity_of
from causalsim.foliations.sampling import METHODS, random_foliation, random_linear_extension

Arguments = Mapping[str, Any]

# Positions in a chunk where nobody says how many.
CHUNK = 512


@dataclass(frozen=True)
class Argument:
    """An argument of a family.

    Attributes:
        name: Its name, in Python, in scenario files and on command lines.
        check: Refuses a value that the family cannot take, with ``InputError``; is told the name, too.
        read: The value from its text form, ``chunked:512`` for instance; by default the text itself.
        optional: True if it can be left out.
    """

    name: str
    check: Callable[[str, Any], object]
    read: Callable[[str], Any] = str
    optional: bool = False


@dataclass(frozen=True)
class Family:
    """A family of foliations.

    Attributes:
        name: Its name, the same everywhere.
        make: The foliation of a graph; takes the arguments by name.
        arguments: Its arguments; the first may stand alone in a text form.
        recognise: The only arguments with which a foliation can be of this family, ``None`` if there are
            none; left out where a foliation does not tell, as for random ones.
        verified: The arguments with which ``verify`` tries it, each time by default.
        compared: Those with which ``causalsim plan`` compares it over a graph if nobody says what.
    """

    name: str
    make: Callable[..., Foliation]
    arguments: tuple[Argument, ...] = ()
    recognise: Callable[[Foliation], Arguments | None] | None = None
    verified: Sequence[Arguments] = ()
    compared: Callable[[EventGraph], Sequence[Arguments]] = lambda graph: ()

    def __call__(self, graph: EventGraph, **arguments: Any) -> Foliation:
        """The foliation of this family over a graph.

        Args:
            graph: The graph.
            **arguments: Arguments of the family.

        Returns:
            The foliation.

        Raises:
            ScenarioError: An argument is missing, or one is none of its own; ``key`` names it.
            CausalityError: The foliation would break the graph.
            InputError: A value is refused by the family.
        """
        self.check_names(arguments)
        return self.make(graph, **arguments)

    def check_names(self, arguments: Arguments) -> None:
        """Refuse arguments that it does not take or cannot do without.

        Args:
            arguments: Arguments by name.

        Raises:
            ScenarioError: There is one too many or one missing; ``key`` names it.
        """
        known = [argument.name for argument in self.arguments]
        for name in arguments:
            if name not in known:
                taken = f"it takes {' and '.join(known)}" if known else "it takes no arguments"
                hint = nearest(name, known) or f"Leave {name} out: {taken}."
                raise ScenarioError(f"{self.name} takes no {name}", key=name, hint=hint)
        for argument in self.arguments:
            if not argument.optional and argument.name not in arguments:
                raise ScenarioError(
                    f"{self.name} needs its {argument.name}",
                    key=argument.name,
                    got="none",
                    hint=f"Give {argument.name}.",
                )

    def check(self, arguments: Arguments) -> None:
        """Refuse arguments by their names and by their values.

        Args:
            arguments: Arguments by name.

        Raises:
            ScenarioError: ``key`` names the argument that is wrong.
        """
        self.check_names(arguments)
        for argument in self.arguments:
            if argument.name in arguments:
                try:
                    argument.check(argument.name, arguments[argument.name])
                except InputError as error:
                    raise ScenarioError(error.rule, key=argument.name, **error.clauses) from error

    def read(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Return values of arguments from their text forms; those of no argument of its own stay texts.

        >>> FAMILIES["chunked"].read({"size": "512"})
        {'size': 512}
        """
        readers = {argument.name: argument.read for argument in self.arguments}
        return {name: readers.get(name, str)(text) for name, text in given.items()}

    def called(self, arguments: Arguments) -> str:
        """Return the text form of the family with arguments, which ``parse`` reads.

        >>> FAMILIES["tilted"].called({"velocity": "1/2"})
        'tilted(1/2)'
        """
        return f"{self.name}({', '.join(map(str, arguments.values()))})" if arguments else self.name


def _unless_fed_back(graph: EventGraph) -> list[Arguments]:
    return [] if graph.has_feedback else [{}]


def _chunks_compared(graph: EventGraph) -> list[Arguments]:
    """A prompt in chunks; and whole, where a foliation layer by layer would not wait for tokens."""
    prompt = max(graph.prompts)
    sizes = [*[prompt] * graph.has_feedback, min(CHUNK, -(-prompt // 4))]
    return [{"size": size} for size in dict.fromkeys(sizes)]


def _velocity_told(foliation: Foliation) -> Arguments | None:
    velocity = velocity_of(foliation)
    return None if velocity is None else {"velocity": velocity}


def _whole(text: str) -> int | str:
    """A whole number where a text is one; what is none is left for the check to refuse."""
    return int(text) if re.fullmatch(r"[+-]?\d+", text, re.ASCII) else text


def _at_least(low: int) -> Callable[[str, Any], object]:
    return lambda name, value: check_whole(name, value, low)


def _is_velocity(_: str, value: Any) -> None:
    as_velocity(value)


def _is_method(name: str, value: object) -> None:
    if value not in METHODS:
        raise InputError(f"{name} is a known one", got=shown(value), expected=" or ".join(METHODS))


def _are_slices(name: str, value: object) -> None:
    if not isinstance(value, list) or not all(isinstance(part, list) for part in value):
        raise InputError(f"{name} are lists of events", got=shown(value), hint='Give [["embed(0)"], ...].')


def _of_slices(graph: EventGraph, slices: Sequence[Sequence[str]]) -> Foliation:
    """The foliation with these slices of events, written as they are printed."""
    layers = graph.wiring.n_layers
    return from_slices(graph, [[parse_event(event, layers) for event in events] for events in slices])


def _seeded(make: Callable[..., Foliation]) -> Callable[..., Foliation]:
    """A random family with seed 0 where nobody says which."""
    return lambda graph, seed=0, **more: make(graph, seed, **more)


def _alone(_: Foliation) -> Arguments:
    return {}


_SEED = Argument("seed", _at_least(0), _whole, optional=True)
_METHOD = Argument("method", _is_method, optional=True)
_BOUNDS = (
    Argument("limit", _at_least(1), _whole, optional=True),
    Argument("steps", _at_least(0), _whole, optional=True),
)

# Recognition takes the first that fits, so what is more special stands first.
_ENTRIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("layer_major", layer_major, (), _alone, [{}], _unless_fed_back),
        Family("token_major", token_major, (), _alone, [{}], lambda graph: [{}]),
        Family(
            "chunked",
            chunked,
            (Argument("size", _at_least(1), _whole),),
            lambda foliation: {"size": max(chunk[0] for chunk in chunks_of(foliation))},
            [{"size": 4}],
            _chunks_compared,
        ),
        Family("wavefront", wavefront, (), _alone, [{}], _unless_fed_back),
        Family("tilted", tilted, (Argument("velocity", _is_velocity),), _velocity_told),
        Family("earliest", earliest, (), _alone),
        Family("latest", latest, (), _alone, [{}]),
        Family("random_linear_extension", _seeded(random_linear_extension), (_SEED, _METHOD, *_BOUNDS)),
        Family("random_foliation", _seeded(random_foliation), (_SEED,)),
        Family("slices", _of_slices, (Argument("slices", _are_slices),)),
    )
}


# All entries by name; shows what is registered later, too.
FAMILIES: Mapping[str, Family] = MappingProxyType(_ENTRIES)


@contextmanager
def registered(family: Family) -> Iterator[Family]:
    """Add a family for as long as a block of code runs.

    Args:
        family: An entry whose name is new: letters, digits and underscores.

    Yields:
        The entry.

    Raises:
        InputError: A family of this name is known, or no name can be so.

    >>> with registered(Family("mine", layer_major)):
    ...     "mine" in FAMILIES
    True
    >>> "mine" in FAMILIES
    False
    """
    if family.name in _ENTRIES or not family.name.isidentifier():
        raise InputError("a new family has a name of its own", got=shown(family.name), hint="Take another.")
    _ENTRIES[family.name] = family
    try:
        yield family
    finally:
        del _ENTRIES[family.name]


def family_named(name: str) -> Family:
    """The family of a name.

    Args:
        name: A name in the registry.

    Returns:
        The entry.

    Raises:
        ScenarioError: There is no such family; ``key`` is ``family``.

    >>> family_named("wavefront").name
    'wavefront'
    """
    found = _ENTRIES.get(name)
    if found is None:
        raise ScenarioError(
            "a foliation is of a known family",
            key="family",
            got=shown(name),
            expected=", ".join(_ENTRIES),
            hint=nearest(name, _ENTRIES),
        )
    return found


def parse(text: str, more: Mapping[str, str] | None = None) -> tuple[Family, dict[str, Any]]:
    """A family with arguments, as people write it.

    Args:
        text: A name, alone, with arguments behind a colon or in brackets. The first argument may stand
            alone, others as ``name=value``.
        more: Text forms of arguments that are given beside it, by name.

    Returns:
        The family and its arguments.

    Raises:
        InputError: An argument after the first has no name.
        ScenarioError: There is no such family, or an argument is none of its own.

    >>> for text in ("wavefront", "chunked:512", "tilted(-1/3)", "random_linear_extension(3, method=kahn)"):
    ...     family, arguments = parse(text)
    ...     print(family.name, arguments)
    wavefront {}
    chunked {'size': 512}
    tilted {'velocity': '-1/3'}
    random_linear_extension {'seed': 3, 'method': 'kahn'}
    """
    written = re.fullmatch(r"\s*(\w+)\s*(?::(.*)|\((.*)\))?\s*", text, re.DOTALL)
    if written is None:
        return family_named(text), {}
    found, inside = family_named(written[1]), written[2] or written[3] or ""
    first = found.arguments[0].name if found.arguments else "argument"
    given: dict[str, str] = {}
    for place, part in enumerate(inside.split(",") if inside.strip() else ()):
        name, equals, value = part.partition("=")
        if not equals and place:
            raise InputError(
                "arguments after the first have names",
                got=shown(text),
                hint=f"Write {found.name}(1, name=2).",
            )
        given[name.strip() if equals else first] = (value if equals else part).strip()
    given |= more or {}
    found.check_names(given)
    return found, found.read(given)


def made(graph: EventGraph, text: str, more: Mapping[str, str] | None = None) -> Foliation:
    """Make the foliation over a graph that people mean by a text.

    Args:
        graph: The graph.
        text: A family with arguments, as ``parse`` reads it.
        more: Text forms of arguments that are given beside it, by name.

    Returns:
        The foliation.

    >>> from causalsim.events import Wiring
    >>> made(EventGraph(Wiring(1), 1), "tilted:1/2").depth
    5
    """
    family, arguments = parse(text, more)
    return family(graph, **arguments)


def family_of(foliation: Foliation) -> str | None:
    """The family that a foliation is of, as one would call it.

    Where families agree, the first in the registry, with the least size of chunks and the simplest
    velocity.

    Args:
        foliation: Any foliation.

    Returns:
        A text form of the family, or ``None``.

    >>> from causalsim.events import Wiring
    >>> graph = EventGraph(Wiring(2), 6)
    >>> family_of(chunked(graph, 4)), family_of(tilted(graph, 0.5)), family_of(chunked(graph, 4).refine())
    ('chunked(4)', 'tilted(1/2)', None)
    """
    check_type("a foliation", foliation, Foliation)
    for found in _ENTRIES.values():
        arguments = None if found.recognise is None else found.recognise(foliation)
        if arguments is None:
            continue
        # Not every family is valid on every graph.
        with suppress(CausalityError):
            if found(foliation.graph, **arguments) == foliation:
                return found.called(arguments)
    return None


def verified(graph: EventGraph) -> dict[str, Foliation]:
    """The foliations of a graph that are verified by default; families that would break it are left out.

    Args:
        graph: The graph.

    Returns:
        Foliations by their text forms.

    >>> from causalsim.events import Wiring
    >>> list(verified(EventGraph(Wiring(2), 8)))
    ['layer_major', 'token_major', 'chunked(4)', 'wavefront', 'latest']
    """
    made = {}
    for found in _ENTRIES.values():
        for arguments in found.verified:
            with suppress(CausalityError):
                made[found.called(arguments)] = found(graph, **arguments)
    return made


def compared(graph: EventGraph) -> list[str]:
    """The families whose costs are compared by default: what engines do.

    Args:
        graph: The graph.

    Returns:
        Text forms, with a colon so that they need no quotation marks on a command line.

    >>> from causalsim.events import Wiring
    >>> compared(EventGraph(Wiring(2), 8)), compared(EventGraph(Wiring(2), 8, prompt=4))
    (['layer_major', 'token_major', 'chunked:2', 'wavefront'], ['token_major', 'chunked:4', 'chunked:1'])
    """
    return [
        ":".join([found.name, *map(str, arguments.values())])
        for found in _ENTRIES.values()
        for arguments in found.compared(graph)
    ]
