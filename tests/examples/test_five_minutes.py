"""The first five minutes, as the README tells them: its `app.py`, two windows, and what breaks meanwhile.

The program and the configuration of nginx are taken from the pages as they stand.
"""

from __future__ import annotations

import os
import re
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from asgineer.testing._process import ServerProcess, free_port
from tests.channels.redis_server import PRESENT, RedisServer
from tests.run.program import Program, get, until
from tests.run.proxies import command_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    NewPage = Callable[[str], Page]

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("browser")]

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PATIENCE = 15_000  # milliseconds; the default of `expect` is 5,000


class Board:
    """The README's `app.py`, run by our command in a folder of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        found = re.search(r"^```python\n(# app\.py\n.*?)^```", README, re.MULTILINE | re.DOTALL)
        assert found is not None
        self.text = found[1]
        self._stack = stack
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.write(self.text)

    def write(self, text: str) -> None:
        (self.folder / "app.py").write_text(text, encoding="utf-8")

    def start(self, *options: str, bus: str = "") -> None:
        command = ["-m", "asgineer", "run", "app.py:main", "--bind", f"127.0.0.1:{self.port}", *options]
        environment = {"PYTHONDONTWRITEBYTECODE": "1"} | ({"ASGINEER_BUS": bus} if bus else {})
        self.program = Program(self.folder, command, environment)
        self._stack.callback(self.program.destroy)
        self.program.serving()

    def workers(self) -> list[int]:
        """Return the ids of the processes that serve."""
        main = self.program.process.pid
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    with ExitStack() as stack:
        yield Board(tmp_path, stack)


def say(page: Page, text: str) -> None:
    page.locator("[name=text]").fill(text)
    page.get_by_role("button", name="Say it").click()


def expect_lines(pages: list[Page], *texts: str) -> None:
    for page in pages:
        expect(page.locator("li")).to_have_text(list(texts), timeout=PATIENCE)


def test_two_windows_live_through_changes_and_mistakes(board: Board, new_page: NewPage) -> None:
    board.start("--reload")
    pages = [new_page(board.url), new_page(board.url)]
    say(pages[0], "Is it <b>tea</b> time?")
    expect_lines(pages, "Is it <b>tea</b> time?")

    board.write(board.text.replace('"api", "board"', '"api", "changed"'))
    board.program.wait_for("Serving http", times=2)
    until(lambda: get(f"127.0.0.1:{board.port}", "/api/changed")[0] == 200, "the change")
    board.write(board.text.replace("match request", "mtch request"))
    assert board.program.wait_for(r"(SyntaxError: .*)\n") == "SyntaxError: invalid syntax"
    board.program.wait_for("Waiting for a Python file to change")
    assert board.program.process.poll() is None

    board.write(board.text)
    board.program.wait_for("Serving http", times=3)
    expect_lines(pages)  # the log was in the process, and they are told that it is gone
    say(pages[1], "It is")
    expect_lines(pages, "It is")
    assert board.program.end(signal.SIGINT) == 0


@pytest.mark.timeout(120)  # pages wait for seconds before they come back, three times
@pytest.mark.skipif("redis" not in PRESENT, reason="there is no redis-server; `apt-get install` brings it")
def test_two_workers_behind_nginx_heal(board: Board, new_page: NewPage, tmp_path: Path) -> None:
    with ExitStack() as stack:
        engine = stack.enter_context(RedisServer("redis"))
        board.start("--workers", "2", bus=engine.url)
        port = free_port()
        (tmp_path / "nginx").mkdir()
        command = command_of("nginx", tmp_path / "nginx", port, board.port)
        nginx = ServerProcess.command(command, ("127.0.0.1", port))
        stack.callback(nginx.stop)
        nginx.wait_until_ready()
        pages = [new_page(f"http://127.0.0.1:{port}"), new_page(f"http://127.0.0.1:{port}")]
        said = ["One"]
        say(pages[0], "One")
        expect_lines(pages, *said)
        for number, worker in enumerate(board.workers()):
            os.kill(worker, signal.SIGKILL)
            board.program.wait_for("starting another", times=number + 1)
            board.program.wait_for("Server is starting up", times=number + 3)
            said.append(f"Without {number}")
            say(pages[number], said[-1])
            expect_lines(pages, *said)

        with pages[1].expect_response(lambda answer: answer.status == 502):  # after which browsers give up
            assert board.program.end() == 0
        board.start("--workers", "2", bus=engine.url)
        say(pages[0], "Back")
        expect_lines(pages, *said, "Back")  # also the page that did nothing came back by itself
        assert board.program.end() == 0
