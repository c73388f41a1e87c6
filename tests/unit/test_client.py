"""TestClient and AsyncTestClient: httpx2's API on an app in this process; how the clients live and end."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

import asgineer.testing
from asgineer import HTTPError, HttpRequest, to_asgi, utils
from asgineer.testing import AsyncTestClient, TestClient
from asgineer.testing._lifespan import LifespanFailed

from .turns import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

START = {"type": "http.response.start", "status": 200, "headers": []}
HALF = {"type": "http.response.body", "body": b"half", "more_body": True}
END = {"type": "http.response.body", "body": b""}


@to_asgi
async def site(request: HttpRequest) -> Any:
    match request.verb, *request.parts:
        case ("GET",):
            return "index"
        case "POST", "json":
            return {"got": await request.get_json()}
        case "POST", "echo":
            return {"content-type": request.headers["content-type"]}, await request.get_body()
        case "GET", "url":
            return f"{request.scheme} {request.host} {request.port} {request.url}"
        case "GET", "header", name:
            return request.headers.get(name, "none")
        case "GET", "login":
            return {"set-cookie": utils.make_cookie("who", "me", secure=True)}, "welcome"
        case "GET", "who":
            return request.cookies.get("who", "nobody")
        case "GET", "old":
            return utils.redirect("/new")
        case "GET", "new":
            return "the new place"
        case "GET", "basic":
            if "authorization" not in request.headers:
                raise HTTPError(401, headers={"www-authenticate": "Basic"})
            return request.headers["authorization"]
    raise HTTPError(404)


@pytest.fixture
def client() -> Any:
    with TestClient(site) as client:
        yield client


# What httpx2 brings


def test_json_goes_both_ways(client: TestClient) -> None:
    response = client.post("/json", json={"a": [1, "é"]})
    assert (response.status_code, response.json()) == (200, {"got": {"a": [1, "é"]}})


def test_an_error_of_the_client_is_a_response(client: TestClient) -> None:
    response = client.get("/nowhere")
    assert (response.status_code, response.text) == (404, "Not Found")
    with pytest.raises(httpx2.HTTPStatusError):
        response.raise_for_status()


def test_the_app_seems_to_be_at_the_base_url(client: TestClient) -> None:
    assert client.get("/url").text == "https testserver 443 https://testserver/url"


@pytest.mark.parametrize("url", ["http://a.example:8000", "https://a.example:8000"])
def test_the_base_url_may_be_another(url: str) -> None:
    scheme = url.partition(":")[0]
    with TestClient(site, base_url=url) as client:
        assert client.get("/url").text == f"{scheme} a.example 8000 {url}/url"


def test_the_app_may_be_mounted() -> None:
    async def mounted(request: HttpRequest) -> str:
        return f"{request.root_path} {request.path} {request.url}"

    async def main() -> str:
        async with AsyncTestClient(mounted, root_path="/sub") as client:
            return (await client.get("/page")).text

    with TestClient(mounted, root_path="/sub") as client:
        assert client.get("/page").text == "/sub /page https://testserver/sub/page"
    assert run(main()) == "/sub /page https://testserver/sub/page"


def test_a_secure_cookie_comes_back(client: TestClient) -> None:
    assert client.get("/who").text == "nobody"
    client.get("/login")
    assert client.get("/who").text == "me"


def test_redirects_are_followed_when_asked(client: TestClient) -> None:
    assert client.get("/old").status_code == 303
    response = client.get("/old", follow_redirects=True)
    assert (response.text, response.url.path) == ("the new place", "/new")


def test_files_are_sent_as_a_form(client: TestClient) -> None:
    response = client.post("/echo", files={"a": ("a.txt", b"its text")})
    assert response.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b"its text" in response.content


def test_auth_is_sent(client: TestClient) -> None:
    assert client.get("/basic").status_code == 401
    assert client.get("/basic", auth=("me", "secret")).text == "Basic bWU6c2VjcmV0"


def test_options_are_httpx2s() -> None:
    with TestClient(site, headers={"x-mine": "yes"}, follow_redirects=True) as client:
        assert client.get("/header/x-mine").text == "yes"
        assert client.get("/old").text == "the new place"


async def test_the_async_one_does_the_same() -> None:
    async with AsyncTestClient(site) as client:
        assert (await client.post("/json", json=[1])).json() == {"got": [1]}
        await client.get("/login")
        assert (await client.get("/who")).text == "me"


async def test_requests_of_the_async_one_run_together() -> None:
    both = asyncio.Barrier(2)

    async def app(request: HttpRequest) -> str:
        await both.wait()
        return "met"

    async with AsyncTestClient(app) as client:
        answers = await asyncio.gather(client.get("/"), client.get("/"))
    assert [answer.text for answer in answers] == ["met", "met"]


def test_requests_of_several_threads_run_together() -> None:
    both = threading.Barrier(2, timeout=5)
    answers: list[str] = []

    async def app(request: HttpRequest) -> str:
        await asyncio.to_thread(both.wait)
        return "met"

    with TestClient(app) as client:
        threads = [threading.Thread(target=lambda: answers.append(client.get("/").text)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == ["met", "met"]


def test_it_works_in_a_running_loop() -> None:
    async def main() -> str:
        with TestClient(site) as client:
            return client.get("/").text

    assert run(main()) == "index"


def test_a_bare_handler_is_served_too() -> None:
    async def handler(request: HttpRequest) -> str:
        return "bare"

    with TestClient(handler) as client:
        assert client.get("/").text == "bare"


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("httpx2", r"asgineer.testing needs httpx2. Try: pip install .*\[testing\]"),
        ("asgineer.testing._events", "import of asgineer.testing._events halted"),
    ],
)
def test_what_is_missing_is_told(missing: str, told: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; from asgineer.testing import TestClient"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert re.search(told, result.stderr)


def test_a_name_that_there_is_not_is_told() -> None:
    with pytest.raises(AttributeError, match="'asgineer.testing' has no attribute 'Client'"):
        asgineer.testing.Client  # type: ignore[attr-defined]  # noqa: B018


def test_pytest_takes_neither_for_a_test() -> None:
    assert (TestClient.__test__, AsyncTestClient.__test__) == (False, False)


# Apps that aren't ours


def sends(*messages: Any) -> Any:
    """Return an ASGI app that sends `messages`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            for message in messages:
                await send(message)

    return app


