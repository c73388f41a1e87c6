"""HttpRequest: the body that comes in, the response that goes out in pieces, sleeping and waking."""

from __future__ import annotations

import asyncio
import contextlib
import io
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import (
    BodyTooLarge,
    DisconnectedError,
    HTTPError,
    HttpRequest,
    Limits,
    RequestTimeout,
    UsageError,
    to_asgi,
)

from .asgi import Http, converse
from .asking import ask
from .turns import advance, drain, errors, run, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asgineer.testing._fakeclock import FakeClock

    from .asgi import App, Message


def app_of(work: Callable[[HttpRequest], Awaitable[Any]], **settings: Any) -> App:
    async def handler(request: HttpRequest) -> Any:
        return await work(request)

    return to_asgi(handler, **settings)


def outcome(work: Callable[[HttpRequest], Awaitable[Any]], **options: Any) -> Any:
    """Return what `work` gave or raised inside of a handler that then answers "done"."""
    found: list[Any] = []

    async def handler(request: HttpRequest) -> str:
        try:
            found.append(await work(request))
        except Exception as error:
            found.append(error)
        return "done"

    run(converse(to_asgi(handler), **options))
    return found[0]


# Body in


@pytest.mark.parametrize("body", [b"", b"abc", [b"a", b"b", b"", b"c"], [b"", b""], [b"x"] * 500])
def test_get_body(body: Any) -> None:
    whole = body if isinstance(body, bytes) else b"".join(body)

    async def work(request: HttpRequest) -> Any:
        first = await request.get_body()
        return first, await request.get_body(), await request.get_body(limit=0)

    assert outcome(work, method="POST", body=body) == (whole, whole, whole)


def test_iter_body_gives_the_pieces() -> None:
    async def work(request: HttpRequest) -> Any:
        return await drain(request.iter_body())

    assert outcome(work, body=[b"a", b"", b"bc"]) == [b"a", b"bc"]


def test_iter_body_has_no_limit() -> None:
    async def work(request: HttpRequest) -> Any:
        return sum([len(piece) async for piece in request.iter_body()])

    assert outcome(work, body=[bytes(2**20)] * 11) == 11 * 2**20


async def _get_body(request: HttpRequest) -> Any:
    return await request.get_body()


async def _get_json(request: HttpRequest) -> Any:
    return await request.get_json()


async def _iterate(request: HttpRequest) -> Any:
    return await drain(request.iter_body())


async def _iterate_first(request: HttpRequest) -> Any:
    async for piece in request.iter_body():
        return piece
    return None


@pytest.mark.parametrize("first", [_iterate, _iterate_first])
@pytest.mark.parametrize("second", [_get_body, _get_json, _iterate])
def test_a_consumed_body_is_an_error_at_once(first: Any, second: Any) -> None:
    async def work(request: HttpRequest) -> Any:
        await first(request)
        return await second(request)

    error = outcome(work, body=[b"1", b"2"], rest=first is _iterate_first)
    assert isinstance(error, UsageError)
    assert isinstance(error, OSError)
    assert "already consumed" in str(error)


def test_iter_body_after_get_body_is_an_error() -> None:
    async def work(request: HttpRequest) -> Any:
        await request.get_body()
        return await drain(request.iter_body())

    assert "already consumed" in str(outcome(work, body=b"x"))


@pytest.mark.parametrize(
    ("size", "limit", "app_limit", "fits"),
    [
        (99, 100, 5, True),
        (100, 100, 5, True),
        (101, 100, 500, False),
        (1, 0, None, False),
        (0, 0, None, True),
        (5, "unset", 5, True),
        (6, "unset", 5, False),
        (6, None, 5, True),
        (6, "unset", None, True),
    ],
)
@pytest.mark.parametrize("declared", [True, False])
def test_body_limit(size: int, limit: Any, app_limit: int | None, fits: bool, declared: bool) -> None:
    async def work(request: HttpRequest) -> Any:
        return len(await (request.get_body() if limit == "unset" else request.get_body(limit)))

    answer = ask(
        app_of(lambda request: _as_text(work(request)), limits=Limits(body=app_limit)),
        method="POST",
        headers={"content-length": str(size)} if declared else {},
        body=[b"x"] * size or b"",
    )
    assert (answer.status_code, answer.text) == (
        (200, str(size)) if fits else (413, "Request body too large")
    )


async def _as_text(value: Awaitable[Any]) -> str:
    return str(await value)


def test_body_limit_by_default_is_ten_mebibytes() -> None:
    for size, status in ((10 * 2**20, 200), (10 * 2**20 + 1, 413)):
        answer = ask(app_of(lambda request: _as_text(_get_body(request))), body=[bytes(size - 1), b"x"])
        assert answer.status_code == status


def test_a_declared_length_over_the_limit_reads_nothing() -> None:
    exchange = run(converse(app_of(_get_body), headers={"content-length": "99999999"}, body=[b"x"] * 9))
    assert (exchange.status, exchange.received) == (413, 0)


def test_a_counted_body_over_the_limit_stops_reading() -> None:
    exchange = run(converse(app_of(_get_body, limits=Limits(body=10)), body=[b"x" * 4] * 9))
    assert (exchange.status, exchange.received) == (413, 3)


def test_an_understated_length_is_counted() -> None:
    app, lie = app_of(_get_body, limits=Limits(body=10)), {"content-length": "4"}
    assert run(converse(app, headers=lie, body=[b"x" * 4] * 9)).status == 413


@pytest.mark.parametrize("value", ["-1", "+5", "5_0", "0x5", "5.0", "", " ", "5, 5", "\xb2", "five"])
def test_bad_content_length(value: str) -> None:
    answer = run(converse(app_of(_get_body), headers={"content-length": value}, body=b"x"))
    assert (answer.status, answer.text) == (400, "Bad Content-Length header")


def test_content_length_twice() -> None:
    twice = [("content-length", "1"), ("content-length", "1")]
    assert run(converse(app_of(_get_body), headers=twice, body=b"x")).status == 400


