"""The tree of errors: whose fault, which status, which other types they are caught as."""

from __future__ import annotations

from typing import Any

import pytest

import asgineer
from asgineer import (
    AsgineerError,
    BadRequest,
    BodyTooLarge,
    DisconnectedError,
    HeadersTooLarge,
    HTTPError,
    MethodNotAllowed,
    UsageError,
    errors,
)


@pytest.mark.parametrize(
    ("kind", "bases", "others"),
    [
        (HTTPError, [AsgineerError], [OSError]),
        (BadRequest, [HTTPError], [OSError, ValueError]),
        (MethodNotAllowed, [HTTPError], [OSError]),
        (BodyTooLarge, [HTTPError, OSError], []),
        (HeadersTooLarge, [HTTPError], [OSError]),
        (DisconnectedError, [AsgineerError, OSError], [HTTPError]),
        (UsageError, [AsgineerError, OSError], [HTTPError]),
    ],
)
def test_tree(kind: type, bases: list[type], others: list[type]) -> None:
    assert all(issubclass(kind, base) for base in bases)
    assert not any(issubclass(kind, other) for other in others)


def test_the_drawing_shows_every_exception() -> None:
    assert errors.__doc__ is not None
    for name in errors.__all__:
        assert f" {name} " in f" {errors.__doc__} ".replace("\n", " ")
        assert getattr(asgineer, name) is getattr(errors, name)


@pytest.mark.parametrize(
    ("error", "status", "body", "text"),
    [
        (HTTPError(404), 404, "Not Found", "404 Not Found"),
        (HTTPError(404, ""), 404, "Not Found", "404 Not Found"),
        (HTTPError(404, b""), 404, "Not Found", "404 Not Found"),
        (HTTPError(404, None), 404, "Not Found", "404 Not Found"),
        (HTTPError(404, {}), 404, {}, "404 Not Found"),
        (HTTPError(404, []), 404, [], "404 Not Found"),
        (HTTPError(404, "no such item"), 404, "no such item", "404 no such item"),
        (HTTPError(300), 300, "Multiple Choices", "300 Multiple Choices"),
        (HTTPError(599), 599, "", "599 "),
        (BadRequest(), 400, "Bad Request", "400 Bad Request"),
        (BadRequest("why"), 400, "why", "400 why"),
        (MethodNotAllowed("GET"), 405, "Method Not Allowed", "405 Method Not Allowed"),
        (BodyTooLarge(), 413, "Request body too large", "413 Request body too large"),
        (HeadersTooLarge("why"), 431, "why", "431 why"),
        (errors.RequestTimeout(), 408, "Request Timeout", "408 Request Timeout"),
        (errors.UnsupportedMediaType("why"), 415, "why", "415 why"),
        (errors.InvalidData("why"), 422, "why", "422 why"),
        (errors.InvalidData({"a": "x", "": "y"}), 422, "a: x\ny", "422 a: x\ny"),
    ],
)
def test_http_error(error: HTTPError, status: int, body: Any, text: str) -> None:
    assert (error.status, error.body, str(error)) == (status, body, text)


def test_invalid_data_keeps_what_is_wrong_by_field() -> None:
    wrong = {"age": "expected int"}
    error = errors.InvalidData(wrong)
    wrong.clear()
    assert error.errors == {"age": "expected int"}
    assert errors.InvalidData("all of it").errors == {"": "all of it"}


def test_http_error_copies_its_headers() -> None:
    headers: dict[str, str | list[str]] = {"location": "/"}
    error = HTTPError(303, headers=headers)
    error.headers["x"] = "y"
    assert headers == {"location": "/"}
    assert HTTPError(404).headers == {}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, ValueError),
        (299, ValueError),
        (600, ValueError),
        (0, ValueError),
        (-404, ValueError),
        ("404", TypeError),
        (404.0, TypeError),
        (True, TypeError),
        (None, TypeError),
    ],
)
def test_http_error_of_no_such_status(status: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="HTTPError status must be"):
        HTTPError(status)


@pytest.mark.parametrize(
    ("methods", "allow"),
    [
        (("GET",), "GET, HEAD"),
        (("POST",), "POST"),
        (("get", "post"), "GET, HEAD, POST"),
        (("POST", "GET"), "POST, GET, HEAD"),
        (("HEAD", "GET"), "HEAD, GET"),
        ((), ""),
    ],
)
def test_method_not_allowed(methods: tuple[str, ...], allow: str) -> None:
    assert MethodNotAllowed(*methods).headers == {"allow": allow}


def test_disconnected_error() -> None:
    error = DisconnectedError("gone", code=1001, reason="bored")
    assert (str(error), error.code, error.reason) == ("gone", 1001, "bored")
    error = DisconnectedError()
    assert (str(error), error.code, error.reason) == ("The client disconnected", None, "")
