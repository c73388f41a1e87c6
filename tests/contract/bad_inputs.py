"""What may come in, and what is promised for it: a table, and the connection that its rows are sent over.

The number of a row (`B56`) is that of the list of bad inputs which the project keeps; a word
behind it tells the cases of one number apart. Where a server may be stricter than we are, the
row says `server=True`: an answer of the server's own, 4xx or the end of the connection, before
any handler was called, is as good as the promised one. A row without a status has no other.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import itsdangerous
import pytest

from tests.contract.app import FLAWS, RAISED
from tests.contract.bad_input_app import COOKIES, MORE_FLAWS, MORE_RAISED, NEW_KEY, OLD_KEY, SMALL
from tests.contract.files_app import DIGITS, OLD, PROSE

MEGABYTE = 2**20
INTERNAL = "Internal server error"
REPLACED = "\ufffd"

# ---- the wire --------------------------------------------------------------------------------


@dataclass
class Reply:
    status: int
    fields: dict[str, list[str]]
    body: bytes
    cut: bool = False  # the connection ended before the body did

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def closes(self) -> bool:
        return self.cut or "close" in self.fields.get("connection", ())


class Closed(Exception):
    """The websocket was closed with `code`, None where no close frame came."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Connection:
    """Bytes out; responses, or frames of a websocket, in."""

    def __init__(self, sock: socket.socket, patience: float) -> None:
        sock.settimeout(patience)
        self._socket = sock
        self._file = sock.makefile("rb")

    def send(self, data: bytes) -> None:
        """Send what the server takes: it may close the connection before it has all."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def reply(self, method: str = "GET") -> Reply | None:
        """Return the next response, None when the connection ends without one."""
        with contextlib.suppress(ConnectionError):
            # It may have only the first of these bytes: what is buffered ends somewhere.
            if not b"HTTP/".startswith(self._file.peek(5)[:5]):
                return None  # another protocol
        response = http.client.HTTPResponse(self, method=method)  # type: ignore[arg-type]  # all it asks of a socket
        try:
            response.begin()
        except (ConnectionError, http.client.BadStatusLine):
            return None
        if response.status == 101:
            return Reply(101, {}, b"")
        fields: dict[str, list[str]] = {}
        for name, value in response.getheaders():
            fields.setdefault(name.lower(), []).append(value)
        try:
            return Reply(response.status, fields, response.read())
        except (ConnectionError, http.client.IncompleteRead):
            return Reply(response.status, fields, b"", cut=True)

    def makefile(self, mode: str) -> Self:
        """Let `HTTPResponse` read from the one file of this connection."""
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def flush(self) -> None:
        """Nothing is written to the file."""

    def close(self) -> None:
        """Leave the file to the next response; `leave` closes it."""

    def is_closed(self) -> bool:
        """Say whether the server has nothing more to say; wait for it."""
        with contextlib.suppress(ConnectionError):
            return self._file.read(1) == b""
        return True

    def message(self) -> str | bytes:
        """Return the next message of a websocket; raise Closed."""
        opcode, payload = self._frame()
        while opcode == 9:  # a ping
            opcode, payload = self._frame()
        if opcode == 8:
            raise Closed(int.from_bytes(payload[:2], "big") if payload else 1005)
        return payload.decode() if opcode == 1 else payload

    def _frame(self) -> tuple[int, bytes]:
        try:
            head = self._file.read(2)
            if len(head) < 2:
                raise Closed(None)
            length = head[1] & 127
            if length >= 126:
                length = int.from_bytes(self._file.read(2 if length == 126 else 8), "big")
            return head[0] & 15, self._file.read(length)
        except ConnectionError:
            raise Closed(None) from None

    def leave(self, abruptly: bool = False) -> None:
        if abruptly:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._file.close()
        self._socket.close()


# ---- what is sent ----------------------------------------------------------------------------


def head(method: str, path: str, fields: tuple[str, ...], host: str | None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *([] if host is None else [f"Host: {host}"]), *fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def get(path: str, *fields: str, host: str | None = "localhost", method: str = "GET") -> bytes:
    return head(method, path, fields, host)


def post(path: str, body: bytes, *fields: str) -> bytes:
    return head("POST", path, (*fields, f"Content-Length: {len(body)}"), "localhost") + body


def chunked(path: str, *chunks: bytes, fields: tuple[str, ...] = (), end: bytes = b"0\r\n\r\n") -> bytes:
    body = b"".join([b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks])
    return head("POST", path, ("Transfer-Encoding: chunked", *fields), "localhost") + body + end


def send_json(text: str | bytes, *fields: str, path: str = "/json") -> bytes:
    body = text if isinstance(text, bytes) else text.encode()
    return post(path, body, *(fields or ("Content-Type: application/json",)))


def upgrade(name: str, *fields: str, host: str = "good.com") -> bytes:
    return get(
        f"/ws/{name}",
        *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
        *("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", *fields),
        host=host,
    )


def frame(payload: str | bytes) -> bytes:
    """Return a whole message as a client sends it, under a mask that changes nothing."""
    opcode = 0x81 if isinstance(payload, str) else 0x82
    data = payload.encode() if isinstance(payload, str) else payload
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    if len(data) > 0xFFFF:
        length = b"\xff" + len(data).to_bytes(8, "big")
    return bytes([opcode]) + length + b"\0\0\0\0" + data


# ---- the rows --------------------------------------------------------------------------------

Answer = Callable[[Reply], bool]
Then = Callable[[Connection], None]


@dataclass(frozen=True)
class Row:
    """One bad input.

    Attributes:
        data: what is sent; a function makes what is large.
        status: what the answer has, one or any of several; 0 where only the server answers.
        answer: its body: a str or one of several, else the value of its JSON; or a test of the reply.
        server: the server may refuse it by itself.
        cut: the response is one that had begun: it must not look whole.
        saw: what handlers saw, in its order; None: it doesn't matter.
        logged: what the one record of ours has in its first line; "" for none.
        then: what the client does after the answer (or instead of waiting for one: `waits=False`).
        again: the connection is used again, where it stays open.
        closed: the connection doesn't stay open.
        seconds: the server's own time.
        method: of the request, which decides how its answer is read.
    """

    name: str
    data: bytes | Callable[[], bytes]
    status: int | tuple[int, ...] = 0
    answer: Any = None
    server: bool = False
    cut: bool = False
    saw: list[Any] | None = None
    logged: str = ""
    then: Then | None = None
    waits: bool = True
    again: bool = True
    closed: bool = False
    seconds: float = 1.0
    method: str = "GET"

    @property
    def statuses(self) -> tuple[int, ...]:
        return (self.status,) if isinstance(self.status, int) else self.status


def refused(name: str, data: bytes | Callable[[], bytes], **more: Any) -> Row:
    """Return a row that the server refuses."""
    return Row(name, data, server=True, **{"again": False, **more})


def shows(values: dict[str, Any]) -> Answer:
    """Return a test of an answer in JSON: it has these values, and maybe others."""

    def test(reply: Reply) -> bool:
        found = json.loads(reply.body)
        return all(found.get(key) == value for key, value in values.items())

    return test


def stays_here(reply: Reply) -> bool:
    """Say whether the URL that the handler saw is one of ours."""
    return bool(urlsplit(json.loads(reply.body)["url"]).netloc == "localhost")


BAD_HOST = "Bad Host header"

REQUEST_LINES = [
    Row("B1", get("/where", host=None), 400, lambda reply: reply.text.endswith("Host header"), server=True),
    Row("B2", get("/where", "Host: other"), 400, BAD_HOST, server=True),
    Row("B3-path", get("/path", host="a/admin?x="), 200, shows({"path": "/path"}), server=True),
    *[
        Row(f"{number}-{name}", get("/where", host=host), 400, BAD_HOST, server=True)
        for number, name, host in (
            ("B3", "url", "a/admin?x="),
            ("B4", "user", "evil.com@good.com"),
            ("B4", "space", "a b"),
            ("B4", "bracket", "[::1"),
            ("B4", "port", "a:99999"),
            ("B4", "empty", ""),
        )
    ],
    Row("B5", get("@google.com"), 200, stays_here, server=True),
    Row(
        "B6", get("http://other/where/x"), 200, shows({"path": "/where/x", "host": "localhost"}), server=True
    ),
    Row("B7", get("*", method="OPTIONS"), 200, shows({"path": "*"}), server=True),
    Row("B8", get("a:80", host="a:80", method="CONNECT"), 405, server=True, again=False),
    *[
        Row(f"B9-{name}", get("/only-get", method=method), 405, "Method Not Allowed", server=True)
        for name, method in (
            ("dunder", "__class__"),
            ("slash", "GET/"),
            ("case", "geT"),
            ("long", "G" * 10_000),
        )
    ],
    refused("B10", lambda: get("/" + "a" * 400_000)),
    Row(
        "B11-many",
        get("/headers", *[f"X-{number}: 1" for number in range(200)]),
        431,
        "Too many header fields",
        server=True,
    ),
    Row(
        "B11-1MB",
        lambda: get("/headers", *[f"X-{number}: {'a' * 10_000}" for number in range(100)]),
        431,
        "Header fields too large",
        server=True,
    ),
    Row(
        "B11-large",
        lambda: get("/headers", "X-A: " + "a" * 100_000),
        431,
        "Header fields too large",
        server=True,
    ),
    refused("B12-space", get("/headers", "X A: 1")),
    refused("B12-nul", get("/headers", "X\0A: 1")),
    Row(
        "B12-twin",
        get("/headers", "X_Real_IP: evil", "X-Real-IP: good"),
        200,
        shows({"x-real-ip": ["good"]}),
        server=True,
    ),
    *[
        Row(
            f"B13-{ord(sign):02x}",
            get("/headers", f"X-A: a{sign}b"),
            200,
            shows({"x-a": [f"a{sign}b"]}),
            server=True,
        )
        for sign in "\x0b\x0c\x1c\x1d\x1e\x85\xa0"
    ],
    Row("B14", get("/headers", "X-A: a\xffb"), 200, shows({"x-a": ["aÿb"]}), server=True),
    Row(
        "B15",
        lambda: get("/headers", "X-A: a" + "\r\n b" * 1000),
        200,
        lambda reply: len(json.loads(reply.body)["x-a"]) == 1,
        server=True,
        seconds=0.2,
    ),
    *[
        refused(f"B16-{name}", get("/body", f"Content-Length: {value}", method="POST") + b"12345")
        for name, value in (
            ("plus", "+5"),
            ("underscore", "5_0"),
            ("hex", "0x5"),
            ("negative", "-1"),
            ("arabic", "٥".encode().decode("latin-1")),
            ("two", "5\r\nContent-Length: 6"),
        )
    ],
    Row(
        "B17",
        get("/body", "Content-Length: 5", "Transfer-Encoding: chunked", method="POST")
        + b"0\r\n\r\n"
        + get("/smuggled"),
        200,
        server=True,
        again=False,
        closed=True,
    ),
    *[
        refused(
            f"B18-{name}",
            get("/body", f"Transfer-Encoding: {value}", method="POST") + b"0\r\n\r\n" + get("/smuggled"),
        )
        for name, value in (
            ("suffix", "chunked123"),
            ("kelvin", "chun\u212aed".encode().decode("latin-1")),
            ("two", "chunked\r\nTransfer-Encoding: identity"),
        )
    ],
    *[
        refused(f"B19-{name}", chunked("/pieces", end=size + b"\r\nabcde\r\n0\r\n\r\n"))
        for name, size in (("underscore", b"0_5"), ("sign", b"+5"), ("hex", b"0x5"))
    ],
    # A server that waits for what such a chunk still lacks is ended by our own limit.
    *[
        Row(f"B19-{name}", data, 408, "Request Timeout", server=True, again=False)
        for name, data in (
            ("huge-size", chunked("/small/pieces", end=b"ffffffffffffffff\r\nab")),
            ("bare-lf", chunked("/small/pieces", end=b"5\nabcde\n0\n\n")),
        )
    ],
    # What nobody keeps may be of any size.
    *[
        Row(f"B19-{name}", data, 200, size, server=True, again=False)
        for name, size, data in (
            (
                "extension",
                "1",
                lambda: chunked("/pieces", end=b"1;" + b"a" * MEGABYTE + b"\r\nb\r\n0\r\n\r\n"),
            ),
            ("trailers", "0", lambda: chunked("/pieces", end=b"0\r\n" + b"a: b\r\n" * 200_000 + b"\r\n")),
        )
    ],
    Row(
        "B20",
        get("/small/body", "Content-Length: 5", "Expect: 100-continue", method="POST"),
        408,
        "Request Timeout",
        closed=True,
    ),
    *[
        Row(f"B21-{name}", data, (200, 404, 426), server=True)
        for name, data in (
            ("post", upgrade("echo").replace(b"GET", b"POST", 1)),
            ("no-key", upgrade("echo").replace(b"Sec-WebSocket-Key", b"X-Key")),
            ("version", upgrade("echo").replace(b"13", b"8")),
            ("two-keys", upgrade("echo", "Sec-WebSocket-Key: BAAAAAAAAAAAAAAAAAAAAA==")),
            ("short-key", upgrade("echo").replace(b"AAAAAA==", b"==")),
        )
    ],
    *[
        Row(f"B22-{name}", upgrade("subprotocol", f"Sec-WebSocket-Protocol: {value}"), 101, server=True)
        for name, value in (("bytes", "\xff"), ("many", ", ".join(["a"] * 10_000)), ("empty", ""))
    ],
    refused("B23-http-0.9", b"GET /\r\n\r\n"),
    refused("B23-http-2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"),
    refused("B23-tls", bytes.fromhex("16030100c5010000c10303") + b"\1" * 200 + b"\r\n\r\n"),
    Row("B24", get("/slow") + get("/ok") * 999, 200, "slow", then=lambda c: read_many(c, 999), seconds=5),
    Row(
        "B26-host",
        get("/where", "X-Forwarded-Host: evil.com", "X-Forwarded-For: 6.6.6.6"),
        200,
        shows({"host": "localhost"}),
    ),
    Row("B26-scheme", get("/where", "X-Forwarded-Proto: https"), 200, shows({"scheme": "http"})),
    Row("B27", get("/boom/%1b[31m%0aINFO"), 500, INTERNAL, logged="/boom/\\x1b[31m\\nINFO"),
]


def read_many(connection: Connection, count: int) -> None:
    for _ in range(count):
        reply = connection.reply()
        assert reply is not None
        assert reply.body == b"fine"


QUERIES = [
    Row("B28-escape", get("/query?a=%ff"), 200, [["a", REPLACED]]),
    Row("B28-raw", get("/query?a=\xff"), 200, [["a", REPLACED]], server=True),
    Row("B28-no-hex", get("/query?%zz"), 200, [["%zz", ""]], server=True),
    Row("B28-percent", get("/query?a=%"), 200, [["a", "%"]], server=True),
    Row(
        "B29",
        lambda: get("/query?" + "&" * 1_000_000),
        414,
        "Query string too long",
        server=True,
        seconds=0.2,
    ),
    Row(
        "B29-16k",
        lambda: get("/query?" + "&" * 16_384),
        400,
        "Too many query fields",
        server=True,
        seconds=0.1,
    ),
    Row("B30-1000", get("/query?" + "&".join(["a"] * 1000)), 200),
    Row("B30-1001", get("/query?" + "&".join(["a"] * 1001)), 400, "Too many query fields"),
    Row("B31", get("/query?a=1;b=2"), 200, [["a", "1;b=2"]]),
    Row("B32-list", get("/query?a=1&a=2"), 200, [["a", "1"], ["a", "2"]]),
    Row("B32-dict", get("/querydict?a=1&a=2"), 200, {"a": "2"}),
    Row("B33-proto", get("/query?__proto__=1"), 200, [["__proto__", "1"]]),
    Row("B33-nul", get("/query?a=%00"), 200, [["a", "\0"]]),
    Row("B33-surrogate", get("/query?a=%ed%a0%80"), 200, [["a", 3 * REPLACED]]),
    *[
        Row(f"B34-{name}", get(path), 200, shows({"path": path_seen, "parts": parts}), server=True)
        for name, path, path_seen, parts in (
            ("slashes", "//evil.com/..", "//evil.com/..", ["", "evil.com", ".."]),
            ("dots", "/a%2f..%2fb", "/a/../b", ["a/../b"]),
            ("semicolon", "/a;v=1", "/a;v=1", ["a;v=1"]),
            ("nul", "/%00", "/\0", ["\0"]),
        )
    ],
]

LONG_COOKIE = "Cookies too large"
COOKIES_IN = [
    Row(
        "B35",
        lambda: get("/cookies", 'Cookie: a="' + '\\"\\\\' * 15_000 + '"'),
        431,
        LONG_COOKIE,
        server=True,
        seconds=0.1,
    ),
    Row("B36-bytes", lambda: get("/cookies", "Cookie: " + "a=b; " * 10_000), 431, LONG_COOKIE, server=True),
    Row("B36-pairs", get("/cookies", "Cookie: " + "a=b; " * 101), 431, "Too many cookies"),
    Row("B36-limit", get("/cookies", "Cookie: " + "a=b; " * 100), 200, {"a": "b"}),
    Row("B37", get("/cookies", "Cookie: =__Host-sid=x; a=b"), 200, {"a": "b"}),
    Row("B38-nbsp", get("/cookies", "Cookie: a=b; \xa0sid=x"), 200, {"a": "b", "\xa0sid": "x"}, server=True),
    Row("B38-tab", get("/cookies", "Cookie: a=b; \x0bsid=x"), 200, {"a": "b", "\x0bsid": "x"}, server=True),
    Row("B39", get("/cookies", "Cookie: a=first; a=second"), 200, {"a": "first"}),
    Row("B40", get("/cookies", "Cookie: a=1", "Cookie: b=2"), 200, {"a": "1", "b": "2"}),
]

PACKED = json.dumps(["id", {"user": "ann"}]).encode()


def token(
    packed: bytes = PACKED, key: str = NEW_KEY, age: int = 0, salt: str = "asgineer.session.session"
) -> str:
    """Return a cookie's value as `Sessions` signs it."""
    signer = itsdangerous.Signer(key, salt, key_derivation="hmac", digest_method=hashlib.sha256)
    payload = base64.urlsafe_b64encode(packed).rstrip(b"=")
    return signer.sign(b"%d.%s" % (time.time() - age, payload)).decode()


