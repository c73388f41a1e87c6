"""Our protocol and uvicorn's own, given the same bytes, whole and one by one: they do the same.

Where they don't, it is meant, and stands in DIFFERENCES with the reason. The outcome is what the
app was called with, which status lines came back, and whether the connection was closed.
"""

from __future__ import annotations

import contextlib
import logging
import re
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from asgineer._uvicorn import Connection
from tests.unit.turns import run
from tests.unit.uvicorn_wire import body, connected, settled, start

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
H = b"GET / HTTP/1.1\r\nHost: a\r\n"
P = b"POST /p HTTP/1.1\r\nHost: a\r\n"
CHUNKED = P + b"Transfer-Encoding: chunked\r\n\r\n"
WEBSOCKET = b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
KEY = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"

CORPUS: dict[str, bytes] = {
    # Heads
    "get": GET,
    "head": b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "query": b"GET /a/b?c=d&e HTTP/1.1\r\nHost: a\r\n\r\n",
    "empty-query": b"GET /a? HTTP/1.1\r\nHost: a\r\n\r\n",
    "percent": b"GET /%C3%A4%2F%00%zz?%C3 HTTP/1.1\r\nHost: a\r\n\r\n",
    "odd-path": b'GET //a//../"<>^`{|}\\;x HTTP/1.1\r\nHost: a\r\n\r\n',
    "query-twice": b"GET /a?b?c HTTP/1.1\r\nHost: a\r\n\r\n",
    "options-star": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "delete": b"DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "patch": b"PATCH /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "propfind": b"PROPFIND /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "header-case": H + b"X-Mixed-CASE: Value\r\nx-mixed-case: two\r\n\r\n",
    "header-empty": H + b"X:\r\nY: \r\n\r\n",
    "header-underscore": H + b"X_Y: 1\r\nX-Y: 2\r\n\r\n",
    "header-high-bytes": H + b"X: \xff\xe4\t\x85\r\n\r\n",
    "header-token-chars": H + b"!#$%&'*+-.^_`|~9: x\r\n\r\n",
    "header-tab-inside": H + b"X: a\tb\r\n\r\n",
    "cookie-twice": H + b"Cookie: a=b\r\nCookie: c=d\r\n\r\n",
    "many-headers": H + b"".join(b"X-%d: y\r\n" % n for n in range(100)) + b"\r\n",
    "crlf-before": b"\r\n\r\n" + GET,
    "spaces-in-line": b"GET   /x   HTTP/1.1\r\nHost: a\r\n\r\n",
    "http-1.0": b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    "http-1.0-no-host": b"GET / HTTP/1.0\r\n\r\n",
    "http-1.0-keep-alive": b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    "close": H + b"Connection: close\r\n\r\n",
    "close-among-tokens": H + b"Connection: x, Close\r\n\r\n",
    "keep-alive": H + b"Connection: keep-alive\r\n\r\n" + GET,
    # Bodies
    "length": P + b"Content-Length: 5\r\n\r\nhello",
    "length-zero": P + b"Content-Length: 0\r\n\r\n" + GET,
    "length-leading-zeros": P + b"Content-Length: 005\r\n\r\nhello" + GET,
    "length-then-get": P + b"Content-Length: 5\r\n\r\nhello" + GET,
    "get-with-body": H + b"Content-Length: 5\r\n\r\nhello" + GET,
    "length-not-all": P + b"Content-Length: 5\r\n\r\nhel",
    "chunked": CHUNKED + b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n" + GET,
    "chunked-upper": P + b"Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
    "chunked-hex": CHUNKED + b"A\r\n0123456789\r\nb\r\n0123456789!\r\n000\r\n\r\n",
    "chunked-extension": CHUNKED + b'5;a=b;c="d"\r\nhello\r\n0;e\r\n\r\n' + GET,
    "chunked-without-end": CHUNKED + b"5\r\nhello\r\n",
    "expect": P + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nok" + GET,
    "expect-nothing": P + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    "pipelined": GET * 20,
    "pipelined-posts": (P + b"Content-Length: 3\r\n\r\nabc") * 5,
    # What both refuse
    "no-version-word": b"GET / FOO/1.1\r\nHost: a\r\n\r\n",
    "http-1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "method-unknown": b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n",
    "method-lower": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "target-at": b"GET @a HTTP/1.1\r\nHost: a\r\n\r\n",
    "target-high-byte": b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "target-control": b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    "bare-lf": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare-lf-field": H + b"X: y\n\r\n",
    "bare-cr": H + b"X: y\rz\r\n\r\n",
    "fold": H + b"X: y\r\n z\r\n\r\n",
    "fold-first": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "space-before-colon": H + b"X : y\r\n\r\n",
    "space-before-name": H + b" X: y\r\n\r\n",
    "no-colon": H + b"X\r\n\r\n",
    "no-name": H + b": y\r\n\r\n",
    "nul-in-value": H + b"X: \0\r\n\r\n",
    "length-twice": P + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "length-list": P + b"Content-Length: 5, 5\r\n\r\nhello",
    "length-sign": P + b"Content-Length: +5\r\n\r\nhello",
    "length-hex": P + b"Content-Length: 0x5\r\n\r\nhello",
    "length-underscore": P + b"Content-Length: 5_0\r\n\r\nhello",
    "length-empty": P + b"Content-Length:\r\n\r\nhello",
    "length-huge": P + b"Content-Length: 99999999999999999999\r\n\r\n",
    "length-and-chunked": P + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked-and-length": P + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "tls": bytes.fromhex("16030100c5010000c10303"),
    "preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    # What uvicorn's takes, or answers otherwise
    "http-0.9": b"GET /\r\n\r\n",
    "http-2.0": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "no-host": b"GET / HTTP/1.1\r\n\r\n",
    "host-twice": H + b"Host: b\r\n\r\n",
    "expect-twice": P + b"Expect: x\r\nExpect: 100-continue\r\n\r\n",
    "fragment": b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute": b"GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute-without-path": b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute-other-host": b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute-ftp": b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "star": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "connect": b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "rtsp": b"DESCRIBE / RTSP/1.0\r\nHost: a\r\n\r\n",
    "ice": b"SOURCE / ICE/1.0\r\nHost: a\r\n\r\n",
    "value-spaces": H + b"X: y \t\r\n\r\n",
    "length-spaces": P + b"Content-Length: 5 \r\n\r\nhello",
    "transfer-list": P + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "transfer-comma": P + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
    "transfer-unknown": P + b"Transfer-Encoding: gzip\r\n\r\n",
    "transfer-http-1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"5\r\nhello\r\n0\r\nX-Trailer: t\r\n\r\n",
    "chunk-size-bad": CHUNKED + b"zz\r\n",
    "chunk-bare-lf": CHUNKED + b"5\nhello\r\n0\r\n\r\n",
    "chunk-data-long": CHUNKED + b"2\r\nabc\r\n0\r\n\r\n",
    "get-then-bad": GET + b"BAD\r\n\r\n",
    "close-then-get": H + b"Connection: close\r\n\r\n" + GET,
    "http-1.0-then-get": b"GET / HTTP/1.0\r\nHost: a\r\n\r\n" + GET,
    "upgrade-h2c": H + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n" + GET,
    "upgrade-h2c-body": P + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok" + GET,
    "websocket-post": P + WEBSOCKET + KEY + b"\r\n",
    "websocket-1.0": b"GET / HTTP/1.0\r\nHost: a\r\n" + WEBSOCKET + KEY + b"\r\n",
    "websocket-behind": GET + H + WEBSOCKET + KEY + b"\r\n",
    "header-too-many": H + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n",
    "header-too-large": H + b"X: " + b"y" * 66_000 + b"\r\n\r\n",
    "target-too-long": b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
}