@pytest.mark.parametrize("value", ["9" * 19, "9" * 5000, "0" * 5000 + "9"])
def test_huge_content_length(value: str) -> None:
    assert run(converse(app_of(_get_body), headers={"content-length": value}, body=b"x")).status == 413


def test_huge_content_length_without_a_limit() -> None:
    app = app_of(_get_body, limits=Limits(body=None))
    exchange = run(converse(app, headers={"content-length": "9" * 5000}, body=b"x"))
    assert (exchange.status, exchange.body) == (200, b"x")


def test_body_too_large_is_caught_as_an_http_error_and_as_an_os_error() -> None:
    error = outcome(lambda request: request.get_body(1), body=b"xx")
    assert isinstance(error, BodyTooLarge)
    assert isinstance(error, HTTPError)
    assert isinstance(error, OSError)
    assert error.status == 413


@pytest.mark.parametrize("status", [200, 204, 302, 399])
def test_after_body_too_large_no_response_below_400(status: int) -> None:
    async def work(request: HttpRequest) -> Any:
        try:
            await request.get_body(1)
        except HTTPError:
            return status, {}, None if status == 204 else "fine"

    answer = ask(app_of(work), body=b"xx")
    assert (answer.status_code, answer.text) == (413, "Request body too large")


@pytest.mark.parametrize("status", [400, 422, 503])
@pytest.mark.parametrize("raised", [True, False])
def test_after_body_too_large_own_errors_stand(status: int, raised: bool) -> None:
    async def work(request: HttpRequest) -> Any:
        try:
            await request.get_body(1)
        except HTTPError:
            if raised:
                raise HTTPError(status, "mine") from None
            return status, {}, "mine"

    answer = ask(app_of(work), body=b"xx")
    assert (answer.status_code, answer.text) == (status, "mine")


def test_after_body_too_large_no_redirect_by_an_error() -> None:
    async def work(request: HttpRequest) -> Any:
        try:
            await request.get_body(1)
        except HTTPError:
            raise HTTPError(303, headers={"location": "/thanks"}) from None

    answer = ask(app_of(work), body=b"xx")
    assert (answer.status_code, answer.text) == (413, "Request body too large")


def test_after_body_too_large_own_stream_stands() -> None:
    async def stream() -> AsyncIterator[str]:
        yield "mine"

    async def work(request: HttpRequest) -> Any:
        try:
            await request.get_body(1)
        except HTTPError:
            return 400, {}, stream()

    answer = ask(app_of(work), body=b"xx")
    assert (answer.status_code, answer.text) == (400, "mine")


def test_body_too_large_after_accept_aborts(caplog: pytest.LogCaptureFixture) -> None:
    async def work(request: HttpRequest) -> None:
        await request.accept(200)
        await request.get_body(1)

    exchange = run(converse(app_of(work), body=b"xx"))
    assert (exchange.status, exchange.complete) == (200, False)
    assert "BodyTooLarge in request handler" in errors(caplog)[0]


def test_after_body_too_large_no_stream_below_400() -> None:
    async def stream() -> AsyncIterator[str]:
        yield "fine"

    async def work(request: HttpRequest) -> Any:
        try:
            await request.get_body(1)
        except HTTPError:
            return stream()

    assert ask(app_of(work), body=b"xx").status_code == 413


@pytest.mark.parametrize(("status", "seen"), [(200, 413), (404, 404)])
def test_after_body_too_large_no_accept_below_400(status: int, seen: int) -> None:
    async def work(request: HttpRequest) -> Any:
        try:
            await request.get_body(1)
        except HTTPError:
            await request.accept(status)
            await request.send("mine")

    assert ask(app_of(work), body=b"xx").status_code == seen


@pytest.mark.parametrize("read", [_get_body, _get_json, _iterate])
@pytest.mark.parametrize("body", [[], [b"half"], [b'{"a":1}']])
async def test_a_client_that_leaves_midway(
    read: Any, body: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    found = []

    async def work(request: HttpRequest) -> Any:
        try:
            found.append(await read(request))
        except DisconnectedError as error:
            found.append(error)
            raise

    exchange = Http.begin(app_of(work), body=body, rest=True)
    await settle()
    exchange.leave()
    await exchange.finish()
    assert (exchange.sent, exchange.error) == ([], None)
    assert isinstance(found[0], DisconnectedError)
    assert len(found) == 1
    assert not caplog.records


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, 2]}', {"a": [1, 2]}),
        (b"[1]", [1]),
        (b"3", 3),
        (b'"x"', "x"),
        (b"null", None),
        ([b'{"a"', b":", b"1}"], {"a": 1}),
    ],
)
def test_get_json(body: Any, value: Any) -> None:
    assert outcome(_get_json, body=body) == value


def test_get_json_twice() -> None:
    async def work(request: HttpRequest) -> Any:
        return await request.get_json(), await request.get_body(), await request.get_json()

    assert outcome(work, body=b"[1]") == ([1], b"[1]", [1])


@pytest.mark.parametrize(
    "body", [b"", b"{", b"{}{}", b"NaN", b"\xff", "{}".encode("utf-16"), b"[" * 100_000, b'"\xed\xa0\x80"']
)
def test_get_json_of_something_else(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(app_of(_get_json), body=body)
    assert answer.status_code == 400
    assert "JSON" in answer.text
    assert len(answer.text) < 100
    assert not caplog.records


def test_get_json_limit() -> None:
    assert ask(app_of(lambda request: request.get_json(limit=3)), body=b"[1,2]").status_code == 413


JSON_TYPES = [
    "application/json",
    "Application/JSON; charset=UTF-8",
    "application/vnd.api+json",
    "a/b;charset=utf8",
]
CROSS_SITE = {"sec-fetch-site": "cross-site"}


@pytest.mark.parametrize(
    "headers", [{}, {"origin": "http://a", "host": "a"}, {"sec-fetch-site": "same-origin"}]
)
@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", *JSON_TYPES]
)
def test_json_is_read_whatever_its_type_unless_it_is_cross_site(
    headers: dict[str, str], content_type: str | None
) -> None:
    more = {} if content_type is None else {"content-type": content_type}
    assert ask(app_of(_get_json), body=b'{"a":1}', headers={**headers, **more}).text == '{"a":1}'