def session(value: str, path: str = "/session") -> bytes:
    return get(path, f"Cookie: session={value}")


def is_no_session(reply: Reply) -> bool:
    """Say whether the cookie was taken for none, and is deleted."""
    (cookie,) = reply.fields["set-cookie"]
    return json.loads(reply.body) == {"user": None} and cookie.startswith("session=; Max-Age=0;")


def is_private(reply: Reply) -> bool:
    return reply.fields["vary"] == ["Cookie"] and reply.fields["cache-control"] == ["private"]


def is_signed_anew(reply: Reply) -> bool:
    (cookie,) = reply.fields["set-cookie"]
    name, _, value = cookie.partition(";")[0].partition("=")
    signer = itsdangerous.Signer(
        NEW_KEY, "asgineer.session.session", key_derivation="hmac", digest_method=hashlib.sha256
    )
    return name == "session" and signer.validate(value) and json.loads(reply.body) == {"user": "ann"}


SESSIONS = [
    Row("B41-good", lambda: session(token()), 200, {"user": "ann"}),
    *[
        Row(f"B41-{name}", data, 200, is_no_session)
        for name, data in (
            ("flipped", lambda: session("0" + token()[1:])),
            ("flipped-signature", lambda: session(token()[:-1] + chr(ord(token()[-1]) ^ 1))),
            ("truncated", lambda: session(token()[:-5])),
            ("empty", lambda: session("")),
            ("other-key", lambda: session(token(key="another key, not ours"))),
            ("other-salt", lambda: session(token(salt="other"))),
            ("expired", lambda: session(token(age=1001))),
            ("future", lambda: session(token(age=-1000))),
            ("no-base64", lambda: session("1.!!.!!")),
            ("no-json", lambda: session(token(b"\x80\x04."))),
            ("other-json", lambda: session(token(b"[1, 2, 3]"))),
        )
    ],
    Row("B41-1MB", lambda: session("x" * MEGABYTE), 431, server=True),
    Row("B42", lambda: session(token(key=OLD_KEY)), 200, is_signed_anew),
    *[
        Row(f"B43-{name}", get(f"/set-cookie/{name}"), 500, INTERNAL, logged=logged)
        for name, (_, logged) in COOKIES.items()
    ],
    Row("B44", get("/session/large"), 500, INTERNAL, logged="The session is too large"),
    *[Row(f"B45-{name or 'get'}", get(f"/session/{name}"), 200, is_private) for name in ("", "in", "len")],
    Row("B45-untouched", get("/session/untouched"), 200, lambda reply: "vary" not in reply.fields),
]


