"""The app that bad input is sent to: one short handler for each thing that a request can get wrong.

What a handler saw is kept for the test, with every record that was logged and what the
process holds: open files, tasks, temporary files. `/control/…` reads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import asgineer
import asgineer.utils
from asgineer import BodyTooLarge, DisconnectedError, HttpRequest, Limits, UploadFile, WebsocketRequest
from asgineer.security import Cors, Sessions, check_origin
from asgineer.utils import make_cookie
from tests.contract import files_app
from tests.contract.app import FLAWS, LOGGERS, RAISED, stream_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

SMALL = 1000  # bytes of a body, where that is limited
NEW_KEY, OLD_KEY = "new key, for tests only", "old key, for tests only"
PATIENCE = 2.0  # seconds until what is still held counts as left behind

sessions = Sessions([NEW_KEY, OLD_KEY], secure=False, max_age=1000)
cors = Cors(origins=["https://friend.example"], methods=["GET", "PUT"], headers=["X-Known"])

# ---- what tests read through /control --------------------------------------------------------

SAW: list[Any] = []  # what handlers were called for, and what they found
RECORDS: list[tuple[str, str, str]] = []  # logger, message, all of the text
RUNNING: set[int] = set()  # the calls of the app that did not return yet
OURS = (os.path.dirname(asgineer.__file__), os.path.dirname(__file__))


class RecordKeeper(logging.Handler):
    """Keeps the text of each record once, by whatever logger it comes.

    Not the record: its traceback would hold the request, and granian's connection with it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if not hasattr(record, "kept"):
            record.kept = True
            RECORDS.append((record.name, record.getMessage(), self.format(record)))


keeper = RecordKeeper(logging.WARNING)
for name in LOGGERS:
    logging.getLogger(name).addHandler(keeper)


def holdings() -> dict[str, int]:
    """Return what this process holds: the connection of the control and its task are among it.

    hypercorn keeps a connection that the client has closed until its own time-out of five seconds, so
    sockets aren't counted there; tasks of servers' own nowhere, which come and go as they like.
    """
    tasks = [getattr(task.get_coro(), "cr_code", None) for task in asyncio.all_tasks()]
    return {
        "open files": len(list(open_files())),
        "tasks": sum([code is not None and code.co_filename.startswith(OURS) for code in tasks]),
        "requests": len(RUNNING),
        "temporary files": len(os.listdir(tempfile.gettempdir())),
    }


def open_files() -> Iterator[str]:
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing itself was one of them
            target = os.readlink(f"/proc/self/fd/{number}")
            if not target.startswith("socket:") or "hypercorn" not in sys.modules:
                yield target


async def control(request: HttpRequest) -> Any:
    match request.parts[1:]:
        case ("begin",):
            files_app.prepare()
            SAW.clear()
            RECORDS.clear()
            return {"holds": holdings(), "seconds": time.process_time()}
        case ("end",):
            allowed, seconds, count = await request.get_json()
            seconds = time.process_time() - seconds
            left = await leftovers(allowed, count)
            return {"left": left, "seconds": seconds, "saw": SAW, "records": RECORDS}
    raise asgineer.HTTPError(404)


