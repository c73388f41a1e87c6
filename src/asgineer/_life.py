"""The life of our own app: its lifespan function, what that yields, and the order of the end.

A server with ASGI's lifespan tells when it starts and when its last request is over. On one
without (daphne), the app starts with its first request, and ends when the process does.

The order of the end: the notice, then handlers, then spawned tasks, then what stands after the
`yield` of the lifespan.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
from typing import TYPE_CHECKING, Any

from ._log import describe, log_error, logger
from ._shutdown import notice, unless_closing
from ._spawn import finish_background
from .errors import ChannelError, ServerClosing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from ._request import Message, Receive, Send

    Lifespan = Callable[[], AbstractAsyncContextManager[Mapping[str, Any] | None]]


class Life:
    """The life of one app in one process.

    Attributes:
        state: what the lifespan yielded; each request has a copy.
    """

    def __init__(self, lifespan: Lifespan | None) -> None:
        self._lifespan = lifespan
        self._late: asyncio.Future[None] | None = None  # done when the app has started without a server
        self._late_task: asyncio.Task[None] | None = None
        self._started = False
        self.state: dict[str, Any] = {}

    def is_wanted(self) -> bool:
        """Say whether there is anything to start."""
        return self._lifespan is not None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Start the app, and end what it started at the end of the block."""
        async with contextlib.AsyncExitStack() as stack:
            if self._lifespan is not None:
                self.state = _check_state(await stack.enter_async_context(self._lifespan()))
            self._started = True
            stack.push_async_callback(finish_background)
            try:
                yield
            finally:
                self._started = False

    async def serve(self, receive: Receive, send: Send, at_start: list[Callable[[], Any]]) -> None:
        """Follow the life of the server, by ASGI's lifespan messages.

        Args:
            at_start: called when the server starts; each returns a function to be called at the end.
        """
        if not await _is_told("startup", receive):
            return
        logger.info("Server is starting up")
        phase = "startup"
        try:
            async with contextlib.AsyncExitStack() as stack:
                for begin in at_start:
                    stack.callback(begin())
                # A signal ends the start: servers wait for it, and some for ever.
                await unless_closing(lambda: stack.enter_async_context(self.running()))
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await _is_told("shutdown", receive)
                logger.info("Server is shutting down")
                notice().begin()  # where no signal gave it
        except ServerClosing:  # at the end it is no failure
            if phase == "startup":
                logger.warning("Server was stopped during its startup")
                await send({"type": "lifespan.startup.failed", "message": "stopped during the startup"})
                return
        except Exception as error:
            text = f"{type(error).__name__} in lifespan {phase}: {describe(error)}"
            if isinstance(error, ChannelError):  # its text says all there is to do
                logger.error("%s", text)
            else:
                log_error(text, error)
            await send({"type": f"lifespan.{phase}.failed", "message": text})
            return
        await send({"type": "lifespan.shutdown.complete"})

    async def start_late(self) -> None:
        """Start the app, if no server did, in a task that stays until the process ends.

        Raises:
            Exception: what the lifespan raised; the next request tries again.
        """
        if self._started:
            return
        if self._late is None:
            loop = asyncio.get_running_loop()
            self._late = loop.create_future()
            self._late_task = loop.create_task(self._run_late(self._late), name="lifespan")
        await asyncio.shield(self._late)

    async def _run_late(self, started: asyncio.Future[None]) -> None:
        stop = asyncio.Event()
        try:
            async with self.running():
                logger.info("Server is starting up")
                atexit.register(self._end_with_process, asyncio.get_running_loop(), stop)
                started.set_result(None)
                await stop.wait()
                logger.info("Server is shutting down")
        except Exception as error:
            if started.done():
                log_error(f"{type(error).__name__} in lifespan shutdown: {describe(error)}", error)
            else:
                started.set_exception(error)
        finally:
            self._late = None  # another request, maybe in another loop, starts the app again
            started.cancel()

    def _end_with_process(self, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        """Run what is after the `yield`, in a loop that its server has left standing."""
        if self._late_task is not None and not loop.is_closed() and not loop.is_running():
            stop.set()
            loop.run_until_complete(self._late_task)


def _check_state(state: Any) -> dict[str, Any]:
    if state is None:
        return {}
    try:
        return dict(state)
    except (TypeError, ValueError):
        raise TypeError(f"A lifespan yields a mapping or nothing, not {type(state).__name__}") from None


async def _is_told(what: str, receive: Receive) -> bool:
    """Wait for a lifespan message; False when the server ends before it said so."""
    while True:
        message: Message = await receive()
        if message["type"] == f"lifespan.{what}":
            return True
        if message["type"] == "lifespan.shutdown":
            return False
        logger.warning("Unknown lifespan message %r is ignored", message["type"])