def fails(*messages: Any) -> Any:
    """Return an ASGI app that sends `messages`, and raises."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await sends(*messages)(scope, receive, send)
        raise KeyError("plain")

    return app


def test_any_asgi_app_is_served() -> None:
    with TestClient(sends({**START, "status": 203}, HALF, END)) as client:
        response = client.get("/")
    assert (response.status_code, response.content) == (203, b"half")


@pytest.mark.parametrize("messages", [(), (START, HALF), (START, HALF, END)], ids=["start", "half", "end"])
def test_what_any_asgi_app_raises_is_raised(messages: tuple[Any, ...]) -> None:
    with TestClient(fails(*messages)) as client, pytest.raises(KeyError, match="plain"):
        client.get("/")


def test_what_any_asgi_app_raises_is_seen_as_by_a_client() -> None:
    with TestClient(fails(), raise_errors=False) as client:
        assert client.get("/").status_code == 500
    told = pytest.raises(httpx2.RemoteProtocolError, match="ended before its response was whole")
    with TestClient(fails(START, HALF), raise_errors=False) as client, told:
        client.get("/")
    with TestClient(fails(START, HALF, END), raise_errors=False) as client:
        assert client.get("/").content == b"half"


def test_an_app_that_answers_nothing_is_told_of() -> None:
    with TestClient(sends()) as client, pytest.raises(RuntimeError, match="ended without a response"):
        client.get("/")
    with TestClient(sends(), raise_errors=False) as client:
        assert client.get("/").status_code == 500


@pytest.mark.parametrize("raise_errors", [True, False])
def test_what_no_server_would_take_is_always_raised(raise_errors: bool) -> None:
    told = pytest.raises(RuntimeError, match=r"expected 'http.response.start', got 'http.response.body'")
    with TestClient(sends(END), raise_errors=raise_errors) as client, told:
        client.get("/")


# Errors of handlers


async def failing(request: HttpRequest) -> Any:
    match request.parts:
        case ("early",):
            raise ValueError("early")
        case ("late",):
            await request.accept(200)
            await request.send("half")
            raise ValueError("late")
        case ("after",):
            await request.accept(200)
            await request.send("whole", more=False)
            raise ValueError("after")
        case ("group",):
            raise ExceptionGroup("both", [ValueError("in the group"), HTTPError(404)])
        case ("exit",):
            raise SystemExit(3)
        case ("cancelled",):
            raise asyncio.CancelledError
        case ("http",):
            raise HTTPError(503)
    return "fine"


@pytest.mark.parametrize("path", ["early", "late", "after"])
def test_what_a_handler_raises_is_raised(path: str) -> None:
    with TestClient(failing) as client:
        with pytest.raises(ValueError, match=path):
            client.get(f"/{path}")
        assert client.get("/fine").text == "fine"


@pytest.mark.parametrize("path", ["early", "late", "after"])
async def test_what_a_handler_raises_is_raised_in_the_async_one(path: str) -> None:
    async with AsyncTestClient(failing) as client:
        with pytest.raises(ValueError, match=path):
            await client.get(f"/{path}")


@pytest.mark.parametrize("kinds", [KeyError, LookupError, (OSError, KeyError)])
def test_errors_of_some_kinds_are_raised(kinds: Any) -> None:
    async def app(request: HttpRequest) -> Any:
        raise {"/key": KeyError, "/value": ValueError}[request.path]("x")

    with TestClient(app, raise_errors=kinds) as client:
        assert client.get("/value").status_code == 500
        with pytest.raises(KeyError):
            client.get("/key")


def test_without_raise_errors_a_client_sees_what_it_sees() -> None:
    with TestClient(failing, raise_errors=False) as client:
        assert (client.get("/early").status_code, client.get("/early").text) == (500, "Internal server error")
        with pytest.raises(httpx2.RemoteProtocolError):
            client.get("/late")
        assert client.get("/after").text == "whole"


def test_an_exception_group_is_raised_as_it_is() -> None:
    with TestClient(failing) as client, pytest.raises(ExceptionGroup) as caught:
        client.get("/group")
    assert caught.group_contains(ValueError, match="in the group")


def test_an_http_error_is_an_answer() -> None:
    with TestClient(failing) as client:
        assert client.get("/http").status_code == 503


def test_system_exit_is_raised_and_the_app_goes_on() -> None:
    with TestClient(failing) as client:
        with pytest.raises(SystemExit):
            client.get("/exit")
        assert client.get("/fine").text == "fine"


async def test_a_handler_that_cancels_itself_does_not_cancel_the_test() -> None:
    async with AsyncTestClient(failing) as client:
        with pytest.raises(RuntimeError, match="the handler was cancelled by itself"):
            await client.get("/cancelled")


def test_an_error_in_a_stream_is_raised_once() -> None:
    told = pytest.raises(ValueError, match="late")
    with TestClient(failing) as client, client.stream("GET", "/late") as response, told:
        response.read()  # and not again where the blocks around it end


def test_a_stream_whose_handler_failed_at_once_is_not_begun() -> None:
    told = pytest.raises(ValueError, match="early")
    with TestClient(failing) as client, told, client.stream("GET", "/early"):
        raise AssertionError("it was begun")


def test_what_fails_because_the_client_left_is_raised_at_the_end_of_the_block() -> None:
    told = pytest.raises(ValueError, match="in the cleanup")
    with TestClient(fails_in_cleanup) as client, told, client.stream("GET", "/"):
        pass


async def fails_in_cleanup(request: HttpRequest) -> None:
    await request.accept(200)
    await request.send("first")
    try:
        await request.sleep_while_connected(100)
    finally:
        raise ValueError("in the cleanup")


def test_what_the_test_raises_goes_first() -> None:
    told = pytest.raises(AssertionError, match="the test's own")
    with TestClient(fails_in_cleanup) as client, told, client.stream("GET", "/"):
        raise AssertionError("the test's own")


def test_what_fails_as_the_client_ends_is_raised_there() -> None:
    told = pytest.raises(ValueError, match="in the cleanup")
    with told, TestClient(fails_in_cleanup) as client:
        client.send(client.build_request("GET", "/"), stream=True)


def test_what_the_test_raises_goes_before_what_fails_as_the_client_ends() -> None:
    def fail(client: TestClient) -> None:
        client.send(client.build_request("GET", "/"), stream=True)
        raise AssertionError("the test's own")

    with pytest.raises(AssertionError, match="the test's own"), TestClient(fails_in_cleanup) as client:
        fail(client)


# Where a client begins and ends


def lifespan_app(events: list[str], failing: str = "") -> Any:
    """Return an ASGI app that tells of its lifespan."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await sends(START, END)(scope, receive, send)
            return
        while True:
            what = (await receive())["type"]
            if what == f"lifespan.{failing}":
                await send({"type": f"{what}.failed", "message": "no database"})
            else:
                events.append(what)
                await send({"type": f"{what}.complete"})
            if what == "lifespan.shutdown":
                return

    return app