def preflight(*fields: str, origin: str = "https://friend.example", method: str = "PUT") -> bytes:
    asked = ("Origin: " + origin, "Access-Control-Request-Method: " + method)
    return get("/shared-data", *asked, *fields, method="OPTIONS")


def is_allowed(origin: str | None) -> Answer:
    """Return a test whether the page may read the answer; caches are told either way that it depends."""
    found = [] if origin is None else [origin]
    return lambda reply: (
        reply.fields.get("access-control-allow-origin", []) == found and reply.fields["vary"] == ["Origin"]
    )


def change(*fields: str) -> bytes:
    return post("/change", b"", *fields)


REFUSED = "Cross-site request refused"

ORIGINS = [
    Row(
        "B116-known",
        preflight("Access-Control-Request-Headers: x-known"),
        204,
        is_allowed("https://friend.example"),
    ),
    Row("B116-origin", preflight(origin="https://evil.com"), 403, is_allowed(None)),
    Row("B116-null", preflight(origin="null"), 403, is_allowed(None)),
    Row("B116-suffix", preflight(origin="https://friend.example.evil.com"), 403, is_allowed(None)),
    Row("B116-method", preflight(method="DELETE"), 403, is_allowed(None)),
    Row("B116-headers", preflight("Access-Control-Request-Headers: x-unknown"), 403, is_allowed(None)),
    Row(
        "B116-many",
        lambda: preflight("Access-Control-Request-Headers: " + "x-known," * 12_500),
        431,
        server=True,
    ),
    Row("B116-no-preflight", get("/shared-data", "Origin: https://evil.com"), 200, is_allowed(None)),
    Row("B118-fetch-site", change("Sec-Fetch-Site: cross-site"), 403, REFUSED, saw=["POST /change"]),
    Row("B118-same-site", change("Sec-Fetch-Site: same-site"), 403, REFUSED, saw=["POST /change"]),
    Row("B118-origin", change("Origin: https://evil.com"), 403, REFUSED, saw=["POST /change"]),
    Row("B118-null", change("Origin: null"), 403, REFUSED, saw=["POST /change"]),
    Row("B118-neither", change(), 200, "changed"),
    Row("B118-same-origin", change("Origin: http://localhost"), 200, "changed"),
]

