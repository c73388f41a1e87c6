"""The app that every server of the contract suite serves.

One module with many routes, so that a server is started once. The first segment of a path
names a handler below (`/ws/<name>` a websocket handler). What a handler saw and a client can't
see is noted under the `key` of the request's query, and read through `/control/…`; so are the
records that reached the log, our own and the server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import logging
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware

import asgineer
from asgineer import (
    DisconnectedError,
    HTTPError,
    HttpRequest,
    MethodNotAllowed,
    RequestSet,
    UsageError,
    WebsocketRequest,
    param,
)
from tests.contract.forwarded import make_apps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

MEGABYTES = 5_000_000
PIECE = b"0123456789abcdef" * 4096  # 64 KiB
MUCH = 400  # pieces: the buffers of sockets and servers hold some megabytes

# ---- what tests read through /control --------------------------------------------------------

NOTES: dict[str, list[Any]] = {}
RECORDS: list[tuple[str, str, str]] = []  # level, logger, text
changed: set[asyncio.Future[None]] = set()


def announce() -> None:
    for waiter in changed:
        if not waiter.done():
            waiter.set_result(None)


def note(request: Any, value: Any, kind: str = "") -> None:
    """Keep `value` for the test that sent `?key=…`."""
    NOTES.setdefault(request.querydict.get("key", "") + kind, []).append(value)
    announce()


async def wait_until(condition: Callable[[], bool], request: HttpRequest) -> None:
    async with asyncio.timeout(float(request.querydict["patience"]) / 2):
        while not condition():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            changed.add(waiter)
            try:
                await waiter
            finally:
                changed.discard(waiter)


class RecordKeeper(logging.Handler):
    """Keeps each record once, by whatever logger it comes."""

    last: logging.LogRecord | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record is not self.last:
            self.last = record
            RECORDS.append((record.levelname, record.name, self.format(record)))
            with contextlib.suppress(RuntimeError):  # logged from a thread: seen at the next note
                asyncio.get_running_loop().call_soon(announce)


keeper = RecordKeeper(logging.INFO)
LOGGERS = ("", "asgineer", "uvicorn", "uvicorn.error", "hypercorn.error", "daphne", "_granian")


def keep_records() -> None:
    """Keep what is logged from now on: in a server from its start, here during a test."""
    for name in LOGGERS:
        logging.getLogger(name).addHandler(keeper)


def leave_records() -> None:
    """Undo `keep_records`: a logger with a handler is one that the program configured."""
    for name in LOGGERS:
        logging.getLogger(name).removeHandler(keeper)


async def control(request: HttpRequest) -> Any:
    match request.parts[1:]:
        case ("mark",):
            return json_answer(len(RECORDS))
        case ("log",):
            since, text = int(request.querydict["since"]), request.querydict.get("text", "")
            await wait_until(
                lambda: any(text in record[2] for record in RECORDS[since:]) or not text, request
            )
            return json_answer(RECORDS[since:])
        case ("notes", key):
            await wait_until(
                lambda: len(NOTES.get(key, ())) >= int(request.querydict.get("count", "1")), request
            )
            return json_answer(NOTES[key])
    raise HTTPError(404)


def json_answer(value: Any) -> Any:
    return {"value": value}


# ---- returned results ------------------------------------------------------------------------


@dataclasses.dataclass
class Point:
    x: int
    y: int


class PointStruct(msgspec.Struct):
    x: int
    y: int


class Markup:
    def __html__(self) -> str:
        return "<b>bold</b>"


RESULTS: dict[str, Any] = {
    "text": "plain words",
    "unicode": "grüße ✓",
    "html": "<html>page</html>",
    "html-indented": " \n\t<HTML lang=en>page</HTML>",
    "html-doctype": "<!DOCTYPE HTML><p>page",
    "html-lookalike": "<htmlx>",
    "html-later": "x <html>",
    "bytes": b"\x00\x01\xff",
    "markup": Markup(),
    "dict": {"a": [1, 2, None], "é": "ü"},
    "list": [1, "two", {}],
    "dataclass": Point(1, 2),
    "struct": PointStruct(1, 2),
    "empty-dict": {},
    "empty-bytes": b"",
    "empty-text": "",
    "one": ("single",),
    "html-in-pair": ({}, "<html>page</html>"),
    "pair": ({"x-mark": "pair"}, "body"),
    "triple": (201, {"x-mark": "triple"}, "body"),
    "own-type": ({"Content-Type": "text/css"}, "body"),
    "list-of-values": ({"set-cookie": ["a=1", "b=2"]}, "body"),
    "latin-1": ({"x-name": "café"}, "body"),
    "html()": asgineer.html("no tag"),
    "text()": asgineer.text("<html>shown as it is"),
    "json()": asgineer.json("a string"),
    "204": (204, {}, None),
    "204-empty": (204, {}, b""),
    "304": (304, {"etag": '"v1"'}, None),
    "404": (404, {}, "nothing here"),
    "599": (599, {}, "the last status"),
    "length": ({"content-length": "4"}, "body"),
}


async def result(request: HttpRequest) -> Any:
    return RESULTS[request.parts[1]]


class Loose(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def numbers() -> Iterator[bytes]:
    yield b"1"


async def number() -> int:
    return 1


async def stream_of(*chunks: Any) -> AsyncIterator[Any]:
    for chunk in chunks:
        yield chunk


def cycle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


# What a handler may not return → what the log says about it.
FLAWS: dict[str, tuple[Callable[[], Any], str]] = {
    "none": (lambda: None, "Body cannot be None"),
    "number": (lambda: 42, "Body cannot be int"),
    "set": (lambda: {1}, "Body cannot be set"),
    "object": (object, "Body cannot be object"),
    "class": (lambda: Point, "Body cannot be"),
    "generator": (numbers, "regular generator"),
    "coroutine": (number, "coroutine, forgot await?"),
    "none-in-triple": (lambda: (200, {}, None), "Body cannot be None"),
    "4-tuple": (lambda: (200, {}, "x", 1), "Handler returned 4-tuple"),
    "0-tuple": (lambda: (), "Handler returned 0-tuple"),
    "status-text": (lambda: ("200", {}, "x"), "Status code must be an int"),
    "status-float": (lambda: (200.0, {}, "x"), "Status code must be an int"),
    "status-bool": (lambda: (True, {}, "x"), "Status code must be an int"),
    "status-101": (lambda: (101, {}, "x"), "Status code must be an int"),
    "status-99": (lambda: (99, {}, "x"), "Status code must be an int"),
    "status-600": (lambda: (600, {}, "x"), "Status code must be an int"),
    "status-1000": (lambda: (1000, {}, "x"), "Status code must be an int"),
    "headers-none": (lambda: (200, None, "x"), "Headers must be a dict"),
    "headers-list": (lambda: ([("x-flaw", "1")], "x"), "Headers must be a dict"),
    "header-name-int": (lambda: ({1: "x"}, "x"), "Header keys and values must all be strings"),
    "header-value-int": (lambda: ({"x-flaw": 1}, "x"), "Header keys and values must all be strings"),
    "header-value-bytes": (lambda: ({"x-flaw": b"1"}, "x"), "Header keys and values must all be strings"),
    "header-value-crlf": (lambda: ({"x-flaw": "a\r\nx-injected: b"}, "x"), "x-flaw"),
    "header-value-lf": (lambda: ({"x-flaw": "a\nx-injected: b"}, "x"), "x-flaw"),
    "header-value-nul": (lambda: ({"x-flaw": "a\0b"}, "x"), "x-flaw"),
    "header-value-escape": (lambda: ({"x-flaw": "a\x1bb"}, "x"), "x-flaw"),
    "header-value-beyond-latin-1": (lambda: ({"x-flaw": "✓"}, "x"), "x-flaw"),
    "header-name-space": (lambda: ({"x flaw": "1"}, "x"), "x flaw"),
    "header-name-colon": (lambda: ({"x-flaw:": "1"}, "x"), "x-flaw:"),
    "header-name-crlf": (lambda: ({"x-flaw: 1\r\nx-injected": "1"}, "x"), "x-injected"),
    "header-name-empty": (lambda: ({"": "1"}, "x"), "eader"),
    "header-twice": (lambda: ({"X-Flaw": "1", "x-flaw": "2"}, "x"), "x-flaw"),
    "length-wrong": (lambda: ({"content-length": "5"}, "sixsix"), "content-length"),
    "body-with-204": (lambda: (204, {}, "x"), "204"),
    "body-with-304": (lambda: (304, {}, "x"), "304"),
    "json-object": (lambda: {"x": object()}, "Could not JSON encode"),
    "json-key": (lambda: {(1, 2): 3}, "Could not JSON encode"),
    "json-cycle": (cycle, "Could not JSON encode"),
    "json-surrogate": (lambda: {"x": "\ud800"}, "Could not JSON encode"),
    "text-surrogate": (lambda: "\ud800", "UnicodeEncodeError in request handler"),
    "chunk": (lambda: stream_of(42), "Response chunks must be bytes or str"),
}


async def flaw(request: HttpRequest) -> Any:
    return FLAWS[request.parts[1]][0]()


# What a handler may raise → what the log says about it.
RAISED: dict[str, tuple[Callable[[], BaseException], str]] = {
    "value-error": (lambda: ValueError("oh no"), "ValueError in request handler: oh no"),
    "key-error": (lambda: KeyError("name"), "KeyError in request handler"),
    "without-text": (Loose, "Loose in request handler"),
    "system-exit": (lambda: SystemExit(3), "SystemExit in request handler"),
    "own-cancellation": (asyncio.CancelledError, "CancelledError in request handler"),
    "group": (lambda: ExceptionGroup("two", [ValueError(1), HTTPError(404)]), "ExceptionGroup in request"),
}


async def raised(request: HttpRequest) -> Any:
    raise RAISED[request.parts[1]][0]()


# ---- errors that are answers -----------------------------------------------------------------


async def http_error(request: HttpRequest) -> Any:
    match request.parts[1:]:
        case ("teapot",):
            raise HTTPError(418)
        case ("login",):
            raise HTTPError(303, headers={"location": "/login"})
        case ("body",):
            raise HTTPError(409, {"why": "conflict"}, headers={"x-mark": "json"})
        case ("group",):
            raise ExceptionGroup("only answers", [HTTPError(404), HTTPError(418)])
    raise HTTPError(404)


async def items(request: HttpRequest) -> Any:
    match request.verb, *request.parts[1:]:
        case "GET", item:
            return {"item": param(item, int)}
        case _, _:
            raise MethodNotAllowed("GET")
    raise HTTPError(404)


# ---- the low-level way -----------------------------------------------------------------------


async def lowlevel(request: HttpRequest) -> Any:
    await request.accept(202, {"Content-Type": "text/plain", "X-Mark": "low"})
    await request.send("in ")
    await request.send(b"pieces")


async def lowlevel_loop(request: HttpRequest) -> Any:
    await request.accept(200, {"content-type": "text/plain"})
    async for chunk in stream_of("one ", "two ", b"three"):
        await request.send(chunk)


async def lowlevel_length(request: HttpRequest) -> Any:
    await request.accept(200, {"content-length": "6"})
    await request.send("abc")
    await request.send("def", more=False)


async def lowlevel_only_accepts(request: HttpRequest) -> Any:
    await request.accept(200, {})


async def misuse(request: HttpRequest) -> Any:
    """Do a wrong thing; the error's text is the answer."""
    try:
        match request.parts[1]:
            case "send-first":
                await request.send("x")
            case "consumed":
                async for _ in request.iter_body():
                    pass
                await request.get_body()
            case "consumed-iter":
                await request.get_body()
                async for _ in request.iter_body():
                    pass
            case "set-of-texts":
                RequestSet().add("text")  # type: ignore[arg-type]  # the mistake that is tested
    except (UsageError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


async def misuse_later(request: HttpRequest) -> Any:
    """Do a wrong thing once the response began; the error's text is noted."""
    await request.accept(200, {"content-type": "text/plain"})
    try:
        match request.parts[1]:
            case "accept-twice":
                await request.accept(200, {})
            case "send-number":
                await request.send(42)  # type: ignore[arg-type]  # the mistake that is tested
            case "send-after-end":
                await request.send("", more=False)
                await request.send("x")
    except (UsageError, TypeError) as error:
        note(request, f"{type(error).__name__}: {error}")
    return None


# What `accept` may not be called with → what the log says about it.
FLAWED_HEADS: dict[str, tuple[Any, Any, str]] = {
    "status-text": ("200", {}, "Status code must be an int"),
    "status-101": (101, {}, "Status code must be an int"),
    "status-600": (600, {}, "Status code must be an int"),
    "header-crlf": (200, {"x-flaw": "a\r\nx-injected: b"}, "x-flaw"),
    "header-name": (200, {"x flaw": "a"}, "x flaw"),
    "header-int": (200, {"x-flaw": 1}, "Header keys and values must all be strings"),
    "length": (200, {"content-length": "many"}, "content-length"),
}


async def flawed_head(request: HttpRequest) -> Any:
    status, headers, _ = FLAWED_HEADS[request.parts[1]]
    await request.accept(status, headers)
    await request.send("x")


async def too_long(request: HttpRequest) -> Any:
    await request.accept(200, {"content-length": "4"})
    await request.send("much too long")


async def too_short(request: HttpRequest) -> Any:
    await request.accept(200, {"content-length": "40"})
    await request.send("too short")


async def accept_and_return(request: HttpRequest) -> Any:
    await request.accept(200, {})
    return "a value"


# ---- streams ---------------------------------------------------------------------------------


async def stream(request: HttpRequest) -> Any:
    match request.parts[1]:
        case "bytes":
            return stream_of(b"one ", b"", b"two ", b"three")
        case "text":
            return stream_of("één ", "twee")
        case "html":
            return stream_of("<html>", "page</html>")
        case "typed":
            return 201, {"content-type": "text/csv"}, stream_of("a,b\n", "1,2\n")
        case "nothing":
            return stream_of()
        case "large":
            return large_stream()
        case "fails-first":
            return failing_stream(0)
        case "fails-later":
            return failing_stream(2)
        case "flawed-later":
            return stream_of(b"good", 42)
        case "error-first":
            return answering_stream()
        case "until-left":
            return endless_stream(request)
    raise HTTPError(404)


async def large_stream() -> AsyncIterator[bytes]:
    for _ in range(80):
        yield PIECE


async def failing_stream(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"before "
    raise ValueError("in the stream")


async def answering_stream() -> AsyncIterator[bytes]:
    if PIECE:
        raise HTTPError(404, "not even begun")
    yield b""


async def endless_stream(request: HttpRequest) -> AsyncIterator[bytes]:
    try:
        while True:
            yield PIECE
            await asyncio.sleep(0)
    finally:
        note(request, "closed")


async def endless_sends(request: HttpRequest) -> Any:
    await request.accept(200, {"content-type": "text/plain"})
    try:
        while True:
            await request.send(PIECE)
            await asyncio.sleep(0)
    except DisconnectedError as error:
        note(request, type(error).__name__)
        raise


async def much(request: HttpRequest) -> Any:
    """Send more than any buffer holds, and note how that ended."""
    await request.accept(200, {"content-type": "text/plain"})
    try:
        for _ in range(MUCH):
            await request.send(PIECE)
    except DisconnectedError as error:
        note(request, type(error).__name__)
        raise
    note(request, "all sent")


# ---- what a request says ---------------------------------------------------------------------


async def about(request: HttpRequest) -> Any:
    return {
        "method": request.method,
        "verb": request.verb,
        "path": request.path,
        "raw_path": request.raw_path.decode("ascii"),
        "root_path": request.root_path,
        "parts": list(request.parts),
        "parts_type": type(request.parts).__name__,
        "url": request.url,
        "scheme": request.scheme,
        "host": request.host,
        "port": request.port,
        "querylist": [list(pair) for pair in request.querylist],
        "querydict": request.querydict,
        "client": list(request.client),
        "client_type": type(request.client).__name__,
        "http_version": request.http_version,
        "headers": dict(request.headers),
        "repeated": request.headers.getlist("x-repeated"),
    }


async def state(request: HttpRequest) -> Any:
    return {"state": request.state["colour"]}


# ---- bodies ----------------------------------------------------------------------------------


async def body(request: HttpRequest) -> Any:
    match request.parts[1]:
        case "echo":
            return await request.get_body()
        case "size":
            return str(len(await request.get_body()))
        case "iterated":
            return str(sum([len(chunk) async for chunk in request.iter_body()]))
        case "twice":
            return {"same": await request.get_body() == await request.get_body()}
        case "json":
            return {"got": await request.get_json()}
        case "limit":
            return await request.get_body(10)
        case "limit-swallowed":
            try:
                await request.get_body(10)
            except OSError:
                return "swallowed"
        case "limit-own-answer":
            try:
                await request.get_body(10)
            except HTTPError:
                return 400, {}, "too much for me"
        case "unread":
            return "not read"
        case "large":
            return b"x" * MEGABYTES
    raise HTTPError(404)


async def upload(request: HttpRequest) -> Any:
    """Note that a body began, and how it ended."""
    try:
        if request.parts[1] == "iterated":
            async for chunk in request.iter_body():
                note(request, f"piece of {len(chunk)}", ":began")
            note(request, "whole")
        else:
            note(request, "reading", ":began")
            note(request, f"whole: {len(await request.get_body())}")
    except DisconnectedError as error:
        note(request, type(error).__name__)
        raise
    return "done"


# ---- waiting ---------------------------------------------------------------------------------

SLEEPERS: dict[str, RequestSet[HttpRequest]] = {}


async def sleep(request: HttpRequest) -> Any:
    key = request.querydict["key"]
    sleepers = SLEEPERS.setdefault(key, RequestSet())
    sleepers.add(request)
    note(request, len(sleepers), ":joined")
    try:
        woken = await request.sleep_while_connected(float(request.querydict.get("seconds", "30")))
    except DisconnectedError as error:
        note(request, type(error).__name__)
        raise
    return {"woken": woken, "body": len(await request.get_body())}


async def wake(request: HttpRequest) -> Any:
    sleepers = SLEEPERS[request.querydict["key"]]
    for sleeper in sleepers:
        sleeper.wakeup()
    return {"woke": len(sleepers)}


async def sleepers_left(request: HttpRequest) -> Any:
    return {"left": len(SLEEPERS[request.querydict["key"]])}


async def wake_early(request: HttpRequest) -> Any:
    request.wakeup()
    return {"woken": await request.sleep_while_connected(30)}


# ---- under other people's middleware, and with other settings --------------------------------


async def gzip(request: HttpRequest) -> Any:
    match request.parts[1]:
        case "whole":
            return "compress me " * 1000
        case "stream":
            return stream_of(*["piece "] * 1000)
        case "fails-later":
            return failing_stream(1000)
    raise HTTPError(404)


async def cors(request: HttpRequest) -> Any:
    return "shared"


async def session(request: HttpRequest) -> Any:
    stored = request.scope["session"]
    stored["count"] = stored.get("count", 0) + 1
    return {"count": stored["count"]}


assets = asgineer.utils.make_asset_handler(
    {"page.html": "<html>asset</html>", "long.js": "let x = 1;\n" * 1000, "pic.png": b"\x89PNG"}, max_age=60
)


async def asset(request: HttpRequest) -> Any:
    return await assets(request, "/".join(request.parts[1:]))


# ---- websockets ------------------------------------------------------------------------------


async def ws_echo(request: WebsocketRequest) -> Any:
    await request.accept()
    async for message in request.receive_iter():
        await request.send(message)


async def ws_one(request: WebsocketRequest) -> Any:
    await request.accept()
    message = await request.receive()
    await request.send(f"{type(message).__name__} {len(message)}")


async def ws_kinds(request: WebsocketRequest) -> Any:
    await request.accept()
    for value in ("text ✓", b"bytes \xff", {"kind": "dict"}, "", b""):
        await request.send(value)


async def ws_ends(request: WebsocketRequest) -> Any:
    await request.accept()


async def ws_closes(request: WebsocketRequest) -> Any:
    await request.accept()
    await request.send("last words")
    await request.close(4001, "good bye")


async def ws_raises(request: WebsocketRequest) -> Any:
    await request.accept()
    raise ValueError("in the socket")


async def ws_http_error(request: WebsocketRequest) -> Any:
    await request.accept()
    raise HTTPError(404)


async def ws_returns_value(request: WebsocketRequest) -> Any:
    await request.accept()
    return "a value"


async def ws_returns_early(request: WebsocketRequest) -> Any:
    return None


async def ws_raises_early(request: WebsocketRequest) -> Any:
    raise ValueError("before accept")


async def ws_denies(request: WebsocketRequest) -> Any:
    return 401, {"x-mark": "denied"}, "who are you?"


async def ws_denies_by_error(request: WebsocketRequest) -> Any:
    raise HTTPError(404)


async def ws_closes_early(request: WebsocketRequest) -> Any:
    await request.close()


async def ws_accepts_twice(request: WebsocketRequest) -> Any:
    await request.accept()
    await request.accept()


async def ws_misuse(request: WebsocketRequest) -> Any:
    """Do wrong things one after the other, and send the texts of the errors."""
    texts = []
    for wrong in (request.receive, lambda: request.send("x")):
        try:
            await wrong()
        except UsageError as error:
            texts.append(str(error))
    await request.accept()
    mistakes: list[Any] = [request.accept, lambda: request.send(42)]  # type: ignore[arg-type]  # one of them
    for wrong in mistakes:
        try:
            await wrong()
        except (UsageError, TypeError) as error:
            texts.append(f"{type(error).__name__}: {error}")
    await request.close(1000)
    try:
        await request.send("x")
    except UsageError as error:
        texts.append(str(error))
    note(request, texts)


async def ws_subprotocol(request: WebsocketRequest) -> Any:
    chosen = request.subprotocols[1]
    await request.accept(chosen, {"X-Mark": "accepted"})


async def ws_waits(request: WebsocketRequest) -> Any:
    await request.accept()
    note(request, "accepted", ":began")
    try:
        await request.receive()
    except DisconnectedError as error:
        note(request, ["receive", error.code, error.reason])
        raise


async def ws_json(request: WebsocketRequest) -> Any:
    await request.accept()
    await request.send({"got": await request.receive_json()})


async def ws_iterates(request: WebsocketRequest) -> Any:
    await request.accept()
    got = [message async for message in request.receive_iter()]
    note(request, [f"{type(message).__name__} {len(message)}" for message in got])


async def ws_too_late(request: WebsocketRequest) -> Any:
    await request.accept()
    async for _ in request.receive_iter():
        pass
    for late in (request.receive, lambda: request.send("x")):
        try:
            await late()
        except DisconnectedError as error:
            note(request, str(error))


async def ws_sends_at_once(request: WebsocketRequest) -> Any:
    await request.accept()
    await asyncio.gather(*(request.send(str(number)) for number in range(20)))


async def ws_sends_forever(request: WebsocketRequest) -> Any:
    await request.accept()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(exhaust(request))
            while True:
                await request.send(PIECE)
                await asyncio.sleep(0)
    except* DisconnectedError:
        note(request, "DisconnectedError")


async def exhaust(request: WebsocketRequest) -> None:
    await request.receive()


async def ws_about(request: WebsocketRequest) -> Any:
    await request.accept()
    await request.send(
        {
            "method": request.method,
            "verb": request.verb,
            "path": request.path,
            "parts": list(request.parts),
            "scheme": request.scheme,
            "querydict": request.querydict,
            "client_type": type(request.client).__name__,
            "subprotocols": list(request.subprotocols),
        }
    )


# ---- the app ---------------------------------------------------------------------------------


def handlers(prefix: str) -> dict[str, Callable[[Any], Awaitable[Any]]]:
    """Return the coroutine functions of this module whose name begins with `prefix`."""
    functions = {n: f for n, f in globals().items() if inspect.iscoroutinefunction(f)}
    return {name.removeprefix(prefix): f for name, f in functions.items() if name.startswith(prefix)}


SOCKETS = handlers("ws_")
PAGES = handlers("")


async def serve(request: HttpRequest | WebsocketRequest) -> Any:
    if isinstance(request, WebsocketRequest):
        return await SOCKETS[request.parts[1]](request)
    if not request.parts:
        return "index"
    handler = PAGES.get(request.parts[0])
    if handler is None:
        raise HTTPError(404)
    return await handler(request)


def report(request: Any, status: int, size: int, seconds: float, outcome: str) -> None:
    if "key" in request.querydict:
        note(request, [status, size, outcome], ":done")


async def inner(request: HttpRequest) -> Any:
    """Serve what stands behind the first segment, for the apps with other settings."""
    return await PAGES[request.parts[1]](Shifted(request))


class Shifted:
    """A request whose path begins one segment later."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @property
    def parts(self) -> tuple[str, ...]:
        return self._request.parts[1:]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)


def render(request: Any, error: HTTPError) -> Any:
    return {"status": error.status, "path": request.path}


core = asgineer.to_asgi(serve, done=report)

WRAPPED: dict[str, Any] = {
    "gzip": GZipMiddleware(core),
    "cors": CORSMiddleware(core, allow_origins=["https://friend.example"]),
    "session": SessionMiddleware(core, secret_key="for tests only"),
    "rendered": asgineer.to_asgi(inner, error=render),
    "debug": asgineer.to_asgi(inner, debug=True),
    "impatient": asgineer.to_asgi(inner, done=report, limits=asgineer.Limits(send=1)),
}


async def by_hand(scope: Any, receive: Any, send: Any) -> None:
    """Answer one path from a request made by hand, as a middleware may; pass the others on."""
    request = HttpRequest(scope, receive, send)
    if request.parts == ("by-hand", "answered"):
        await request.accept(200, {"content-type": "text/plain"})
        await request.send(f"{request.method} {len(await request.get_body())}", more=False)
    else:
        await core({**scope, "path": "/about", "raw_path": b"/about"}, receive, send)


WRAPPED["by-hand"] = by_hand
WRAPPED.update(make_apps(core, report))


async def main(scope: Any, receive: Any, send: Any) -> None:
    """Send a request to the app that its first segment names."""
    first = scope.get("path", "").split("/")[1:2]
    if first == ["state"]:
        scope = {**scope, "state": {"colour": "blue"}}
    await WRAPPED.get("".join(first), core)(scope, receive, send)