def test_the_lifespan_runs_with_the_block() -> None:
    events: list[str] = []
    with TestClient(lifespan_app(events)) as client:
        assert events == ["lifespan.startup"]
        client.get("/")
    assert events == ["lifespan.startup", "lifespan.shutdown"]


def test_the_lifespan_ends_by_close_too() -> None:
    events: list[str] = []
    client = TestClient(lifespan_app(events))
    client.__enter__()
    client.close()
    client.close()
    client.__exit__(None, None, None)
    assert events == ["lifespan.startup", "lifespan.shutdown"]


def test_without_with_there_is_no_lifespan() -> None:
    events: list[str] = []
    client = TestClient(lifespan_app(events))
    assert client.get("/").status_code == 200
    client.close()
    assert events == []


def test_the_state_of_the_lifespan_is_the_requests() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["colour"] = "blue"
            await send({"type": "lifespan.startup.complete"})
            await receive()
        else:
            await send({**START, "headers": [(b"x-colour", scope["state"]["colour"].encode())]})
            await send(END)

    with TestClient(app) as client:
        assert client.get("/").headers["x-colour"] == "blue"


_of_others: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def _note_threads_of_others() -> None:
    """Note the threads of clients that other tests forgot, and that nothing has collected yet."""
    _of_others.update(threading.enumerate())


