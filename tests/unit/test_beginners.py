"""The mistakes of beginners, as a table: what they write, and the text that says what to do.

With debug the client reads the text; without, it reads "Internal server error". The log has
it always, in one record. What goes wrong at the start of a program is in tests/run.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any

import httpx2
import pytest

import asgineer
from asgineer import HTTPError
from asgineer._hints import OTHER_NAMES
from asgineer.testing import TestClient, WebsocketClosed, WebsocketDenied

Handler = Callable[[Any], Awaitable[Any]]

# Python's own word about a coroutine that nobody awaits comes beside ours.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")


async def page(request: object = None) -> str:
    return "a page"


async def chunks() -> AsyncGenerator[str]:
    yield "a chunk"


def lines() -> Generator[str]:
    yield "a line"


def returning(make: Callable[[], object]) -> Handler:
    """Return a handler that returns what `make` makes."""

    async def handler(request: object) -> object:
        return make()

    return handler


# What a handler returns

OTHER = (
    "; it can be str, bytes, dict, list, an object with __html__, or an async generator. "
    "For JSON of another value: asgineer.json(value)"
)

RESULTS: list[tuple[str, Callable[[], object], str]] = [
    (
        "forgot return",
        lambda: None,
        "Body cannot be None; did the handler forget to return a response?",
    ),
    (
        "forgot await",
        page,
        "Body cannot be a coroutine, forgot await? Write: await page(…)",
    ),
    (
        "forgot await in a triple",
        lambda: (200, {}, page()),
        "Body cannot be a coroutine, forgot await? Write: await page(…)",
    ),
    (
        "forgot await of a task",
        lambda: asyncio.get_running_loop().create_future(),
        "Body cannot be an awaitable (Future), forgot await?",
    ),
    ("forgot call", lambda: page, "Body cannot be a function, forgot to call it? Write: page(…)"),
    (
        "forgot call of a stream",
        lambda: chunks,
        "Body cannot be a function, forgot to call it? Write: chunks(…)",
    ),
    (
        "regular generator",
        lines,
        "Body cannot be a regular generator, use an async generator: async def with yield",
    ),
    ("number", lambda: 42, f"Body cannot be int{OTHER}"),
    ("float", lambda: 4.2, f"Body cannot be float{OTHER}"),
    ("bool", lambda: True, f"Body cannot be bool{OTHER}"),
    ("status alone", lambda: 404, "Body cannot be int; a status takes three values: 404, {}, body"),
    ("set", lambda: {1, 2}, f"Body cannot be set{OTHER}"),
    ("tuple as body", lambda: ({}, ("a", "b")), f"Body cannot be tuple{OTHER}"),
    ("map", lambda: map(str, [1]), f"Body cannot be map{OTHER}"),
    ("object", object, f"Body cannot be object{OTHER}"),
    (
        "error returned",
        lambda: HTTPError(404),
        "Body cannot be an exception; raise the HTTPError, don't return it",
    ),
    (
        "status and body",
        lambda: (400, "text"),
        "Headers must be a dict, not int; a status takes three values: 400, {}, body",
    ),
    (
        "body and status",
        lambda: ("Not found", 404),
        "Body cannot be int; (str, int) is no response: a status takes three values: 404, {}, body",
    ),
    (
        "JSON and status",
        lambda: ({"a": 1}, 201),
        "Body cannot be int; (dict, int) is no response: a status takes three values: 201, {}, body",
    ),
    (
        "body, status, headers",
        lambda: ("text", 200, {}),
        "Status code must be an int, not str; the order is status, headers, body",
    ),
    (
        "status as text",
        lambda: ("404", {}, "x"),
        "Status code must be an int, not str; the order is status, headers, body",
    ),
    ("status of no response", lambda: (99, {}, "x"), "Status code must be an int from 200 to 599, not 99"),
    ("two texts", lambda: ("a", "b"), "Headers must be a dict, not str"),
    ("headers as pairs", lambda: (200, [("x", "y")], ""), "Headers must be a dict, not list"),
    (
        "four values",
        lambda: (200, {}, "x", "y"),
        "Handler returned 4-tuple; it can be body, (headers, body) or (status, headers, body)",
    ),
    (
        "bytes as a header's name",
        lambda: ({b"x-key": "v"}, ""),
        "Header keys and values must all be strings, not bytes (b'x-key')",
    ),
    (
        "bytes as a header's value",
        lambda: ({"x-key": b"v"}, ""),
        "Header keys and values must all be strings, but that of 'x-key' is bytes",
    ),
    (
        "number as a header's value",
        lambda: ({"x-count": 3}, ""),
        "Header keys and values must all be strings, but that of 'x-count' is int",
    ),
    ("what JSON has not", lambda: {"a": object()}, "Could not JSON encode dict: object has no JSON form"),
    (
        "forgot await in JSON",
        lambda: {"a": page()},
        "Could not JSON encode dict: coroutine has no JSON form; forgot await?",
    ),
]


# What a handler does


async def send_first(request: Any) -> None:
    await request.send("x")


async def accept_and_return(request: Any) -> str:
    await request.accept()
    return "x"


async def accept_twice(request: Any) -> None:
    await request.accept()
    await request.accept()


async def send_a_dict(request: Any) -> None:
    await request.accept()
    await request.send({"a": 1})


async def status_as_text(request: Any) -> None:
    await request.accept("200")


async def yield_a_number(request: Any) -> Any:
    async def numbers() -> AsyncGenerator[Any]:
        yield 1

    return numbers()


async def read_twice(request: Any) -> bytes:
    async for _ in request.iter_body():
        pass
    body: bytes = await request.get_body()
    return body


async def forget_call(request: Any) -> Any:
    return await request.get_json


async def forget_call_in_for(request: Any) -> Any:
    return [chunk async for chunk in request.iter_body]


async def forget_call_of_an_item(request: Any) -> Any:
    return request.get_json["a"]


async def forget_call_of_an_attribute(request: Any) -> Any:
    return request.get_body.decode()


async def forget_await_of_an_item(request: Any) -> Any:
    return request.get_json()["a"]


async def forget_await_of_an_attribute(request: Any) -> Any:
    return request.get_body().decode()


async def forget_await_of_an_operand(request: Any) -> Any:
    return "a" + request.get_body()


async def forget_await_of_a_length(request: Any) -> Any:
    return len(request.get_body())


async def forget_await_in_for(request: Any) -> Any:
    return [chunk async for chunk in request.get_body()]


async def forget_await_of_a_loop(request: Any) -> Any:
    return list(request.get_json())


async def forget_await_of_a_number(request: Any) -> Any:
    return int(request.get_json())


async def await_a_value(request: Any) -> Any:
    return await request.path


async def await_a_stream(request: Any) -> Any:
    return await request.iter_body()


async def plain_for(request: Any) -> Any:
    return list(request.iter_body())


async def async_for_over_a_list(request: Any) -> Any:
    return [pair async for pair in request.querylist]


async def raise_a_number(request: Any) -> Any:
    status: Any = 404
    raise status


async def raise_a_text(request: Any) -> Any:
    raise HTTPError("404")  # type: ignore[arg-type]


async def run_a_loop(request: Any) -> Any:
    return asyncio.run(page())


async def run_in_the_loop(request: Any) -> Any:
    return asyncio.get_running_loop().run_until_complete(page())


async def header_in_capitals(request: Any) -> Any:
    return request.headers["Host"]


async def receive_without_a_websocket(request: Any) -> Any:
    return await request.receive()


async def forget_argument(request: Any) -> Any:
    return asgineer.param("3")  # type: ignore[call-arg]


DEEDS: list[tuple[Handler, str]] = [
    (send_first, "Cannot send before calling accept: await request.accept() first"),
    (status_as_text, "Status code must be an int, not str; the order is status, headers, body"),
    (yield_a_number, "Response chunks must be bytes or str, not int"),
    (read_twice, "Request body was already consumed"),
    (forget_call, "object method can't be used in 'await' expression; forgot to call it, with ()?"),
    (
        forget_call_in_for,
        "'async for' requires an object with __aiter__ method, got method; forgot to call it, with ()?",
    ),
    (forget_call_of_an_item, "'method' object is not subscriptable; forgot to call it, with ()?"),
    (forget_call_of_an_attribute, "has no attribute 'decode'; forgot to call it, with ()?"),
    (forget_await_of_an_item, "'coroutine' object is not subscriptable; forgot await?"),
    (forget_await_of_an_attribute, "'coroutine' object has no attribute 'decode'; forgot await?"),
    (forget_await_of_an_operand, 'can only concatenate str (not "coroutine") to str; forgot await?'),
    (forget_await_of_a_length, "object of type 'coroutine' has no len(); forgot await?"),
    (
        forget_await_in_for,
        "'async for' requires an object with __aiter__ method, got coroutine; forgot await?",
    ),
    (forget_await_of_a_loop, "'coroutine' object is not iterable; forgot await?"),
    (forget_await_of_a_number, "not 'coroutine'; forgot await?"),
    (await_a_value, "object str can't be used in 'await' expression; it isn't async: leave await out"),
    (
        await_a_stream,
        "object async_generator can't be used in 'await' expression; it is an async generator: use async for",
    ),
    (plain_for, "'async_generator' object is not iterable; it is an async generator: use async for"),
    (
        async_for_over_a_list,
        "'async for' requires an object with __aiter__ method, got list; it isn't async: use for",
    ),
    (
        raise_a_number,
        "exceptions must derive from BaseException; to answer with a status: raise asgineer.HTTPError(404)",
    ),
    (raise_a_text, "HTTPError status must be an int, not '404'"),
    (
        run_a_loop,
        "asyncio.run() cannot be called from a running event loop; "
        "the handler runs in an event loop already: use await",
    ),
    (
        run_in_the_loop,
        "This event loop is already running; the handler runs in an event loop already: use await",
    ),
    (header_in_capitals, "'Host'; names of headers are in lower case here: request.headers['host']"),
    (
        receive_without_a_websocket,
        "'HttpRequest' object has no attribute 'receive'; "
        "only a websocket has it, and this is none: request.verb tells which it is",
    ),
    (forget_argument, "param() missing 1 required positional argument: 'type'"),
]


def answer_of(handler: Handler, debug: bool) -> str:
    """Return what a client reads of the 500 that `handler` ends by; a traceback may follow the first line."""
    with TestClient(asgineer.to_asgi(handler, debug=debug), raise_errors=False) as client:
        response = client.get("/")
    assert response.status_code == 500
    return response.text.partition("\n")[0]


def check_texts(handler: Handler, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """Hold that the client reads `text` in debug only, and that one record has it either way."""
    assert answer_of(handler, debug=True).endswith(text)
    assert answer_of(handler, debug=False) == "Internal server error"
    check_records(caplog, text)


def check_records(caplog: pytest.LogCaptureFixture, text: str) -> None:
    records = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    caplog.clear()
    gc.collect()  # coroutines that nobody awaited: Python's warning about them belongs to this test
    assert [text in record for record in records] == [True, True], records


@pytest.mark.parametrize(("make", "text"), [row[1:] for row in RESULTS], ids=[row[0] for row in RESULTS])
def test_what_is_returned(make: Callable[[], object], text: str, caplog: pytest.LogCaptureFixture) -> None:
    check_texts(returning(make), text, caplog)


@pytest.mark.parametrize(("handler", "text"), DEEDS, ids=[row[0].__name__ for row in DEEDS])
def test_what_is_done(handler: Handler, text: str, caplog: pytest.LogCaptureFixture) -> None:
    check_texts(handler, text, caplog)


@pytest.mark.parametrize("name", sorted(OTHER_NAMES))
def test_names_that_requests_of_other_frameworks_have(name: str, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Any) -> Any:
        return getattr(request, name)

    kind = "HttpRequest"
    text = f"'{kind}' object has no attribute '{name}'; use {OTHER_NAMES[name]}"
    check_texts(handler, text, caplog)


def test_what_the_hints_name_is_there() -> None:
    kinds = (asgineer.HttpRequest, asgineer.WebsocketRequest)
    for text in OTHER_NAMES.values():
        found = re.search(r"request\.(\w+)", text)
        assert found
        assert found[1] == "scope" or any(hasattr(kind, found[1]) for kind in kinds), text
    for name in OTHER_NAMES:
        assert not any(hasattr(kind, name) for kind in kinds), name


def test_a_browser_and_a_test_see_the_hint_too() -> None:
    app = asgineer.to_asgi(forget_await_of_an_item, debug=True)
    with TestClient(app, raise_errors=False) as client:
        page = client.get("/", headers={"accept": "text/html"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1" in page.text
    assert "forgot await?" in page.text
    with TestClient(app) as client, pytest.raises(TypeError) as caught:
        client.get("/")
    assert caught.value.__notes__ == ["forgot await?"]
    del caught
    gc.collect()


# What is no mistake of that kind, though it reads like one


async def own_key(request: Any) -> Any:
    return {"a": 1}["Accept"]


async def own_key_of_a_header(request: Any) -> Any:
    assert request.headers["host"]
    return {"a": 1}["host"]


async def own_attribute(request: Any) -> Any:
    return "text".body  # type: ignore[attr-defined]


async def unknown_attribute(request: Any) -> Any:
    return request.colour


async def key_without_a_text(request: Any) -> Any:
    raise KeyError


async def other_type_error(request: Any) -> Any:
    return "a" + 1  # type: ignore[operator]


async def no_coroutine(request: Any) -> Any:
    return asyncio.get_running_loop().create_task(None)  # type: ignore[arg-type]


async def other_runtime_error(request: Any) -> Any:
    raise RuntimeError("no tea left")


OTHERS = [
    (own_key, "KeyError in request handler: 'Accept'"),
    (own_key_of_a_header, "KeyError in request handler: 'host'"),
    (own_attribute, "AttributeError in request handler: 'str' object has no attribute 'body'"),
    (unknown_attribute, "AttributeError in request handler: 'HttpRequest' object has no attribute 'colour'"),
    (key_without_a_text, "KeyError in request handler: "),
    (other_type_error, 'TypeError in request handler: can only concatenate str (not "int") to str'),
    (no_coroutine, "TypeError in request handler: a coroutine was expected, got None"),
    (other_runtime_error, "RuntimeError in request handler: no tea left"),
]


@pytest.mark.parametrize(("handler", "text"), OTHERS, ids=[row[0].__name__ for row in OTHERS])
def test_other_errors_get_no_hint(handler: Handler, text: str) -> None:
    assert answer_of(handler, debug=True) == text


# Websockets: before `accept` the answer is a response, after it a close with a reason


async def accept_late(request: Any) -> None:
    await request.receive()


async def read_a_body(request: Any) -> None:
    await request.get_json()


BEFORE_ACCEPT: list[tuple[Handler, str]] = [
    (send_first, "Cannot send before calling accept: await request.accept() first"),
    (accept_late, "Cannot receive before calling accept: await request.accept() first"),
    (returning(page), "Body cannot be a coroutine, forgot await? Write: await page(…)"),
    (returning(lambda: 42), f"Body cannot be int{OTHER}"),
    (
        read_a_body,
        "'WebsocketRequest' object has no attribute 'get_json'; "
        "only an HTTP request has it, and this is none: request.verb tells which it is",
    ),
]


@pytest.mark.parametrize(
    ("handler", "text"), BEFORE_ACCEPT, ids=["send", "receive", "await", "number", "body"]
)
def test_a_websocket_before_accept(handler: Handler, text: str, caplog: pytest.LogCaptureFixture) -> None:
    told = {}
    for debug in (True, False):
        with (
            TestClient(asgineer.to_asgi(handler, debug=debug), raise_errors=False) as client,
            pytest.raises(WebsocketDenied) as denied,
            client.websocket("/"),
        ):
            pass
        assert denied.value.response.status_code == 500
        told[debug] = denied.value.response.text.partition("\n")[0]
    assert told[True].endswith(text)
    assert told[False] == "Internal server error"
    check_records(caplog, text)


async def send_a_number(request: Any) -> None:
    await request.accept()
    await request.send(3)


AFTER_ACCEPT: list[tuple[Handler, str]] = [
    (accept_and_return, "A websocket handler should return None after request.accept()"),
    (accept_twice, "Cannot accept an already accepted websocket"),
    (send_a_number, "Can only send bytes/str/dict over a websocket, not int"),
]


@pytest.mark.parametrize(("handler", "text"), AFTER_ACCEPT, ids=[row[0].__name__ for row in AFTER_ACCEPT])
def test_a_websocket_after_accept(handler: Handler, text: str, caplog: pytest.LogCaptureFixture) -> None:
    told = {}
    for debug in (True, False):
        app = asgineer.to_asgi(handler, debug=debug)
        with TestClient(app, raise_errors=False) as client, client.websocket("/") as ws:
            with pytest.raises(WebsocketClosed) as closed:
                ws.receive()
            told[debug] = closed.value.reason
            assert closed.value.code == 1011
    assert told[True].endswith(text)
    assert told[False] == "Internal server error"
    check_records(caplog, text)


async def fail_at_length(request: Any) -> None:
    await request.accept()
    raise ValueError("€" * 200)


def test_a_reason_fits_into_a_close_frame() -> None:
    app = asgineer.to_asgi(fail_at_length, debug=True)
    with (
        TestClient(app, raise_errors=False) as client,
        client.websocket("/") as ws,
        pytest.raises(WebsocketClosed) as closed,
    ):
        ws.receive()
    assert closed.value.reason == "ValueError in websocket handler: " + "€" * 30


# HTTP, once the response has begun: the client sees it cut off, the log has the text


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (accept_and_return, "Handlers that call request.accept() should return None"),
        (accept_twice, "Cannot accept an already accepted request"),
        (send_a_dict, "Can only send bytes/str, not dict"),
    ],
)
def test_after_accept(handler: Handler, text: str, caplog: pytest.LogCaptureFixture) -> None:
    for debug in (True, False):
        app = asgineer.to_asgi(handler, debug=debug)
        with TestClient(app, raise_errors=False) as client, pytest.raises(httpx2.RemoteProtocolError):
            client.get("/")
    check_records(caplog, text)


# Where the app is made


class Shop:
    async def __call__(self, request: object) -> str:
        return "x"


async def without_request() -> str:
    return "x"


async def asgi_app(scope: object, receive: object, send: object) -> None: ...


async def not_plain(*args: object) -> None: ...


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: asgineer.to_asgi(lines),  # type: ignore[arg-type]
            "to_asgi() needs a coroutine function (async def), not the function 'lines' without async",
        ),
        (
            lambda: asgineer.to_asgi(chunks),  # type: ignore[arg-type]
            "to_asgi() needs a coroutine function (async def), not the async generator 'chunks': "
            "return one from a handler, as its body",
        ),
        (
            lambda: asgineer.to_asgi(page()),  # type: ignore[call-overload]
            "not a coroutine: give it the function, without ()",
        ),
        (
            lambda: asgineer.to_asgi(Shop),  # type: ignore[arg-type]
            "not the class 'Shop': give it an object, Shop()",
        ),
        (lambda: asgineer.to_asgi("example:main"), "not str"),  # type: ignore[call-overload]
        (
            lambda: asgineer.to_asgi(without_request),  # type: ignore[arg-type]
            "A handler takes one argument, the request: async def without_request(request)",
        ),
        (
            lambda: asgineer.to_asgi(asgi_app),  # type: ignore[arg-type]
            "A handler takes one argument, the request: async def asgi_app(request)",
        ),
        (
            lambda: asgineer.to_asgi(asgineer.to_asgi(page)),  # type: ignore[arg-type]
            "page is an ASGI app already: to_asgi() is used twice",
        ),
        (
            lambda: asgineer.to_asgi(page, error=not_plain),
            "to_asgi(error=…) takes a plain function (def, not async def)",
        ),
        (
            lambda: asgineer.to_asgi(page, done=not_plain),
            "to_asgi(done=…) takes a plain function (def, not async def)",
        ),
        (
            lambda: asgineer.to_asgi(page, done="log"),  # type: ignore[call-overload]
            "to_asgi(done=…) takes a plain function (def, not async def)",
        ),
    ],
)
def test_what_is_no_handler(make: Callable[[], object], text: str) -> None:
    with pytest.raises(TypeError) as caught:
        make()
    assert str(caught.value).endswith(text)


class Silent:
    """An object that doesn't tell what it takes."""

    __signature__ = "not told"

    async def __call__(self, *args: Any) -> str:
        return "x"


@pytest.mark.parametrize("handler", [Shop(), Silent(), not_plain])
def test_what_is_a_handler(handler: Any) -> None:
    assert asgineer.to_asgi(handler).asgineer_handler is handler