@pytest.mark.parametrize(
    "headers", [CROSS_SITE, {"origin": "https://evil.com", "host": "a"}, {"origin": "null"}]
)
@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (None, 415),
        ("text/plain", 415),
        ("text/plain; application/json", 415),
        ("application/jsonp", 415),
        ("application/json", 200),
        ("application/problem+json", 200),
    ],
)
def test_json_of_a_page_of_another_site_must_say_so(
    headers: dict[str, str], content_type: str | None, status: int
) -> None:
    more = {} if content_type is None else {"content-type": content_type}
    exchange = run(converse(app_of(_get_json), body=b"{}", headers={**headers, **more}))
    assert exchange.status == status
    if status == 415:
        assert exchange.text == "The body does not say that it is JSON"
        assert exchange.received == 0


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"content-type": "application/json; charset=utf-16"}, "JSON is UTF-8"),
        ({"content-type": "text/plain; charset=latin-1"}, "JSON is UTF-8"),
        ({"content-encoding": "gzip"}, "Encoded request bodies are not supported"),
        ({"content-encoding": "identity, gzip"}, "Encoded request bodies are not supported"),
    ],
)
def test_json_that_is_encoded(headers: dict[str, str], text: str) -> None:
    answer = ask(app_of(_get_json), body=b"{}", headers=headers)
    assert (answer.status_code, answer.text) == (415, text)


def test_json_with_identity_as_its_encoding() -> None:
    assert ask(app_of(_get_json), body=b"{}", headers={"content-encoding": "Identity"}).status_code == 200


def test_json_holds_the_headers_to_their_limits() -> None:
    async def work(request: HttpRequest) -> Any:
        return await request.get_json()

    headers = [("content-type", "application/json"), *((f"x-{number}", "1") for number in range(128))]
    found = outcome(work, method="POST", body=b"1", headers=headers)
    assert isinstance(found, HTTPError)
    assert found.status == 431
    assert outcome(work, method="POST", body=b"1", headers=headers[:-1]) == 1


def test_json_by_headers_that_a_handler_changed() -> None:
    async def work(request: HttpRequest) -> Any:
        request.headers["content-encoding"] = "gzip"
        return await request.get_json()

    found = outcome(work, method="POST", body=b"1", headers={"content-type": "application/json"})
    assert isinstance(found, HTTPError)
    assert found.status == 415


@pytest.mark.parametrize(
    ("length", "status"),
    [("x", 400), ("-1", 400), ("1.0", 400), ("", 400), ("\xb2", 400), ("9" * 19, 413), ("11000000", 413)],
)
@pytest.mark.parametrize("changed", [True, False])
def test_a_length_that_can_not_be_is_refused_before_the_body_is_asked_for(
    length: str, status: int, changed: bool
) -> None:
    async def work(request: HttpRequest) -> Any:
        if changed:
            assert request.headers
        return await request.get_json()

    headers = {"content-type": "application/json", "content-length": length}

    async def main() -> Http:
        http = Http.begin(app_of(work), method="POST", body=b"1", headers=headers)
        await http.finish()
        return http

    http = run(main())
    assert http.sent[0]["status"] == status
    assert http.received == 0


def test_get_json_with_a_type() -> None:
    app = app_of(lambda request: request.get_json(type=list[int]))
    assert ask(app, body=b"[1]").text == "[1]"
    answer = ask(app, body=b'["x"]')
    assert (answer.status_code, answer.text) == (422, "Expected `int`, got `str` - at `$[0]`")


# A body that does not come


