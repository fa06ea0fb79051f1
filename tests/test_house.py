"""The rules of the house, over its sources: imports, private names, docstrings and words."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.imports import Import, circles, imported_by, imports, modules

ROOT = "causalsim"
TESTS = Path(__file__).parent

# -- who imports whom ------------------------------------------------------------------------

# Imports in functions: the command line starts at once, and what is rarely asked for costs nothing.
LAZY = {
    "cli", "cli.app", "cli.draw", "cli.paths", "scenario.experiment", "scenario.pictures", "scenario.running",
    "testing.pytest_plugin", "verification.counterexample",
}  # fmt: skip


def test_no_file_imports_itself_through_others():
    edges = {(each.importer, each.imported) for each in imports() if not each.lazy}
    assert circles(iter(edges)) == []


def test_imports_in_functions_are_where_they_are_expected():
    assert {each.importer.removeprefix(f"{ROOT}.") for each in imports() if each.lazy} == LAZY


def test_nothing_below_the_command_line_imports_the_root():
    above = (f"{ROOT}.cli", f"{ROOT}.__main__")
    found = {each.importer for each in imports() if each.imported == ROOT}
    assert {name for name in found if not name.startswith(above)} == set()


def layers() -> list[set[str]]:
    """The layers of the contract, the highest first; a layer may hold modules that do not know each other."""
    contracts = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    (contract,) = (each for each in contracts if each["type"] == "layers")
    assert contract["containers"] == [ROOT]
    assert contract["exhaustive"]
    return [{name.strip(" ()") for name in layer.split("|")} for layer in contract["layers"]]


def without_layer(names: list[str]) -> set[str]:
    """The modules beside the root's own file that no layer has."""
    return {name.split(".")[1] for name in names if name != ROOT} - set().union(*layers())


def against_the_layers(found: list[Import]) -> list[Import]:
    """Imports that go upward, those in functions included."""
    rank = {name: place for place, layer in enumerate(layers()) for name in layer}
    inside = [each for each in found if ROOT not in (each.importer, each.imported)]
    part = {name: name.split(".")[1] for each in inside for name in each[:2]}
    return [
        each
        for each in inside
        if part[each.importer] != part[each.imported]
        and rank[part[each.importer]] >= rank[part[each.imported]]
    ]


def test_every_module_has_its_layer_and_imports_go_downward():
    assert without_layer(list(modules())) == set()
    assert against_the_layers(list(imports())) == []


def test_the_rules_on_imports_can_fail():
    assert without_layer([*modules(), f"{ROOT}.attic.boxes"]) == {"attic"}
    upward = Import(f"{ROOT}.events.graph", f"{ROOT}.engine", lazy=True)
    assert against_the_layers([*imports(), upward]) == [upward]
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from causalsim.events import graph\n"
    back = [("causalsim.posets", name) for name, lazy in imported_by("causalsim.posets", source, modules())]
    assert back == [("causalsim.posets", "causalsim.events.graph")]
    edges = {(each.importer, each.imported) for each in imports() if not each.lazy}
    assert circles(iter([*edges, ("causalsim.errors", "causalsim.arguments")])) != []


@pytest.mark.parametrize("package", ["posets", "events", "foliations", "rendering", "models"])
def test_never_imports_jax(package):
    names = [name for name in modules() if name.startswith(f"{ROOT}.{package}")]
    assert names
    code = f"import sys, {', '.join(names)}; print(*{{'jax', 'jaxlib'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# -- whose names are private -----------------------------------------------------------------

PRIVATE = re.compile(r"(?<!\w)_(?!_)\w+")


