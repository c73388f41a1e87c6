"""Programs with mistakes in them: each line that ends with `# error` is one for mypy and for pyright."""

from __future__ import annotations

import asgineer
from asgineer import Handler, HttpRequest, Response


async def status_is_text(request: HttpRequest) -> Response:
    return "404", {}, "Not found"  # error


async def status_without_headers(request: HttpRequest) -> Response:
    return 404, "Not found"  # error


async def header_is_a_number(request: HttpRequest) -> Response:
    return {"content-length": 5}, "12345"  # error


async def headers_are_a_list(request: HttpRequest) -> Response:
    return 200, [("a", "b")], "x"  # error


async def body_is_a_number(request: HttpRequest) -> Response:
    return 200, {}, 42  # error


async def body_is_a_set(request: HttpRequest) -> Response:
    return {1, 2}  # error


async def four(request: HttpRequest) -> Response:
    return 200, {}, "x", "y"  # error


async def none_alone(request: HttpRequest) -> Response:
    return None  # error


def not_async(request: HttpRequest) -> str:
    return "x"


async def returns_a_number(request: HttpRequest) -> int:
    return 42


app = asgineer.to_asgi(not_async)  # error
other = asgineer.to_asgi(returns_a_number)  # error
handler: Handler = not_async  # error