def threads() -> list[str]:
    """Return the names of the clients' threads that this test has started."""
    own = set(threading.enumerate()) - _of_others
    return [thread.name for thread in own if thread.name.startswith("asgineer")]


def test_a_start_that_fails_is_raised_and_leaves_no_thread() -> None:
    client = TestClient(lifespan_app([], "startup"))
    with pytest.raises(LifespanFailed, match="startup failed: no database"):
        client.__enter__()
    assert threads() == []


async def test_a_start_that_fails_leaves_no_task() -> None:
    with pytest.raises(LifespanFailed, match="startup failed: no database"):
        await AsyncTestClient(lifespan_app([], "startup")).__aenter__()


def test_an_end_that_fails_is_raised_and_leaves_no_thread() -> None:
    told = pytest.raises(LifespanFailed, match="shutdown failed: no database")
    with told, TestClient(lifespan_app([], "shutdown")):
        pass
    assert threads() == []


def test_a_client_that_was_never_used_has_no_thread() -> None:
    client = TestClient(site)
    assert threads() == []
    client.close()


def test_a_client_that_is_forgotten_ends_its_thread() -> None:
    client = TestClient(site)
    client.get("/")
    new = set(threading.enumerate()) - _of_others
    (thread,) = (thread for thread in new if thread.name in threads())
    del client
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    "use",
    [
        lambda client: client.get("/"),
        lambda client: client.__enter__(),
        lambda client: client.websocket("/").__enter__(),
        lambda client: client.events("/").__enter__(),
        lambda client: client.stall(),
        lambda client: client.shutdown(),
        lambda client: client.disconnect(),
    ],
    ids=["get", "enter", "websocket", "events", "stall", "shutdown", "disconnect"],
)
def test_after_the_end_everything_says_so(use: Callable[[TestClient], object]) -> None:
    with TestClient(site) as client:
        client.get("/")
    with pytest.raises(RuntimeError, match="closed"):
        use(client)


def test_it_is_entered_once() -> None:
    with TestClient(site) as client:
        with pytest.raises(RuntimeError, match="more than once"):
            client.__enter__()
        assert client.get("/").text == "index"


def test_a_handler_can_not_wait_for_its_own_client() -> None:
    clients: list[TestClient] = []

    async def app(request: HttpRequest) -> str:
        return clients[0].get("/").text

    told = pytest.raises(RuntimeError, match="can't wait for a client that waits")
    with TestClient(app) as client, told:
        clients.append(client)
        client.get("/")


