"""The test servers: in this process and as a real one, and what both promise alike."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import logging
import socket
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest

import asgineer
from asgineer import HttpRequest, WebsocketRequest
from asgineer.testing import _serve
from asgineer.testing._process import ServerProcess, free_port, is_listening
from asgineer.testutils import (
    MockTestServer,
    ProcessTestServer,
    Response,
    WebsocketClient,
    WebsocketClosed,
    WebsocketDenied,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SERVERS = ["uvicorn", "hypercorn", "daphne", "granian"]


async def handler(request: HttpRequest | WebsocketRequest) -> Any:
    """Answer by the first segment of the path."""
    if isinstance(request, WebsocketRequest):
        return await talk(request)
    match request.parts:
        case ("about",):
            return {"method": request.method, "url": request.url, "headers": dict(request.headers)}
        case ("echo",):
            return await request.get_body()
        case ("repeat",):
            return {"X-Mark": "Value", "set-cookie": ["a=1", "b=2"]}, "body"
        case ("print",):
            print("printed")
            print("complained", file=sys.stderr)
            logging.getLogger("asgineer").info("told")
            return "done"
        case ("fail",):
            raise ValueError("oh no")
    return "index"


async def talk(request: WebsocketRequest) -> Any:
    if request.path == "/denied":
        return 401, {"x-mark": "no"}, "who are you?"
    await request.accept()
    async for message in request.receive_iter():
        if message == "end":
            return await request.close(4001, "as you like")
        await request.send(message)


app = asgineer.to_asgi(handler)


async def raw_app(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI app that knows nothing of ours, and no lifespan."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"raw"})


@pytest.fixture(scope="module", params=["mock", "process"])
def server(request: pytest.FixtureRequest) -> Any:
    """Either server, with the same app."""
    with MockTestServer(app) if request.param == "mock" else ProcessTestServer(app, "uvicorn") as running:
        yield running


# What both do


def test_get_returns_status_headers_and_body(server: Any) -> None:
    response = server.get("/")
    assert isinstance(response, Response)
    assert (response.status, response.body) == (200, b"index")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


def test_response_can_be_unpacked(server: Any) -> None:
    status, headers, body = server.get("/")
    assert (status, type(headers), body) == (200, dict, b"index")


@pytest.mark.parametrize("method", ["get", "put", "post", "delete"])
def test_each_method_has_its_name(server: Any, method: str) -> None:
    assert f'"method":"{method.upper()}"'.encode() in getattr(server, method)("/about").body


def test_request_takes_any_method(server: Any) -> None:
    assert b'"method":"PATCH"' in server.request("PATCH", "/about").body


@pytest.mark.parametrize(("data", "body"), [(b"\x00\xff", b"\x00\xff"), ("é", b"\xc3\xa9"), (None, b"")])
def test_data_is_the_body(server: Any, data: bytes | str | None, body: bytes) -> None:
    assert server.put("/echo", data).body == body


def test_header_is_sent(server: Any) -> None:
    assert b'"x-mark":"Value"' in server.get("/about", headers={"X-Mark": "Value"}).body


def test_header_names_come_in_lower_case_and_joined(server: Any) -> None:
    headers = server.get("/repeat").headers
    assert (headers["x-mark"], headers["set-cookie"]) == ("Value", "a=1, b=2")


def test_full_url_works(server: Any) -> None:
    assert server.get(server.url + "/echo").status == 200


def test_path_without_slash_works(server: Any) -> None:
    assert f'"url":"{server.url}/about"'.encode() in server.get("about").body


def test_error_is_a_response(server: Any) -> None:
    assert server.get("/fail").status == 500


async def say_two(ws: WebsocketClient) -> list[str | bytes]:
    await ws.send("text")
    await ws.send(b"bytes")
    return [await ws.receive(), await ws.recv()]


def test_ws_communicate_returns_what_the_coroutine_returns(server: Any) -> None:
    assert server.ws_communicate("/ws", say_two) == ["text", b"bytes"]


def test_ws_iteration_ends_with_the_connection(server: Any) -> None:
    async def client(ws: WebsocketClient) -> list[str | bytes]:
        for message in ("one", "two", "end"):
            await ws.send(message)
        return [message async for message in ws]

    assert server.ws_communicate("/ws", client) == ["one", "two"]


def test_ws_receive_after_the_end_says_how_it_ended(server: Any) -> None:
    async def client(ws: WebsocketClient) -> None:
        await ws.send("end")
        await ws.receive()

    with pytest.raises(WebsocketClosed) as caught:
        server.ws_communicate("/ws", client)
    assert (caught.value.code, caught.value.reason) == (4001, "as you like")
    assert str(caught.value) == "websocket closed with 4001 as you like"


def test_ws_send_after_the_end_is_an_error(server: Any) -> None:
    async def client(ws: WebsocketClient) -> None:
        await ws.close(1000, "bye")
        await ws.send("x")

    with pytest.raises(WebsocketClosed):
        server.ws_communicate("/ws", client)


def test_ws_denial_is_raised(server: Any) -> None:
    with pytest.raises(WebsocketDenied) as caught:
        server.ws_communicate("/denied", say_two)
    assert (caught.value.status, caught.value.body) == (401, b"who are you?")
    assert (b"x-mark", b"no") in caught.value.headers
    assert caught.value.response.text == "who are you?"
    assert caught.value.response is caught.value.response


def test_ws_error_of_the_client_is_raised(server: Any) -> None:
    async def client(ws: WebsocketClient) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        server.ws_communicate("/ws", client)


def test_calls_work_in_a_running_loop(server: Any) -> None:
    async def main() -> Any:
        return server.get("/"), server.ws_communicate("/ws", say_two)

    response, messages = asyncio.run(main())
    assert (response.status, messages) == (200, ["text", b"bytes"])


# What stands in `out`


@pytest.mark.parametrize("make", [MockTestServer, lambda app: ProcessTestServer(app, "uvicorn")])
def test_out_holds_what_was_printed_and_logged(make: Callable[[Any], Any]) -> None:
    with make(app) as server:
        server.get("/print")
        server.get("/fail")
    lines = server.out.splitlines()
    assert {"printed", "complained"} <= set(lines)
    assert [line for line in lines if line.startswith("[INFO") and line.endswith("] told")]
    assert [
        line for line in lines if line.startswith("[ERROR") and "ValueError in request handler: oh no" in line
    ]
    assert any("Traceback" in line for line in lines)
    assert "Server is starting up" in server.out
    assert "Server is shutting down" in server.out


def test_filter_lines_may_be_overridden() -> None:
    class Loud(MockTestServer):
        def filter_lines(self, lines: list[str]) -> list[str]:
            return [line.upper() for line in lines if line == "printed"]

    server = Loud(handler)
    server.get("/print")
    assert server.out == "PRINTED"


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("INFO:     Started server process [1]", False),
        ("[INFO] Starting granian (main PID: 1)", False),
        ("[2026-11-22 10:00:00 +0000] [1] [INFO] Running on http://127.0.0.1:1", False),
        ("2026-11-22 10:00:00,123 INFO     Starting server at tcp", False),
        ("  ", False),
        ("[INFO 2026-11-22 10:00:00] Server is starting up", True),
        ("[ERROR 2026-11-22 10:00:00] ValueError", True),
        ("WARNING:  something", True),
        ("  indented", True),
    ],
)
def test_filter_lines_drops_the_noise_of_servers(line: str, kept: bool) -> None:
    assert MockTestServer(app).filter_lines([line]) == [line] * kept


def test_log_tells_what_happens(capsys: pytest.CaptureFixture[str]) -> None:
    MockTestServer(app).log("started", 3)
    assert capsys.readouterr().out == "started 3\n"


# The one in this process


def test_mock_app_is_an_asgi_app() -> None:
    assert MockTestServer(app).app is app
    assert MockTestServer(handler).app.asgineer_handler is handler
    assert MockTestServer(raw_app).app is raw_app


def test_mock_takes_a_handler_of_a_function() -> None:
    async def nested(request: HttpRequest) -> str:
        return f"nested {request.path}"

    assert MockTestServer(nested).get("/x").body == b"nested /x"


def test_mock_takes_an_object_as_handler() -> None:
    class Page:
        async def __call__(self, request: HttpRequest) -> str:
            return "object"

    assert MockTestServer(Page()).get("/").body == b"object"


def test_mock_takes_any_asgi_app() -> None:
    with MockTestServer(raw_app) as server:
        assert server.get("/").body == b"raw"


def test_mock_without_with_runs_no_lifespan() -> None:
    server = MockTestServer(app)
    server.get("/")
    assert "starting up" not in server.out


def test_mock_without_with_keeps_its_loop() -> None:
    loops = []

    threads = []

    async def remember(request: HttpRequest) -> str:
        loops.append(asyncio.get_running_loop())
        threads.append(threading.current_thread())
        return ""

    server = MockTestServer(remember)
    server.get("/")
    server.get("/")
    assert loops[0] is loops[1]
    del server
    gc.collect()
    threads[0].join(5)
    assert loops[0].is_closed()


def test_mock_can_be_entered_again() -> None:
    server = MockTestServer(app)
    for _ in range(2):
        with server:
            assert server.get("/").status == 200
    assert server.out.count("starting up") == 2


def test_mock_lifespan_state_is_the_requests() -> None:
    async def stateful(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["colour"] = "blue"
        await inner(scope, receive, send)

    @asgineer.to_asgi
    async def inner(request: HttpRequest) -> str:
        return str(request.state["colour"])

    with MockTestServer(stateful) as server:
        assert server.get("/").body == b"blue"


def test_mock_start_that_fails_is_raised() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(RuntimeError, match="no database"), MockTestServer(failing):
        pass


def test_mock_outputs_of_several_servers_stay_apart() -> None:
    async def first(request: HttpRequest) -> str:
        print("from the first")
        return second_server.get("/").body.decode()

    async def second(request: HttpRequest) -> str:
        print("from the second")
        return "inner"

    with MockTestServer(first) as first_server, MockTestServer(second) as second_server:
        assert first_server.get("/").body == b"inner"
    assert ("from the first" in first_server.out, "from the second" in first_server.out) == (True, False)
    assert ("from the first" in second_server.out, "from the second" in second_server.out) == (False, True)


def test_mock_output_of_threads_is_the_servers() -> None:
    async def threaded(request: HttpRequest) -> str:
        await asyncio.to_thread(print, "from a thread")
        return ""

    server = MockTestServer(threaded)
    server.get("/")
    assert server.out == "from a thread"


def test_mock_leaves_what_others_print_and_log_out(capsys: pytest.CaptureFixture[str]) -> None:
    async def held(request: HttpRequest) -> str:
        inside.set()
        await asyncio.to_thread(go_on.wait)
        print("of the server")
        return ""

    inside, go_on = threading.Event(), threading.Event()
    server = MockTestServer(held)
    asking = threading.Thread(target=server.get, args=["/"])
    asking.start()
    assert inside.wait(5)
    print("of the test", flush=True)
    sys.stdout.flush()
    logging.getLogger("asgineer").info("of the test")
    go_on.set()
    asking.join()
    assert server.out == "of the server"
    assert capsys.readouterr().out == "of the test\nof the server\n"


def test_mock_leaves_the_level_that_the_program_chose() -> None:
    logger = logging.getLogger("asgineer")
    logger.setLevel(logging.ERROR)
    try:
        with MockTestServer(app) as server:
            assert logger.level == logging.ERROR
        assert "starting up" not in server.out
    finally:
        logger.setLevel(logging.NOTSET)


def test_mock_leaves_streams_and_logger_as_they_were() -> None:
    logger = logging.getLogger("asgineer")
    before = (sys.stdout, sys.stderr, list(logger.handlers), logger.level)
    with MockTestServer(app) as server:
        server.get("/print")
    assert (sys.stdout, sys.stderr, list(logger.handlers), logger.level) == before


def test_mock_prints_reach_the_terminal_too(capsys: pytest.CaptureFixture[str]) -> None:
    MockTestServer(app).get("/print")
    captured = capsys.readouterr()
    assert ("printed" in captured.out, "complained" in captured.err) == (True, True)


def test_mock_url_gives_scheme_host_and_port() -> None:
    server = MockTestServer(app)
    assert b'"url":"https://example.com/about?x=1"' in server.get("https://example.com/about?x=1").body
    assert b'"url":"http://example.com:81/about"' in server.get("http://example.com:81/about").body


def after_body(method: str) -> Any:
    """Return what a `receive()` after the body gives: "waits" when nothing comes."""
    seen: list[Any] = []

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.request"
        waiting = asyncio.ensure_future(receive())
        for _ in range(10):
            await asyncio.sleep(0)
        seen.append(waiting.result() if waiting.done() else "waits")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        await waiting

    MockTestServer(reading).request(method, "/", b"body")
    return seen[0]


@pytest.mark.parametrize(
    ("method", "message"),
    [("GET", "waits"), ("PUT", {"type": "http.disconnect"}), ("POST", None), ("DELETE", "waits")],
)
def test_mock_receive_after_the_body_depends_on_the_method(method: str, message: Any) -> None:
    assert after_body(method) == message


# The real one


@pytest.mark.server
@pytest.mark.parametrize("name", SERVERS)
def test_process_serves_an_app_of_a_module(name: str) -> None:
    with ProcessTestServer(app, name) as server:
        assert server.get("/").body == b"index"
        assert server.url.startswith("http://127.0.0.1:")


@pytest.mark.server
@pytest.mark.parametrize("name", SERVERS)
def test_process_serves_a_handler_of_a_function(name: str) -> None:
    word = "from the closure"

    async def nested(request: HttpRequest) -> str:
        print("printed", word)
        return word

    with ProcessTestServer(nested, name) as server:
        assert server.get("/").body == b"from the closure"
    assert "printed from the closure" in server.out
    assert "Server is starting up" in server.out or name == "daphne"


@pytest.mark.server
def test_process_serves_a_handler_of_a_module() -> None:
    with ProcessTestServer(handler, "uvicorn") as server:
        assert server.get("/").body == b"index"


@pytest.mark.server
def test_process_takes_options_that_are_no_plain_data() -> None:
    with ProcessTestServer(app, "uvicorn", reload_includes={"*.py"}) as server:
        assert server.get("/").body == b"index"


@pytest.mark.server
def test_process_options_go_to_the_server() -> None:
    with ProcessTestServer(app, "uvicorn", headers=[("x-mark", "option")]) as server:
        assert server.get("/").headers["x-mark"] == "option"


@pytest.mark.server
def test_process_that_cannot_start_tells_why() -> None:
    with pytest.raises(RuntimeError, match="Invalid server specified: 'nonesuch'"):
        ProcessTestServer(app, "nonesuch").__enter__()


@pytest.mark.server
def test_process_has_ended_after_with() -> None:
    with ProcessTestServer(app, "uvicorn") as server:
        port = int(server.url.rpartition(":")[2])
        assert is_listening(("127.0.0.1", port))
    assert not is_listening(("127.0.0.1", port))


def test_process_has_no_output_before_its_start() -> None:
    assert ProcessTestServer(app, "uvicorn").out == ""


@pytest.mark.parametrize("package", ["requests", "websockets"])
def test_process_says_what_to_install(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"needs the package '{package}'"):
        ProcessTestServer(app, "uvicorn")


def test_importing_needs_no_other_package() -> None:
    assert importlib.import_module("asgineer.testutils")


# The parts of it


@pytest.mark.server
def test_server_process_that_never_listens_is_stopped() -> None:
    process = ServerProcess.command(
        [sys.executable, "-c", "print('here', flush=True); import time; time.sleep(60)"],
        ("127.0.0.1", free_port()),
    )
    with pytest.raises(RuntimeError, match=r"doesn't listen"):
        process.wait_until_ready(0.5)
    assert process.status in (-9, -15)


@pytest.mark.server
def test_server_process_that_ignores_sigterm_is_killed() -> None:
    code = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    process = ServerProcess.command([sys.executable, "-c", code], ("127.0.0.1", 1))
    while not process.lines:
        assert process.status is None
    assert process.stop(0.2) == -9


@pytest.mark.server
@pytest.mark.parametrize(
    ("code", "status"), [("pass", 0), ("raise SystemExit(3)", 3), ("raise SystemExit('x')", 1), ("1 / 0", 1)]
)
def test_forked_process_ends_with_a_status(code: str, status: int) -> None:
    process = ServerProcess.fork(lambda: exec(code), ("127.0.0.1", 1))
    with pytest.raises(RuntimeError, match=f"ended with status {status}"):
        process.wait_until_ready()
    assert process.stop() == status
    assert ("ZeroDivisionError" in process.output) == (code == "1 / 0")


def test_listening_at_a_unix_socket_is_seen(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    assert not is_listening(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        assert is_listening(path)


def test_process_server_that_was_not_started_stops() -> None:
    ProcessTestServer(app, "uvicorn").__exit__(None, None, None)


@pytest.mark.parametrize(("given", "handler"), [(app, False), (dict, False)])
def test_what_is_no_handler_is_taken_for_an_app(given: Any, handler: bool) -> None:
    assert _serve.is_handler(given) is handler


def test_only_the_log_handlers_of_pytest_are_forgotten() -> None:
    own = logging.NullHandler()
    root = logging.getLogger()
    before = list(root.handlers)
    of_pytest = {handler for handler in before if type(handler).__module__.startswith("_pytest.")}
    root.addHandler(own)
    try:
        _serve.forget_pytest()
        assert own in root.handlers
        assert of_pytest
        assert set(before) - of_pytest < set(root.handlers)
        assert not of_pytest & set(root.handlers)
    finally:
        root.handlers[:] = before


def test_serve_runs_what_the_job_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = tmp_path / "served_by_job.py"
    module.write_text(
        textwrap.dedent(
            """
            async def handler(request): return "x"
            async def app(scope, receive, send): pass
            """
        )
    )
    ran: list[Any] = []
    monkeypatch.setattr(asgineer, "run", lambda *args, **options: ran.append((args, options)))
    monkeypatch.setattr(sys, "path", list(sys.path))
    for target, expected in [("app", "served_by_job:app"), ("handler", _serve.TARGET)]:
        job = {
            "target": f"served_by_job:{target}",
            "server": "uvicorn",
            "bind": "127.0.0.1:1",
            "options": {"log_level": "info"},
            "path": [str(tmp_path), *sys.path],
        }
        monkeypatch.setattr(sys, "argv", ["_serve", json.dumps(job)])
        _serve.main()
        assert ran.pop() == ((expected, "uvicorn", "127.0.0.1:1"), {"log_level": "info"})
