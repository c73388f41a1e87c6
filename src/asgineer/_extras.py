"""What to tell a user who lacks an optional package: the command that installs it.

The distribution's name is asked, not known: it stands in pyproject.toml alone.
"""

from __future__ import annotations


def install_command(extra: str, package: str = "") -> str:
    """Return the command that installs one of our extras.

    Args:
        extra: its name in pyproject.toml.
        package: what to install where our distribution can't be found; left out, it has the extra's name.
    """
    from importlib.metadata import entry_points

    for script in entry_points(group="console_scripts", name="asgineer"):
        if script.dist is not None and script.value.startswith("asgineer."):
            return f'pip install "{script.dist.name}[{extra}]"'
    return f"pip install {package or extra}"
