"""Starting and stopping an app, as a server does before its first and after its last connection."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from ._wire import ProtocolViolation

if TYPE_CHECKING:
    from ._wire import ASGIApp, Message


class LifespanFailed(RuntimeError):
    """The app said that it could not start, or could not stop."""


class Lifespan:
    """Start and stop an app as a server does; an app that knows no lifespan is no error.

    `state` is what the app left for its requests; hand it to `Place`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._queue: asyncio.Queue[Message] = asyncio.Queue()
        self._answer: asyncio.Future[Message] | None = None
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}

    async def startup(self) -> None:
        """Raise LifespanFailed if the app says that it can't start."""
        self._task = asyncio.create_task(self._run(), name="lifespan")
        try:
            await self._tell("startup")
        except BaseException:
            self._task.cancel()
            await asyncio.wait([self._task])
            raise

    async def shutdown(self) -> None:
        """Raise LifespanFailed if the app says that its cleanup failed; wait for its end."""
        if self._task is not None and not self._task.done():
            await self._tell("shutdown")
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _tell(self, what: str) -> None:
        assert self._task is not None  # both callers made sure
        self._answer = asyncio.get_running_loop().create_future()
        self._queue.put_nowait({"type": f"lifespan.{what}"})
        either: list[asyncio.Future[Any]] = [self._task, self._answer]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        message = self._answer.result() if self._answer.done() else {}
        if message.get("type") == f"lifespan.{what}.failed":
            raise LifespanFailed(f"{what} failed: {message.get('message', '')}")

    async def _run(self) -> None:
        asgi = {"version": "3.0", "spec_version": "2.0"}
        # The extension tells our own app that this is no server: it must leave signals alone.
        extensions: dict[str, Any] = {"asgineer.errors": []}
        scope = {"type": "lifespan", "asgi": asgi, "state": self.state, "extensions": extensions}
        with contextlib.suppress(Exception):  # the specification: go on without lifespan
            await self._app(scope, self._queue.get, self._send)

    async def _send(self, message: Message) -> None:
        if self._answer is None or self._answer.done():
            raise ProtocolViolation(f"{message.get('type')!r} when nothing was asked")
        self._answer.set_result(message)
