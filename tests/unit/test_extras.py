"""What to install: the distribution that owns our command, and what is said without one."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import pytest

from asgineer._extras import install_command


def test_the_distribution_that_owns_the_command_is_named() -> None:
    [distribution] = {
        script.dist.name
        for script in importlib.metadata.entry_points(name="asgineer", value="asgineer.__main__:main")
        if script.dist is not None
    }
    assert install_command("sessions", "itsdangerous") == f'pip install "{distribution}[sessions]"'


class Script:
    """An entry point of somebody else's that has our name, and one that no distribution owns."""

    value = "other:main"
    dist = None


@pytest.mark.parametrize("scripts", [[], [Script()]])
def test_without_a_distribution_the_package_itself_is_named(
    monkeypatch: pytest.MonkeyPatch, scripts: list[Any]
) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: scripts)
    assert install_command("daphne") == "pip install daphne"
    assert install_command("sessions", "itsdangerous") == "pip install itsdangerous"
