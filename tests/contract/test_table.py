"""The table of differences names only cases and set-ups that there are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.contract.differences import DIFFERENCES, UNSAFE
from tests.contract.harness import SETUPS


def cases() -> set[str]:
    """Return the names of all test functions of the suite."""
    modules = [ast.parse(path.read_text()) for path in Path(__file__).parent.glob("test_*.py")]
    return {node.name for tree in modules for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("case", "setup_name"), DIFFERENCES)
def test_difference_names_a_case_and_a_setup(case: str, setup_name: str) -> None:
    assert case.partition("[")[0] in cases()
    assert setup_name in SETUPS


def test_differences_are_in_order() -> None:
    assert list(DIFFERENCES) == sorted(DIFFERENCES)


def test_unsafe_ones_are_differences() -> None:
    assert set(DIFFERENCES) >= UNSAFE