def own_names(tree: ast.AST) -> Iterator[str]:
    """Names that a file defines, as variables, functions, classes, attributes, arguments or modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname


def intruders(sources: dict[str, str]) -> dict[str, set[str]]:
    """Files by the private names of others that they mention, be it as text for what a test replaces."""
    said = {file: set(PRIVATE.findall(source)) for file, source in sources.items()}
    own = {file: said[file] & {*own_names(ast.parse(source))} for file, source in sources.items()}
    everyones = set().union(*own.values())
    found = {file: (said[file] & everyones) - own[file] for file in sources}
    return {file: names for file, names in found.items() if names}


def _sources() -> dict[str, str]:
    # Mutations quote the lines that they change.
    files = [
        *modules().values(),
        *(file for file in TESTS.rglob("*.py") if not file.match("mutants/of_*.py")),
    ]
    return {str(path.relative_to(TESTS.parent)): path.read_text(encoding="utf-8") for path in files}


# Tests that take checks and parts of the engine out one by one, to see that their absence is noticed.
TAKEN_OUT = {"adversary", "conditions", "soundness", "verdicts"}


def test_private_names_are_used_in_their_own_file_alone():
    free = {f"tests/verification/test_{name}.py" for name in TAKEN_OUT}
    found = intruders(_sources())
    assert found.keys() == free


@pytest.mark.parametrize(
    "use",
    [
        "from causalsim.a import _hidden", "import causalsim.a as a; a._hidden()", "thing._inner",
        "monkeypatch.setattr('causalsim.a._hidden', 1)", "monkeypatch.setattr(a, '_hidden', 1)",
        "getattr(a, '_inner')",
    ],
)  # fmt: skip
def test_the_rule_on_private_names_can_fail(use):
    home = "def _hidden(self): self._inner = _hidden"
    assert set(intruders({"a.py": home, "b.py": use})) == {"b.py"}
    assert intruders({"a.py": home, "b.py": f"_hidden = 1\ndef f(x): x._inner = 0\n{use}"}) == {}
    assert intruders({"a.py": home, "b.py": "row._replace(x=1); os._exit(1); _, a = b"}) == {}


# -- what docstrings say ---------------------------------------------------------------------

QUESTION = re.compile(r"(What|Whether|How|Which|Where|Who|Why)\b")
OLD_WORDS = re.compile(
    r"(lane|launch|panel|litter|crowd|company|companies|cure|clash|departure|bank|widened)s?", re.IGNORECASE
)


def packages() -> list[str]:
    """The packages by name below the root, which is ``""``."""
    return [
        name.removeprefix(ROOT).removeprefix(".")
        for name, path in modules().items()
        if path.name == "__init__.py"
    ]


def public_definitions(package: str) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """The functions and classes of ours in the ``__all__`` of a package."""
    module = importlib.import_module(f"{ROOT}.{package}".rstrip("."))
    for name in getattr(module, "__all__", ()):
        yield from defined(getattr(getattr(module, name), "__module__", None)).get(name, [])


@cache
def defined(module: str | None) -> dict[str, list[ast.FunctionDef | ast.ClassDef]]:
    """The functions and classes at the top of a module of ours by name; a function may have overloads."""
    found: dict[str, list[ast.FunctionDef | ast.ClassDef]] = {}
    for node in ast.parse(modules()[module].read_text(encoding="utf-8")).body if module in modules() else ():
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.setdefault(node.name, []).append(node)
    return found


def lacks(node: ast.FunctionDef | ast.ClassDef) -> list[str]:
    """The parts of a docstring that are wrong or not there."""
    text = ast.get_docstring(node)
    if text is None:
        return ["docstring"]
    wrong = ["first line"] if QUESTION.match(text) else []
    if isinstance(node, ast.ClassDef):
        return wrong
    inside = list(own_nodes(node))
    takes = [
        *node.args.posonlyargs,
        *node.args.args,
        *node.args.kwonlyargs,
        node.args.vararg,
        node.args.kwarg,
    ]
    yields = any(isinstance(each, ast.Yield | ast.YieldFrom) for each in inside)
    silent = node.returns is None or ast.unparse(node.returns) in ("None", "NoReturn")
    needed = {
        "Args": any(takes),
        "Returns": not (silent or yields),
        "Yields": yields,
        "Raises": any(isinstance(each, ast.Raise) for each in inside),
    }
    return wrong + [name for name, is_needed in needed.items() if is_needed and f"\n{name}:\n" not in text]


def own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All that a function is made of, without functions inside it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.Lambda):
            yield child
            yield from own_nodes(child)


@pytest.mark.parametrize("package", packages(), ids=lambda name: name or ROOT)
def test_public_functions_and_classes_say_what_they_are(package):
    found = {node.name: missing for node in public_definitions(package) if (missing := lacks(node))}
    assert found == {}


def questions(source: str) -> list[str]:
    """First lines of docstrings that neither name a thing nor tell what to do."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(n) or "" for n in ast.walk(ast.parse(source)) if isinstance(n, documented)]
    return [text.partition("\n")[0] for text in texts if QUESTION.match(text)]


def old_words(source: str) -> set[str]:
    """Words of an older vocabulary, as a whole or as parts of names."""
    words = re.findall(r"[A-Za-z][a-z]*", source)
    return {word for word in words if OLD_WORDS.fullmatch(word)}


def test_no_docstring_begins_with_a_question():
    found = {file: wrong for file, source in _sources().items() if (wrong := questions(source))}
    assert found == {}


def test_every_thing_has_one_word():
    sources = {file: source for file, source in _sources().items() if not file.endswith("test_house.py")}
    assert {file: found for file, source in sources.items() if (found := old_words(f"{file} {source}"))} == {}


def test_the_rules_on_words_can_fail():
    assert questions("'What.'\nclass A:\n 'How.'\n def f(): 'Why so.'") == ["What.", "How.", "Why so."]
    assert questions("'Whatever.'\nclass A:\n 'A thing.'\n def f(): 'Return it.'") == []
    assert old_words("tests/test_lanes.py crowd_of(KernelLaunch) accompany, banking") == {
        "lanes",
        "crowd",
        "Launch",
    }


def test_the_root_lists_its_packages():
    text = ast.get_docstring(ast.parse(modules()[ROOT].read_text(encoding="utf-8")))
    listed = [line.split("``")[1] for line in text.splitlines() if line.startswith("- ``")]
    above = [name for layer in layers() for name in layer]
    assert set(filter(None, packages())) - {
        "models.formats",
        "testing.strategies",
        "foliations.costs",
    } <= set(listed)
    assert listed == sorted(listed, key=above.index)


def _only(source: str) -> Any:
    return ast.parse(source).body[0]


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("def f(): pass", ["docstring"]),
        ("class A: 'How it is.'", ["first line"]),
        ("def f(x) -> None: 'Do.'", ["Args"]),
        ("def f() -> int: 'A number.'", ["Returns"]),
        ("def f() -> Iterator[int]:\n 'Numbers.'\n yield 1", ["Yields"]),
        ("def f() -> None:\n 'Fail.'\n raise ValueError", ["Raises"]),
        (
            "def f(*, x) -> int:\n '''What.\n\n Args:\n     x: One.\n '''\n return x",
            ["first line", "Returns"],
        ),
        ("def f(x) -> int:\n '''One.\n\n Args:\n     x: X.\n\n Returns:\n     X.\n '''\n return x", []),
        ("def f() -> None:\n 'Do.'\n def g():\n  raise ValueError", []),
    ],
)
def test_the_rule_on_docstrings_can_fail(source, missing):
    assert lacks(_only(source)) == missing