VERSION = "uvicorn answers any version that llhttp knows"
TARGET = "targets that RFC 9112 section 3.2 doesn't have, or that name another host than Host, are refused"
FRAMING = "a framing that another server may read otherwise is refused (RFC 9112 section 6.1)"
LIMIT = "uvicorn has no such limit"
OWS = "white space around a value isn't a part of it (RFC 9110 section 5.5)"
UPGRADE = "uvicorn drops what follows an upgrade that it ignores"

DIFFERENCES = {
    "http-0.9": VERSION,
    "http-2.0": VERSION,
    "no-host": "RFC 9112 section 3.2: 400",
    "host-twice": "RFC 9112 section 3.2: 400",
    "expect-twice": "a field that has one value can't have two",
    "fragment": TARGET,
    "absolute-without-path": "a path is never empty; uvicorn fails, and is silent",
    "absolute-other-host": TARGET,
    "absolute-ftp": TARGET,
    "star": TARGET,
    "rtsp": "another protocol",
    "ice": "another protocol",
    "value-spaces": OWS,
    "length-spaces": OWS,
    "transfer-list": FRAMING,
    "transfer-comma": FRAMING,
    "transfer-unknown": FRAMING,
    "transfer-http-1.0": FRAMING,
    "trailers": "uvicorn takes trailers for header fields",
    "upgrade-h2c-body": UPGRADE,
    "websocket-1.0": "HTTP/1.0 has no upgrades (RFC 9110 section 7.8)",
    "websocket-post": "refused by us, not by the websocket protocol: the app sees nothing of it",
    "header-too-many": LIMIT,
    "header-too-large": LIMIT,
    "target-too-long": LIMIT,
}

