"""to_asgi: what a handler returns or raises, and what goes over the wire and into the log for it."""

from __future__ import annotations

import asyncio
import dataclasses
import http
import inspect
import logging
from typing import TYPE_CHECKING, Any

import pytest

import asgineer
from asgineer import (
    BodyTooLarge,
    DisconnectedError,
    HTTPError,
    HttpRequest,
    Limits,
    MethodNotAllowed,
    WebsocketRequest,
    response_of,
    to_asgi,
)

from .asgi import Http, converse
from .asking import ask, ask_ws
from .turns import errors, run, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import httpx2

    from asgineer import BaseRequest

    from .asgi import App, Message

HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


def returning(result: Any, /, **settings: Any) -> App:
    """Return an app whose handler returns `result`; a function is called for it each time."""

    async def handler(request: HttpRequest) -> Any:
        return result() if inspect.isfunction(result) else result

    return to_asgi(handler, **settings)


def raising(error: BaseException, /, **settings: Any) -> App:
    async def handler(request: HttpRequest) -> Any:
        raise error

    return to_asgi(handler, **settings)


class Page:
    def __html__(self) -> str:
        return "<b>é</b>"


class Model:
    def model_dump_json(self) -> str:
        return '{"a":1}'


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Text(str):
    """As the safe strings of template engines, without their __html__."""


# What a handler may return


@pytest.mark.parametrize(
    ("body", "content_type", "data"),
    [
        (b"", "application/octet-stream", b""),
        (b"<html>", "application/octet-stream", b"<html>"),
        (bytearray(b"ab"), "application/octet-stream", b"ab"),
        ("", TEXT, b""),
        ("é", TEXT, "é".encode()),
        ("<html>x", HTML, b"<html>x"),
        ("<HTML lang=de>", HTML, b"<HTML lang=de>"),
        (" \r\n\t<!DocType HTML>", HTML, b" \r\n\t<!DocType HTML>"),
        ("<!doctype html SYSTEM 'x'>", HTML, b"<!doctype html SYSTEM 'x'>"),
        ("<html", TEXT, b"<html"),
        ("<htmlx>", TEXT, b"<htmlx>"),
        ("<!doctype xml>", TEXT, b"<!doctype xml>"),
        ("x<html>", TEXT, b"x<html>"),
        ("\xa0<html>", TEXT, "\xa0<html>".encode()),
        (Text("<html>t"), HTML, b"<html>t"),
        (Page(), HTML, "<b>é</b>".encode()),
        ({}, JSON, b"{}"),
        ({"a": [1, None, "é"]}, JSON, '{"a":[1,null,"é"]}'.encode()),
        ([], JSON, b"[]"),
        ([404, {}, "x"], JSON, b'[404,{},"x"]'),
        (Point(1, 2), JSON, b'{"x":1,"y":2}'),
        (Model(), JSON, b'{"a":1}'),
        (asgineer.html("x"), HTML, b"x"),
        (asgineer.text("<html>"), TEXT, b"<html>"),
        (asgineer.json("x"), JSON, b'"x"'),
        (asgineer.json(None), JSON, b"null"),
    ],
)
def test_body(body: Any, content_type: str, data: bytes) -> None:
    results: list[Any] = [body, (body,), ({}, body), (200, {}, body)]
    for result in results:
        answer = ask(returning(result))
        assert answer.status_code == 200
        assert answer.headers == {"content-type": content_type, "content-length": str(len(data))}
        assert answer.content == data


@pytest.mark.parametrize(
    ("result", "status", "headers"),
    [
        (({"x-a": "1"}, "b"), 200, {"x-a": "1", "content-type": TEXT}),
        ((404, {}, "b"), 404, {"content-type": TEXT}),
        ((599, {}, "b"), 599, {"content-type": TEXT}),
        ((http.HTTPStatus.CREATED, {"Location": "/x"}, "b"), 201, {"location": "/x", "content-type": TEXT}),
        ((200, {"content-type": "text/csv"}, "b"), 200, {"content-type": "text/csv"}),
        ((200, {"Content-Type": "text/csv"}, "b"), 200, {"content-type": "text/csv"}),
        ((200, {"CONTENT-LENGTH": "1"}, "b"), 200, {"content-type": TEXT}),
        ((200, {"X-Latin": "caf\xe9"}, "b"), 200, {"x-latin": "caf\xe9", "content-type": TEXT}),
        ((200, {"X-Tab": "a\tb"}, "b"), 200, {"x-tab": "a\tb", "content-type": TEXT}),
    ],
)
def test_status_and_headers(result: Any, status: int, headers: dict[str, str]) -> None:
    answer = ask(returning(lambda: result))
    assert (answer.status_code, dict(answer.headers)) == (status, headers | {"content-length": "1"})


