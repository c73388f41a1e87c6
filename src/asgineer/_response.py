"""What a handler returns → status, headers, body. The only place that knows the shapes and the defaults.

Pure: nothing is sent from here, and a stream isn't started. The way of one result:
`split` takes the tuple apart, `encode_body` makes bytes and a content type of the body,
`render` makes the header fields that ASGI wants. A result that is flawed is a TypeError or a
ValueError which says what was returned and what is allowed; nothing of it was sent then.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Mapping
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from . import _json
from ._headers import encode_headers
from ._http import NO_BODY, check_status
from ._sse import MEDIA_TYPE
from ._stream import EventStream

if TYPE_CHECKING:
    from ._headers import RawHeaders

__all__ = ["Body", "Content", "Response", "html", "json", "normalize_response", "text"]

HTML = b"text/html; charset=utf-8"
TEXT = b"text/plain; charset=utf-8"
JSON = b"application/json"
OCTETS = b"application/octet-stream"

NO_HEADERS: dict[str, str] = {}  # what a handler gave none; told from the None that it may not give

MAYBE_HTML = frozenset("< \t\n\r\f\v")  # what a document may start with
HTML_FIELD = (b"content-type", HTML)
JSON_FIELD = (b"content-type", JSON)
TEXT_FIELD = (b"content-type", TEXT)
USUAL_STARTS = ("<!doctype html>", "<!DOCTYPE html>")
HTML_START = re.compile(r"\s*<(?:!doctype html|html[\s>])", re.IGNORECASE | re.ASCII)


class Content:
    """A body whose content type is said outright: what `html`, `text` and `json` return."""

    __slots__ = ("content_type", "data")

    def __init__(self, data: bytes, content_type: bytes) -> None:
        self.data = data
        self.content_type = content_type


class SupportsHTML(Protocol):
    """An object that writes itself as HTML, such as `markupsafe.Markup` or an htpy element."""

    def __html__(self) -> str: ...


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


class _Struct(Protocol):
    __struct_fields__: ClassVar[tuple[str, ...]]


class _Model(Protocol):
    def model_dump_json(self) -> str: ...


# Values and not strings: pyright reads no string in two pieces, and would check nothing.
Body: TypeAlias = (
    str
    | bytes
    | dict[Any, Any]
    | list[Any]
    | Content
    | EventStream
    | SupportsHTML
    | _Dataclass
    | _Struct
    | _Model
    | AsyncIterable[str | bytes]
)
ResponseHeaders: TypeAlias = Mapping[
    str, str | list[str]
]  # a dict; Mapping, so that a dict[str, str] is one too
Response: TypeAlias = (
    Body | tuple[Body] | tuple[ResponseHeaders, Body] | tuple[int, ResponseHeaders, Body | None]
)

FullResponse: TypeAlias = tuple[int, dict[str, str | list[str]], Any]  # what finishers return


def html(text: str) -> Content:
    """Return `text` as a body that is HTML, whatever it starts with."""
    return Content(_check_text("html", text).encode(), HTML)


def text(text: str) -> Content:
    """Return `text` as a body that is plain text, also when it looks like HTML."""
    return Content(_check_text("text", text).encode(), TEXT)


def json(value: Any) -> Content:
    """Return `value` as a body that is JSON: also a str, a number, None, a tuple or a set.

    Raises:
        TypeError, ValueError: some part of it has no JSON form.
    """
    return Content(_json.encode(value), JSON)


def _check_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name}() takes a str, not {type(value).__name__}")
    return value


def guess_text_type(body: str) -> bytes:
    """Return the content type of `body`: HTML where it starts like an HTML document, else plain text."""
    return HTML if starts_html(body) else TEXT


def starts_html(text: str) -> bool:
    """Say whether `text` starts as an HTML document does; as most are written, in a quarter of the time."""
    return text.startswith(USUAL_STARTS) or HTML_START.match(text) is not None


def encode_body(body: Any) -> tuple[bytes | AsyncIterable[bytes | str], bytes]:
    """Return the bytes of `body` and its content type; a stream is returned as it is, with type b"".

    Raises:
        TypeError, ValueError: it can't be a body; the text says why.
    """
    kind = type(body)
    if kind is str:
        return body.encode(), guess_text_type(body)
    if kind is bytes:
        return body, OCTETS
    if kind is dict or kind is list:
        return _json.encode(body), JSON
    return _encode_other(body, kind)


def _encode_other(body: Any, kind: type) -> tuple[bytes | AsyncIterable[bytes | str], bytes]:
    """Encode what is rarer: told by what its class has, so that nothing is imported for it."""
    if kind is AsyncGeneratorType:  # before a type is asked for what it lacks: half a microsecond each
        return body, b""
    if kind is Content:
        return body.data, body.content_type
    if kind is EventStream:
        return body, MEDIA_TYPE
    if hasattr(kind, "__html__"):
        return body.__html__().encode(), HTML
    if isinstance(body, str):
        return str.encode(body), guess_text_type(body)
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body), OCTETS
    if isinstance(body, (dict, list)):
        return _json.encode(body), JSON
    if any(hasattr(kind, mark) for mark in ("__dataclass_fields__", "__struct_fields__", "model_dump_json")):
        return _json.encode(body), JSON
    if hasattr(kind, "__aiter__"):
        return body, b""
    raise TypeError(f"Body cannot be {_describe(body, kind)}")


def _describe(body: Any, kind: type) -> str:
    """Name what isn't a body, with a word on the likely mistake."""
    import inspect

    if body is None:
        return "None; did the handler forget to return a response?"
    if inspect.iscoroutine(body):
        body.close()  # or Python warns about it as well
        return f"a coroutine, forgot await? Write: await {body.__name__}(…)"
    if inspect.isawaitable(body):
        return f"an awaitable ({kind.__name__}), forgot await?"
    if inspect.isgenerator(body):
        return "a regular generator, use an async generator: async def with yield"
    if inspect.isroutine(body):
        return f"a function, forgot to call it? Write: {body.__name__}(…)"
    if isinstance(body, BaseException):
        return f"an exception; raise the {kind.__name__}, don't return it"
    if isinstance(body, int) and 200 <= body <= 599:
        return f"{kind.__name__}; {_status_advice(body)}"
    return (
        f"{kind.__name__}; it can be str, bytes, dict, list, an object with __html__, or an async generator. "
        "For JSON of another value: asgineer.json(value)"
    )


