"""The programs that users know, letter for letter, served by every server.

`guide/` holds them as they stand in the guide, its two slips mended (`request.send` for
`msg.send`, and an f before an f-string); as text, so that no formatter touches them. What the
guide leaves out around a snippet (import, decorator, a generator) is added here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from asgineer.testing._process import ServerProcess, free_port
from tests.contract.harness import FAKE, SETUPS, RealServer, Spot, marks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDE = Path(__file__).parent / "guide"
DECORATED = "import asgineer\n\n\n@asgineer.to_asgi\n"
GENERATOR = """

async def some_generator():
    for chunk in ("one ", "two ", b"three"):
        yield chunk
"""
# Serves each program under a host of its own: their paths begin at the root.
DISPATCHER = """
import chunked, example, lowlevel, routing, triple, websocket

HOSTS = {
    "example": example.main, "triple": triple.main, "routing": routing.main,
    "lowlevel": lowlevel.main, "chunked": chunked.main,
}

async def main(scope, receive, send):
    if scope["type"] == "websocket":
        return await websocket.websocket_handler(scope, receive, send)
    host = dict(scope.get("headers", ())).get(b"host", b"").decode().partition(".")[0]
    await HOSTS.get(host, example.main)(scope, receive, send)
"""


def snippet(name: str) -> str:
    return (GUIDE / f"{name}.txt").read_text()


PROGRAMS = {
    "example": snippet("first_look") + "\n\n" + snippet("script_end"),
    "triple": DECORATED + snippet("triple"),
    "routing": snippet("routing"),
    "lowlevel": DECORATED + snippet("lowlevel"),
    "chunked": DECORATED + snippet("chunked") + GENERATOR,
    "websocket": DECORATED + snippet("websocket"),
    "everything": DISPATCHER,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the programs, as a user would have written them."""
    path = tmp_path_factory.mktemp("guide")
    for name, text in PROGRAMS.items():
        (path / f"{name}.py").write_text(text)
    return path


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=marks_of(name)) for name in SETUPS if name != FAKE],
)
def guide(request: pytest.FixtureRequest, folder: Path) -> Iterator[RealServer]:
    """A server that serves all programs."""
    spot = Spot("127.0.0.1", free_port())
    server = RealServer(request.param, spot, "everything:main", str(folder))
    yield server
    server.stop()


def get(server: RealServer, program: str, path: str) -> tuple[int, str | None, str]:
    reply = server.get(path, [("host", f"{program}.test")])
    return reply.status, reply.header("content-type"), reply.text


HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"


def test_first_example_is_served_as_html(guide: RealServer) -> None:
    expected = "<html>You requested <b>/some/path</b></html>"
    assert get(guide, "example", "/some/path") == (200, HTML, expected)


def test_status_headers_and_body_are_returned(guide: RealServer) -> None:
    assert get(guide, "triple", "/x") == (200, HTML, "<html>You requested <b>/x</b></html>")


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (
            "/",
            (200, HTML, '<html>  <script src="/assets/main.js"></script>  Index page</html>'),
        ),
        ("/assets/main.js", (200, "application/javascript", "console.log('Hello from asgineer!')")),
        ("/assets/none.js", (404, TEXT, "asset not found")),
        ("/api/some/thing", (200, "application/json", '{"path":"some/thing"}')),
        ("/elsewhere", (404, TEXT, "Page not found")),
    ],
)
def test_routing_is_linear(guide: RealServer, path: str, answer: tuple[int, str, str]) -> None:
    assert get(guide, "routing", path) == answer


def test_lower_level_response_has_only_its_own_headers(guide: RealServer) -> None:
    assert get(guide, "lowlevel", "/x") == (200, "text/html", "<html>You requested /x</html>")


def test_chunked_response_arrives_whole(guide: RealServer) -> None:
    assert get(guide, "chunked", "/") == (200, "text/plain", "one two three")


def test_websocket_handler_answers_and_echoes(guide: RealServer) -> None:
    with guide.websocket("/") as socket:
        socket.send("hi")
        assert socket.receive() == "Hello!"
        for message in ("text", b"bytes"):
            socket.send(message)
            assert socket.receive() == f"echo {message!s}"
        socket.close()


def served(process: ServerProcess, port: int) -> str:
    """Ask the program that `process` runs for a page, then stop it."""
    try:
        process.wait_until_ready()
        return httpx2.get(f"http://localhost:{port}/page", timeout=10).text
    finally:
        process.stop()


PAGE = "<html>You requested <b>/page</b></html>"


@pytest.mark.server
@pytest.mark.parametrize("server_name", ["uvicorn", "hypercorn", "daphne", "granian"])
@pytest.mark.parametrize("first", ["server", "app"])
def test_script_runs_itself(tmp_path: Path, server_name: str, first: str) -> None:
    port = free_port()
    text = PROGRAMS["example"].replace("8080", str(port)).replace("uvicorn", server_name)
    if first == "app":  # the order of arguments that later releases documented
        text = text.replace(f"'{server_name}', main", f"main, '{server_name}'")
    (tmp_path / "example.py").write_text(text)
    process = ServerProcess.command([sys.executable, "example.py"], ("localhost", port), cwd=str(tmp_path))
    assert served(process, port) == PAGE


@pytest.mark.server
@pytest.mark.parametrize(
    "command",
    [
        "uvicorn example:main --host=localhost --port=8080",
        "hypercorn example:main --bind=localhost:8080",
        "hypercorn example.py:main --bind=localhost:8080",
        "daphne example:main --bind=localhost --port=8080",
        "granian --interface asgi example:main --port=8080",
        "asgineer run example.py:main --bind=localhost:8080",
    ],
)
def test_command_serves_the_example(folder: Path, command: str) -> None:
    port = free_port()
    name, *arguments = command.replace("8080", str(port)).split()
    process = ServerProcess.command(
        [sys.executable, "-m", name, *arguments], ("localhost", port), cwd=str(folder)
    )
    assert served(process, port) == PAGE


@pytest.mark.server
def test_uvicorn_takes_no_file_name(folder: Path) -> None:
    command = [sys.executable, "-m", "uvicorn", "example.py:main", f"--port={free_port()}"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30)
    assert ended.returncode != 0