@pytest.mark.parametrize("read", [_get_body, _iterate, _get_json])
@pytest.mark.parametrize("pieces", [[], [b"half"]])
async def test_an_idle_body_is_408(
    read: Any, pieces: list[bytes], clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    exchange = Http.begin(app_of(read), body=pieces, rest=True)
    await advance(clock, 29.9)
    assert not exchange.sent
    await advance(clock, 0.2)
    await exchange.finish()
    assert (exchange.status, exchange.text) == (408, "Request Timeout")
    assert clock.waiting == 0
    assert not caplog.records


async def test_a_slow_body_that_keeps_coming_is_read(clock: FakeClock) -> None:
    exchange = Http.begin(app_of(_get_body, limits=Limits(body_idle=10)), body=[], rest=True)
    for _ in range(10):
        await advance(clock, 9)
        exchange.feed(b"x")
    await settle()
    exchange.feed(b"!", more=False)
    await exchange.finish()
    assert exchange.text == "x" * 10 + "!"
    assert clock.waiting == 0


async def test_a_body_is_idle_only_while_it_is_waited_for(clock: FakeClock) -> None:
    async def work(request: HttpRequest) -> Any:
        pieces = request.iter_body()
        first = await anext(pieces)
        await request.sleep_while_connected(100)
        return b"".join([first, *[piece async for piece in pieces]])

    exchange = Http.begin(app_of(work, limits=Limits(body_idle=10)), body=[], rest=True)
    await settle()
    exchange.feed(b"1")  # after a wait, so that there is a timer
    await advance(clock, 50)
    await advance(clock, 51)
    await advance(clock, 9)
    exchange.feed(b"2")
    await advance(clock, 9)
    exchange.feed(b"3", more=False)
    await exchange.finish()
    assert exchange.text == "123"


async def test_an_idle_body_without_a_limit(clock: FakeClock) -> None:
    exchange = Http.begin(app_of(_get_body, limits=Limits(body_idle=None)), body=[], rest=True)
    await settle()
    assert clock.waiting == 0
    await advance(clock, 100_000)
    exchange.feed(b"late", more=False)
    await exchange.finish()
    assert exchange.text == "late"


async def test_an_idle_body_beside_a_listener(clock: FakeClock) -> None:
    async def work(request: HttpRequest) -> Any:
        await request.sleep_while_connected(1)
        return await request.get_body()

    exchange = Http.begin(app_of(work), body=[b"half"], rest=True)
    await advance(clock, 1)
    await advance(clock, 31)
    await exchange.finish()
    assert exchange.status == 408


@pytest.mark.parametrize("catches", [True, False])
async def test_after_an_idle_body_no_response_below_400(clock: FakeClock, catches: bool) -> None:
    async def work(request: HttpRequest) -> Any:
        with contextlib.suppress(*[RequestTimeout] * catches):
            await request.get_body()
        return "fine"

    exchange = Http.begin(app_of(work), body=[b"half"], rest=True)
    await advance(clock, 31)
    await exchange.finish()
    assert (exchange.status, exchange.text) == (408, "Request Timeout")
    assert exchange.headers["connection"] == "close"


@pytest.mark.parametrize(("version", "closes"), [("1.0", True), ("1.1", True), ("2", False), ("3", False)])
@pytest.mark.parametrize("answers", [True, False])
def test_after_body_too_large_the_connection_ends(version: str, closes: bool, answers: bool) -> None:
    async def work(request: HttpRequest) -> Any:
        with contextlib.suppress(*[BodyTooLarge] * answers):
            await request.get_body(1)
        return 422, {}, "mine"

    answer = ask(app_of(work), body=b"xx", http_version=version)
    assert answer.status_code == (422 if answers else 413)
    assert ("connection" in answer.headers) == closes


def test_after_body_too_large_an_own_connection_header_stands() -> None:
    async def work(request: HttpRequest) -> Any:
        with contextlib.suppress(BodyTooLarge):
            await request.get_body(1)
        return 413, {"Connection": "keep-alive"}, "mine"

    answer = ask(app_of(work), body=b"xx")
    assert answer.headers["connection"] == "keep-alive"


# Response out


def test_accept_and_send() -> None:
    async def work(request: HttpRequest) -> None:
        await request.accept(201, {"Content-Type": "text/x", "Set-Cookie": ["a", "b"]})
        await request.send("é")
        await request.send(b"")
        await request.send(b"x")

    answer = ask(app_of(work))
    assert answer.status_code == 201
    assert answer.headers.raw == [(b"content-type", b"text/x"), (b"set-cookie", b"a"), (b"set-cookie", b"b")]
    assert answer.content == "éx".encode()


@pytest.mark.parametrize("arguments", [(), (200,), (200, {}), (200, None)])
def test_accept_adds_no_header(arguments: tuple[Any, ...]) -> None:
    async def work(request: HttpRequest) -> None:
        await request.accept(*arguments)

    answer = ask(app_of(work))
    assert (answer.status_code, dict(answer.headers), answer.content) == (200, {}, b"")


async def test_each_send_goes_out_at_once() -> None:
    seen = []

    async def work(request: HttpRequest) -> None:
        await request.accept(200)
        for number in range(3):
            await request.send(str(number))
            seen.append(len(exchange.sent))

    exchange = Http.begin(app_of(work))
    await exchange.finish()
    assert seen == [2, 3, 4]
    assert exchange.chunks == [b"0", b"1", b"2", b""]


async def test_send_without_more_ends_the_response() -> None:
    async def work(request: HttpRequest) -> Any:
        await request.accept(200)
        await request.send("last", more=False)
        assert exchange.complete
        with pytest.raises(UsageError, match="Cannot send to a closed"):
            await request.send("later")
        with pytest.raises(UsageError, match="Cannot accept an already accepted"):
            await request.accept(200)

    exchange = Http.begin(app_of(work))
    await exchange.finish()
    assert exchange.error is None
    assert exchange.text == "last"


async def _accept_twice(request: HttpRequest) -> None:
    await request.accept(200)
    await request.accept(200)


async def _send_first(request: HttpRequest) -> None:
    await request.send("x")


async def _send_int(request: HttpRequest) -> None:
    await request.accept(200)
    await request.send(3)  # type: ignore[arg-type]  # what is tested


async def _send_dict(request: HttpRequest) -> None:
    await request.accept(200)
    await request.send({})  # type: ignore[arg-type]  # what is tested


async def _accept_and_return(request: HttpRequest) -> str:
    await request.accept(200)
    return "x"


async def _end_and_return(request: HttpRequest) -> str:
    await request.accept(200)
    await request.send("x", more=False)
    return "x"


async def _send_surrogate(request: HttpRequest) -> None:
    await request.accept(200)
    await request.send("\ud800")


async def _fail_after_accept(request: HttpRequest) -> None:
    await request.accept(200)
    await request.send("x")
    raise ValueError("late")


async def _http_error_after_accept(request: HttpRequest) -> None:
    await request.accept(200)
    raise HTTPError(404)


MISTAKES = [
    (_accept_twice, "UsageError in request handler: Cannot accept an already accepted"),
    (_send_first, "UsageError in request handler: Cannot send before calling accept"),
    (_send_int, "TypeError in request handler: Can only send bytes/str, not int"),
    (_send_dict, "TypeError in request handler: Can only send bytes/str, not dict"),
    (_accept_and_return, "Handlers that call request.accept() should return None"),
    (_end_and_return, "Handlers that call request.accept() should return None"),
    (_send_surrogate, "UnicodeEncodeError in request handler"),
    (_fail_after_accept, "ValueError in request handler: late"),
    (_http_error_after_accept, "HTTPError in request handler: 404 Not Found"),
]


@pytest.mark.parametrize(("work", "words"), MISTAKES)
def test_mistakes(work: Any, words: str, caplog: pytest.LogCaptureFixture) -> None:
    exchange = run(converse(app_of(work)))
    (record,) = errors(caplog)
    assert words in record
    if work is _send_first:
        assert (exchange.status, exchange.text) == (500, "Internal server error")
    elif work is _end_and_return:
        assert exchange.text == "x"
    else:
        assert exchange.status == 200
        assert not exchange.complete, "a response that failed midway never ends cleanly"
        assert exchange.error is not None, "no way to abort is known here, so it is raised out"
        assert str(exchange.error) == "a response that had begun could not be completed"


async def test_nothing_is_sent_after_a_response_that_failed(caplog: pytest.LogCaptureFixture) -> None:
    requests: list[HttpRequest] = []

    async def work(request: HttpRequest) -> None:
        requests.append(request)
        await request.accept(200)
        raise ValueError("late")

    exchange = await converse(app_of(work))
    with pytest.raises(UsageError, match="Cannot send to a closed"):
        await requests[0].send("from a task that lived on")
    assert len(exchange.sent) == 1


async def test_a_failed_response_is_aborted_where_the_server_is_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    aborted = []

    class Transport:
        def abort(self) -> None:
            aborted.append(True)

    class Cycle:
        transport = Transport()

        async def send(self, message: Message) -> None:
            pass

    scope = Http(app_of(_fail_after_accept)).scope
    await app_of(_fail_after_accept)(scope, _never, Cycle().send)
    assert aborted == [True]
    assert len(errors(caplog)) == 1


async def _never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        ("200", {}, TypeError),
        (True, {}, TypeError),
        (None, {}, TypeError),
        (101, {}, ValueError),
        (600, {}, ValueError),
        (200, [], TypeError),
        (200, {"a": 1}, TypeError),
        (200, {"a": "\n"}, ValueError),
        (200, {"a b": ""}, ValueError),
        (200, {"content-length": "x"}, ValueError),
        (200, {"content-length": ["1", "1"]}, ValueError),
    ],
)
def test_accept_checks_before_anything_is_sent(status: Any, headers: Any, error: type[Exception]) -> None:
    async def work(request: HttpRequest) -> Any:
        with pytest.raises(error):
            await request.accept(status, headers)
        return "still free to answer"

    answer = ask(app_of(work))
    assert (answer.status_code, answer.text) == (200, "still free to answer")