def test_repeated_headers() -> None:
    answer = ask(returning(lambda: (200, {"Set-Cookie": ["a=1", "b=2"], "X-None": []}, "")))
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert "x-none" not in answer.headers


def test_a_dict_that_was_returned_is_never_written_into() -> None:
    headers = {"X-A": "1"}
    app = returning(lambda: (200, headers, "x"))
    for _ in range(3):
        assert ask(app).headers["x-a"] == "1"
    assert headers == {"X-A": "1"}


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("body", [None, b"", ""])
def test_no_body(status: int, body: Any) -> None:
    answer = ask(returning(lambda: (status, {"etag": '"x"'}, body)))
    assert (answer.status_code, dict(answer.headers), answer.content) == (status, {"etag": '"x"'}, b"")


def test_not_modified_may_name_the_length_of_the_whole() -> None:
    answer = ask(returning(lambda: (304, {"content-length": "12"}, None)))
    assert answer.headers == {"content-length": "12"}


def test_head_drops_the_body_and_keeps_its_length() -> None:
    for result in ("12345", {"a": 1}, (200, {}, b"12345"), (200, {"content-length": "5"}, b"12345")):
        answer = ask(returning(lambda result=result: result), method="HEAD")
        whole = ask(returning(lambda result=result: result))
        assert answer.headers == whole.headers
        assert answer.content == b""


def test_head_may_name_the_length_without_making_the_body() -> None:
    assert (
        ask(returning(lambda: (200, {"content-length": "99"}, b"")), method="HEAD").headers["content-length"]
        == "99"
    )


# What it may not


async def _coroutine() -> str:
    return "x"


def _generator() -> Iterator[str]:
    yield "x"


async def _stream() -> AsyncIterator[str]:
    yield "x"


CYCLE: list[Any] = []
CYCLE.append(CYCLE)

FLAWED: list[tuple[Any, str]] = [
    (lambda: None, "Body cannot be None"),
    (lambda: 42, "Body cannot be int"),
    (lambda: object, "Body cannot be type"),
    (lambda: object(), "Body cannot be object"),
    (lambda: {1, 2}, "Body cannot be set"),
    (_generator, "Body cannot be a regular generator"),
    (_coroutine, "Body cannot be a coroutine, forgot await?"),
    (lambda: _stream, "Body cannot be a function, forgot to call it?"),
    (lambda: (1, 2, 3, 4), "Handler returned 4-tuple"),
    (lambda: (), "Handler returned 0-tuple"),
    (lambda: ("200", {}, ""), "Status code must be an int, not str"),
    (lambda: (200.0, {}, ""), "Status code must be an int, not float"),
    (lambda: (True, {}, ""), "Status code must be an int, not bool"),
    (lambda: (None, {}, ""), "Status code must be an int, not NoneType"),
    (lambda: (404, "x"), "Headers must be a dict, not int"),
    *(
        (lambda status=status: (status, {}, ""), f"Status code must be an int from 200 to 599, not {status}")
        for status in (-1, 0, 99, 100, 101, 199, 600, 1000, 10**9)
    ),
    (lambda: (200, None, ""), "Headers must be a dict, not NoneType"),
    (lambda: (None, ""), "Headers must be a dict, not NoneType"),
    (lambda: (200, [], ""), "Headers must be a dict, not list"),
    (lambda: (200, (), ""), "Headers must be a dict, not tuple"),
    (lambda: (200, [("a", "b")], ""), "Headers must be a dict, not list"),
    (lambda: ("x", "y"), "Headers must be a dict, not str"),
    (lambda: (200, {1: "a"}, ""), "Header keys and values must all be strings"),
    (lambda: (200, {b"a": "a"}, ""), "Header keys and values must all be strings"),
    (lambda: (200, {"a": 1}, ""), "Header keys and values must all be strings"),
    (lambda: (200, {"a": None}, ""), "Header keys and values must all be strings"),
    (lambda: (200, {"a": b"x"}, ""), "Header keys and values must all be strings"),
    (lambda: (200, {"a": ["x", 1]}, ""), "Header keys and values must all be strings"),
    (lambda: (200, {"a": ("x",)}, ""), "Header keys and values must all be strings"),
    *(
        (lambda value=value: (200, {"x-a": value}, ""), "a character that HTTP does not allow")
        for value in ("a\r\nb", "a\n", "\r", "\x00", "\x0b", "\x1f", "\x7f", "✓", "\ud800")
    ),
    *(
        (lambda name=name: (200, {name: "x"}, ""), "is not a token")
        for name in ("", " ", "a b", "a:", ":path", "a\n", "a\x00", "é", "a\n\n", "(a)")
    ),
    (lambda: (200, {"content-type": "a", "Content-Type": "b"}, ""), "is given twice"),
    (lambda: (200, {"X-a": "a", "x-A": "b"}, ""), "is given twice"),
    (lambda: (200, {"Transfer-Encoding": "chunked"}, ""), "Header 'transfer-encoding'"),
    (lambda: (200, {"content-length": "5"}, "123456"), "Header 'content-length' says 5, but the body has 6"),
    (lambda: (200, {"content-length": "5"}, ""), "Header 'content-length' says 5, but the body has 0"),
    (lambda: (200, {"content-length": "+5"}, "12345"), "Header 'content-length' must be a number"),
    (lambda: (200, {"content-length": "\u0665"}, "12345"), "a character that HTTP does not allow"),
    (lambda: (200, {"content-length": ["5", "5"]}, "12345"), "content-length"),
    (lambda: (204, {"content-length": "0"}, None), "status 204 has no content-length"),
    (lambda: (204, {}, "x"), "A response with status 204 has no body"),
    (lambda: (304, {}, {}), "A response with status 304 has no body"),
    (lambda: (200, {}, None), "Body cannot be None"),
    (lambda: {"a": object()}, "Could not JSON encode dict"),
    (lambda: [object()], "Could not JSON encode list"),
    (lambda: CYCLE, "Could not JSON encode list"),
    (lambda: {(1, 2): 3}, "Could not JSON encode dict"),
    (lambda: {"a": "\ud800"}, "Could not JSON encode dict"),
    (lambda: "\ud800", "surrogates not allowed"),
]