FOREIGN = "Origin: https://evil.com"
NOT_JSON = "The body does not say that it is JSON"


def bad_json(
    name: str, text: str | bytes | Callable[[], bytes], answer: str = "Body is not valid JSON"
) -> Row:
    return Row(name, (lambda: send_json(text())) if callable(text) else send_json(text), 400, answer)


JSON = [
    bad_json("B47", "", "Empty body, expected JSON"),
    *[bad_json(f"B48-{text}", text) for text in ("NaN", "Infinity", "-Infinity", "1e999")],
    bad_json("B49", "[" * 100_000, "JSON is nested too deep"),
    bad_json("B49-closed", "[" * 100_000 + "]" * 100_000, "JSON is nested too deep"),
    bad_json("B50", "1" * 5000),
    Row("B51", send_json('{"a": 1, "a": 2}'), 200, {"got": {"a": 2}}),
    bad_json("B52", r'"\ud800"'),
    bad_json("B53-utf-16", '{"a": 1}'.encode("utf-16")),
    bad_json("B53-mark", b"\xef\xbb\xbf{}"),
    bad_json("B53-latin-1", b'"\xe9"'),
    bad_json("B54-trailing", "{}{}"),
    bad_json("B54-truncated", '{"a":'),
    Row("B55-cross-site", send_json("{}", "Content-Type: text/plain", FOREIGN), 415, NOT_JSON),
    Row(
        "B55-fetch-site",
        send_json("{}", "Content-Type: text/plain", "Sec-Fetch-Site: cross-site"),
        415,
        NOT_JSON,
    ),
    Row("B55-no-type", send_json("{}", FOREIGN), 415, NOT_JSON),
    Row(
        "B55-same-origin",
        send_json("{}", "Content-Type: text/plain", "Origin: http://localhost"),
        200,
        {"got": {}},
    ),
    Row("B55-no-origin", send_json("{}", "Content-Type: text/plain"), 200, {"got": {}}),
    Row(
        "B55-utf-16", send_json("{}", "Content-Type: application/json; charset=utf-16"), 415, "JSON is UTF-8"
    ),
    Row(
        "B55-gzip", send_json("{}", "Content-Encoding: gzip"), 415, "Encoded request bodies are not supported"
    ),
]

TOO_LARGE = "Request body too large"
OVER = b"x" * (SMALL + 1)


def leave_after(data: bytes) -> Then:
    def leave(connection: Connection) -> None:
        connection.send(data)
        connection.leave()

    return leave


def is_refused(connection: Connection, data: bytes) -> None:
    """Send what begins no request."""
    connection.send(data)
    reply = connection.reply()
    assert reply is None or 400 <= reply.status < 500


BODIES = [
    Row("B56-limit", post("/small/body", OVER[1:]), 200, str(SMALL)),
    Row("B56-length", post("/small/body", OVER), 413, TOO_LARGE, closed=True),
    Row(
        "B56-length-alone",
        get("/small/body", f"Content-Length: {10**30}", method="POST"),
        413,
        TOO_LARGE,
        server=True,
        closed=True,
    ),
    Row("B56-chunked", chunked("/small/body", OVER[:500], OVER[500:]), 413, TOO_LARGE, closed=True),
    Row("B56-chunked-without-end", chunked("/small/body", OVER, end=b""), 413, TOO_LARGE, closed=True),
    Row(
        "B56-understated",
        get("/small/body", "Content-Length: 5", method="POST") + OVER[:5],
        200,
        "5",
        then=lambda connection: is_refused(connection, OVER + b"\r\n\r\n"),
    ),
    Row("B56-swallowed", post("/small/swallow", OVER), 413, TOO_LARGE, closed=True),
    Row("B56-swallowed-chunked", chunked("/small/swallow", OVER), 413, TOO_LARGE, closed=True),
    *[
        Row(
            f"B57-{page}-{name}",
            data,
            then=leave_after(b""),
            waits=False,
            saw=[f"POST /{page}", "DisconnectedError"],
        )
        for page in ("body", "pieces")
        for name, data in (
            ("length", post(f"/{page}", b"0123456789")[:-5]),
            ("chunked", chunked(f"/{page}", b"01234", end=b"")),
        )
    ],
    Row("B58", lambda: chunked("/body", *[b"x"] * 10_000), 200, "10000"),
    Row("B58-json", lambda: chunked("/json", b'"', *[b"x"] * 10_000, b'"'), 200, {"got": "x" * 10_000}),
]


