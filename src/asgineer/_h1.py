"""HTTP/1.1 heads, both ways: what a parsed request head must not have, and a response head as bytes.

Pure: bytes and header fields in, values out; connections and tasks are `_uvicorn`'s. The parser in
front of this is llhttp, through httptools, in its strict setting: it refuses bare LF, folded lines,
spaces around names, two lengths, and a length beside chunked by itself. Checked here is what it
lets through and another parser might read differently (RFC 9112, sections 2 to 7), and the limits.
Header names are lower-case everywhere.
"""

from __future__ import annotations

import http
import re

from ._limits import DEFAULT_LIMITS

MAX_TARGET = 16_384 + 1024  # bytes: our apps take a query of 16 KiB; nginx has 8 KiB for the whole line
MAX_HEADERS_SIZE = DEFAULT_LIMITS.headers or 65_536  # bytes of names and values, as Node has for 16 KiB
MAX_HEADERS = DEFAULT_LIMITS.header_count or 128  # fields; nginx and Apache have 100
MAX_HANDSHAKE_LINE = 8190  # bytes: the websockets library leaves a longer line unanswered

CHUNKED, LENGTH, UNTIL_CLOSE, NO_BODY = "chunked", "length", "until close", "no body"
CLOSE_FIELD = b"connection: close\r\n"
LAST_CHUNK = b"0\r\n\r\n"
BODILESS = (204, 304)  # RFC 9110 sections 15.3.5 and 15.4.5

# llhttp knows the methods of RTSP, and takes RTSP and ICE for names of HTTP.
FOREIGN_METHODS = frozenset(
    b"DESCRIBE ANNOUNCE SETUP PLAY PAUSE TEARDOWN GET_PARAMETER SET_PARAMETER REDIRECT RECORD FLUSH "
    b"SOURCE PRI CONNECT".split()
)
# Fields of a response that the server has a say in: a head that has one is written with more care.
MANAGED_FIELDS = frozenset((b"connection", b"transfer-encoding", b"date", b"server", b"upgrade"))
SINGLE_FIELDS = (b"host", b"expect", b"upgrade", b"transfer-encoding")

_BAD_NAME = re.compile(rb"[^!#$%&'*+.^_`|~0-9A-Za-z-]")  # RFC 9110 section 5.6.2: no token
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # section 5.5
_PLAIN = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9a-z-]+: [\t\x20-\x7e\x80-\xff]*\r\n)*")
_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)([/?].*)?", re.IGNORECASE | re.DOTALL)
_DIGITS = re.compile(rb"[0-9]{1,18}")

Fields = list[tuple[bytes, bytes]]


class Refused(Exception):
    """A request is not served: `status` and `text` are the answer, then the connection closes."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


# Requests


def check_fields(headers: Fields, version: str) -> dict[bytes, bytes]:
    """Return the header fields of a request by name, the last of those with the same one.

    Raises:
        Refused: 431 for too many, 505 for another version, 501 for an unknown transfer coding, 400
            for a Host that is missing or repeated, or framing that can be read in two ways.
    """
    fields = dict(headers)
    if len(fields) != len(headers):
        _check_repeated(headers)
    if len(headers) > MAX_HEADERS:
        raise Refused(431, "Too many header fields")
    if version != "1.1":
        _check_version(version, fields)
    elif b"host" not in fields:
        raise Refused(400, "Missing Host header")  # RFC 9112 section 3.2
    if b"transfer-encoding" in fields and fields[b"transfer-encoding"].lower() != b"chunked":
        raise Refused(501, "Unknown transfer coding")  # section 6.1
    return fields


def _check_repeated(headers: Fields) -> None:
    names = [name for name, _ in headers]
    for name in SINGLE_FIELDS:
        if names.count(name) > 1:
            raise Refused(400, f"Repeated {name.decode().title()} header")


def _check_version(version: str, fields: dict[bytes, bytes]) -> None:
    if version != "1.0":
        raise Refused(505, "HTTP version not supported")
    if b"transfer-encoding" in fields:  # RFC 9112 section 6.1: the framing is faulty
        raise Refused(400, "HTTP/1.0 has no transfer codings")


def check_size(headers: Fields) -> None:
    """Raise Refused, 431, where names and values together are too large."""
    if sum(len(name) + len(value) for name, value in headers) > MAX_HEADERS_SIZE:
        raise Refused(431, "Header fields too large")


def split_target(method: str, target: bytes, fields: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return path and query of a request target, both as they came.

    Raises:
        Refused: no form of RFC 9112 section 3.2 that fits; an absolute one that names another
            host than the Host field, where two servers might go by one each.
    """
    if target[:1] != b"/":
        target = _other_target(method, target, fields)
    if b"#" in target:
        raise Refused(400, "Bad request target")
    path, _, query = target.partition(b"?")
    return path, query


def _other_target(method: str, target: bytes, fields: dict[bytes, bytes]) -> bytes:
    if target == b"*" and method == "OPTIONS":
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if not absolute:
        raise Refused(400, "Bad request target")
    host, rest = absolute.groups()
    if host.lower() != fields.get(b"host", host).lower():
        raise Refused(400, "The request target names another host than the Host header")
    if rest is None or rest[:1] == b"?":
        return b"/" + (rest or b"")
    return rest


def check_handshake(method: str, version: str, fields: dict[bytes, bytes]) -> None:
    """Raise Refused for a websocket handshake that `websockets` would read otherwise, or not at all."""
    if method != "GET" or version != "1.1" or has_body(fields):
        raise Refused(400, "Bad websocket handshake")  # RFC 6455 section 4.1
    if any(len(name) + len(value) > MAX_HANDSHAKE_LINE for name, value in fields.items()):
        raise Refused(431, "Header fields too large")


