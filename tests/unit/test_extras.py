"""What to install: the distribution that owns our command, and what is said without one."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

from asgineer._extras import install_command

if TYPE_CHECKING:
    import pytest


def test_the_distribution_that_owns_the_command_is_named() -> None:
    [distribution] = {
        script.dist.name
        for script in importlib.metadata.entry_points(name="asgineer", value="asgineer.__main__:main")
        if script.dist is not None
    }
    assert install_command("sessions", "itsdangerous") == f'pip install "{distribution}[sessions]"'


def test_without_a_distribution_the_package_itself_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [])
    assert install_command("daphne") == "pip install daphne"
    assert install_command("sessions", "itsdangerous") == "pip install itsdangerous"
