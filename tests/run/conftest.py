"""The fixture that writes a program into a fresh folder and starts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from .program import Program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Start(Protocol):
    def __call__(self, *arguments: str, environment: dict[str, str] | None = None) -> Program: ...


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `python arguments…` in the test's folder; whatever it left running is killed at the end."""
    programs: list[Program] = []

    def start_one(*arguments: str, environment: dict[str, str] | None = None) -> Program:
        programs.append(Program(tmp_path, list(arguments), environment or {}))
        return programs[-1]

    yield start_one
    for program in programs:
        program.destroy()