# Only where all comes in one piece.
WHOLE_ONLY = {
    "get-then-bad": "uvicorn's 400 takes the place of the response before it",
    "upgrade-h2c": UPGRADE,
}

STATUS = re.compile(rb"HTTP/1\.1 (\d+)")


class Outcome:
    """What the app was called with, and what came back."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.statuses: list[int] = []
        self.closed = False

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        shown = [scope.get(name) for name in ("type", "method", "path", "raw_path", "query_string")]
        call = [*shown, scope["http_version"], list(scope["headers"]), b""]
        self.calls.append(call)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            return
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                call[-1] = "disconnect"
                return
            call[-1] += message["body"]
            more = message["more_body"]
        call[6] = list(scope["headers"])  # uvicorn adds trailers to them
        await start(send, (b"content-length", b"2"))
        await body(send, b"" if scope["method"] == "HEAD" else b"ok")

    def __repr__(self) -> str:
        return f"{self.calls} {self.statuses} {'closed' if self.closed else 'open'}"


async def outcome(protocol: Any, data: bytes, bytewise: bool) -> Outcome:
    found = Outcome()
    async with connected(found.app, protocol=protocol, proxy_headers=False) as client:
        if bytewise:
            await client.send_bytewise(data)
        else:
            with contextlib.suppress(BrokenPipeError):
                await client.send(data)
        got = b""
        while True:
            await settled()
            try:
                piece = client.socket.recv(65_536)
            except BlockingIOError:
                break
            except ConnectionResetError:
                piece = b""
            if not piece:
                found.closed = True
                break
            got += piece
        # 100 Continue depends on whether the body has come already.
        found.statuses = [int(status) for status in STATUS.findall(got) if status != b"100"]
        client.close()
        await settled()
        for task in list(client.state.tasks):
            task.cancel()
        await settled()
    return found


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize("name", CORPUS)
def test_both_do_the_same(name: str, bytewise: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    data = CORPUS[name]
    if bytewise and len(data) > 5000:
        pytest.skip("a limit is the same, however the bytes come")

    async def main() -> tuple[Outcome, Outcome]:
        ours = await outcome(Connection, data, bytewise)
        return ours, await outcome(HttpToolsProtocol, data, bytewise)

    ours, theirs = run(main())
    differs = name in DIFFERENCES or (name in WHOLE_ONLY and not bytewise)
    assert (repr(ours) != repr(theirs)) == differs, f"\nours   {ours}\ntheirs {theirs}"


@pytest.mark.parametrize("name", [name for name, data in CORPUS.items() if len(data) < 5000])
def test_bytes_one_by_one_are_the_same_as_whole(name: str) -> None:
    async def main() -> tuple[Outcome, Outcome]:
        whole = await outcome(Connection, CORPUS[name], False)
        return whole, await outcome(Connection, CORPUS[name], True)

    whole, bytewise = run(main())
    assert repr(whole) == repr(bytewise)


def test_differences_are_of_the_corpus() -> None:
    assert {*DIFFERENCES, *WHOLE_ONLY} <= set(CORPUS)