@pytest.mark.parametrize(("result", "words"), FLAWED)
def test_flawed_result(result: Any, words: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(returning(result))
    assert answer.status_code == 500
    assert answer.text == "Internal server error"
    assert answer.headers["content-type"] == TEXT
    (record,) = errors(caplog)
    assert words in record
    assert " in request handler: " in record
    assert len(record) < 1000
    assert words in ask(returning(result, debug=True)).text


def test_flawed_result_names_the_handler(caplog: pytest.LogCaptureFixture) -> None:
    ask(returning(42), "/a/b?secret")
    (record,) = errors(caplog)
    assert "test_app.py:" in record
    assert "GET /a/b" in record
    assert "secret" not in record


# Exceptions


def test_exception(caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(raising(ValueError("my secret")), "/some/path", method="POST")
    assert (answer.status_code, answer.text) == (500, "Internal server error")
    (record,) = errors(caplog)
    assert "ValueError in request handler: my secret" in record
    assert "POST /some/path" in record
    assert "test_app.py:" in record
    assert "Traceback" in (caplog.records[0].exc_text or "")
    assert "raise error" in (caplog.records[0].exc_text or "")


@pytest.mark.parametrize(
    ("debug", "environment", "shown"),
    [
        (True, None, True),
        (True, "0", True),
        (False, "1", False),
        (None, "1", True),
        (None, "0", False),
        (None, "", False),
        (None, None, False),
    ],
)
def test_debug(
    debug: bool | None, environment: str | None, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = raising(ValueError("my secret"), debug=debug)
    monkeypatch.delenv("ASGINEER_DEBUG", raising=False)
    if environment is not None:
        monkeypatch.setenv("ASGINEER_DEBUG", environment)  # after the app was made: asked at the error
    text = ask(app).text
    assert ("ValueError in request handler: my secret" in text) is shown
    assert (text == "Internal server error") is not shown


def test_settings_can_be_changed_later() -> None:
    app = raising(ValueError("my secret"))
    app.asgineer_settings.debug = True  # type: ignore[attr-defined]  # an attribute of ours
    assert "my secret" in ask(app).text


def test_the_request_id_is_in_the_record(caplog: pytest.LogCaptureFixture) -> None:
    seen = []

    @to_asgi
    async def app(request: HttpRequest) -> str:
        seen.append(request.id)
        raise ValueError

    ask(app)
    assert seen[0] in errors(caplog)[0]


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("a\r\nb\x1b[31m\x00c\u2028d\x85e\ud800"), r"a\r\nb\x1b[31m\x00c\u2028d\x85e\ud800"),
        (ValueError("x" * 10_000_000), "xxx…"),
        (Unprintable(), "Unprintable in request handler: <"),
        (KeyboardInterrupt(), "KeyboardInterrupt in request handler"),
        (SystemExit(3), "SystemExit in request handler: 3"),
        (BaseException("x"), "BaseException in request handler: x"),
        (asyncio.CancelledError("own"), "CancelledError in request handler: own"),
        (BaseExceptionGroup("g", [KeyboardInterrupt()]), "BaseExceptionGroup in request handler"),
        (ExceptionGroup("g", [ValueError("x"), HTTPError(404)]), "ExceptionGroup in request handler"),
        (FileNotFoundError("x"), "FileNotFoundError in request handler"),
        (asgineer.UsageError("x"), "UsageError in request handler: x"),
        (TimeoutError(), "TimeoutError in request handler"),
        (StopAsyncIteration(), "in request handler"),
    ],
)
def test_unusual_exceptions(error: BaseException, words: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(raising(error))
    assert (answer.status_code, answer.text) == (500, "Internal server error")
    (record,) = errors(caplog)
    assert words in record
    assert "\n" not in record
    assert len(record.encode()) < 1000
    assert len(caplog.records[0].exc_text or "") < 20_000


def test_the_path_in_the_record_is_escaped_and_capped(caplog: pytest.LogCaptureFixture) -> None:
    ask(raising(ValueError("x")), "/%1b[31m%0aINFO" + "x" * 60_000)
    (record,) = errors(caplog)
    assert r"/\x1b[31m\nINFO" in record
    assert len(record) < 1000


def test_a_group_of_several_errors_is_logged_whole(caplog: pytest.LogCaptureFixture) -> None:
    ask(raising(ExceptionGroup("g", [ValueError("one"), HTTPError(404), KeyError("two")])))
    assert len(errors(caplog)) == 1
    for words in ("one", "two"):
        assert words in (caplog.records[0].exc_text or "")


@pytest.mark.parametrize(
    ("group", "status"),
    [
        (ExceptionGroup("g", [HTTPError(404), HTTPError(409)]), 404),
        (ExceptionGroup("g", [HTTPError(409), DisconnectedError()]), 409),
        (ExceptionGroup("g", [ExceptionGroup("h", [HTTPError(403)]), HTTPError(404)]), 403),
    ],
)
def test_a_group_of_http_errors_counts_as_its_first(
    group: ExceptionGroup[Exception], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert ask(raising(group)).status_code == status
    assert not errors(caplog)


def test_a_group_that_begins_with_a_disconnect_is_one(caplog: pytest.LogCaptureFixture) -> None:
    exchange = run(converse(raising(ExceptionGroup("g", [DisconnectedError(), HTTPError(404)]))))
    assert (exchange.error, exchange.sent) == (None, [])
    assert not errors(caplog)


def test_a_disconnect_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    exchange = run(converse(raising(DisconnectedError())))
    assert (exchange.error, exchange.sent) == (None, [])
    assert not caplog.records


async def test_a_cancellation_passes_through(caplog: pytest.LogCaptureFixture) -> None:
    @to_asgi
    async def app(request: HttpRequest) -> str:
        await asyncio.Event().wait()
        return "never"

    exchange = Http.begin(app)
    await settle()
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange.finish()
    assert not exchange.sent
    assert not errors(caplog)


async def test_a_cancellation_inside_a_stream_passes_through(caplog: pytest.LogCaptureFixture) -> None:
    closed = []

    async def stream() -> AsyncIterator[bytes]:
        try:
            yield b"1"
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    exchange = Http.begin(returning(stream))
    await exchange.until(lambda: len(exchange.sent) == 2)
    await settle()
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange.finish()
    assert not exchange.complete
    assert closed == [True]
    assert not errors(caplog)


def test_a_timeout_around_the_handler_still_works() -> None:
    @to_asgi
    async def app(request: HttpRequest) -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "never"

    assert ask(app).text == "timed out"


# HTTPError


@pytest.mark.parametrize(
    ("error", "status", "headers", "body"),
    [
        (HTTPError(404), 404, {"content-type": TEXT}, b"Not Found"),
        (HTTPError(404, "Gone fishing"), 404, {"content-type": TEXT}, b"Gone fishing"),
        (HTTPError(404, b"x"), 404, {"content-type": "application/octet-stream"}, b"x"),
        (HTTPError(422, {"why": 1}), 422, {"content-type": JSON}, b'{"why":1}'),
        (HTTPError(404, "<html>x"), 404, {"content-type": HTML}, b"<html>x"),
        (
            HTTPError(401, headers={"WWW-Authenticate": "Basic"}),
            401,
            {"www-authenticate": "Basic"},
            b"Unauthorized",
        ),
        (HTTPError(303, headers={"location": "/login"}), 303, {"location": "/login"}, b"See Other"),
        (HTTPError(599), 599, {}, b""),
        (HTTPError(503), 503, {}, b"Service Unavailable"),
        (MethodNotAllowed("GET", "PUT"), 405, {"allow": "GET, HEAD, PUT"}, b"Method Not Allowed"),
        (BodyTooLarge(), 413, {}, b"Request body too large"),
    ],
)
def test_http_error(
    error: HTTPError, status: int, headers: dict[str, str], body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = ask(raising(error))
    assert (answer.status_code, answer.content) == (status, body)
    assert headers.items() <= answer.headers.items()
    assert answer.headers["content-length"] == str(len(body))
    assert not caplog.records


def test_http_error_not_modified() -> None:
    answer = ask(raising(HTTPError(304, headers={"etag": '"x"'})))
    assert (answer.status_code, dict(answer.headers), answer.content) == (304, {"etag": '"x"'}, b"")


def test_http_error_with_a_stream(caplog: pytest.LogCaptureFixture) -> None:
    assert ask(raising(HTTPError(404, _stream()))).status_code == 500
    assert "The body of an error can't be a stream" in errors(caplog)[0]


def test_http_error_to_head() -> None:
    answer = ask(raising(HTTPError(404)), method="HEAD")
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (404, "9", b"")


def test_http_error_with_flawed_headers(caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(raising(HTTPError(404, headers={"x": "a\nb"})))
    assert (answer.status_code, answer.text) == (500, "Internal server error")
    assert len(errors(caplog)) == 1


def test_http_error_with_a_flawed_body(caplog: pytest.LogCaptureFixture) -> None:
    assert ask(raising(HTTPError(404, object()))).status_code == 500
    assert "Body cannot be object" in errors(caplog)[0]


# error=render


def rendered(
    error: BaseException, render: Callable[[BaseRequest, HTTPError], Any], **settings: Any
) -> httpx2.Response:
    return ask(raising(error, error=render, **settings))


def test_render_makes_the_response() -> None:
    answer = rendered(
        HTTPError(404, "no"), lambda request, error: {"error": error.body, "path": request.path}
    )
    assert (answer.status_code, answer.text) == (404, '{"error":"no","path":"/"}')
    assert answer.headers["content-type"] == JSON


def test_render_makes_the_500(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[HTTPError] = []
    cause = ValueError("secret")

    def render(request: BaseRequest, error: HTTPError) -> Any:
        seen.append(error)
        return {"error": error.body}

    answer = rendered(cause, render)
    assert (answer.status_code, answer.text) == (500, '{"error":"Internal server error"}')
    assert seen[0].status == 500
    assert seen[0].__cause__ is cause
    assert len(errors(caplog)) == 1


def test_render_makes_the_answer_to_a_flawed_result() -> None:
    answer = ask(returning(42, error=lambda request, error: f"<html>{error.status}"))
    assert (answer.status_code, answer.text) == (500, "<html>500")


def test_render_shows_the_text_with_debug() -> None:
    assert "secret" in rendered(ValueError("secret"), lambda request, error: error.body, debug=True).text


@pytest.mark.parametrize(
    "result", [(200, {"x-a": "1"}, "body"), (201, {"x-a": "1"}, "body"), ({"x-a": "1"}, "body")]
)
def test_render_keeps_the_status(result: Any) -> None:
    answer = rendered(HTTPError(404), lambda request, error: result)
    assert (answer.status_code, answer.headers["x-a"], answer.text) == (404, "1", "body")


def test_render_keeps_the_headers_of_the_error() -> None:
    answer = rendered(MethodNotAllowed("GET"), lambda request, error: ({"X-A": "1"}, "no"))
    assert (answer.headers["allow"], answer.headers["x-a"]) == ("GET, HEAD", "1")


def _raise(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    ("render", "words"),
    [
        (lambda request, error: _raise(KeyError("oops")), "KeyError in error renderer: 'oops'"),
        (lambda request, error: _raise(HTTPError(302)), "HTTPError in error renderer"),
        (lambda request, error: None, "TypeError in error renderer: Body cannot be None"),
        (lambda request, error: (1, 2, 3, 4), "TypeError in error renderer: Handler returned 4-tuple"),
        (lambda request, error: ({"a": "\n"}, ""), "ValueError in error renderer"),
        (lambda request, error: _coroutine(), "Body cannot be a coroutine, forgot await?"),
    ],
)
def test_render_that_fails(render: Any, words: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = rendered(HTTPError(404, "mine"), render)
    assert (answer.status_code, answer.text) == (404, "mine")
    (record,) = errors(caplog)
    assert words in record


def test_render_is_not_asked_about_values_that_are_returned() -> None:
    answer = ask(returning(lambda: (404, {}, "x"), error=lambda request, error: "rendered"))
    assert answer.text == "x"


# response_of


def resolved(awaitable: Callable[[HttpRequest], Any], **settings: Any) -> tuple[Any, httpx2.Response]:
    """Return what `response_of` gave inside of a handler, and the exchange."""
    found: list[Any] = []

    async def handler(request: HttpRequest) -> Any:
        found.append(await response_of(request, awaitable(request)))
        return found[0]

    exchange = ask(to_asgi(handler, **settings))
    return found[0], exchange


async def _value(result: Any) -> Any:
    return result


@pytest.mark.parametrize(
    ("result", "response"),
    [
        ("x", (200, {"content-type": TEXT}, b"x")),
        (("x",), (200, {"content-type": TEXT}, b"x")),
        ({"a": 1}, (200, {"content-type": JSON}, b'{"a":1}')),
        (({"X-A": "1"}, b"x"), (200, {"x-a": "1", "content-type": "application/octet-stream"}, b"x")),
        ((404, {"Content-Type": "a/b"}, "x"), (404, {"content-type": "a/b"}, b"x")),
        ((204, {}, None), (204, {}, b"")),
        ((200, {"Set-Cookie": ["a", "b"]}, ""), (200, {"set-cookie": ["a", "b"], "content-type": TEXT}, b"")),
    ],
)
def test_response_of_a_result(result: Any, response: Any) -> None:
    found, exchange = resolved(lambda request: _value(result))
    assert found == response
    assert exchange.content == response[2]


def test_response_of_gives_a_fresh_dict() -> None:
    headers: dict[str, str] = {"x-a": "1"}
    found, _ = resolved(lambda request: _value((headers, "x")))
    found[1]["x-b"] = "2"
    assert headers == {"x-a": "1"}


def test_response_of_an_http_error(caplog: pytest.LogCaptureFixture) -> None:
    async def site(request: HttpRequest) -> str:
        raise MethodNotAllowed("GET")

    found, exchange = resolved(site)
    assert found == (405, {"allow": "GET, HEAD", "content-type": TEXT}, b"Method Not Allowed")
    assert exchange.status_code == 405
    assert not caplog.records


def test_response_of_an_exception_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def site(request: HttpRequest) -> str:
        raise ValueError("x")

    found, exchange = resolved(site)
    assert found == (500, {"content-type": TEXT}, b"Internal server error")
    assert exchange.status_code == 500
    assert len(errors(caplog)) == 1


def test_response_of_a_flawed_result(caplog: pytest.LogCaptureFixture) -> None:
    found, _ = resolved(lambda request: _value(42))
    assert found[0] == 500
    assert "Body cannot be int" in errors(caplog)[0]


def test_response_of_uses_the_renderer() -> None:
    async def site(request: HttpRequest) -> str:
        raise HTTPError(404)

    found, _ = resolved(site, error=lambda request, error: {"status": error.status})
    assert found == (404, {"content-type": JSON}, b'{"status":404}')


def test_response_of_a_handler_that_sends_by_itself() -> None:
    async def site(request: HttpRequest) -> None:
        await request.accept(201)
        await request.send(b"mine")

    found, exchange = resolved(site)
    assert found is None
    assert (exchange.status_code, exchange.content) == (201, b"mine")


def test_response_of_a_handler_that_sends_and_returns(caplog: pytest.LogCaptureFixture) -> None:
    async def site(request: HttpRequest) -> str:
        await request.accept(201)
        return "x"

    async def handler(request: HttpRequest) -> Any:
        return await response_of(request, site(request))

    exchange = run(converse(to_asgi(handler)))
    assert not exchange.complete
    assert "Handlers that call request.accept() should return None" in errors(caplog)[0]


def test_response_of_a_stream_does_not_start_it() -> None:
    started = []

    async def stream() -> AsyncIterator[str]:
        started.append(True)
        yield "x"

    async def handler(request: HttpRequest) -> Any:
        response = await response_of(request, _value(stream()))
        assert response is not None
        assert not started
        response[1]["x-more"] = "1"
        return response

    answer = ask(to_asgi(handler))
    assert (answer.headers["x-more"], answer.text) == ("1", "x")


@pytest.mark.parametrize("error", [DisconnectedError(), asyncio.CancelledError()])
def test_response_of_lets_pass(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    async def site(request: HttpRequest) -> str:
        raise error

    async def handler(request: HttpRequest) -> Any:
        with pytest.raises(type(error)):
            await response_of(request, site(request))
        return "passed"

    assert ask(to_asgi(handler)).text == "passed"
    assert not caplog.records


def test_response_of_after_the_start_lets_errors_pass(caplog: pytest.LogCaptureFixture) -> None:
    async def site(request: HttpRequest) -> None:
        await request.accept(200)
        raise ValueError("late")

    async def handler(request: HttpRequest) -> Any:
        return await response_of(request, site(request))

    exchange = run(converse(to_asgi(handler)))
    assert not exchange.complete
    (record,) = errors(caplog)
    assert "ValueError in request handler: late" in record


def test_response_of_websocket() -> None:
    found: list[Any] = []

    async def handler(request: WebsocketRequest) -> None:
        async def inner() -> Any:
            return None

        found.append(await response_of(request, inner()))

        async def refuses() -> Any:
            raise HTTPError(401)

        found.append(await response_of(request, refuses()))

        async def accepts() -> Any:
            await request.accept()

        found.append(await response_of(request, accepts()))

    assert ask_ws(to_asgi(handler)).accepted
    assert found == [None, (401, {"content-type": TEXT}, b"Unauthorized"), None]


# The body limit can't be swallowed


def test_body_too_large_swallowed() -> None:
    @to_asgi(limits=Limits(body=3))
    async def app(request: HttpRequest) -> Any:
        try:
            await request.get_body()
        except OSError:
            return {"ok": True}

    answer = ask(app, method="POST", body=b"1234")
    assert (answer.status_code, answer.text) == (413, "Request body too large")


def test_body_too_large_own_answer() -> None:
    @to_asgi(limits=Limits(body=3))
    async def app(request: HttpRequest) -> Any:
        try:
            await request.get_body()
        except BodyTooLarge:
            return 422, {}, "my own"

    answer = ask(app, method="POST", body=b"1234")
    assert (answer.status_code, answer.text) == (422, "my own")


# done


def reports(handler: Any, **settings: Any) -> tuple[App, list[tuple[Any, ...]]]:
    calls: list[tuple[Any, ...]] = []
    return to_asgi(handler, done=lambda *report: calls.append(report), **settings), calls


@pytest.mark.parametrize(
    ("result", "status", "size", "outcome"),
    [
        ("12345", 200, 5, "ok"),
        ((404, {}, "é"), 404, 2, "ok"),
        ((204, {}, None), 204, 0, "ok"),
        (HTTPError(404), 404, 9, "ok"),
        (HTTPError(503), 503, 19, "error"),
        (ValueError(), 500, 21, "error"),
        (42, 500, 21, "error"),
        (DisconnectedError(), 0, 0, "disconnect"),
        (_stream, 200, 1, "ok"),
    ],
)
def test_done(result: Any, status: int, size: int, outcome: str) -> None:
    async def handler(request: HttpRequest) -> Any:
        request.label = "my route"
        if isinstance(result, Exception):
            raise result
        return result() if callable(result) else result

    app, calls = reports(handler)
    run(converse(app))
    ((request, *figures, seconds, seen),) = calls
    assert isinstance(request, HttpRequest)
    assert request.label == "my route"
    assert figures == [status, size]
    assert 0 <= seconds < 5
    assert seen == outcome


def test_done_of_head() -> None:
    async def handler(request: HttpRequest) -> str:
        return "12345"

    app, calls = reports(handler)
    ask(app, method="HEAD")
    assert calls[0][1:3] == (200, 0)


def test_done_of_an_aborted_stream(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: HttpRequest) -> Any:
        async def stream() -> AsyncIterator[str]:
            yield "12"
            raise ValueError("x")

        return stream()

    app, calls = reports(handler)
    run(converse(app))
    assert (calls[0][1:3], calls[0][4]) == ((200, 2), "error")


async def test_done_of_a_client_that_left_midway() -> None:
    async def handler(request: HttpRequest) -> None:
        await request.accept(200)
        while True:
            await request.send(b"x")

    app, calls = reports(handler)
    exchange = Http.begin(app)
    await exchange.until(lambda: len(exchange.sent) > 3)
    exchange.leave()
    await exchange.finish()
    assert exchange.error is None
    assert (calls[0][1], calls[0][4]) == (200, "disconnect")


async def test_done_is_called_when_the_task_is_cancelled() -> None:
    async def handler(request: HttpRequest) -> None:
        await asyncio.Event().wait()

    app, calls = reports(handler)
    exchange = Http.begin(app)
    await settle()
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange.finish()
    assert len(calls) == 1
    assert calls[0][1:3] == (0, 0)


def test_done_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    def done(*report: Any) -> None:
        raise KeyError("oops")

    answer = ask(returning("x", done=done))
    assert answer.text == "x"
    assert "KeyError in done function: 'oops'" in errors(caplog)[0]


def test_done_of_a_websocket() -> None:
    async def handler(request: WebsocketRequest) -> None:
        await request.accept()
        await request.send("é")
        await request.send(b"123")

    app, calls = reports(handler)
    ask_ws(app)
    ((request, status, size, _, outcome),) = calls
    assert isinstance(request, WebsocketRequest)
    assert (status, size, outcome) == (101, 5, "ok")


@pytest.mark.parametrize(
    ("error", "denial", "status", "outcome"),
    [
        (HTTPError(401), True, 401, "ok"),
        (HTTPError(401), False, 403, "ok"),
        (ValueError(), True, 500, "error"),
        (DisconnectedError(), True, 0, "disconnect"),
    ],
)
def test_done_of_a_denied_websocket(error: Exception, denial: bool, status: int, outcome: str) -> None:
    async def handler(request: WebsocketRequest) -> None:
        raise error

    app, calls = reports(handler)
    socket = ask_ws(app, denial=denial)
    size = sum([len(message["body"]) for message in socket.sent[1:]])
    assert (*calls[0][1:3], calls[0][4]) == (status, size, outcome)


def test_the_access_log_is_asked_for_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("ASGINEER_ACCESS_LOG", "1")
    calls: list[Any] = []
    app = returning("x", done=lambda *report: calls.append(report))
    monkeypatch.delenv("ASGINEER_ACCESS_LOG")
    ask(app, "/a")
    ask(returning("x"), "/b")
    lines = [record.getMessage() for record in caplog.records if record.name == "asgineer.access"]
    assert len(lines) == 1
    assert lines[0].startswith('127.0.0.1 "GET /a HTTP/1.1" 200 1 ')
    assert len(calls) == 1


# Lifespan, and scopes of other kinds


async def _lifespan(app: App, *kinds: str) -> list[Message]:
    sent: list[Message] = []
    incoming = iter(kinds)

    async def receive() -> Message:
        return {"type": next(incoming)}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "lifespan", "state": {}}, receive, send)
    return sent


def test_lifespan(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sent = run(_lifespan(returning("x"), "lifespan.startup", "lifespan.shutdown"))
    assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("INFO", "Server is starting up"),
        ("INFO", "Server is shutting down"),
    ]


def test_lifespan_unknown_message(caplog: pytest.LogCaptureFixture) -> None:
    sent = run(_lifespan(returning("x"), "lifespan.startup", "lifespan.dance", "lifespan.shutdown"))
    assert len(sent) == 2
    (record,) = caplog.records
    assert "Unknown" in record.getMessage()
    assert "lifespan.dance" in record.getMessage()


def test_unknown_scope(caplog: pytest.LogCaptureFixture) -> None:
    exchange = run(converse(returning("x"), type="carrier-pigeon"))
    assert (exchange.sent, exchange.error) == ([], None)
    (record,) = caplog.records
    assert "Unknown" in record.getMessage()
    assert "carrier-pigeon" in record.getMessage()


# Making the app


def test_it_keeps_what_names_the_handler() -> None:
    async def main(request: HttpRequest) -> str:
        """Say x."""
        return "x"

    for app in (to_asgi(main), to_asgi(debug=True)(main)):
        assert asyncio.iscoroutinefunction(app) or callable(app)
        assert (app.__name__, app.__doc__, app.__module__) == ("main", "Say x.", __name__)
        assert app.asgineer_handler is main
        assert app.asgineer_settings.handler is main
        assert ask(app).text == "x"


def test_object_with_async_call() -> None:
    class Main:
        """A whole site."""

        async def __call__(self, request: HttpRequest) -> str:
            return "called"

        async def method(self, request: HttpRequest) -> str:
            return "method"

    assert ask(to_asgi(Main())).text == "called"
    assert ask(to_asgi(Main().method)).text == "method"


def test_failing_object_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Main:
        async def __call__(self, request: HttpRequest) -> Any:
            return 42

    ask(to_asgi(Main()))
    assert "test_app.py:" in errors(caplog)[0]


def _sync(request: HttpRequest) -> str:
    return "x"


class SyncCall:
    def __call__(self, request: HttpRequest) -> str:
        return "x"


async def _async_generator(request: HttpRequest) -> AsyncIterator[str]:
    yield "x"


@pytest.mark.parametrize(
    "handler", [_sync, lambda request: "x", SyncCall(), SyncCall, _async_generator, "main", 3, HttpRequest]
)
def test_handler_that_is_not_async(handler: Any) -> None:
    with pytest.raises(TypeError, match="to_asgi"):
        to_asgi(handler)
    with pytest.raises(TypeError, match="to_asgi"):
        to_asgi(debug=True)(handler)


def test_the_wrong_handler_is_named() -> None:
    with pytest.raises(TypeError, match="'_sync'"):
        to_asgi(_sync)  # type: ignore[arg-type]  # what is tested


def test_handler_of_both_kinds() -> None:
    @to_asgi
    async def app(request: Any) -> Any:
        if isinstance(request, WebsocketRequest):
            await request.accept()
            await request.send("socket")
            return None
        return "page"

    assert ask(app).text == "page"
    assert ask_ws(app).messages == ["socket"]


async def test_the_scope_is_handed_through_untouched() -> None:
    scopes = []

    @to_asgi
    async def app(request: HttpRequest) -> str:
        scopes.append(request.scope)
        return request.path + request.host + str(request.parts) + str(request.querydict)

    exchange = Http(app, "/a/b?c=d", headers={"host": "x:1"})
    before = dict(exchange.scope)
    exchange.start()
    await exchange.finish()
    assert scopes[0] is exchange.scope
    assert exchange.scope == before


def test_the_next_request_after_each_failure_is_answered() -> None:
    @to_asgi
    async def app(request: HttpRequest) -> Any:
        if request.path == "/":
            return "fine"
        raise KeyError(request.path)

    for path in ("/x", "/", "/y", "/"):
        assert ask(app, path).status_code == (200 if path == "/" else 500)


async def test_a_plain_response_starts_no_task() -> None:
    counts = []

    @to_asgi
    async def app(request: HttpRequest) -> str:
        await request.get_body()
        counts.append(len(asyncio.all_tasks()))
        return "x"

    before = len(asyncio.all_tasks())
    exchange = await converse(app)
    assert exchange.text == "x"
    assert counts == [before + 1]  # the client's own for the app
