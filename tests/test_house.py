"""The house itself: no circle of imports, and every public definition of the core says what it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ecos_core", "tasks", "flows", "ecos_cli")


@cache
def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports_of(path: Path) -> Iterator[str]:
    """Modules of ours that are imported, wherever the statement stands, but for types alone."""

    def statements(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            yield child
            yield from statements(child)

    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules())
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & modules().keys()
            yield from inner
            if len(inner) < len(node.names) and node.module in modules():
                yield node.module


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: set(imports_of(path)) - {name} for name, path in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def undocumented(path: Path) -> Iterator[str]:
    """Public classes, functions and methods without a docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not ast.get_docstring(tree) and path.stat().st_size:
        yield "the module"
    yield from _inside(tree, "")


def _inside(node: ast.AST, prefix: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if child.name.startswith("_"):
            continue
        if not ast.get_docstring(child):
            yield f"{prefix}{child.name} (line {child.lineno})"
        if isinstance(child, ast.ClassDef):
            yield from _inside(child, f"{child.name}.")


def test_every_public_definition_of_the_core_says_what_it_is() -> None:
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / "ecos_core").rglob("*.py"))
        for name in undocumented(path)
    }
    assert not missing, "\n".join(sorted(missing))