async def long_poll(request: HttpRequest) -> None:
    await request.accept(200)
    await request.send("first")
    await request.sleep_while_connected(1000)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="files are counted in /proc")
def test_no_open_file_is_left() -> None:
    def use() -> int:
        with TestClient(site) as client, client.stream("GET", "/"):
            pass
        return len(os.listdir("/proc/self/fd"))

    assert use() == use() == use()


def test_what_is_open_is_left_at_the_end() -> None:
    outcomes: list[str] = []
    app = to_asgi(long_poll, done=lambda *report: outcomes.append(report[4]))
    with TestClient(app) as client:
        response = client.send(client.build_request("GET", "/"), stream=True)
    assert outcomes == ["disconnect"]
    response.close()


async def test_what_is_open_is_left_at_the_end_of_the_async_one() -> None:
    outcomes: list[str] = []
    app = to_asgi(long_poll, done=lambda *report: outcomes.append(report[4]))
    async with AsyncTestClient(app) as client:
        await client.send(client.build_request("GET", "/"), stream=True)
    assert outcomes == ["disconnect"]


async def test_what_is_open_is_left_by_aclose_too() -> None:
    client = AsyncTestClient(long_poll)
    await client.send(client.build_request("GET", "/"), stream=True)
    await client.aclose()
    await client.aclose()


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give apps little time to end when their client has left."""
    monkeypatch.setattr("asgineer.testing._connection.GRACE", 0.01)


def deaf(ending: Callable[[], Awaitable[object]]) -> Any:
    """Return an app that does not hear of disconnects."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send(START)
            await ending()

    return app


async def sleep_for_ever() -> None:
    await asyncio.Event().wait()


async def ignore_cancellation() -> None:
    for _ in range(2):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


@pytest.mark.usefixtures("no_grace")
@pytest.mark.parametrize(
    ("ending", "told"),
    [(sleep_for_ever, "and was cancelled"), (ignore_cancellation, "and ignores its cancellation")],
)
def test_an_app_that_goes_on_without_its_client_is_told_of(
    ending: Callable[[], Awaitable[object]], told: str
) -> None:
    error = pytest.raises(TimeoutError, match=rf"http /x still ran 0.01 s after its client left, {told}")
    with TestClient(deaf(ending)) as client, error, client.stream("GET", "/x"):
        pass


@pytest.mark.usefixtures("no_grace")
def test_an_app_that_goes_on_does_not_hide_what_the_test_raises() -> None:
    told = pytest.raises(AssertionError, match="the test's own")
    with TestClient(deaf(sleep_for_ever)) as client, told, client.stream("GET", "/x"):
        raise AssertionError("the test's own")


def stuck(go_on: threading.Event) -> Any:
    """Return an app that waits in a thread."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send(START)
            await asyncio.to_thread(go_on.wait)

    return app


@pytest.fixture
def go_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What an app waits for in a thread, longer than its client does."""
    monkeypatch.setattr("asgineer.testing._loopthread.STOP_TIMEOUT", 0.01)
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.usefixtures("no_grace")
def test_an_app_that_is_stuck_in_a_thread_is_told_of(go_on: threading.Event) -> None:
    client = TestClient(stuck(go_on))
    with pytest.raises(TimeoutError, match="and was cancelled"), client.stream("GET", "/"):
        pass
    with pytest.raises(TimeoutError, match=r"something in the app's event loop still runs 0\.01 s after"):
        client.close()


@pytest.mark.usefixtures("no_grace")
def test_an_app_that_is_stuck_in_a_thread_does_not_hide_what_the_test_raises(go_on: threading.Event) -> None:
    told = pytest.raises(AssertionError, match="the test's own")
    with told, TestClient(stuck(go_on)) as client, client.stream("GET", "/"):
        raise AssertionError("the test's own")


@pytest.mark.usefixtures("no_grace")
async def test_a_test_that_is_cancelled_stays_so() -> None:
    async with AsyncTestClient(deaf(sleep_for_ever)) as client:
        task = asyncio.ensure_future(client.get("/"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()


async def test_a_cancelled_request_is_a_client_that_left() -> None:
    outcomes: list[str] = []
    app = to_asgi(long_poll, done=lambda *report: outcomes.append(report[4]))
    async with AsyncTestClient(app) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await client.get("/")
        assert outcomes == ["disconnect"]