def has_body(fields: dict[bytes, bytes]) -> bool:
    """Say whether a request head announces a body."""
    return b"transfer-encoding" in fields or fields.get(b"content-length", b"0").strip(b"0") != b""


# Responses


def _status_line(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""  # the space before it stays: RFC 9112 section 4
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


STATUS_LINES = {status: _status_line(status) for status in range(200, 600)}


def encode_fields(fields: Fields) -> bytes:
    """Return header fields as lines."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


class Openings:
    """How heads of responses begin: the status line, and the fields that the server adds to all.

    uvicorn makes a new list of those fields each second, for the date; until then the bytes stay.
    """

    def __init__(self) -> None:
        self._fields: Fields | None = None
        self._made: dict[int, bytes] = {}

    def get(self, status: int, fields: Fields) -> bytes:
        """Return the opening for `status` with `fields`; KeyError where it is none from 200 to 599."""
        if self._fields is not fields:
            self._fields = fields
            self._made = {}
        made = self._made.get(status)
        if made is None:
            made = self._made[status] = STATUS_LINES[status] + encode_fields(fields)
        return made


def whole_response(status: int, text: str, defaults: Fields) -> bytes:
    """Return a response of the server's own, the last one on its connection."""
    body = text.encode()
    lines = encode_fields(defaults)
    kind = b"content-type: text/plain; charset=utf-8\r\n"
    head = b"%b%b%bcontent-length: %d\r\n" % (STATUS_LINES[status], lines, kind, len(body))
    return b"%b%b\r\n%b" % (head, CLOSE_FIELD, body)


def plain_fields(headers: Fields) -> tuple[bytes, int | None] | None:
    """Return the fields of a response as lines, and the content-length among them.

    None where more than a look is needed: a name in upper case, a field that the server has a say
    in, or one that is wrong. One match over all of them costs a third of one per name and value.
    """
    length = None
    for name, value in headers:
        if name in MANAGED_FIELDS or (name == b"content-length" and length is not None):
            return None
        if name == b"content-length":
            length = value
    lines = encode_fields(headers)
    if not _PLAIN.fullmatch(lines) or lines.count(b"\n") != len(headers):
        return None
    if length is None:
        return lines, None
    return (lines, int(length)) if _DIGITS.fullmatch(length) else None


class Head:
    """The head of a response that an app sends, as bytes, and how the body after it is framed.

    Whatever the app says of transfer-encoding, the framing is the server's: a content-length where
    one was given, else chunked, or the end of the connection for HTTP/1.0.

    Attributes:
        data: the bytes.
        framing: CHUNKED, LENGTH, UNTIL_CLOSE, or NO_BODY: whatever body the app sends is left out.
        length: what content-length says; 0 where there is none.
        keep_alive: the connection stays open after it.

    Raises:
        RuntimeError: a status, name or value that can't be sent; two lengths, or one that is no number.
    """

    __slots__ = ("data", "framing", "keep_alive", "length")

    def __init__(
        self,
        status: int,
        headers: Fields,
        defaults: Fields,
        *,
        method: str = "GET",
        version: str = "1.1",
        keep_alive: bool = True,
    ) -> None:
        if status not in STATUS_LINES:
            raise RuntimeError(f"Status {status!r:.100} can't be sent: it is none from 200 to 599")
        fields, length, chunked = self._read(headers, keep_alive)
        if method == "HEAD" or status in BODILESS:
            self.framing = NO_BODY
        elif length is not None and not chunked:
            self.framing = LENGTH
        elif version == "1.1":
            self.framing = CHUNKED
            fields.append((b"transfer-encoding", b"chunked"))
        else:
            self.framing = UNTIL_CLOSE
            self.keep_alive = False
        self.length = length or 0 if self.framing is LENGTH else 0
        if length is not None and not chunked and status != 204:  # RFC 9110 section 8.6
            fields.append((b"content-length", b"%d" % length))
        if not self.keep_alive:
            fields.append((b"connection", b"close"))
        given = {name for name, _ in fields}
        own = [field for field in defaults if field[0] not in given]
        self.data = b"%b%b%b\r\n" % (STATUS_LINES[status], encode_fields(own), encode_fields(fields))

    def _read(self, headers: Fields, keep_alive: bool) -> tuple[Fields, int | None, bool]:
        """Take the app's fields apart: those that are sent as they are, the length, and "chunked"."""
        self.keep_alive = keep_alive
        fields: Fields = []
        length: int | None = None
        chunked = False
        for name, value in headers:
            _check_field(name, value)
            name = name.lower()
            if name == b"content-length":
                length = _one_length(value, length)
            elif name == b"transfer-encoding":
                chunked = _is_chunked(value)
            elif name == b"connection" and b"close" in _tokens(value):
                self.keep_alive = False
            else:
                fields.append((name, value))
        return fields, length, chunked


def _check_field(name: bytes, value: bytes) -> None:
    if not name or _BAD_NAME.search(name):
        raise RuntimeError(f"Invalid HTTP header name {name!r:.100}")
    if _BAD_VALUE.search(value):
        raise RuntimeError(f"Invalid HTTP header value for {name!r:.100}")


def _one_length(value: bytes, before: int | None) -> int:
    if not _DIGITS.fullmatch(value) or before not in (None, int(value)):
        raise RuntimeError(f"Invalid content-length {value!r:.100}")
    return int(value)


def _is_chunked(value: bytes) -> bool:
    if value.lower() != b"chunked":
        raise RuntimeError(f"The transfer-encoding is the server's, not {value!r:.100}")
    return True


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip(b" \t").lower() for token in value.split(b",")]
