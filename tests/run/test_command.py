"""The command line as a real process: a file is served, mistakes are told in one line."""

from __future__ import annotations

import os
import sysconfig
from typing import TYPE_CHECKING

import pytest

from .program import get

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Start

pytestmark = pytest.mark.server

APP = """
import asgineer

@asgineer.to_asgi
async def main(request):
    1 / 0
"""


def test_a_file_in_a_package_is_served_as_part_of_it(start: Start, tmp_path: Path) -> None:
    package = tmp_path / "site" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "words.py").write_text("GREETING = 'good day'\n")
    (package / "web.py").write_text(
        "import asgineer\nfrom .words import GREETING\n\n"
        "@asgineer.to_asgi\nasync def main(request):\n    return GREETING + ' from ' + __name__\n"
    )
    program = start("-m", "asgineer", "run", "site/shop/web.py:main", "--bind", "127.0.0.1:0", "--access-log")
    assert get(program.serving()) == (200, "good day from shop.web")
    program.wait_for(r'127.0.0.1 "GET / HTTP/1.1" 200 22 ')
    assert program.end() == 0


def test_the_console_script_serves_a_module_with_workers_and_debug(start: Start, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(APP)
    command = os.path.join(sysconfig.get_path("scripts"), "asgineer")
    program = start(
        *(command, "run", "example:main", "--debug", "--bind", "127.0.0.1:0"),
        environment={"WEB_CONCURRENCY": "2"},
    )
    status, body = get(program.serving())
    assert (status, "ZeroDivisionError" in body) == (500, True)
    program.wait_for("Server is starting up", times=2)
    assert program.end() == 0


@pytest.mark.parametrize("server", ["uvicorn", "granian"])
def test_reload_of_a_file_begins_with_a_mistake_in_it(server: str, start: Start, tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text("def")
    program = start(
        *(
            "-m",
            "asgineer",
            "run",
            "example.py:main",
            "--reload",
            "--server",
            server,
            "--bind",
            "127.0.0.1:0",
        ),
        environment={"WEB_CONCURRENCY": "2"},  # a platform's setting is no reason not to reload
    )
    program.wait_for("SyntaxError")
    file.write_text("import asgineer\n\n@asgineer.to_asgi\nasync def main(request):\n    return 'right'\n")
    assert get(program.serving()) == (200, "right")
    assert program.end() == 0


def test_a_mistake_is_one_line(start: Start) -> None:
    program = start("-m", "asgineer", "run", "nowhere.py:main")
    assert program.ended() == 2
    assert program.out == "asgineer: There is no file nowhere.py\n"
