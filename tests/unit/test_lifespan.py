"""running: the lifespan of another app, with us as its server."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import UsageError, running, to_asgi

from .turns import errors, run, settle

if TYPE_CHECKING:
    from asgineer._request import Receive, Scope, Send


class App:
    """An app that notes what it hears, and says or raises what it was told to."""

    def __init__(self, start: Any = "complete", stop: Any = "complete", ends: bool = True) -> None:
        self.heard: list[Any] = []
        self._says = {"lifespan.startup": start, "lifespan.shutdown": stop}
        self._ends = ends

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert (scope["type"], scope["asgi"]["version"]) == ("lifespan", "3.0")
        scope["state"]["pool"] = 3
        try:
            while True:
                message = await receive()
                self.heard.append(message["type"])
                await self._say(message["type"], send)
                if message["type"] == "lifespan.shutdown" and self._ends:
                    return
        except asyncio.CancelledError:
            self.heard.append("cancelled")
            raise

    async def _say(self, kind: str, send: Send) -> None:
        say = self._says[kind]
        if isinstance(say, Exception):
            raise say
        text, _, error = say.partition("!")
        kind, _, reason = f"{kind}.{text}".partition(":")
        await send({"type": kind, "message": reason} if reason else {"type": kind})
        if error:
            raise ValueError(error)


async def in_block(app: Any, *, raising: BaseException | None = None) -> Any:
    async with running(app) as state:
        await settle()
        if raising is not None:
            raise raising
        return dict(state)


async def test_start_and_stop() -> None:
    app = App()
    async with running(app) as state:
        assert app.heard == ["lifespan.startup"]
        assert state == {"pool": 3}
    assert app.heard == ["lifespan.startup", "lifespan.shutdown"]


@pytest.mark.parametrize("error", [ValueError("of the block"), asyncio.CancelledError()])
def test_it_stops_when_the_block_raises(error: BaseException) -> None:
    app = App()
    with pytest.raises(type(error)):
        run(in_block(app, raising=error))
    assert app.heard == ["lifespan.startup", "lifespan.shutdown"]


async def without_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"


async def returning(scope: Scope, receive: Receive, send: Send) -> None:
    pass


@pytest.mark.parametrize("app", [without_lifespan, returning])
def test_an_app_without_a_lifespan(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert run(in_block(app)) == {}
    assert f"{app.__name__} has no lifespan" in caplog.text


def test_an_app_of_ours() -> None:
    @to_asgi
    async def main(request: Any) -> str:
        return "x"

    assert run(in_block(main)) == {}


@pytest.mark.parametrize(
    ("start", "text", "cause"),
    [
        ("failed:no database", "App could not start: no database", None),
        ("failed", "App could not start: it gave no reason", None),
        ("failed:no database!told", "App could not start: no database", "told"),
        (ValueError("raised"), "App could not start", "raised"),
    ],
)
def test_failed_start(start: Any, text: str, cause: str | None) -> None:
    app = App(start)
    with pytest.raises(RuntimeError) as caught:
        run(in_block(app))
    assert str(caught.value) == text
    assert (str(caught.value.__cause__) if caught.value.__cause__ else None) == cause
    assert app.heard == ["lifespan.startup"] + (["cancelled"] if cause is None else [])


@pytest.mark.parametrize(
    ("stop", "text", "cause"),
    [
        ("failed:stuck", "App could not stop: stuck", None),
        ("failed:stuck!told", "App could not stop: stuck", "told"),
        ("complete!later", "App could not stop", "later"),
        (ValueError("raised"), "App could not stop", "raised"),
    ],
)
def test_failed_stop(stop: Any, text: str, cause: str | None) -> None:
    with pytest.raises(RuntimeError) as caught:
        run(in_block(App(stop=stop)))
    assert str(caught.value) == text
    assert (str(caught.value.__cause__) if caught.value.__cause__ else None) == cause


def test_an_error_of_the_block_is_not_lost_behind_one_of_the_end() -> None:
    with pytest.raises(RuntimeError) as caught:
        run(in_block(App(stop="failed:stuck"), raising=KeyError("of the block")))
    assert isinstance(caught.value.__context__, KeyError)


def test_an_app_that_ended_by_itself() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.startup.complete"})  # twice does no harm

    assert run(in_block(app)) == {}


def test_an_app_that_broke_meanwhile() -> None:
    with pytest.raises(RuntimeError, match="App could not stop") as caught:
        run(in_block(App("complete!meanwhile")))
    assert str(caught.value.__cause__) == "meanwhile"


def test_an_app_that_does_not_end_is_cancelled() -> None:
    app = App(ends=False)
    run(in_block(app))
    assert app.heard == ["lifespan.startup", "lifespan.shutdown", "cancelled"]


async def test_a_start_that_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    heard = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await receive()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise ValueError("on the way out") from None

    task = asyncio.create_task(in_block(app))
    await settle()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert heard == ["cancelled"]
    gc.collect()  # when asyncio tells of exceptions that nobody saw
    assert errors(caplog) == ["ValueError in the lifespan of app"]


async def test_one_app_twice() -> None:
    app = App()
    async with running(app):
        with pytest.raises(UsageError, match="App is running already"):
            await in_block(app)
    assert app.heard == ["lifespan.startup", "lifespan.shutdown"]
    await in_block(app)


async def test_two_apps() -> None:
    first, second = App(), App()
    async with running(first), running(second):
        pass
    assert first.heard == second.heard == ["lifespan.startup", "lifespan.shutdown"]
