"""The life of an app: for now `running`, which runs the lifespan of another one inside ours.

The other app's lifespan is a call that lasts as long as it runs, so it has a task of its own;
we play the server for it, with ASGI's own messages. What its lifespan leaves in
`scope["state"]` is kept where `forward` finds it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from ._forward import running_apps, state_of
from ._log import log_error, logger
from .errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ._forward import ASGIApp
    from ._request import Message

__all__ = ["running"]


@contextlib.asynccontextmanager
async def running(app: ASGIApp) -> AsyncGenerator[dict[str, Any]]:
    """Start another ASGI app, and stop it at the end of the block, as a server would.

        async with running(api):
            ...  # requests may be forwarded to it

    What its lifespan leaves in its state is what the block gets, and reaches every request that
    is forwarded to it. An app that knows no lifespan is no error.

    Raises:
        RuntimeError: it could not start, or could not stop; the cause is what it raised, if it did.
        UsageError: it is running already, in this event loop.
    """
    if state_of(app) is not None:
        raise UsageError(f"{_name_of(app)} is running already")
    life = _Life(app)
    entry = (app, life.state)
    running_apps().append(entry)
    try:
        await life.start()
        try:
            yield life.state
        finally:
            await life.stop()
    finally:
        running_apps()[:] = [other for other in running_apps() if other is not entry]
        await life.end()


def _name_of(app: ASGIApp) -> str:
    return getattr(app, "__name__", type(app).__name__)


class _Life:
    """One call of an app with a lifespan scope, and what was said in it."""

    def __init__(self, app: ASGIApp) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._asked: asyncio.Queue[Message] = asyncio.Queue()
        self._heard_startup = False
        loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Message] = loop.create_future()
        self._task = loop.create_task(self._run(), name=f"lifespan of {_name_of(app)}")

    async def _run(self) -> None:
        asgi = {"version": "3.0", "spec_version": "2.0"}
        await self._app({"type": "lifespan", "asgi": asgi, "state": self.state}, self._receive, self._send)

    async def _receive(self) -> Message:
        message = await self._asked.get()
        self._heard_startup = True
        return message

    async def _send(self, message: Message) -> None:
        if not self._answer.done():
            self._answer.set_result(message)

    async def start(self) -> None:
        """Start the app; go on without a lifespan where it has none."""
        if await self._tell("startup"):
            return
        # ASGI: an app that raises at such a scope has no lifespan. One that has taken the message has.
        error = self._error()
        if error is not None and self._heard_startup:
            raise RuntimeError(f"{_name_of(self._app)} could not start") from error
        logger.info("%s has no lifespan (%s)", _name_of(self._app), type(error).__name__)

    async def stop(self) -> None:
        """Let the app clean up."""
        if not self._task.done():
            self._answer = asyncio.get_running_loop().create_future()
            await self._tell("shutdown")
        error = self._error()
        if error is not None and self._heard_startup:
            raise RuntimeError(f"{_name_of(self._app)} could not stop") from error

    async def end(self) -> None:
        """End the call, which no server would let run on either."""
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
            if error := self._error():
                log_error(f"{type(error).__name__} in the lifespan of {_name_of(self._app)}", error)

    async def _tell(self, what: str) -> bool:
        """Tell the app; return False when it ended without an answer.

        Raises:
            RuntimeError: it says that it failed.
        """
        self._asked.put_nowait({"type": f"lifespan.{what}"})
        either: list[asyncio.Future[Any]] = [self._task, self._answer]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._answer.done():
            return False
        message = self._answer.result()
        if message["type"] == f"lifespan.{what}.failed":
            verb = "start" if what == "startup" else "stop"
            text = f"{_name_of(self._app)} could not {verb}: {message.get('message') or 'it gave no reason'}"
            raise RuntimeError(text) from self._error()
        return True

    def _error(self) -> BaseException | None:
        """Return the exception that the call ended by."""
        if not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()
