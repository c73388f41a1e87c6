"""Examples as programs of their own, and a browser that visits them."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from playwright.sync_api import sync_playwright

from asgineer.testing import run_server
from asgineer.testing._process import ServerProcess, free_port
from tests.examples import event_cases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 15_000  # milliseconds for one step of a page
FILLED = 45_000  # milliseconds for plots that are to be seen in a picture
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Picture(Protocol):
    """What the fixture `picture` gives."""

    def __call__(self, page: Page, name: str, when: str = "true") -> None: ...


class Example:
    """An example that runs as `python examples/name.py` on a port of its own."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(self.program), f"127.0.0.1:{self.port}"]
        self.process = ServerProcess.command(command, ("127.0.0.1", self.port))
        self.process.wait_until_ready()

    def stop(self) -> int:
        """End it as an administrator does, by SIGTERM; return its exit status."""
        status = self.process.stop()
        assert "ERROR" not in self.process.output, self.process.output
        return status


@pytest.fixture(scope="module")
def run_example() -> Iterator[Callable[[str], Example]]:
    """Start an example by its name, once for a module."""
    running: dict[str, Example] = {}

    def run(name: str) -> Example:
        if name not in running:
            running[name] = Example(EXAMPLES / f"{name}.py")
        return running[name]

    with contextlib.ExitStack() as stack:
        yield run
        for example in running.values():
            stack.callback(example.stop)


@pytest.fixture(scope="module")
def events_url() -> Iterator[str]:
    """Where `event_cases` is served."""
    with run_server(event_cases.main) as server:
        yield server.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium; `apt-get install chromium` brings it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Callable[[str], Page]]:
    """Open a page as a visitor of its own; no page may have failed in its script."""
    errors: list[str] = []
    with contextlib.ExitStack() as stack:

        def open_page(url: str) -> Page:
            context = browser.new_context(viewport={"width": 720, "height": 640})
            stack.callback(context.close)
            context.set_default_timeout(PATIENCE)
            page = context.new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(url)
            return page

        yield open_page
    assert errors == []


@pytest.fixture
def picture() -> Picture:
    """Take a picture of a page; PICTURES=1 in the environment keeps it as what `examples/README.md` shows.

    One that is kept waits until `when` holds in the page: plots have filled, a text is there.
    """

    def take(page: Page, name: str, when: str = "true") -> None:
        kept = os.environ.get("PICTURES") == "1"
        if kept:
            page.wait_for_function(when, polling=250, timeout=FILLED)
        shown = page.screenshot()
        assert shown.startswith(b"\x89PNG")
        if kept:
            (EXAMPLES / "pictures").mkdir(exist_ok=True)
            (EXAMPLES / "pictures" / f"{name}.png").write_bytes(shown)

    return take