async def leftovers(allowed: dict[str, int], sightings: int) -> dict[str, int]:
    """Return what is held beyond `allowed`, once nothing is, and that much was seen; or patience ends.

    No event tells that a server has closed a connection, so it is looked at again and again.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        left = dict(Counter(holdings()) - Counter(allowed))
        if (not left and len(SAW) >= sightings) or time.monotonic() > deadline:
            return left
        await asyncio.sleep(0.002)


# ---- what a request says ---------------------------------------------------------------------


async def ok(request: HttpRequest) -> Any:
    return "fine"


async def only_get(request: HttpRequest) -> Any:
    raise asgineer.MethodNotAllowed("GET")


async def slow(request: HttpRequest) -> Any:
    await asyncio.sleep(0.05)
    return "slow"


async def path(request: HttpRequest) -> Any:
    return {"path": request.path, "parts": request.parts}


async def where(request: HttpRequest) -> Any:
    return {"path": request.path, "host": request.host, "url": request.url, "scheme": request.scheme}


async def headers(request: HttpRequest) -> Any:
    found = request.headers
    return {name: found.getlist(name) for name in found}


async def query(request: HttpRequest) -> Any:
    return request.querylist


async def querydict(request: HttpRequest) -> Any:
    return request.querydict


async def cookies(request: HttpRequest) -> Any:
    return request.cookies


async def session(request: HttpRequest) -> Any:
    visitor = sessions.load(request)
    match request.parts[1:]:
        case ("large",):
            visitor["notes"] = "x" * 4096
        case ("in",):
            return sessions.save(visitor, str("user" in visitor))
        case ("len",):
            return sessions.save(visitor, str(len(visitor)))
        case ("untouched",):
            return sessions.save(visitor, "public")
    return sessions.save(visitor, {"user": visitor.get("user")})


COOKIES: dict[str, tuple[Callable[[], str], str]] = {
    "name": (lambda: make_cookie("a;b", "x"), "is not a token"),
    "value": (lambda: make_cookie("a", "x\r\nSet-Cookie: y"), "characters that a cookie can't have"),
    "path": (lambda: make_cookie("a", "x", path="/; Domain=evil"), "Cookie path can't be"),
    "samesite": (lambda: make_cookie("a", "x", samesite="None; X"), "Cookie samesite must be"),  # type: ignore[arg-type]  # the mistake that is tested
    "domain": (lambda: make_cookie("a", "x", domain="a\0b"), "Cookie domain can't be"),
    "samesite-none": (lambda: make_cookie("a", "x", samesite=None), "samesite None must be secure"),
    "host-domain": (lambda: make_cookie("__Host-a", "x", secure=True, domain="a.b"), "without a domain"),
    "host-path": (lambda: make_cookie("__Host-a", "x", secure=True, path="/a"), "with path '/'"),
}


async def set_cookie(request: HttpRequest) -> Any:
    return {"x-mark": "never sent", "set-cookie": COOKIES[request.parts[1]][0]()}, "done"


async def shared_data(request: HttpRequest) -> Any:
    return cors.preflight(request) or cors(request, {"data": 1})


async def change(request: HttpRequest) -> Any:
    check_origin(request)
    SAW.append("changed")
    return "changed"


async def boom(request: HttpRequest) -> Any:
    raise ValueError(request.path)


# ---- bodies ----------------------------------------------------------------------------------


async def json(request: HttpRequest) -> Any:
    return asgineer.json({"got": await request.get_json()})


async def body(request: HttpRequest) -> Any:
    try:
        return str(len(await request.get_body()))
    except DisconnectedError:
        SAW.append("DisconnectedError")
        raise


async def pieces(request: HttpRequest) -> Any:
    count = 0
    try:
        async for piece in request.iter_body():
            count += len(piece)
    except DisconnectedError:
        SAW.append("DisconnectedError")
        raise
    SAW.append("the end")
    return str(count)


async def swallow(request: HttpRequest) -> Any:
    try:
        await request.get_body()
    except BodyTooLarge:
        return "all is well"
    return "it fits"


async def form(request: HttpRequest) -> Any:
    sent = await request.get_form()
    return {name: [await told(value) for value in sent.getlist(name)] for name in sent}


async def told(value: str | UploadFile) -> Any:
    if isinstance(value, str):
        return value
    return [value.filename, value.content_type, len(await value.read())]


async def parts(request: HttpRequest) -> Any:
    sizes = []
    async for part in request.iter_form():
        if part.filename is None:
            sizes.append(len(await part.read()))
        else:
            path = os.path.join(tempfile.gettempdir(), f"upload-{request.id}")
            written = [0]
            await part.save(path, written.append)
            sizes.append(written[-1])
            os.unlink(path)
    return sizes


# ---- results ---------------------------------------------------------------------------------


async def flaw(request: HttpRequest) -> Any:
    return {**FLAWS, **MORE_FLAWS}[request.parts[1]][0]()


async def raised(request: HttpRequest) -> Any:
    raise {**RAISED, **MORE_RAISED}[request.parts[1]][0]()


def deep_list() -> list[Any]:
    value: list[Any] = []
    for _ in range(1_000_000):
        value = [value]
    return value


class Number:
    """Like an int of a library for numbers."""

    def __index__(self) -> int:
        return 200

    __int__ = __index__


MORE_FLAWS: dict[str, tuple[Callable[[], Any], str]] = {
    "status-0": (lambda: (0, {}, "x"), "Status code must be an int"),
    "status-negative": (lambda: (-1, {}, "x"), "Status code must be an int"),
    "status-huge": (lambda: (10**9, {}, "x"), "Status code must be an int"),
    "status-like-int": (lambda: (Number(), {}, "x"), "Status code must be an int"),
    "headers-tuple": (lambda: ((("x-flaw", "1"),), "x"), "Headers must be a dict"),
    "header-name-bytes": (lambda: ({b"x": "x"}, "x"), "Header keys and values must all be strings"),
    "header-value-none": (lambda: ({"x-flaw": None}, "x"), "Header keys and values must all be strings"),
    "header-value-cr": (lambda: ({"x-flaw": "a\rb"}, "x"), "x-flaw"),
    "header-transfer-encoding": (lambda: ({"Transfer-Encoding": "chunked"}, "x"), "transfer-encoding"),
    "header-type-twice": (lambda: ({"Content-Type": "a/b", "content-type": "c/d"}, "x"), "given twice"),
    "json-deep": (deep_list, "nested too deep"),
    "stream-raises-first": (lambda: failing_stream(0), "ValueError in sending chunked response: stopped"),
}


async def failing_stream(after: int) -> AsyncIterator[str]:
    for _ in range(after):
        yield "piece "
    raise ValueError("stopped")


def raiser(error: Callable[[], BaseException]) -> tuple[Callable[[], BaseException], str]:
    return error, f"{type(error()).__name__} in request handler"


MORE_RAISED: dict[str, tuple[Callable[[], BaseException], str]] = {
    "keyboard-interrupt": raiser(KeyboardInterrupt),
    "base-exception-group": raiser(lambda: BaseExceptionGroup("two", [SystemExit(1), ValueError(2)])),
    "long": raiser(lambda: ValueError("long " * 2_000_000)),
    "with-line-ends": raiser(lambda: ValueError("a\r\nERROR forged\x1b[31m")),
}

SHARED: dict[str, str | list[str]] = {"X-Mark": "shared"}


async def shared(request: HttpRequest) -> Any:
    """Let a finisher work on headers that all responses have in common."""
    response = asgineer.utils.compress(request, (SHARED, "text " * 1000))
    _, headers, body = asgineer.utils.normalize_response(response)
    headers["set-cookie"] = f"visitor={request.id}"
    SAW.append(dict(SHARED))
    return headers, body


async def good(request: HttpRequest) -> Any:
    """What may look flawed, and isn't."""
    match request.parts[1]:
        case "json":
            return {"nan": float("nan"), "inf": float("-inf"), "bytes": b"\x00\xff", "set": {1}}
        case "bytearray":
            return bytearray(b"ab")
        case "memoryview":
            return memoryview(b"ab")
        case "nothing":
            return stream_of()
        case "empty":
            return stream_of(b"", b"")
        case "group":
            raise BaseExceptionGroup("answers", [asgineer.HTTPError(409), DisconnectedError()])
    raise asgineer.HTTPError(404)