BOUNDARY = "b-0"
MALFORMED = "Malformed multipart body"
TRUNCATED = "Truncated multipart body"
BAD_HEAD = "Malformed header in a multipart body"
BAD_BOUNDARY = "Bad multipart boundary"
END = b"--b-0--\r\n"


def part(data: bytes = b"v", disposition: str = 'form-data; name="a"', *headers: str) -> bytes:
    lines = "".join([f"{line}\r\n" for line in (f"Content-Disposition: {disposition}", *headers)])
    return b"--b-0\r\n" + lines.encode() + b"\r\n" + data + b"\r\n"


def upload(data: bytes = b"v", filename: str = 'filename="f.txt"', *headers: str) -> bytes:
    return part(data, f'form-data; name="f"; {filename}', *headers)


def send_form(body: bytes, parameters: str = "; boundary=b-0", page: str = "form") -> bytes:
    return post(f"/{page}", body, "Content-Type: multipart/form-data" + parameters)


def send_fields(body: bytes, content_type: str = "application/x-www-form-urlencoded") -> bytes:
    return post("/form", body, f"Content-Type: {content_type}")


def headers_of(lines: bytes) -> bytes:
    """Return a form with a part that has these headers."""
    return send_form(b"--b-0\r\n" + lines + b"\r\n\r\nv\r\n" + END)


DISPOSITION = b'Content-Disposition: form-data; name="a"'
TEXT = "text/plain"
BINARY = "application/octet-stream"

FORMS = [
    *[
        Row(f"B59-{name}", send_form(part() + END, parameters), 400, BAD_BOUNDARY, server=True)
        for name, parameters in (
            ("none", ""),
            ("empty", "; boundary="),
            ("quoted-empty", '; boundary=""'),
            ("71", "; boundary=" + "b" * 71),
            ("space", '; boundary="b-0 "'),
            ("sign", '; boundary="b\\0"'),
        )
    ],
    Row("B59-line-end", send_form(part() + END, "; boundary=b\r\n -0"), 400, server=True),
    Row("B60-no-boundary", send_form(b"nothing of it"), 400, TRUNCATED, server=True),
    Row("B60-empty", send_form(b""), 400, TRUNCATED, server=True),
    Row("B60-epilogue", send_form(b"\r\nepilogue\r\n"), 400, TRUNCATED, server=True),
    Row("B60-no-end", send_form(part()), 400, TRUNCATED),
    Row("B60-half-end", send_form(part() + END[:-3]), 400, TRUNCATED),
    Row("B60-end-alone", send_form(END), 200, {}, server=True),
    Row("B61-preamble", lambda: send_form(b"\r\n" * 500_000 + part() + END), 200, {"a": ["v"]}, seconds=0.3),
    Row("B61-epilogue", lambda: send_form(part() + END + b"\r\n" * 500_000), 200, {"a": ["v"]}, seconds=0.3),
    Row("B62", lambda: send_form(b"\r" + b"a" * 9_000_000), 400, TRUNCATED, server=True),
    Row(
        "B63",
        lambda: send_form(upload(b"\r\n--b-" * 1_000_000) + END),
        200,
        {"f": [["f.txt", BINARY, 6_000_000]]},
    ),
    Row("B64-files", send_form(upload() * 101 + END), 413, "Too many files"),
    Row("B64-fields", send_form(part() * 1001 + END), 413, "Too many form fields"),
    Row("B64-parts", send_form(upload() * 101 + END, page="parts"), 413, "Too many files"),
    Row(
        "B64-nested",
        send_form(part(b"v", 'form-data; name="a"', "Content-Type: multipart/mixed; boundary=c") + END),
        400,
        "Nested multipart is not supported",
    ),
    *[
        Row(f"B65-{name}", headers_of(lines), 400, (MALFORMED, BAD_HEAD))
        for name, lines in (
            ("17", DISPOSITION + b"\r\n" + b"\r\n".join([b"X-%d: 1" % number for number in range(16)])),
            ("9kb", DISPOSITION + b"\r\nX-A: " + b"a" * 9000),
            ("no-colon", DISPOSITION + b"\r\nno colon"),
            ("cr", DISPOSITION + b"\r\nX-A: a\rb"),
            ("no-disposition", b"X-A: a"),
            ("no-name", b"Content-Disposition: form-data"),
            ("two-names", DISPOSITION + b'; name="b"'),
            ("two-dispositions", DISPOSITION + b"\r\n" + DISPOSITION),
            ("attachment", b'Content-Disposition: attachment; name="a"'),
        )
    ],
    Row("B66-limit", lambda: send_form(part(b"v" * MEGABYTE) + END), 200),
    Row("B66", lambda: send_form(part(b"v" * (MEGABYTE + 1)) + END), 413, "Form field too large"),
    Row(
        "B66-parts",
        lambda: send_form(part(b"v" * (MEGABYTE + 1)) + END, page="parts"),
        413,
        "Form field too large",
    ),
    *[
        Row(f"B67-{name}", send_form(upload(b"v", filename) + END), 200, {"f": [[seen, BINARY, 1]]})
        for name, filename, seen in (
            ("dots", 'filename="../../etc/passwd"', "passwd"),
            ("drive", 'filename="C:\\x"', "x"),
            ("nul", 'filename="a\0.png"', "a.png"),
            ("long", 'filename="' + "a" * 5000 + '.png"', "a" * 251 + ".png"),
            ("empty", 'filename=""', ""),
            ("starred", "filename=\"plain\"; filename*=utf-8''evil", "plain"),
        )
    ],
    Row(
        "B68",
        send_form(part(b"dg==", 'form-data; name="a"', "Content-Transfer-Encoding: base64") + END),
        200,
        {"a": ["dg=="]},
    ),
    *[
        Row(
            f"B69-{charset}",
            send_form(
                part("ü".encode(), 'form-data; name="a"', f"Content-Type: text/plain; charset={charset}")
                + END
            ),
            200,
            {"a": ["ü"]},
        )
        for charset in ("utf-7", "zlib_codec", "unknown")
    ],
    Row(
        "B69-charset",
        send_form(part(b"utf-7", 'form-data; name="_charset_"') + part("ü".encode()) + END),
        200,
        {"_charset_": ["utf-7"], "a": ["ü"]},
    ),
    Row("B69-latin-1", send_form(part(b"\xfc") + END), 400, "Form field is not UTF-8"),
    *[
        Row(
            f"B72-{page}",
            send_form(upload(b"v" * 3 * MEGABYTE) + END, page=page)[:-100],
            then=leave_after(b""),
            waits=False,
        )
        for page in ("form", "parts")
    ],
    *[
        Row(f"B73-{name}", send_fields(body), 200, answer)
        for name, body, answer in (
            ("percent", b"a=%", {"a": ["%"]}),
            ("no-hex", b"a=%g0", {"a": ["%g0"]}),
            ("plus", b"a=b+c%2B", {"a": ["b c+"]}),
            ("utf-8", b"a=%ff", {"a": [REPLACED]}),
            ("no-value", b"a", {"a": [""]}),
            ("empty", b"", {}),
            ("semicolon", b"a=1;b=2", {"a": ["1;b=2"]}),
        )
    ],
    Row("B73-case", send_fields(b"a=1", "Application/X-WWW-Form-Urlencoded"), 200, {"a": ["1"]}),
    Row("B73-many", lambda: send_fields(b"&" * 9_000_000), 413, "Too many form fields"),
    Row("B73-1001", send_fields(b"a&" * 1001), 413, "Too many form fields"),
    Row("B73-field", lambda: send_fields(b"a=" + b"v" * (MEGABYTE + 1)), 413, "Form field too large"),
    Row("B73-other-type", send_fields(b"a=1", "application/json"), 415),
    Row("B73-no-type", post("/form", b"a=1"), 415),
]


