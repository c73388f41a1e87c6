"""run(): what its arguments mean, and what is said about those that mean nothing."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import logging
import logging.config
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

import asgineer
from asgineer import _load, _process, _run, _servers
from asgineer._bind import Bind

if TYPE_CHECKING:
    from pathlib import Path


@asgineer.to_asgi
async def main(request: asgineer.HttpRequest) -> str:
    return "hello"


async def handler(request: asgineer.HttpRequest) -> str:
    return "hello"


class Plain:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        pass


class Handler:
    async def __call__(self, request: Any) -> str:
        return "hello"


instance = Plain()


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> list[_servers.Job]:
    """Note the jobs that run() would start, instead of starting them."""
    jobs: list[_servers.Job] = []

    def note(job: _servers.Job, ready: Any) -> int:
        jobs.append(job)
        return 0

    for server in _servers.SERVERS:
        monkeypatch.setitem(_servers.STARTERS, server, note)
    return jobs


# The order of the arguments


@pytest.mark.parametrize(
    ("arguments", "app", "server"),
    [
        ((main, "hypercorn"), main, "hypercorn"),
        (("hypercorn", main), main, "hypercorn"),
        (("HyperCorn", main), main, "hypercorn"),
        ((main,), main, "uvicorn"),
        ((main, None), main, "uvicorn"),
        (("m:app",), "m:app", "uvicorn"),
        (("m:app", "daphne"), "m:app", "daphne"),
        (("daphne", "m:app"), "m:app", "daphne"),
        (("m:app.inner", "daphne"), "m:app.inner", "daphne"),
        ((instance, "daphne"), instance, "daphne"),
    ],
)
def test_both_orders(arguments: tuple[Any, ...], app: Any, server: str, start: list[_servers.Job]) -> None:
    options: dict[str, Any] = {"bind": "127.0.0.1:0"}
    asgineer.run(*arguments, **options)
    [job] = start
    assert (job.app, job.server) == (app, server)


def test_the_bind_may_be_the_third_argument(start: list[_servers.Job]) -> None:
    asgineer.run("daphne", main, "127.0.0.1:0")
    asgineer.run(main, "uvicorn", "127.0.0.1:0")
    daphne, uvicorn = start
    assert daphne.bind.port > 0
    assert daphne.sockets == ()
    assert [sock.fileno() for sock in uvicorn.sockets] == [-1]  # closed at the end


FULL_PATH = "If specifying an app by name, give its full path!"


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        (("example",), {}, ValueError, FULL_PATH),
        (("uvicorn",), {}, ValueError, FULL_PATH),
        (("example", "uvicorn"), {}, ValueError, FULL_PATH),
        (("uvicorn", "example"), {}, ValueError, FULL_PATH),
        (("uvicorn", "uvicorn"), {}, ValueError, FULL_PATH),
        ((":main", "uvicorn"), {}, ValueError, FULL_PATH),
        (("example:", "uvicorn"), {}, ValueError, FULL_PATH),
        ((main, "nope"), {}, ValueError, "Invalid server specified: 'nope'"),
        (("nope", main), {}, ValueError, "Invalid server specified: 'nope'"),
        ((main, "localhost:80"), {}, ValueError, "Invalid server specified: 'localhost:80'"),
        ((main, "uvicorn", "localhost"), {}, ValueError, "Invalid bind 'localhost'"),
        ((main, "daphne"), {"workers": 2}, ValueError, "daphne serves with one worker"),
        ((main, "uvicorn"), {"workers": 2, "reload": True}, ValueError, "reload works with one worker"),
        ((main, "uvicorn"), {"workers": 0}, ValueError, "workers must be a whole number above 0, not 0"),
        ((main, "uvicorn"), {"workers": 1.5}, ValueError, "not 1.5"),
        ((main, "uvicorn"), {"workers": True}, ValueError, "not True"),
        ((main, "uvicorn"), {"log_level": "loud"}, ValueError, "Invalid log_level 'loud'"),
        ((main, "uvicorn"), {"log_level": 7}, ValueError, "Invalid log_level 7"),
        ((main, "uvicorn"), {"port": 80}, ValueError, "'port' is not an option here"),
        ((main, "granian"), {"interface": "rsgi"}, ValueError, "'interface' is not an option here"),
        ((5, "uvicorn"), {}, TypeError, "An ASGI app or 'module:name' is needed, not int 5"),
        ((None, "uvicorn"), {}, TypeError, "not NoneType None"),
        (
            (handler, "uvicorn"),
            {},
            TypeError,
            "handler is a handler, not an ASGI app: put @asgineer.to_asgi above it",
        ),
        (("uvicorn", handler), {}, TypeError, "handler is a handler"),
        ((Handler(), "uvicorn"), {}, TypeError, "Handler is a handler"),
        (("no.module.of.this.name:main",), {}, ImportError, "There is no module 'no.module.of.this.name'"),
        (("asgineer.errors:main",), {}, ImportError, "There is no 'main' in 'asgineer.errors'"),
        (("asgineer.errors:HTTPError.x",), {}, ImportError, "There is no 'HTTPError.x' in 'asgineer.errors'"),
        (("asgineer.errors:__doc__",), {}, TypeError, "An ASGI app or 'module:name' is needed, not str"),
        ((main, "hypercorn"), {"loglevels": "x"}, ValueError, "hypercorn has no option 'loglevels'"),
        ((main, "hypercorn"), {"worker_class": "trio"}, ValueError, "our apps run on asyncio"),
    ],
)
def test_what_means_nothing_is_told(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], text: str
) -> None:
    if len(arguments) < 3:
        options = {"bind": "127.0.0.1:0", **options}
    with pytest.raises(error) as caught:
        asgineer.run(*arguments, **options)
    assert text in str(caught.value)
    assert isinstance(caught.value, _load.StartError)


@pytest.mark.parametrize(
    ("level", "name"),
    [("INFO", "info"), ("info", "info"), (logging.INFO, "info"), ("warn", "warning"), ("FATAL", "critical")],
)
def test_log_level_in_every_form(level: str | int, name: str, start: list[_servers.Job]) -> None:
    asgineer.run(main, bind="127.0.0.1:0", log_level=level)
    assert start[0].log_level == name


def test_other_keywords_are_the_servers(start: list[_servers.Job]) -> None:
    asgineer.run(main, "uvicorn", "127.0.0.1:0", root_path="/sub", backlog=5)
    assert start[0].options == {"root_path": "/sub", "backlog": 5}


# Which server


def test_the_first_installed_server_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for names in (["granian", "daphne"], ["hypercorn", "daphne"], ["daphne"]):
        monkeypatch.setattr(_run, "_is_installed", names.__contains__)
        assert _run.choose_server(None) == names[0]


def test_a_missing_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_run, "_is_installed", lambda name: False)
    [distribution] = {
        script.dist.name
        for script in importlib.metadata.entry_points(name="asgineer", value="asgineer.__main__:main")
        if script.dist is not None
    }
    with pytest.raises(ImportError) as caught:
        asgineer.run(main, "hypercorn")
    assert str(caught.value) == f'hypercorn is not installed. Try: pip install "{distribution}[hypercorn]"'
    with pytest.raises(ImportError, match="No ASGI server is installed. Try: pip install"):
        asgineer.run(main)


@pytest.mark.parametrize("options", [{"workers": 2}, {"reload": True}])
def test_an_app_without_a_name_cannot_be_served_by_other_processes(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be found by another process"):
        asgineer.run(Plain(), "uvicorn", "127.0.0.1:0", **options)


# What is around a server


@pytest.mark.parametrize(
    ("debug", "before", "during"),
    [(None, None, None), (None, "1", "1"), (True, None, "1"), (True, "0", "1"), (False, "1", "0")],
)
def test_debug_is_in_the_environment_meanwhile(
    debug: bool | None, before: str | None, during: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ASGINEER_DEBUG", raising=False)
    if before is not None:
        monkeypatch.setenv("ASGINEER_DEBUG", before)
    seen: list[str | None] = []

    def look(job: _servers.Job, ready: Any) -> int:
        seen.append(os.environ.get("ASGINEER_DEBUG"))
        return 0

    monkeypatch.setitem(_servers.STARTERS, "uvicorn", look)
    asgineer.run(main, "uvicorn", "127.0.0.1:0", debug=debug)
    assert seen == [during]
    assert os.environ.get("ASGINEER_DEBUG") == before


def test_the_status_of_a_failed_start_is_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_servers.STARTERS, "uvicorn", lambda job, ready: 3)
    with pytest.raises(SystemExit) as caught:
        asgineer.run(main, "uvicorn", "127.0.0.1:0")
    assert caught.value.code == 3


def test_a_port_in_use_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(SystemExit) as caught:
        asgineer.run(main, "uvicorn", f"127.0.0.1:{other.getsockname()[1]}")
    assert caught.value.code == 1
    assert "Address already in use" in caplog.text


@pytest.mark.parametrize(("options", "scheme"), [({}, "http"), ({"ssl_certfile": "cert.pem"}, "https")])
def test_the_line_that_says_where_it_serves(
    options: dict[str, Any], scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "asgineer"):
        _run._announce(_servers.Job(app=main, server="uvicorn", bind=Bind("", 80), options=options))
    assert caplog.messages == [f"Serving {scheme}://localhost:80 with uvicorn"]


def test_the_folder_that_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = tmp_path / "here" / "src", tmp_path / "elsewhere"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
    (inside / "near.py").touch()
    (outside / "far.py").touch()
    monkeypatch.chdir(inside.parent)
    monkeypatch.syspath_prepend(inside)
    monkeypatch.syspath_prepend(outside)
    assert _run._directory_to_watch("near:app") == str(inside.parent)
    assert _run._directory_to_watch("far.sub:app") == str(outside)
    assert _run._directory_to_watch("nowhere_to_be_found:app") == str(inside.parent)
    assert _run._directory_to_watch("sys:path") == str(inside.parent)
    assert _run._directory_to_watch("asgineer.utils:x") == os.path.dirname(asgineer.__file__)


def test_reload_dirs_may_be_one_or_several(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def note(target: Any, args: Any, directories: Any, grace: Any, *, stopping: Any) -> int:
        seen.append((directories, grace))
        stopping()
        return 0

    monkeypatch.setattr(_process, "serve_and_reload", note)
    for given in ("src", ["src", "other"]):
        asgineer.run(main, "uvicorn", "127.0.0.1:0", reload=True, reload_dirs=given, shutdown_timeout=3)
    assert seen == [(["src"], 3), (["src", "other"], 3)]
