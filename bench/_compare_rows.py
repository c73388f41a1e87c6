"""The rows of `compare.py`: what is asked of every application, and what counts as the right answer. Pure.

A row that is asked over HTTP is one request, sent again and again. Its answer is looked at once
per application, before anything is measured.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from _compare_apps import shared

if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[["Answer"], bool]


class Answer(NamedTuple):
    """A response, its header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Row(NamedTuple):
    """One request, and the part of an application that answers it, where that has to be one of its own."""

    key: str
    title: str
    path: str
    is_right: Check
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    part: str = ""
    first: str = ""  # a header of a first answer, to be sent back in each request: "set-cookie", "etag"


def is_json(value: Any) -> Check:
    return lambda answer: answer.status == 200 and json.loads(answer.body) == value


def is_text(text: str) -> Check:
    return lambda answer: answer.status == 200 and answer.body == text.encode()


def is_style(answer: Answer) -> bool:
    is_gzip = answer.headers.get("content-encoding") == "gzip"
    return answer.status == 200 and is_gzip and gzip.decompress(answer.body) == shared.STYLE.encode()


def is_unchanged(answer: Answer) -> bool:
    return answer.status == 304 and answer.body == b""


def order(count: int) -> bytes:
    line = {"sku": "AB-1234567", "count": 2, "price": 12.5}
    value = {"id": 1234, "customer": "Ada Lovelace", "gift": False, "lines": [line] * count}
    return json.dumps(value, separators=(",", ":")).encode()


def multipart() -> bytes:
    head = b'Content-Disposition: form-data; name="file"; filename="data.bin"\r\n'
    kind = b"Content-Type: application/octet-stream\r\n"
    data = bytes(range(256)) * (shared.FILE_SIZE // 256)
    return b"--a-boundary-0\r\n%b%b\r\n%b\r\n--a-boundary-0--\r\n" % (head, kind, data)


JSON = ("content-type", "application/json")
FORM = ("content-type", "application/x-www-form-urlencoded")
MULTIPART = ("content-type", "multipart/form-data; boundary=a-boundary-0")
GZIP = ("accept-encoding", "gzip, deflate, br")
READ = (("user-agent", "compare"), ("accept-language", "en-GB,en;q=0.7"), ("x-request-id", "7f3a"))
ITEM = {
    "item": 123,
    "q": "green tea",
    "limit": 10,
    "agent": "compare",
    "language": READ[1][1],
    "request": "7f3a",
}
CONTACT = {
    "name": "Ada Lovelace",
    "email": "ada@example.org",
    "age": "36",
    "message": "I have a question. " * 5,
}

ROWS = [
    Row("text", "plain text", "/text", is_text(shared.TEXT)),
    Row("json", "JSON, small", "/json", is_json(shared.SMALL)),
    Row("json10", "JSON, 10 KB", "/json10", is_json(shared.LARGE)),
    Row("item", "path, query, 3 headers", "/items/123?q=green+tea&limit=10", is_json(ITEM), headers=READ),
    Row("order", "typed JSON in, 200 B", "/order", is_json({"id": 1234, "lines": 3}), order(3), (JSON,)),
    Row(
        "order10", "typed JSON in, 10 KB", "/order", is_json({"id": 1234, "lines": 220}), order(220), (JSON,)
    ),
    Row(
        "form",
        "urlencoded form in",
        "/form",
        is_json({"name": "Ada Lovelace", "age": 36}),
        urlencode(CONTACT).encode(),
        (FORM,),
    ),
    Row(
        "upload",
        "multipart upload, 1 MiB",
        "/upload",
        is_json({"name": "data.bin", "size": shared.FILE_SIZE}),
        multipart(),
        (MULTIPART,),
    ),
    Row("session", "cookie and session", "/session", is_text("2"), part="session", first="set-cookie"),
    Row("asset", "asset, gzip", "/assets/style.css", is_style, headers=(GZIP,), part="assets"),
    Row("asset304", "asset, 304", "/assets/style.css", is_unchanged, b"", (GZIP,), "assets", "etag"),
    Row("page", "HTML, 10 KB", "/page", is_text(shared.PAGE)),
    Row("stream", "streamed, 10 × 1 KB", "/stream", is_text(shared.CHUNK * shared.CHUNKS)),
]


def with_first(row: Row, answer: Answer) -> Row:
    """Return `row` with what its first answer gave to be sent back."""
    if row.first == "etag":
        return row._replace(headers=(*row.headers, ("if-none-match", answer.headers["etag"])))
    if row.first == "set-cookie":
        cookie = answer.headers["set-cookie"].partition(";")[0]
        return row._replace(headers=(*row.headers, ("cookie", f"theme=dark; {cookie}; language=en")))
    return row
