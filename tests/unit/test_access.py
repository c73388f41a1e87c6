"""The access log: its line, and how it is put around an app."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from asgineer import to_asgi
from asgineer._access import AccessLog, access_line, log_access, log_request, with_access_log

SCOPE = {"type": "http", "method": "GET", "path": "/", "http_version": "1.1", "client": ("127.0.0.1", 5)}


@pytest.mark.parametrize(
    ("scope", "arguments", "line"),
    [
        ({}, (200, 1234, 0.0008, "ok"), '127.0.0.1 "GET / HTTP/1.1" 200 1234 0.8ms'),
        ({}, (500, 0, 1.5, "error"), '127.0.0.1 "GET / HTTP/1.1" 500 0 1500.0ms error'),
        ({"client": None}, (200, 0, 0, "ok"), '- "GET / HTTP/1.1" 200 0 0.0ms'),
        ({"client": ("", 0)}, (200, 0, 0, "ok"), '- "GET / HTTP/1.1" 200 0 0.0ms'),
        ({"client": ["::1", 5]}, (200, 0, 0, "ok"), '::1 "GET / HTTP/1.1" 200 0 0.0ms'),
        ({"client": ("::ffff:10.0.0.1", 5)}, (200, 0, 0, "ok"), '10.0.0.1 "GET / HTTP/1.1" 200 0 0.0ms'),
        ({"http_version": "2"}, (200, 0, 0, "ok"), '127.0.0.1 "GET / HTTP/2" 200 0 0.0ms'),
        (
            {"path": '/a b"\n%é'},
            (200, 0, 0, "ok"),
            '127.0.0.1 "GET /a%20b%22%0A%25%C3%A9 HTTP/1.1" 200 0 0.0ms',
        ),
        ({"path": "/\udcff"}, (200, 0, 0, "ok"), '127.0.0.1 "GET /%5Cudcff HTTP/1.1" 200 0 0.0ms'),
        (
            {"path": "/" + 1000 * "x"},
            (200, 0, 0, "ok"),
            f'127.0.0.1 "GET /{399 * "x"}… HTTP/1.1" 200 0 0.0ms',
        ),
        (
            {"method": "A\n" + 30 * "B"},
            (200, 0, 0, "ok"),
            f'127.0.0.1 "A\\n{17 * "B"}… / HTTP/1.1" 200 0 0.0ms',
        ),
        ({"query_string": b"token=1"}, (200, 0, 0, "ok"), '127.0.0.1 "GET / HTTP/1.1" 200 0 0.0ms'),
    ],
)
def test_access_line(scope: dict[str, Any], arguments: tuple[int, int, float, str], line: str) -> None:
    assert access_line({**SCOPE, **scope}, *arguments) == line


def test_access_line_of_a_websocket() -> None:
    scope = {"type": "websocket", "path": "/chat", "client": ("127.0.0.1", 5)}
    assert access_line(scope, 101, 7, 2.0, "disconnect") == (
        '127.0.0.1 "WEBSOCKET /chat HTTP/1.1" 101 7 2000.0ms disconnect'
    )


def test_an_app_of_ours_logs_before_its_own_done(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[tuple[Any, ...]] = []

    def done(*arguments: Any) -> None:
        calls.append((*arguments, len(caplog.records)))

    async def main(request: Any) -> str:
        return ""

    app = to_asgi(main, done=done)
    assert with_access_log(app) is app
    with_access_log(app)  # twice is once
    request: Any = SimpleNamespace(scope=SCOPE)
    with caplog.at_level(logging.INFO, "asgineer.access"):
        assert app.asgineer_settings.done is not None
        app.asgineer_settings.done(request, 200, 3, 0.001, "ok")
    assert [record.getMessage() for record in caplog.records] == ['127.0.0.1 "GET / HTTP/1.1" 200 3 1.0ms']
    assert calls == [(request, 200, 3, 0.001, "ok", 1)]


def test_log_access_is_idempotent_without_a_done() -> None:
    settings = SimpleNamespace(done=None)
    log_access(settings)
    log_access(settings)
    assert settings.done is log_request


def drive(app: Any, scope: dict[str, Any]) -> list[Any]:
    """Call an ASGI app once; return what it sent."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


@pytest.mark.parametrize(
    ("messages", "status", "size"),
    [
        (
            [
                {"type": "http.response.start", "status": 404},
                {"type": "http.response.body", "body": b"abc", "more_body": True},
                {"type": "http.response.body"},
            ],
            404,
            3,
        ),
        (
            [
                {"type": "websocket.accept"},
                {"type": "websocket.send", "bytes": b"ab", "text": None},
                {"type": "websocket.send", "text": "é"},
                {"type": "websocket.close"},
            ],
            101,
            4,
        ),
        ([{"type": "websocket.close"}], 403, 0),
        (
            [
                {"type": "websocket.http.response.start", "status": 401},
                {"type": "websocket.http.response.body", "body": b"no"},
            ],
            401,
            2,
        ),
        ([], 500, 0),
    ],
)
def test_another_app_is_wrapped(
    messages: list[Any], status: int, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    wrapped = with_access_log(app)
    assert isinstance(wrapped, AccessLog)
    assert with_access_log(wrapped) is wrapped
    with caplog.at_level(logging.INFO, "asgineer.access"):
        assert drive(wrapped, SCOPE) == messages
        assert drive(wrapped, {"type": "lifespan"}) == messages
    [record] = caplog.records
    assert record.getMessage().rpartition(" ")[0] == f'127.0.0.1 "GET / HTTP/1.1" {status} {size}'


def test_an_error_of_another_app_is_logged_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("mine")

    with caplog.at_level(logging.INFO, "asgineer.access"), pytest.raises(ValueError, match="mine"):
        drive(with_access_log(app), SCOPE)
    [record] = caplog.records
    assert record.getMessage().endswith("ms error")