def closes_with(code: int | None, *messages: str) -> Then:
    """Return a test that a websocket brings `messages`, and then its end."""

    def check(connection: Connection) -> None:
        for message in messages:
            assert connection.message() == message
        with pytest.raises(Closed) as closed:
            connection.message()
        assert closed.value.code == code

    return check


def sends(payload: str | bytes, then: Then) -> Then:
    def send(connection: Connection) -> None:
        connection.send(frame(payload))
        then(connection)

    return send


def brings(message: str) -> Then:
    def check(connection: Connection) -> None:
        assert connection.message() == message

    return check


def opens(name: str, *fields: str, page: str = "echo") -> Row:
    return Row(name, upgrade(page, *fields), 101, then=sends("hello", brings("hello")))


def from_elsewhere(name: str, *fields: str, page: str = "echo") -> Row:
    return Row(name, upgrade(page, *fields), 403, server=True)


def fails_open(name: str, page: str, logged: str, code: int = 1011) -> Row:
    return Row(name, upgrade(page), 101, then=closes_with(code), logged=logged)


WEBSOCKETS = [
    opens("B88-none"),
    opens("B88-same", "Origin: http://good.com"),
    opens("B88-scheme", "Origin: https://good.com"),
    *[
        from_elsewhere(f"B88-{name}", f"Origin: {origin}")
        for name, origin in (
            ("evil", "https://evil.com"),
            ("null", "null"),
            ("suffix", "http://good.com.evil.com"),
            ("case-and-port", "https://GOOD.com:443"),
            ("dot", "https://good.com."),
            ("port", "http://good.com:8080"),
            ("two", "http://good.com\r\nOrigin: http://evil.com"),
        )
    ],
    Row("B88-listed", upgrade("listed", "Origin: https://friend.example"), 101),
    from_elsewhere("B88-not-listed", "Origin: https://evil.com", page="listed"),
    Row("B89-returns", upgrade("returns"), 403),
    Row("B89-answers", upgrade("answers"), 404, "no such socket"),
    Row(
        "B89-raises",
        upgrade("raises"),
        500,
        logged="ValueError in websocket handler: before accept",
    ),
    Row("B89-sends-first", upgrade("sends-first"), 500, logged="Cannot send before calling accept"),
    fails_open("B89-accepts-twice", "accepts-twice", "Cannot accept an already accepted websocket"),
    fails_open("B89-returns-later", "returns-later", "should return None"),
    fails_open("B89-raises-later", "raises-later", "ValueError in websocket handler: after accept"),
    fails_open("B89-sends-later", "sends-later", "Cannot send to a closed websocket", 1000),
    fails_open("B89-receives-twice", "receives-twice", "Cannot receive in two tasks at once"),
    *[
        Row(f"B94-{name}", upgrade("json"), 101, then=sends(payload, closes_with(1007)))
        for name, payload in (
            ("binary", b"\xff\x00"),
            ("invalid", "{"),
            ("nan", "NaN"),
            ("deep", "[" * 50_000),
        )
    ],
    Row("B94-binary-json", upgrade("json"), 101, then=sends(b"[1]", brings('{"got":[1]}'))),
    Row(
        "B97",
        upgrade("other-subprotocol", "Sec-WebSocket-Protocol: chat"),
        500,
        logged="did not offer the subprotocol",
    ),
]


def number_of(flaw: str) -> str:
    """Return the number of the row that a flaw of a result belongs to."""
    numbers = {
        "status-101": "B110",
        "status": "B107",
        "header": "B108",
        "length": "B108",
        "json": "B109",
        "body-with": "B110",
        "chunk": "B111",
        "stream": "B111",
    }
    return next((number for start, number in numbers.items() if flaw.startswith(start)), "B106")


RESULTS = [
    *[
        Row(f"{number_of(name)}-{name}", get(f"/flaw/{name}"), 500, INTERNAL, logged=logged)
        for name, (_, logged) in {**FLAWS, **MORE_FLAWS}.items()
    ],
    Row("B106-bytearray", get("/good/bytearray"), 200, "ab"),
    Row("B106-memoryview", get("/good/memoryview"), 200, "ab"),
    Row("B109-good", get("/good/json"), 200, {"nan": None, "inf": None, "bytes": "AP8=", "set": [1]}),
    Row("B110-head", get("/path", method="HEAD"), 200, "", method="HEAD"),
    Row("B110-head-stream", get("/good/empty", method="HEAD"), 200, "", method="HEAD"),
    Row("B111-never-yields", get("/good/nothing"), 200, ""),
    Row("B111-yields-empty", get("/good/empty"), 200, ""),
    Row(
        "B111-raises-later",
        get("/broken/stream"),
        200,
        cut=True,
        logged="ValueError in sending chunked response",
    ),
    Row(
        "B111-left",
        get("/endless"),
        then=lambda c: leave_stream(c),
        waits=False,
        saw=["GET /endless", "closed"],
    ),
    *[
        Row(f"B112-{name}", get(f"/raised/{name}"), 500, INTERNAL, logged=logged)
        for name, (_, logged) in {**RAISED, **MORE_RAISED}.items()
    ],
    Row("B112-group-of-answers", get("/good/group"), 409, "Conflict"),
    Row("B113-returns", get("/broken/accept-and-return"), 200, cut=True, logged="should return None"),
    Row("B113-surrogate", get("/broken/surrogate"), 200, cut=True, logged="UnicodeEncodeError"),
    Row("B113-too-long", get("/broken/too-long"), 200, cut=True, logged="longer than its content-length"),
    Row("B113-too-short", get("/broken/too-short"), 200, cut=True, logged="before its content-length"),
    Row("B113-after-end", get("/broken/after-end"), 200, "four", logged="the response has ended"),
    Row("B113-two-tasks", get("/two-tasks"), 200, "abcd" * 50),
    Row(
        "B121",
        get("/shared", "Accept-Encoding: gzip") * 100,
        200,
        then=lambda c: read_shared(c),
        saw=["GET /shared", {"X-Mark": "shared"}] * 100,
    ),
]