def _status_advice(status: int) -> str:
    return f"a status takes three values: {int(status)}, {{}}, body"


def split(result: Any) -> tuple[Any, Any, Any]:
    """Return status, headers, body of what a handler returned, as they are.

    Raises:
        TypeError: a tuple of another length.
    """
    if not isinstance(result, tuple):
        return 200, NO_HEADERS, result
    if len(result) == 3:
        return result
    if len(result) == 2:
        if isinstance(result[0], int):
            raise TypeError(f"Headers must be a dict, not int; {_status_advice(result[0])}")
        if isinstance(result[1], int) and 200 <= result[1] <= 599:
            given = type(result[0]).__name__
            raise TypeError(f"Body cannot be int; ({given}, int) is no response: {_status_advice(result[1])}")
        return 200, result[0], result[1]
    if len(result) == 1:
        return 200, NO_HEADERS, result[0]
    raise TypeError(
        f"Handler returned {len(result)}-tuple; it can be body, (headers, body) or (status, headers, body)"
    )


def render(result: Any, method: str = "GET") -> tuple[int, RawHeaders, Any]:
    """Return what a handler's result says, ready to be sent: status, header fields, body or stream.

    content-type and content-length are added where the handler gave none; a stream without a
    content type gets it with its first chunk.

    Args:
        result: any of the shapes of a response.
        method: of the request; HEAD drops the body, and may have a content-length beside an empty one.

    Raises:
        TypeError, ValueError: the result is flawed.
    """
    status, headers, body = split(result)
    if type(headers) is RenderedHeaders:
        made = headers.rendered
        if body is made.body and status == made.status and headers == made.headers:
            return status, made.raw.copy(), b"" if method == "HEAD" else body
    status = check_status(status)
    data, content_type = _check_no_body(status, body) if status in NO_BODY else encode_body(body)
    raw: RawHeaders = [] if headers is NO_HEADERS else encode_headers(headers)
    given = [name for name, _ in raw] if raw else ()
    if content_type and b"content-type" not in given:
        raw.append((b"content-type", content_type))
    if isinstance(data, EventStream):
        raw += [(name, value) for name, value in data.fields if name not in given]
    if b"content-length" in given:
        _check_length(status, dict(raw)[b"content-length"], data, method)
    elif type(data) is bytes and status not in NO_BODY:
        raw.append((b"content-length", b"%d" % len(data)))
    return status, raw, b"" if method == "HEAD" and type(data) is bytes else data


class RenderedHeaders(dict[str, str | list[str]]):
    """The headers of a response that was rendered before it was asked for: a dict like any other."""

    __slots__ = ("rendered",)
    rendered: Rendered


class Rendered:
    """A response that is sent often, rendered once; one that a finisher changed is rendered as any other."""

    __slots__ = ("body", "headers", "raw", "status")

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.raw = render((status, headers, body))[1]

    def response(self) -> tuple[int, dict[str, str | list[str]], bytes]:
        """Return it as a triple with a dict of its own."""
        headers = RenderedHeaders(self.headers)
        headers.rendered = self
        return self.status, headers, self.body


def _check_no_body(status: int, body: Any) -> tuple[bytes, bytes]:
    if body is not None and encode_body(body)[0] != b"":
        raise ValueError(f"A response with status {status} has no body; return {status}, {{}}, None")
    return b"", b""


def _check_length(status: int, length: bytes, data: Any, method: str) -> None:
    if status == 204:
        raise ValueError("A response with status 204 has no content-length (RFC 9110 section 8.6)")
    if not length.isdigit():
        raise ValueError(f"Header 'content-length' must be a number, not {length!r:.100}")
    if (
        type(data) is bytes
        and int(length) != len(data)
        and not (data == b"" and (method == "HEAD" or status in NO_BODY))
    ):
        raise ValueError(f"Header 'content-length' says {int(length)}, but the body has {len(data)} bytes")


def normalize_response(response: Any) -> tuple[int, dict[str, str | list[str]], Any]:
    """Return `response` as (status, headers, body): a fresh dict with lower-case names, the body as it is.

    Safe to call several times on the same response.

    Raises:
        TypeError, ValueError: a tuple of another length, a status or headers that can't be.
    """
    status, headers, body = split(response)
    encode_headers(headers)
    return check_status(status), {name.lower(): value for name, value in headers.items()}, body


def resolve(result: Any, method: str = "GET") -> tuple[int, dict[str, str | list[str]], Any]:
    """Return `result` as a full triple: checked, its body encoded, the content type among the headers.

    The body stays, also for HEAD, which only allows a content-length beside an empty one.

    Raises:
        TypeError, ValueError: the result is flawed.
    """
    headless = method == "HEAD" and split(result)[2] in ("", b"")
    status, raw, data = render(result, method if headless else "GET")
    _, headers, _ = normalize_response(result)
    for name, value in raw:
        if name == b"content-type":
            headers["content-type"] = value.decode("latin-1")
    return status, headers, data
