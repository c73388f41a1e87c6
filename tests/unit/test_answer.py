"""What went wrong → who is at fault, the response, the record."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from asgineer import DisconnectedError, HTTPError, HttpRequest
from asgineer._answer import answer_to, deciding_error, log_failure, passes_through
from asgineer._request import Settings

from .turns import errors


async def _never(*args: Any) -> Any:
    raise AssertionError


def request_of(handler: Any = None, **scope: Any) -> HttpRequest:
    request = HttpRequest(
        {"type": "http", "method": "GET", "path": "/", "headers": [], **scope}, _never, _never
    )
    request._settings = Settings(handler=handler)
    return request


NOT_FOUND, CONFLICT, LEFT, OURS = HTTPError(404), HTTPError(409), DisconnectedError(), ValueError()


@pytest.mark.parametrize(
    ("error", "decides"),
    [
        (OURS, OURS),
        (NOT_FOUND, NOT_FOUND),
        (ExceptionGroup("g", [NOT_FOUND, CONFLICT]), NOT_FOUND),
        (ExceptionGroup("g", [LEFT, CONFLICT]), LEFT),
        (ExceptionGroup("g", [ExceptionGroup("h", [CONFLICT]), LEFT]), CONFLICT),
        (BaseExceptionGroup("g", [NOT_FOUND]), NOT_FOUND),
    ],
)
def test_deciding_error(error: BaseException, decides: BaseException) -> None:
    assert deciding_error(error) is decides


@pytest.mark.parametrize(
    "others",
    [
        [NOT_FOUND, OURS],
        [OURS],
        [LEFT, ExceptionGroup("h", [CONFLICT, OURS])],
        [NOT_FOUND, asyncio.CancelledError()],
        [KeyboardInterrupt()],
    ],
)
def test_a_group_with_others_decides_as_a_whole(others: list[BaseException]) -> None:
    group = BaseExceptionGroup("g", others)
    assert deciding_error(group) is group


@pytest.mark.parametrize(
    ("error", "passes"),
    [(LEFT, True), (GeneratorExit(), True), (NOT_FOUND, False), (OURS, False), (KeyboardInterrupt(), False)],
)
def test_passes_through(error: BaseException, passes: bool) -> None:
    assert passes_through(error) is passes


def test_a_cancellation_passes_only_when_the_task_was_cancelled() -> None:
    async def main() -> list[bool]:
        found = [passes_through(asyncio.CancelledError())]
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        found.append(passes_through(asyncio.CancelledError()))
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            task.uncancel()  # only now: from 3.13 on it takes back a cancellation that is still to come
            found.append(passes_through(asyncio.CancelledError()))
        return found

    assert asyncio.run(main()) == [False, True, False]


def test_answer_to_raises_what_passes() -> None:
    group = ExceptionGroup("g", [LEFT, NOT_FOUND])
    with pytest.raises(DisconnectedError):
        answer_to(request_of(), group)


def test_a_test_client_is_told(caplog: pytest.LogCaptureFixture) -> None:
    told: list[BaseException] = []
    request = request_of(extensions={"asgineer.errors": told})
    log_failure(request, OURS, "request handler")
    assert told == [OURS]
    assert len(errors(caplog)) == 1


async def _handler(request: Any) -> None: ...


class Callable:
    async def __call__(self, request: Any) -> None: ...


@pytest.mark.parametrize(
    ("handler", "where"),
    [
        (_handler, "test_answer.py:"),
        (Callable(), "test_answer.py:"),
        (functools.partial(_handler), "partial"),
    ],
)
def test_an_error_without_frames_of_the_app_names_the_handler(
    handler: Any, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    log_failure(request_of(handler), OURS, "request handler")
    assert where in errors(caplog)[0]