def leave_stream(connection: Connection) -> None:
    assert connection.read(100_000)
    connection.leave(abruptly=True)


def read_shared(connection: Connection) -> None:
    for _ in range(99):
        reply = connection.reply()
        assert reply is not None
        assert len(reply.fields["set-cookie"]) == 1


def has(status: int, body: bytes, **fields: str | None) -> dict[str, Any]:
    """Return what a row says of an answer: status, body, and headers (None for one that isn't there)."""

    def test(reply: Reply) -> bool:
        wanted = {name.replace("_", "-"): [] if value is None else [value] for name, value in fields.items()}
        return reply.body == body and all(
            reply.fields.get(name, []) == value for name, value in wanted.items()
        )

    return {"status": status, "answer": test}


THEN = "Sun, 13 Sep 2020 12:26:40 GMT"
ALL = {"accept_ranges": "bytes", "content_range": None}
NOTHING_THERE: dict[str, Any] = {"status": 404, "answer": "Not Found", "server": True}
MANY = ", ".join([f'"{number}"' for number in range(50)])


def on_both(name: str, path: str, *fields: str, method: str = "GET", **expected: Any) -> list[Row]:
    """Return the rows for a file from memory and from a disk."""
    return [
        Row(
            f"{name}-{page}", get(f"/{page}/{path}", *fields, method=method), **{"method": method, **expected}
        )
        for page in ("site", "disk")
    ]


def if_it_has(page: str, name: str, *fields: str, **expected: Any) -> Row:
    """Return a row that asks for a file twice: the second time with its tag for ETAG in `fields`."""
    path = f"/{page}/page.html"

    def ask_again(connection: Connection) -> None:
        connection.send(get(path))
        first = connection.reply()
        assert first is not None
        (etag,) = first.fields["etag"]
        connection.send(get(path, *[field.replace("ETAG", etag) for field in fields]))
        again = connection.reply()
        assert again is not None
        assert again.status == expected["status"]
        assert "answer" not in expected or expected["answer"](again)

    return Row(f"{name}-{page}", get("/ok"), 200, "fine", then=ask_again)


RANGES = [
    *on_both("B75-first", "digits.txt", "Range: bytes=0-0", **has(206, b"0", content_range="bytes 0-0/10")),
    *on_both("B75-last", "digits.txt", "Range: bytes=-5", **has(206, b"56789", content_range="bytes 5-9/10")),
    *on_both("B75-open", "digits.txt", "Range: bytes=7-", **has(206, b"789", content_range="bytes 7-9/10")),
    *on_both("B75-none", "digits.txt", "Range: bytes=-0", status=416),
    *on_both(
        "B75-more", "digits.txt", "Range: bytes=-999999", **has(206, DIGITS, content_range="bytes 0-9/10")
    ),
    *on_both("B75-backwards", "digits.txt", "Range: bytes=5-2", **has(200, DIGITS, **ALL)),
    *on_both(
        "B75-behind",
        "digits.txt",
        "Range: bytes=10-",
        **has(416, b"Range Not Satisfiable", content_range="bytes */10"),
    ),
    *on_both("B76-several", "digits.txt", "Range: bytes=0-,0-,0-", **has(200, DIGITS, **ALL)),
    *on_both(
        "B76-many", "digits.txt", "Range: bytes=" + "0-," * 2_000, **has(200, DIGITS, **ALL), server=True
    ),
    *on_both(
        "B76-long",
        "digits.txt",
        "Range: bytes=" + "0" * 50_000 + "-1",
        status=(200, 431),
        answer=lambda reply: reply.status == 431 or reply.body == DIGITS,
        server=True,
    ),
    *[
        row
        for name, value in (
            ("digits", "bytes=\xd9\xa0-\xd9\xa9"),
            ("plus", "bytes=+1-2"),
            ("underscore", "bytes=1_0-20"),
            ("spaces", "bytes= 1 - 2"),
            ("unit", "chars=0-1"),
            ("letters", "bytes=a-b"),
            ("empty", "bytes="),
        )
        for row in on_both(
            f"B77-{name}", "digits.txt", f"Range: {value}", **has(200, DIGITS, **ALL), server=True
        )
    ],
    *on_both("B78-empty", "empty.txt", "Range: bytes=0-0", **has(200, b"", **ALL)),
    *on_both(
        "B78-head", "digits.txt", "Range: bytes=0-0", method="HEAD", **has(200, b"", content_length="10")
    ),
    *on_both("B78-404", "none.txt", "Range: bytes=0-0", status=404),
    Row("B78-post-site", post("/site/digits.txt", b"", "Range: bytes=0-0"), 405),
    Row("B78-post-disk", post("/disk/digits.txt", b"", "Range: bytes=0-0"), **has(200, DIGITS, **ALL)),
    *[
        if_it_has(
            page, "B78-304", "Range: bytes=0-0", "If-None-Match: ETAG", **has(304, b"", content_range=None)
        )
        for page in ("site", "disk")
    ],
    *on_both(
        "B79-encoded",
        "page.html",
        "Range: bytes=0-2",
        "Accept-Encoding: gzip",
        **has(206, b"All", content_encoding=None, content_range="bytes 0-2/2200"),
    ),
    *[
        row
        for page in ("site", "disk")
        for row in (
            if_it_has(page, "B79-tag", "Range: bytes=0-2", "If-Range: ETAG", **has(206, b"All")),
            if_it_has(page, "B79-weak", "Range: bytes=0-2", "If-Range: W/ETAG", **has(200, PROSE)),
            if_it_has(page, "B79-other", "Range: bytes=0-2", 'If-Range: "x"', **has(200, PROSE)),
            if_it_has(page, "B79-date", "Range: bytes=0-2", f"If-Range: {THEN}", **has(206, b"All")),
            if_it_has(
                page,
                "B79-old-date",
                *("Range: bytes=0-2", "If-Range: Sun, 13 Sep 2020 12:26:39 GMT"),
                **has(200, PROSE),
            ),
        )
    ],
]

