"""The import graph of the package, read from its sources without running them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1] / "causalsim"


class Import(NamedTuple):
    """An import of one module by another; ``lazy`` ones stand in a function."""

    importer: str
    imported: str
    lazy: bool


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> tuple[Import, ...]:
    """Every import of a module of the package by another, those for types alone included."""
    found = dict.fromkeys(
        Import(name, imported, lazy)
        for name, path in modules().items()
        for imported, lazy in imported_by(name, path.read_text(encoding="utf-8"), modules())
        if imported != name
    )
    return tuple(found)


def imported_by(name: str, source: str, known: object) -> Iterator[tuple[str, bool]]:
    """The modules that a source imports, each with whether it does so in a function.

    ``from package import name`` is an import of the package where the name is not itself a module.
    """

    def walk(node: ast.AST, lazy: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if isinstance(child, ast.Import):
                yield from ((alias.name, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                home = _absolute(name, child)
                for alias in child.names:
                    inner = f"{home}.{alias.name}"
                    yield (inner if inner in known else home), lazy  # type: ignore[operator]
            yield from walk(child, inside)

    ours = (each for each in walk(ast.parse(source), False) if each[0] in known)  # type: ignore[operator]
    yield from ours


def _absolute(name: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return str(node.module)
    parts = name.split(".")
    above = parts[: len(parts) - node.level + (modules().get(name, Path()).name == "__init__.py")]
    return ".".join([*above, *([node.module] if node.module else [])])


def circles(edges: Iterator[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Sets of modules that reach each other, sorted."""
    import networkx as nx

    graph = nx.DiGraph(list(edges))
    return sorted(tuple(sorted(each)) for each in nx.strongly_connected_components(graph) if len(each) > 1)