@pytest.mark.parametrize(
    ("promised", "pieces", "words"),
    [
        (3, ["123"], None),
        (0, [], None),
        (3, ["12"], "ended before its content-length, 3"),
        (3, [], "ended before its content-length, 3"),
        (3, ["12", "34"], "longer than its content-length, 3"),
        (0, ["1"], "longer than its content-length, 0"),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_content_length_is_held(
    promised: int, pieces: list[str], words: str | None, streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def stream() -> AsyncIterator[str]:
        for piece in pieces:
            yield piece

    async def work(request: HttpRequest) -> Any:
        headers = {"content-length": str(promised)}
        if streamed:
            return headers, stream()
        await request.accept(200, headers)
        for piece in pieces:
            await request.send(piece)

    exchange = run(converse(app_of(work)))
    assert exchange.complete is (words is None)
    assert len(exchange.body) <= promised
    if words is None:
        assert not errors(caplog)
    else:
        assert words in errors(caplog)[0]


def test_content_length_that_is_cut_by_more_false(caplog: pytest.LogCaptureFixture) -> None:
    async def work(request: HttpRequest) -> None:
        await request.accept(200, {"content-length": "9"})
        await request.send("x", more=False)

    run(converse(app_of(work)))
    assert "ended before its content-length, 9" in errors(caplog)[0]


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_by_accept(status: int, caplog: pytest.LogCaptureFixture) -> None:
    async def fine(request: HttpRequest) -> None:
        await request.accept(status)
        await request.send(b"")

    async def wrong(request: HttpRequest) -> None:
        await request.accept(status)
        await request.send(b"x")

    assert ask(app_of(fine)).status_code == status
    exchange = run(converse(app_of(wrong)))
    assert exchange.body == b""
    assert f"A response with status {status} has no body" in errors(caplog)[0]


def test_not_modified_may_promise_a_length() -> None:
    async def work(request: HttpRequest) -> None:
        await request.accept(304, {"content-length": "12"})

    assert ask(app_of(work)).status_code == 304


def test_head_by_accept_and_send() -> None:
    async def work(request: HttpRequest) -> None:
        await request.accept(200, {"content-length": "3"})
        await request.send("123")

    answer = ask(app_of(work), method="HEAD")
    assert (dict(answer.headers), answer.content) == ({"content-length": "3"}, b"")


# Streams


class Stream:
    """An async iterator that notes what becomes of it."""

    def __init__(self, *items: Any) -> None:
        self.items = list(items)
        self.pulled = 0
        self.closed = 0

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        if self.pulled == len(self.items):
            raise StopAsyncIteration
        item = self.items[self.pulled]
        self.pulled += 1
        if isinstance(item, BaseException):
            raise item
        return item

    async def aclose(self) -> None:
        self.closed += 1


def streaming(stream: Any, *before: Any) -> App:
    async def handler(request: HttpRequest) -> Any:
        return (*before, stream) if before else stream

    return to_asgi(handler)


@pytest.mark.parametrize(
    ("items", "content_type", "chunks"),
    [
        ([b"a", b"b"], "application/octet-stream", [b"a", b"b", b""]),
        (["a", b"b"], "text/plain; charset=utf-8", [b"a", b"b", b""]),
        (["<!doctype html>", "é"], "text/html; charset=utf-8", [b"<!doctype html>", "é".encode(), b""]),
        (["<html><p>"], "text/html; charset=utf-8", [b"<html><p>", b""]),
    ],
)
def test_stream(items: list[Any], content_type: str, chunks: list[bytes]) -> None:
    stream = Stream(*items)
    exchange = run(converse(streaming(stream)))
    assert (exchange.status, exchange.headers, exchange.chunks) == (
        200,
        {"content-type": content_type},
        chunks,
    )
    assert stream.closed == 1


@pytest.mark.parametrize("items", [[], [b""], [b"", b"", b"x"]])
def test_stream_with_empty_chunks(items: list[bytes]) -> None:
    answer = ask(streaming(Stream(*items)))
    assert (answer.status_code, answer.content) == (200, b"".join(items))


def test_stream_keeps_status_and_headers() -> None:
    answer = ask(streaming(Stream("x"), 201, {"Content-Type": "a/b", "X-C": "d"}))
    assert (answer.status_code, dict(answer.headers)) == (201, {"content-type": "a/b", "x-c": "d"})


def test_stream_that_has_no_aclose() -> None:
    class Plain:
        def __init__(self) -> None:
            self.items = iter(["a", "b"])

        def __aiter__(self) -> Plain:
            return self

        async def __anext__(self) -> str:
            for item in self.items:
                return item
            raise StopAsyncIteration

    assert ask(streaming(Plain())).text == "ab"
    assert ask(streaming(Plain()), method="HEAD").text == ""


def test_stream_of_bytes_like_chunks() -> None:
    assert ask(streaming(Stream(b"a", bytearray(b"b"), memoryview(b"c")))).text == "abc"


def test_stream_of_an_async_generator_and_of_an_object_with_aiter() -> None:
    async def generate() -> AsyncIterator[str]:
        yield "a"
        yield "b"

    class Iterable:
        def __aiter__(self) -> AsyncIterator[str]:
            return generate()

    assert ask(streaming(generate())).text == "ab"
    assert ask(streaming(Iterable())).text == "ab"


@pytest.mark.parametrize(
    ("item", "status", "words"),
    [
        (ValueError("early"), 500, "ValueError in sending chunked response: early"),
        (3, 500, "Response chunks must be bytes or str, not int"),
        (None, 500, "Response chunks must be bytes or str, not NoneType"),
        (HTTPError(404), 404, None),
        (FileNotFoundError("early"), 500, "FileNotFoundError in sending chunked response"),
        ("\ud800", 500, "surrogates not allowed"),
    ],
)
def test_a_stream_that_fails_at_first_is_still_an_answer(
    item: Any, status: int, words: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Stream(item)
    answer = ask(streaming(stream))
    assert answer.status_code == status
    assert stream.closed == 1
    found = errors(caplog)
    assert words in found[0] if words else not found


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (ValueError("late"), "ValueError in sending chunked response: late"),
        (3, "Response chunks must be bytes or str, not int"),
        (HTTPError(404), "HTTPError in sending chunked response: 404 Not Found"),
        (KeyboardInterrupt(), "KeyboardInterrupt in sending chunked response"),
        (OSError("late"), "OSError in sending chunked response: late"),
        ("\ud800", "surrogates not allowed"),
    ],
)
def test_a_stream_that_fails_midway_is_aborted(
    item: Any, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Stream("first", item)
    exchange = run(converse(streaming(stream)))
    assert (exchange.status, exchange.chunks) == (200, [b"first"])
    assert not exchange.complete
    assert exchange.error is not None
    assert stream.closed == 1
    (record,) = errors(caplog)
    assert words in record


async def test_the_first_chunk_is_pulled_before_the_status_goes_out() -> None:
    ready = asyncio.Event()

    async def generate() -> AsyncIterator[str]:
        await ready.wait()
        yield "x"

    exchange = Http.begin(streaming(generate()))
    await settle()
    assert not exchange.sent
    ready.set()
    await exchange.finish()
    assert exchange.text == "x"


async def test_each_chunk_goes_out_before_the_next_is_asked_for() -> None:
    seen = []

    async def generate() -> AsyncIterator[str]:
        for number in range(3):
            seen.append(len(exchange.sent))
            yield str(number)

    exchange = Http.begin(streaming(generate()))
    await exchange.finish()
    assert seen == [0, 2, 3]


@pytest.mark.parametrize("headers", [{}, {"content-length": "3"}])
def test_head_closes_a_stream_unstarted(headers: dict[str, str]) -> None:
    stream = Stream("x")
    answer = ask(streaming(stream, 200, headers), method="HEAD")
    assert (answer.status_code, answer.content) == (200, b"")
    assert (stream.pulled, stream.closed) == (0, 1)
    assert answer.headers == headers


async def test_a_stream_is_closed_when_the_client_leaves(caplog: pytest.LogCaptureFixture) -> None:
    closed = asyncio.Event()

    async def generate() -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
        finally:
            await asyncio.sleep(0)  # it may wait in its cleanup
            closed.set()

    exchange = Http.begin(streaming(generate()))
    await exchange.until(lambda: len(exchange.sent) > 3)
    exchange.leave()
    await exchange.finish()
    assert closed.is_set()
    assert exchange.error is None
    assert not exchange.complete
    assert not caplog.records


def test_a_stream_that_fails_in_its_cleanup(caplog: pytest.LogCaptureFixture) -> None:
    async def generate() -> AsyncIterator[str]:
        yield "x"
        raise KeyError("cleanup")

    exchange = run(converse(streaming(generate())))
    assert not exchange.complete
    assert "KeyError in sending chunked response: 'cleanup'" in errors(caplog)[0]


@pytest.mark.parametrize("status", [204, 304])
def test_a_stream_with_a_status_that_has_no_body(status: int, caplog: pytest.LogCaptureFixture) -> None:
    assert ask(streaming(Stream("x"), status, {})).status_code == 500
    assert f"A response with status {status} has no body" in errors(caplog)[0]


# The client leaves while we send


def test_a_group_of_disconnects_after_the_start_is_one(caplog: pytest.LogCaptureFixture) -> None:
    async def work(request: HttpRequest) -> None:
        await request.accept(200)
        raise ExceptionGroup("tasks", [DisconnectedError(), DisconnectedError()])

    exchange = run(converse(app_of(work)))
    assert (exchange.error, exchange.complete) == (None, False)
    assert not caplog.records


async def test_a_handler_that_sends_in_a_loop_learns_that_the_client_left() -> None:
    """Servers' send returns at once, also when the client is gone: only the listener can tell."""
    left = asyncio.Event()
    sent = 0

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal sent
        sent += 1
        if sent == 100:
            left.set()

    async def work(request: HttpRequest) -> None:
        await request.accept(200)
        while True:
            await request.send(b"x")

    await app_of(work)(Http(app_of(work)).scope, receive, send)
    assert sent < 1000


async def test_send_after_the_client_left_raises(caplog: pytest.LogCaptureFixture) -> None:
    found: list[Exception] = []

    async def work(request: HttpRequest) -> None:
        await request.accept(200)
        try:
            while True:
                await request.send("x")
        except DisconnectedError as error:
            found.append(error)
            with pytest.raises(DisconnectedError):
                await request.send("x")
            raise

    exchange = Http.begin(app_of(work))
    await exchange.until(lambda: len(exchange.sent) > 2)
    exchange.leave()
    await exchange.finish()
    assert len(found) == 1
    assert exchange.error is None
    assert not caplog.records


async def test_a_lost_client_is_not_sent_to_again() -> None:
    tries = 0

    async def send(message: Message) -> None:
        nonlocal tries
        tries += 1
        raise OSError("the client is gone")

    request = HttpRequest({"type": "http", "method": "GET", "headers": []}, _never, send)
    with pytest.raises(DisconnectedError):
        await request.accept(200)
    with pytest.raises(DisconnectedError):
        await request.send("x", more=False)
    assert tries == 1


async def test_accept_itself_tells_of_a_lost_client() -> None:
    async def work(request: HttpRequest) -> None:
        with pytest.raises(DisconnectedError):
            await request.accept(200)
        raise DisconnectedError

    exchange = Http(app_of(work), lost=True)
    exchange.leave()
    exchange.start()
    await exchange.finish()
    assert (exchange.sent, exchange.error) == ([], None)


@pytest.mark.parametrize("how", ["whole", "accept", "stream", "error"])
async def test_a_server_that_raises_os_error_for_a_lost_client(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What ASGI 2.4 asks of servers."""

    async def handler(request: HttpRequest) -> Any:
        if how == "accept":
            await request.accept(200)
        if how == "error":
            raise HTTPError(404)
        return {"whole": "x", "accept": None, "stream": Stream("x")}[how]

    exchange = Http(to_asgi(handler), lost=True)
    exchange.leave()
    exchange.start()
    await exchange.finish()
    assert exchange.error is None
    assert not caplog.records


def test_an_os_error_of_the_handler_is_no_disconnect(caplog: pytest.LogCaptureFixture) -> None:
    async def work(request: HttpRequest) -> Any:
        return io.open("/nowhere/to/be/found")  # noqa: ASYNC230, UP020  # the error is the point

    assert ask(app_of(work)).status_code == 500
    assert "FileNotFoundError in request handler" in errors(caplog)[0]


# Sleeping and waking


def sleeping(
    times: int = 1, seconds: float = 10
) -> tuple[App, list[HttpRequest], list[bool | type[BaseException]]]:
    """Return an app that sleeps some times, its requests, and how each sleep ended."""
    requests: list[HttpRequest] = []
    ends: list[bool | type[BaseException]] = []

    async def handler(request: HttpRequest) -> str:
        requests.append(request)
        for _ in range(times):
            try:
                ends.append(await request.sleep_while_connected(seconds))
            except DisconnectedError as error:
                ends.append(type(error))
                raise
        return "awake"

    return to_asgi(handler), requests, ends


async def test_sleep_ends_in_time(clock: FakeClock) -> None:
    app, _, ends = sleeping()
    exchange = Http.begin(app)
    await advance(clock, 9.9)
    assert ends == []
    await advance(clock, 0.2)
    assert ends == [False]
    await exchange.finish()
    assert exchange.text == "awake"


async def test_wakeup_ends_the_sleep(clock: FakeClock) -> None:
    app, requests, ends = sleeping()
    exchange = Http.begin(app)
    await settle()
    requests[0].wakeup()
    await exchange.finish()
    assert ends == [True]
    assert clock.waiting == 0


async def test_a_wakeup_while_nobody_sleeps_is_not_lost(clock: FakeClock) -> None:
    ends = []

    async def work(request: HttpRequest) -> str:
        request.wakeup()
        request.wakeup()
        ends.append(await request.sleep_while_connected(10))
        ends.append(await request.sleep_while_connected(10))
        return "awake"

    exchange = Http.begin(app_of(work))
    await settle()
    assert ends == [True]
    await advance(clock, 11)
    await exchange.finish()
    assert ends == [True, False]


async def test_a_second_wakeup_before_the_sleeper_ran_ends_its_next_sleep(clock: FakeClock) -> None:
    app, requests, ends = sleeping(times=2)
    exchange = Http.begin(app)
    await settle()
    requests[0].wakeup()
    requests[0].wakeup()
    await exchange.finish()
    assert ends == [True, True]


async def test_a_wakeup_as_the_time_is_over_is_not_lost(clock: FakeClock) -> None:
    app, requests, ends = sleeping(times=2)
    exchange = Http.begin(app)
    await settle()
    clock.advance(11)
    asyncio.get_running_loop().call_soon(requests[0].wakeup)  # before the sleeper ran
    await exchange.finish()
    assert ends == [False, True]


async def test_a_wakeup_as_the_sleep_is_cancelled_is_not_lost(clock: FakeClock) -> None:
    ends: list[Any] = []
    requests: list[HttpRequest] = []

    async def work(request: HttpRequest) -> str:
        requests.append(request)
        sleep = asyncio.ensure_future(request.sleep_while_connected(10))
        await settle()
        request.wakeup()
        sleep.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleep
        ends.append(await request.sleep_while_connected(10))
        return "awake"

    exchange = Http.begin(app_of(work))
    await exchange.finish()
    assert ends == [True]


async def test_one_wakeup_wakes_all_sleeps_of_a_request(clock: FakeClock) -> None:
    async def work(request: HttpRequest) -> Any:
        sleeps = [asyncio.ensure_future(request.sleep_while_connected(10)) for _ in range(3)]
        await settle()
        request.wakeup()
        return [await sleep for sleep in sleeps]

    assert (await converse(app_of(work))).text == "[true,true,true]"


async def test_sleep_ends_when_the_client_leaves(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    app, _, ends = sleeping()
    exchange = Http.begin(app)
    await settle()
    exchange.leave()
    await exchange.finish()
    assert ends == [DisconnectedError]
    assert clock.waiting == 0
    assert (exchange.sent, exchange.error) == ([], None)
    assert not caplog.records


async def test_sleep_after_the_client_left(clock: FakeClock) -> None:
    ends = []

    async def work(request: HttpRequest) -> None:
        for _ in range(2):
            with pytest.raises(DisconnectedError):
                await request.sleep_while_connected(10)
            ends.append(True)
        raise DisconnectedError

    exchange = Http(app_of(work))
    exchange.leave()
    exchange.start()
    await exchange.finish()
    assert ends == [True, True]


async def test_sleep_keeps_the_unread_body(clock: FakeClock) -> None:
    async def work(request: HttpRequest) -> Any:
        await request.sleep_while_connected(1)
        body = request.iter_body()
        first = await anext(body)
        await request.sleep_while_connected(1)
        return b"|".join([first] + [piece async for piece in body])

    exchange = Http.begin(app_of(work), body=[b"1", b"2"], rest=True)
    await settle()
    assert exchange.received == 1, "the listener keeps one piece, and asks for no more"
    await advance(clock, 1)
    await advance(clock, 1)
    exchange.feed(b"3", more=False)
    await exchange.finish()
    assert exchange.body == b"1|2|3"


async def test_body_that_ends_while_a_sleeping_request_reads(clock: FakeClock) -> None:
    async def work(request: HttpRequest) -> Any:
        await request.sleep_while_connected(1)  # the last piece comes meanwhile
        return [await request.sleep_while_connected(1), (await request.get_body()).decode()]

    exchange = Http.begin(app_of(work), body=b"whole")
    await advance(clock, 1)
    await advance(clock, 1)
    await exchange.finish()
    assert exchange.text == '[false,"whole"]'


async def test_the_time_is_over_as_a_wakeup_comes(clock: FakeClock) -> None:
    app, requests, ends = sleeping()
    exchange = Http.begin(app)
    await settle()
    asyncio.get_running_loop().call_soon(requests[0].wakeup)
    clock.advance(11)  # in the same turn, before the sleeper ran
    await exchange.finish()
    assert ends == [True]


async def test_reading_while_another_task_sleeps(clock: FakeClock) -> None:
    async def work(request: HttpRequest) -> Any:
        reading = asyncio.ensure_future(request.get_body())
        await settle()
        sleeping = asyncio.ensure_future(request.sleep_while_connected(10))
        await settle()
        exchange.feed(b"a")
        await settle()
        exchange.feed(b"b", more=False)
        body = await reading
        request.wakeup()
        return [body.decode(), await sleeping]

    exchange = Http.begin(app_of(work), body=[])
    await exchange.finish()
    assert exchange.text == '["ab",true]'


async def test_a_client_that_leaves_tells_reader_and_sleeper(clock: FakeClock) -> None:
    ends: list[Any] = []

    async def work(request: HttpRequest) -> None:
        sleep = asyncio.ensure_future(request.sleep_while_connected(10))
        await settle()
        read = asyncio.ensure_future(request.get_body())
        await settle()
        exchange.leave()
        ends.extend(await asyncio.gather(sleep, read, return_exceptions=True))
        raise DisconnectedError

    exchange = Http.begin(app_of(work), body=[b"half"], rest=True)
    await exchange.finish()
    assert [type(end) for end in ends] == [DisconnectedError, DisconnectedError]


@pytest.mark.parametrize("before", [True, False])
async def test_a_client_that_leaves_tells_a_sleeper_beside_a_direct_reader(
    before: bool, clock: FakeClock
) -> None:
    ends: list[Any] = []

    async def work(request: HttpRequest) -> None:
        read = asyncio.ensure_future(request.get_body())
        await settle()
        sleep = asyncio.ensure_future(request.sleep_while_connected(10))
        await settle()
        if before:
            exchange.feed(b"x")
            await settle()
        exchange.leave()
        ends.extend(await asyncio.gather(sleep, read, return_exceptions=True))
        raise DisconnectedError

    exchange = Http.begin(app_of(work), body=[])
    await exchange.finish()
    assert [type(end) for end in ends] == [DisconnectedError, DisconnectedError]


async def test_a_sleeper_is_told_when_the_direct_reader_is_done(clock: FakeClock) -> None:
    ends: list[Any] = []

    async def work(request: HttpRequest) -> None:
        read = asyncio.ensure_future(request.get_body())
        await settle()
        sleep = asyncio.ensure_future(request.sleep_while_connected(10))
        await settle()
        exchange.feed(b"whole", more=False)
        ends.append(await read)
        exchange.leave()
        with pytest.raises(DisconnectedError):
            await sleep
        raise DisconnectedError

    exchange = Http.begin(app_of(work), body=[])
    await exchange.finish()
    assert ends == [b"whole"]


def test_a_server_whose_receive_fails_counts_as_a_disconnect(clock: FakeClock) -> None:
    async def failing() -> Message:
        raise OSError("gone")

    async def nothing() -> Any:
        return None

    async def send(message: Message) -> None:
        raise AssertionError

    for receive in (failing, nothing):

        async def main(receive: Any = receive) -> None:
            request = HttpRequest({"type": "http", "method": "GET", "headers": []}, receive, send)
            with pytest.raises(DisconnectedError):
                await request.sleep_while_connected(1)
            with pytest.raises(DisconnectedError):
                await request.get_body()
            request._end()

        run(main())


@pytest.mark.parametrize("seconds", [0, -1])
def test_sleep_of_no_time(seconds: float) -> None:
    assert outcome(lambda request: request.sleep_while_connected(seconds)) is False


async def test_one_listener_for_a_whole_request(clock: FakeClock) -> None:
    counts = []

    async def work(request: HttpRequest) -> None:
        await request.accept(200)
        before = len(asyncio.all_tasks())
        for _ in range(5):
            await request.send("x")
            request.wakeup()
            await request.sleep_while_connected(5)
            counts.append(len(asyncio.all_tasks()) - before)

    await converse(app_of(work))
    assert counts == [1] * 5


# Built by hand


def test_a_request_built_by_hand() -> None:
    """As applications do in a middleware around the app."""

    @to_asgi
    async def inner(request: HttpRequest) -> str:
        return "inner"

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        request = HttpRequest(scope, receive, send)
        if request.path == "/own" and await request.get_json() == {"a": 1}:
            await request.accept(200, {"x-by": "hand"})
            await request.send("own", more=False)
        else:
            await inner(scope, receive, send)

    answer = ask(middleware, "/own", body=b'{"a":1}')
    assert (dict(answer.headers), answer.text) == ({"x-by": "hand"}, "own")
    assert ask(middleware, "/other").text == "inner"