CONDITIONS = [
    *[
        row
        for page in ("site", "disk")
        for row in (
            if_it_has(page, "B80-star", "If-None-Match: *", **has(304, b"", content_type=None)),
            if_it_has(page, "B80-list", f"If-None-Match: {MANY}, ETAG", **has(304, b"")),
            if_it_has(page, "B80-list-without", f"If-None-Match: {MANY}", **has(200, PROSE)),
            if_it_has(page, "B80-weak", "If-None-Match: W/ETAG", **has(304, b"")),
            if_it_has(page, "B80-unquoted", "If-None-Match: x", **has(200, PROSE)),
            if_it_has(page, "B82-match", "If-Match: ETAG", **has(200, PROSE)),
            if_it_has(page, "B82-mismatch", 'If-Match: "x"', **has(412, b"Precondition Failed")),
        )
    ],
    *on_both(
        "B80-long",
        "page.html",
        "If-None-Match: " + '"x", ' * 10_000,
        status=(200, 431),
        server=True,
    ),
    *on_both("B81-same", "page.html", f"If-Modified-Since: {THEN}", **has(304, b"")),
    *[
        row
        for name, date in (
            ("garbage", "the day before yesterday"),
            ("9999", "Fri, 31 Dec 9999 23:59:59 GMT"),
            ("negative", "-1"),
            ("two-digits", "Sunday, 13-Sep-20 12:26:40 GMT"),
            ("huge", "Fri, 31 Dec 99999999999 23:59:59 GMT"),
        )
        for row in on_both(f"B81-{name}", "page.html", f"If-Modified-Since: {date}", **has(200, PROSE))
    ],
    *on_both("B82-unmodified", "page.html", "If-Unmodified-Since: Sun, 13 Sep 2020 12:26:39 GMT", status=412),
]


def is_sent_as(encoding: str | None) -> Answer:
    return lambda reply: (
        reply.fields.get("content-encoding", []) == ([] if encoding is None else [encoding])
        and reply.fields["vary"] == ["Accept-Encoding"]
    )


ENCODINGS = [
    *[
        Row(f"B83-{name}", get("/site/page.html", f"Accept-Encoding: {value}"), 200, is_sent_as(encoding))
        for name, value, encoding in (
            ("gzip", "gzip", "gzip"),
            ("refused", "gzip;q=0", None),
            ("all-refused", "*;q=0", None),
            ("too-much", "br;q=2", None),
            ("no-identity", "identity;q=0", None),
            ("no-identity-gzip", "identity;q=0, gzip", "gzip"),
            ("best", "br;q=0.5, gzip;q=0.4, zstd;q=0.3", "br"),
        )
    ],
    Row(
        "B83-many",
        lambda: get("/site/page.html", "Accept-Encoding: " + "x," * 10_000 + "gzip"),
        200,
        is_sent_as("gzip"),
        server=True,
    ),
    Row("B83-304", get("/site/page.html", "If-None-Match: *"), 304, is_sent_as(None)),
    Row(
        "B83-304-gzip",
        get("/site/page.html", "If-None-Match: *", "Accept-Encoding: gzip"),
        304,
        lambda reply: reply.fields["vary"] == ["Accept-Encoding"],
    ),
]

PATHS = [
    *[
        Row(f"{number}-{name}-{page}", get(f"/{page}/{path}"), **NOTHING_THERE)
        for number, name, path in (
            ("B84", "up", "../secret"),
            ("B84", "up-slash", "..%2fsecret"),
            ("B84", "up-encoded", "%2e%2e/secret"),
            ("B84", "up-backslash", "..%5csecret"),
            ("B84", "up-twice", "%252e%252e/secret"),
            ("B84", "up-inside", "sub/../digits.txt"),
            ("B84", "dot", "./digits.txt"),
            ("B84", "dot-encoded", "sub/%2e/index.html"),
            ("B84", "slashes", "sub//index.html"),
            ("B84", "slash-behind", "digits.txt/"),
            ("B84", "nul", "digits.txt%00"),
            ("B84", "line-end", "digits.txt%0a"),
            ("B84", "stream", "digits.txt::$DATA"),
            ("B84", "drive", "C:/digits.txt"),
            ("B84", "device-name", "CON"),
            ("B84", "device-file", "aux.txt.html"),
            ("B84", "home", "~"),
            ("B84", "hidden", ".env"),
            ("B84", "hidden-folder", ".git/config"),
            ("B84", "absolute", "/etc/passwd"),
            ("B84", "absolute-encoded", "%2fetc%2fpasswd"),
            ("B84", "link-out", "out"),
            ("B84", "link-to-folder", "outside/key"),
            ("B84", "link-absolute", "absolute"),
            ("B84", "link-loop", "loop"),
            ("B84", "sibling", "../static-secret/key"),
            ("B84", "pipe", "pipe"),
            ("B84", "socket", "socket"),
            ("B84", "device", "device"),
            ("B84", "folder", "sub"),
            ("B85", "decomposed", "digits%CC%81.txt"),
            ("B85", "full-width", "%EF%BC%8E%EF%BC%8E%EF%BC%8Fsecret"),
            ("B85", "overlong", "%c0%ae%c0%ae/secret"),
        )
        for page in ("site", "disk", "whole-site", "whole-disk")
        if (name, page) not in {("absolute", "whole-site")}
    ],
    *[
        Row(f"B84-post-{name}", post(f"/site/{name}", b""), 405, "Method Not Allowed")
        for name in ("digits.txt", ".env", "..%2fsecret")
    ],
]


def is_new(reply: Reply) -> bool:
    """Say whether the body is that of the file as it is now, by a tag that it has not had before."""
    whole = reply.fields["content-length"] == [str(len(reply.body))]
    return whole and reply.fields["etag"] != reply.fields["x-tag-before"]


CHANGES_MEANWHILE = [
    *[
        Row(
            f"{number}-{how}",
            get(f"/changing/{how}/now"),
            200,
            cut=True,
            logged="The file changed while it was sent",
        )
        for number, how in (("B87", "truncate"), ("B87", "overwrite"), ("B87", "grow"))
    ],
    *[
        Row(f"{number}-{how}", get(f"/changing/{how}/now"), 200, lambda reply: reply.body == OLD)
        for number, how in (("B87", "replace"), ("F18", "delete"), ("F18", "remove_folder"))
    ],
    *[
        Row(f"F18-{how}-next", get(f"/changing/{how}/next"), 200, is_new)
        for how in ("truncate", "overwrite", "grow", "replace")
    ],
    *[Row(f"F18-{how}-next", get(f"/changing/{how}/next"), 404) for how in ("delete", "remove_folder")],
]

FILES = [*RANGES, *CONDITIONS, *ENCODINGS, *PATHS, *CHANGES_MEANWHILE]


ROWS = [
    *(*REQUEST_LINES, *QUERIES, *COOKIES_IN, *SESSIONS, *JSON, *BODIES, *FORMS, *ORIGINS, *WEBSOCKETS),
    *RESULTS,
    *FILES,
]
