"""The public face: `__all__`, what is there, and the reference page name the same things."""

from __future__ import annotations

import importlib
import re
from types import ModuleType

import pytest

import asgineer

from ._pages import ROOT

REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
PUBLIC_MODULES = ["asgineer", "asgineer.utils", "asgineer.security", "asgineer.testing", "asgineer.testutils"]


def documented(module: str) -> list[str]:
    """Return the names in the first column of the tables under the heading of `module`."""
    section = re.search(rf"^## `{re.escape(module)}`\n(.*?)(?=^## |\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    assert section is not None, f"docs/reference.md has no heading for {module}"
    return re.findall(r"^\| `(\w+)[^|]*\|", section[1], re.MULTILINE)


def public_names(module: ModuleType) -> set[str]:
    """Return what is visible in `module`: no modules, and nothing that begins with an underscore."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and name not in ("annotations", "TYPE_CHECKING")
    }


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_reference_names_what_is_exported(name: str) -> None:
    module = importlib.import_module(name)
    exported = [entry for entry in module.__all__ if not entry.startswith("__")]
    assert sorted(documented(name)) == sorted(exported)


def test_all_is_what_is_public() -> None:
    modules = {name for name in asgineer.__all__ if isinstance(getattr(asgineer, name), ModuleType)}
    exported = {name for name in asgineer.__all__ if not name.startswith("__")}
    assert exported - modules == public_names(asgineer)


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_everything_exported_is_there_and_described(name: str) -> None:
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    for entry in module.__all__:
        value = getattr(module, entry)
        if isinstance(value, type) or callable(value):
            assert value.__doc__, f"{name}.{entry} has no docstring"


@pytest.mark.parametrize("name", ["errors"])
def test_all_errors_are_exported(name: str) -> None:
    errors = importlib.import_module(f"asgineer.{name}")
    assert set(errors.__all__) <= set(asgineer.__all__)