async def broken(request: HttpRequest) -> Any:
    """Fail once the response began."""
    match request.parts[1]:
        case "stream":
            return failing_stream(2)
        case "accept-and-return":
            await request.accept(200, {"content-type": "text/plain"})
            return "a value"
        case "surrogate":
            await request.accept(200, {"content-type": "text/plain"})
            await request.send("\ud800")
        case "too-long":
            await request.accept(200, {"content-length": "4"})
            await request.send("much too long")
        case "too-short":
            await request.accept(200, {"content-length": "40"})
            await request.send("too short")
        case "after-end":
            await request.accept(200, {"content-length": "4"})
            await request.send("four", more=False)
            await request.send("more")
    return None


async def two_tasks(request: HttpRequest) -> Any:
    await request.accept(200, {"content-type": "text/plain"})
    await asyncio.gather(*[request.send("abcd") for _ in range(50)])


async def endless(request: HttpRequest) -> Any:
    return endless_stream()


async def endless_stream() -> AsyncIterator[bytes]:
    try:
        while True:
            yield b"x" * 10_000
    finally:
        SAW.append("closed")


# ---- websockets ------------------------------------------------------------------------------


async def ws_echo(request: WebsocketRequest) -> Any:
    await request.accept()
    async for message in request.receive_iter():
        await request.send(message)


