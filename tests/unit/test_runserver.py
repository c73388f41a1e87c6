"""run_server: a real server in a child process, ready when it listens, its output kept, stopped by its id."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from asgineer import HttpRequest, to_asgi
from asgineer.testing import RunningServer, run_server
from asgineer.testing._process import is_listening
from asgineer.testing._runserver import _import_string

pytestmark = pytest.mark.server

SERVERS = ("uvicorn", "hypercorn", "daphne", "granian")


@to_asgi
async def site(request: HttpRequest) -> str:
    print("asked for", request.path, flush=True)
    if request.path == "/wrong":
        raise ValueError("a mistake")
    return "from a module"


async def handler(request: HttpRequest) -> str:
    return "from a handler"


def get(server: RunningServer, path: str = "/") -> httpx2.Response:
    return httpx2.get(server.url + path, timeout=10, trust_env=False)


@pytest.mark.parametrize("name", SERVERS)
def test_it_serves_until_the_block_ends(name: str) -> None:
    with run_server(site, name) as server:
        assert get(server).text == "from a module"
        assert server.status is None
        host, _, port = server.bind.rpartition(":")
    assert server.status == 0
    assert not is_listening((host, int(port)))


def test_its_output_is_kept() -> None:
    with run_server(site) as server:
        assert get(server, "/wrong").status_code == 500
        assert server.stop() == 0, "it may be stopped before the block ends"
    assert "asked for /wrong" in server.output
    assert "ValueError in request handler: a mistake" in server.output


def test_what_is_made_in_a_function_is_served_by_a_copy_of_this_process() -> None:
    text = "from a closure"

    @to_asgi
    async def local(request: HttpRequest) -> str:
        return text

    with run_server(local) as server:
        assert get(server).text == "from a closure"


def test_a_handler_of_a_module_is_served() -> None:
    with run_server(handler) as server:
        assert get(server).text == "from a handler"


def test_options_are_those_of_run() -> None:
    with run_server(site, access_log=True, log_level="info") as server:
        get(server, "/page")
    assert '"GET /page HTTP/1.1" 200 13' in server.output


def test_options_that_are_no_plain_data_are_served_by_a_copy() -> None:
    with run_server(site, http=H11Protocol) as server:
        assert get(server).text == "from a module"


def test_several_run_at_once() -> None:
    with run_server(site) as one, run_server(handler) as two:
        assert one.pid != two.pid
        assert [get(one).text, get(two).text] == ["from a module", "from a handler"]


def test_a_start_that_fails_tells_why() -> None:
    told = pytest.raises(
        RuntimeError, match=r'ended with status 3:\n.*Could not import module "no_such_loop"'
    )
    with told, run_server(site, loop="no_such_loop:x"):
        pass


def test_a_server_that_there_is_not_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="Invalid server specified: 'apache'"), run_server(site, "apache"):
        pass


def test_what_the_test_raises_ends_it() -> None:
    servers: list[RunningServer] = []

    def fail() -> None:
        with run_server(site) as server:
            servers.append(server)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert servers[0].status == 0


# The name that another process can import


def made_here() -> Any:
    @to_asgi
    async def local(request: HttpRequest) -> str:
        return ""

    return local


@pytest.mark.parametrize(
    ("module", "found"),
    [(__name__, None), ("__main__", None), ("no_such_module", None), (None, None), ("socket", None)],
)
def test_what_can_not_be_imported_has_no_name(module: str | None, found: str | None) -> None:
    app = made_here()
    app.__module__ = module
    assert _import_string(app) == found


def test_a_module_that_was_loaded_from_elsewhere_is_not_taken_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = made_here()
    app.__module__ = "socket"
    monkeypatch.setattr(socket, "its_app", app, raising=False)
    assert _import_string(app) == "socket:its_app"
    monkeypatch.setattr(socket, "__file__", str(Path(__file__)))
    assert _import_string(app) is None


def test_a_module_without_a_spec_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    app = made_here()
    app.__module__ = "socket"
    monkeypatch.setattr(socket, "its_app", app, raising=False)
    monkeypatch.setattr(socket, "__spec__", None)  # as a module that was run as a script has it
    assert _import_string(app) is None


PARENT = """
import sys, {here}
from asgineer.testing import run_server

async def handler(request):
    return "x"

with run_server({app}) as server:
    print(server.pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs a handle on a process that is no child")
@pytest.mark.parametrize("app", [f"{__name__}.site", "handler"], ids=["command", "copy"])
def test_it_ends_when_its_parent_was_killed(app: str) -> None:
    program = PARENT.format(here=__name__, app=app)
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout is not None
        server = os.pidfd_open(int(parent.stdout.readline()))  # which has nobody to wait for it then
        try:
            parent.kill()
            ended, _, _ = select.select([server], [], [], 20)
            if not ended:
                signal.pidfd_send_signal(server, signal.SIGKILL)
        finally:
            os.close(server)
    assert ended
