"""Imports go downwards only, by the table of layers in docs/design.md.

Every import statement of the package counts, inside functions too; those for types alone
(`if TYPE_CHECKING:`) don't, they can't make a cycle at run time.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "asgineer"

# Kept apart by more than their place (docs/design.md says why).
ONLY = {
    "_uvicorn": {"_h1", "_deadlines", "_exchange", "_shutdown"},
    "_exchange": {"_h1", "_deadlines"},
    "_deadlines": {"_h1", "_clock"},
    "_h1": {"_limits"},
    "channels": {
        "errors",
        "_json",
        "_sse",
        "_shutdown",
        "_clock",
        "_log",
        "_interrupt",
        "_limits",
        "_extras",
    },
}


def read_table(text: str) -> dict[str, bool]:
    """Return the modules of the layer table, lowest first, with whether each is there already."""
    section = text.partition("### Layers")[2]
    rows = re.findall(r"^\|[^|]+\|([^|]+)\|$", section.partition("\n\nTwo are kept")[0], re.MULTILINE)
    return {name: not planned for row in rows for name, planned in re.findall(r"`(\w+)`( \(planned\))?", row)}


LAYERS = read_table((ROOT / "docs" / "design.md").read_text(encoding="utf-8"))
ORDER = list(LAYERS)


def modules() -> dict[str, list[Path]]:
    """Return the files of each module; a folder counts as one module."""
    result: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        result.setdefault(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), []).append(path)
    return result


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Walk `node`, leaving out what stands under `if TYPE_CHECKING:`."""
    yield node
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        children = list(node.orelse)
    for child in children:
        yield from runtime_nodes(child)


def imported_names(source: str, location: tuple[str, ...]) -> Iterator[str]:
    """Yield the full name of everything that a module of the package imports at run time.

    `location` is the package that the module stands in, such as ("asgineer",). `from a import b`
    yields "a.b", as b may be a module.
    """
    for node in runtime_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = location[: len(location) - node.level + 1] if node.level else ()
            for alias in node.names:
                yield ".".join([*base, *([node.module] if node.module else []), alias.name])


def own_imports(source: str, location: tuple[str, ...]) -> set[str]:
    """Return which modules of the package are imported, `__init__` for a name of the package itself."""
    found = set()
    for name in imported_names(source, location):
        package, _, rest = name.partition(".")
        if package == "asgineer":
            first = rest.partition(".")[0]
            found.add(first if first in LAYERS else "__init__")
    return found


def imports_of(module: str) -> set[str]:
    found = set()
    for path in modules()[module]:
        location = ("asgineer", *path.relative_to(PACKAGE).parts[:-1])
        found |= own_imports(path.read_text(encoding="utf-8"), location)
    return found - {module}


def test_table_and_package_agree() -> None:
    assert set(modules()) == {name for name, present in LAYERS.items() if present}


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_go_downwards(module: str) -> None:
    below = ORDER[: ORDER.index(module)]
    too_high = imports_of(module).difference(below)
    assert not too_high, f"{module} imports {sorted(too_high)}, which stand above it in docs/design.md"


def test_modules_kept_apart() -> None:
    for module in ONLY.keys() & modules().keys():
        assert imports_of(module) <= ONLY[module], module
    assert set(LAYERS) >= set(ONLY)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from . import _clock, _json", {"_clock", "_json"}),
        ("from .errors import HTTPError", {"errors"}),
        ("def f():\n    from ._run import run", {"_run"}),
        ("import asgineer._app", {"_app"}),
        ("from asgineer.testing._wire import Scope", {"testing"}),
        ("from asgineer import to_asgi", {"__init__"}),
        ("from . import __version__", {"__init__"}),
        ("if TYPE_CHECKING:\n    from ._run import run", set()),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    from ._run import run", {"_run"}),
        ("import asyncio", set()),
    ],
)
def test_finding_imports(source: str, expected: set[str]) -> None:
    table = {"_clock", "_json", "errors", "_run", "_app", "testing", "__init__"}
    assert table - set(LAYERS) == set()
    assert own_imports(source, ("asgineer",)) == expected


def test_finding_imports_in_a_folder() -> None:
    assert own_imports("from .._clock import clock", ("asgineer", "testing")) == {"_clock"}
    assert own_imports("from ._wire import Scope", ("asgineer", "testing")) == {"testing"}
