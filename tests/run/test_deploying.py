"""What docs/guide/deploying.md shows, as it stands: the app behind nginx and Caddy, and as process 1."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from websockets.sync.client import connect

from asgineer.testing._process import ServerProcess, free_port
from tests.channels.redis_server import PRESENT, RedisServer

from .program import PATIENCE, Program, get, until
from .proxies import PAGE, block_of, command_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Start

pytestmark = pytest.mark.server


def app_of_page(folder: Path) -> str:
    found = re.search(r"^```python\n(# app\.py\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    (folder / "app.py").write_text(found[1], encoding="utf-8")
    return "app.py:main"


@pytest.fixture(scope="module")
def app_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("app")
    program = Program(
        folder,
        ["-m", "asgineer", "run", app_of_page(folder), "--server", "uvicorn", "--bind", "127.0.0.1:0"],
        {},
    )
    yield program.serving()
    program.destroy()


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxy_url(
    request: pytest.FixtureRequest, app_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp(request.param)
    port = free_port()
    command = command_of(request.param, folder, port, int(app_url.rpartition(":")[2]))
    with ExitStack() as stack:
        process = ServerProcess.command(command, ("127.0.0.1", port), env={"HOME": str(folder)})
        stack.callback(process.stop)
        process.wait_until_ready()
        yield f"http://127.0.0.1:{port}"


def test_the_app_knows_the_client_and_its_url(proxy_url: str) -> None:
    answer = httpx2.get(proxy_url, headers={"host": "example.com"}).json()
    assert answer == {"client": "127.0.0.1", "url": "http://example.com/"}


def test_what_a_client_claims_does_not_count(proxy_url: str) -> None:
    claims = {"x-forwarded-for": "6.6.6.6", "x-forwarded-proto": "https", "x-forwarded-host": "evil.example"}
    answer = httpx2.get(proxy_url, headers=claims | {"host": "example.com"}).json()
    assert answer == {"client": "127.0.0.1", "url": "http://example.com/"}


def test_events_are_not_held_back(proxy_url: str) -> None:
    with (
        httpx2.Client(base_url=proxy_url, timeout=PATIENCE) as client,
        client.stream("GET", "/events") as events,
    ):
        lines = events.iter_lines()
        assert next(lines).startswith("id: ")
        for number in range(3):  # each is there before the next one is made
            told = client.post("/messages", json={"number": number}).json()["id"]
            assert next(line for line in lines if line.startswith("id:")) == f"id: {told}"
            assert next(lines) == f'data: {{"number":{number}}}'


def test_websockets_pass(proxy_url: str) -> None:
    with connect(proxy_url.replace("http", "ws") + "/echo", proxy=None) as websocket:
        websocket.send("through a proxy")
        assert websocket.recv(PATIENCE) == "through a proxy"


def test_probes_answer(app_url: str) -> None:
    assert get(app_url, "/healthz") == (200, "ok")
    status, body = get(app_url, "/readyz")
    assert (status, json.loads(body)["ok"]) == (200, True)


@pytest.mark.skipif("redis" not in PRESENT, reason="there is no redis-server; `apt-get install` brings it")
def test_readyz_says_that_the_engine_is_away(start: Start, tmp_path: Path) -> None:
    with RedisServer("redis") as engine:
        command = ("-m", "asgineer", "run", app_of_page(tmp_path), "--bind", "127.0.0.1:0")
        program = start(*command, environment={"ASGINEER_BUS": engine.url})
        address = program.serving()
        assert get(address, "/readyz")[0] == 200
        engine.kill()
        until(lambda: get(address, "/readyz")[0] == 503, "the probe that says so")
        assert get(address, "/healthz") == (200, "ok")
        engine.start()
        until(lambda: get(address, "/readyz")[0] == 200, "the probe that says that it is back")
        assert program.end() == 0
    program = start(*command, environment={"ASGINEER_BUS": engine.url})
    assert program.process.wait(PATIENCE) != 0  # and one that can't connect doesn't start


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    there = str(Path(sys.executable).parent / "asgineer")
    unit = block_of("systemd").replace("/srv/app/.venv/bin/asgineer", there)
    (tmp_path / "app.service").write_text(unit, encoding="utf-8")
    (tmp_path / "wrong.service").write_text(unit.replace("KillMode", "KillMod"), encoding="utf-8")
    said = {}
    for name in ("app.service", "wrong.service"):
        command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)]
        verified = subprocess.run(command, capture_output=True, text=True)
        said[name] = [line for line in verified.stderr.splitlines() if name in line]
    assert said["app.service"] == []
    assert "KillMod" in said["wrong.service"][0]


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="a process 1 of its own needs root and unshare"
)
def test_process_1_of_a_container_ends_by_sigterm(tmp_path: Path) -> None:
    """Process 1 gets only the signals that it handles, and has to collect its children."""
    port = free_port()
    last = block_of("A container").rstrip().splitlines()[-1]
    program, *arguments = json.loads(last.removeprefix("CMD "))
    assert (program, arguments[-2:], app_of_page(tmp_path)) == ("asgineer", ["--bind", ":8080"], arguments[1])
    served = [sys.executable, "-m", program, *arguments[:-1], f"127.0.0.1:{port}"]
    command = ["unshare", "--pid", "--fork", "--kill-child", *served]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as outer:
        try:
            assert outer.stdout is not None
            line = next(line for line in outer.stdout if "Serving" in line)
            assert str(port) in line
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
            first = int(children[0])
            status = Path(f"/proc/{first}/status").read_text()
            assert re.search(r"^NSpid:\s+\d+\s+1$", status, re.MULTILINE), status
            os.kill(first, signal.SIGTERM)
            assert outer.wait(PATIENCE) == 0  # as the page says of systemd
        finally:
            outer.kill()
    with closing(socket.socket()) as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_port_and_concurrency_come_from_the_environment(start: Start, tmp_path: Path) -> None:
    port = free_port()
    environment = {"PORT": str(port), "WEB_CONCURRENCY": "1"}
    program = start("-m", "asgineer", "run", app_of_page(tmp_path), environment=environment)
    until(lambda: "Serving" in program.out, "the line that says where it serves")
    assert get(f"127.0.0.1:{port}", "/healthz") == (200, "ok")


def test_several_workers_need_a_bus_that_joins_them(start: Start, tmp_path: Path) -> None:
    program = start("-m", "asgineer", "run", app_of_page(tmp_path), "--bind", "127.0.0.1:0", "--workers", "2")
    assert program.process.wait(PATIENCE) != 0
    until(lambda: program.at_end, "the end of the output")
    assert "Bus(url)" in program.out, program.out