async def ws_listed(request: WebsocketRequest) -> Any:
    await request.accept(origins=["https://friend.example"])
    await request.receive()


async def ws_returns(request: WebsocketRequest) -> Any:
    return None


async def ws_answers(request: WebsocketRequest) -> Any:
    return 404, {}, "no such socket"


async def ws_raises(request: WebsocketRequest) -> Any:
    raise ValueError("before accept")


async def ws_sends_first(request: WebsocketRequest) -> Any:
    await request.send("too early")


async def ws_other_subprotocol(request: WebsocketRequest) -> Any:
    await request.accept("never-offered")


async def ws_subprotocol(request: WebsocketRequest) -> Any:
    SAW.append(len(request.subprotocols))
    await request.accept()
    await request.send("open")
    await request.receive()


async def ws_accepts_twice(request: WebsocketRequest) -> Any:
    await request.accept()
    await request.accept()


async def ws_returns_later(request: WebsocketRequest) -> Any:
    await request.accept()
    return "a value"


async def ws_raises_later(request: WebsocketRequest) -> Any:
    await request.accept()
    raise ValueError("after accept")


async def ws_sends_later(request: WebsocketRequest) -> Any:
    await request.accept()
    await request.close()
    await request.send("too late")


async def ws_receives_twice(request: WebsocketRequest) -> Any:
    await request.accept()
    await asyncio.gather(request.receive(), request.receive())


async def ws_json(request: WebsocketRequest) -> Any:
    await request.accept()
    await request.send({"got": await request.receive_json()})
    await request.receive()


# ---- the app ---------------------------------------------------------------------------------

Handler = "Callable[[Any], Awaitable[Any]]"
PAGES: dict[str, Callable[[Any], Awaitable[Any]]] = {
    page.__name__.replace("_", "-"): page
    for page in (
        *(control, ok, only_get, slow, path, where, headers, query, querydict, cookies, boom),
        *(session, set_cookie, shared_data, change, json, body, pieces, swallow, form, parts),
        *(flaw, raised, shared, good, broken, two_tasks, endless),
        *(files_app.site, files_app.whole_site, files_app.disk, files_app.whole_disk, files_app.changing),
    )
}
SOCKETS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    socket.__name__.removeprefix("ws_").replace("_", "-"): socket
    for socket in (
        *(ws_echo, ws_listed, ws_returns, ws_answers, ws_raises, ws_sends_first, ws_other_subprotocol),
        *(ws_subprotocol, ws_accepts_twice, ws_returns_later, ws_raises_later, ws_sends_later),
        *(ws_receives_twice, ws_json),
    )
}


async def serve(request: HttpRequest | WebsocketRequest) -> Any:
    parts = request.parts[1:] if request.parts[:1] == ("small",) else request.parts
    if parts[:1] != ("control",):
        SAW.append(f"{request.verb} {request.path:.200}")
    if request.verb in ("CONNECT", "PRI"):  # what an app does that routes by the verb
        raise asgineer.MethodNotAllowed("GET")
    if isinstance(request, WebsocketRequest):
        return await SOCKETS["".join(parts[1:2])](request)
    page = PAGES.get("".join(parts[:1]))
    if page is None:
        return {"path": request.path, "parts": request.parts, "url": request.url}
    return await page(request)


app = asgineer.to_asgi(serve)
small = asgineer.to_asgi(serve, limits=Limits(body=SMALL, body_idle=1))


async def main(scope: Any, receive: Any, send: Any) -> None:
    """Serve paths that begin with /small with small limits."""
    chosen = small if scope.get("path", "").startswith("/small/") else app
    RUNNING.add(id(scope))
    try:
        await chosen(scope, receive, send)
    finally:
        RUNNING.discard(id(scope))
