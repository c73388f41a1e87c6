"""Every program in examples/ does what its page says."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asgineer.testing._process import ServerProcess, free_port
from asgineer.testutils import MockTestServer, WebsocketClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_lists_every_example() -> None:
    listed = re.findall(
        r"^\| \[(\w+)\.py\]", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(listed) == sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.fixture
def guide(monkeypatch: pytest.MonkeyPatch) -> Iterator[MockTestServer]:
    module = load("guide")
    monkeypatch.setattr(module, "INTERVAL", 0)
    with MockTestServer(module.main) as server:
        yield server


def test_guide_page_and_its_links(guide: MockTestServer) -> None:
    page = guide.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    links = re.findall(r'(?:href|src)="([^"]+)"', page.body.decode())
    assert len(links) >= 5
    for link in links:
        assert guide.get(link).status == 200, link


def test_guide_escapes_the_path(guide: MockTestServer) -> None:
    body = guide.get("/hello/%3Cscript%3E").body
    assert body == b"<html>You requested <b>/hello/&lt;script&gt;</b></html>"


def test_guide_api(guide: MockTestServer) -> None:
    assert json.loads(guide.get("/api/drinks/1").body) == {"name": "tea"}
    assert guide.get("/api/drinks/9").status == 404
    assert guide.get("/api/drinks/tea").status == 404
    assert guide.delete("/api/drinks").headers["allow"] == "GET, HEAD"
    assert json.loads(guide.post("/api/echo", b'{"a": 1}').body) == {"you_sent": {"a": 1}}


def test_guide_stream(guide: MockTestServer) -> None:
    assert guide.get("/stream").body.decode().splitlines() == [f"line {number}" for number in range(10)]


def test_guide_websocket(guide: MockTestServer) -> None:
    async def talk(ws: WebsocketClient) -> object:
        await ws.send("hello")
        return json.loads(await ws.receive())

    assert guide.ws_communicate("/echo", talk) == {"echo": "hello", "length": 5}


@pytest.mark.server
def test_guide_runs_as_a_program() -> None:
    port = free_port()
    command = [sys.executable, str(EXAMPLES / "guide.py"), f"127.0.0.1:{port}"]
    server = ServerProcess.command(command, ("127.0.0.1", port))
    try:
        server.wait_until_ready()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/drinks/3", timeout=10) as answer:
            assert json.load(answer) == {"name": "water"}
    finally:
        status = server.stop()
    assert f"Serving http://127.0.0.1:{port} with " in server.output
    assert status == 0


def test_move_fastapi() -> None:
    async def talk(ws: WebsocketClient) -> object:
        await ws.send("hello")
        return await ws.receive()

    with MockTestServer(load("move_fastapi").main) as server:
        assert json.loads(server.get("/drinks/tea").body) == {"name": "tea", "left": 3, "by": "Asgineer"}
        assert json.loads(server.get("/drinks/water").body) == {"name": "water", "left": 100, "by": "FastAPI"}
        assert server.get("/nothing").status == 404
        assert b"/openapi.json" in server.get("/docs").body
        assert server.ws_communicate("/echo", talk) == "hello"
