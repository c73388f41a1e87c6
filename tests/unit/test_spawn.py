"""Background tasks: kept alive, told about once when they fail, ended with the app."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from asgineer import DisconnectedError, HttpRequest, ServerClosing, _shutdown, spawn, to_asgi
from asgineer._spawn import background, finish_background

from .asgi import Http
from .turns import errors, run, settle


@pytest.fixture(autouse=True)
def timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASGINEER_SHUTDOWN_TIMEOUT", raising=False)


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_it_returns_the_task_and_its_result() -> None:
    async def work() -> int:
        return 42

    task = spawn(work())
    assert "work" in task.get_name()
    assert await task == 42
    assert spawn(work(), name="mine").get_name() == "mine"


async def test_a_task_is_kept_alive() -> None:
    woken: list[int] = []
    waiters: list[asyncio.Future[None]] = []

    async def work() -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters.append(waiter)
        await waiter
        woken.append(1)

    spawn(work())
    await settle()
    gc.collect()
    waiters[0].set_result(None)
    await settle()
    assert woken == [1]
    assert not background().tasks


@pytest.mark.parametrize("wait", [False, True])
async def test_an_exception_is_logged_once_with_the_name(
    wait: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise KeyError("oh\nno")

    spawn(fail(), name="the job", wait=wait)
    await settle()
    gc.collect()
    (text,) = errors(caplog)
    assert "KeyError in background task the job" in text
    assert "\n" not in text.partition("Traceback")[0]


@pytest.mark.parametrize(
    "error",
    [
        ServerClosing(),
        asyncio.CancelledError(),
        ExceptionGroup("of a task group", [ServerClosing(), ServerClosing()]),
    ],
)
async def test_what_is_no_failure(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    async def end() -> None:
        raise error

    spawn(end())
    await settle()
    assert errors(caplog) == []


async def test_a_group_with_a_failure_in_it(caplog: pytest.LogCaptureFixture) -> None:
    async def end() -> None:
        raise ExceptionGroup("two", [ServerClosing(), KeyError("x")])

    spawn(end())
    await settle()
    assert len(errors(caplog)) == 1


async def test_a_disconnect_in_a_task_is_a_failure_as_it_has_no_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def end() -> None:
        raise DisconnectedError

    spawn(end())
    await settle()
    assert len(errors(caplog)) == 1


@pytest.mark.parametrize("what", [for_ever, 42, None])
async def test_something_else_than_a_coroutine(what: Any) -> None:
    with pytest.raises(TypeError, match="spawn\\(\\) needs a coroutine"):
        spawn(what)


def test_outside_of_an_event_loop() -> None:
    coro = for_ever()
    with pytest.raises(RuntimeError):
        spawn(coro)
    coro.close()


async def test_a_task_outlives_its_request() -> None:
    ended: list[str] = []
    gate = asyncio.Event()

    async def work() -> None:
        await gate.wait()
        ended.append("work")

    async def handler(request: HttpRequest) -> str:
        spawn(work())
        raise DisconnectedError

    exchange = Http.begin(to_asgi(handler))
    await exchange.finish()
    assert ended == []
    gate.set()
    await settle()
    assert ended == ["work"]


# The end


async def _note_its_end(notes: list[str], name: str, gate: asyncio.Event) -> None:
    try:
        await gate.wait()
        notes.append(name + " ended")
    except asyncio.CancelledError:
        notes.append(name + " cancelled")
        raise


async def test_the_notice_cancels_what_nobody_waits_for() -> None:
    notes: list[str] = []
    gate = asyncio.Event()
    spawn(_note_its_end(notes, "plain", gate))
    spawn(_note_its_end(notes, "waited for", gate), wait=True)
    await settle()
    _shutdown.notice().begin()
    await settle()
    assert notes == ["plain cancelled"]
    end = asyncio.ensure_future(finish_background())
    await settle()
    assert notes == ["plain cancelled"]
    gate.set()
    await end
    assert notes == ["plain cancelled", "waited for ended"]


async def test_what_is_waited_for_gets_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGINEER_SHUTDOWN_TIMEOUT", "0.01")
    notes: list[str] = []
    spawn(_note_its_end(notes, "late", asyncio.Event()), wait=True)
    await settle()
    await finish_background()
    assert notes == ["late cancelled"]


async def test_a_task_that_is_started_during_the_end_is_cancelled() -> None:
    notes: list[str] = []

    async def work() -> None:
        try:
            await for_ever()
        finally:
            spawn(_note_its_end(notes, "last", asyncio.Event()))
            await settle()

    spawn(work())
    await settle()
    _shutdown.notice().begin()
    await settle()
    await finish_background()
    assert notes == ["last cancelled"]
    assert not background().tasks


async def test_a_task_that_does_not_listen_holds_up_nobody_for_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("asgineer._spawn.LAST_SECONDS", 0.01)
    gate = asyncio.Event()

    async def deaf() -> None:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    task = spawn(deaf(), name="deaf\n")
    await settle()
    await finish_background()
    assert not task.done()
    gate.set()
    await task
    assert [record.getMessage() for record in caplog.records] == [
        "Background task deaf\\n goes on after its cancellation"
    ]


def test_without_tasks_there_is_nothing_to_end() -> None:
    run(finish_background())


async def test_a_next_server_in_the_same_loop() -> None:
    for _ in range(2):
        notes: list[str] = []
        spawn(_note_its_end(notes, "plain", asyncio.Event()))
        await settle()
        _shutdown.notice().begin()
        await settle()
        assert notes == ["plain cancelled"]
        await finish_background()
        _shutdown.forget()
