"""What an HTTP exchange and a websocket have in common: the app's task, how it ends, what went wrong.

An app tells of errors that it answered itself (with a 500) by `scope["extensions"]`, where
it finds a list under the name ERRORS; any other app, by what it raises.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

from ._wire import ProtocolViolation

if TYPE_CHECKING:
    from types import TracebackType

    from ._wire import ASGIApp, Message, Scope

GRACE = 5.0  # seconds for an app to end by itself after its client left
ERRORS = "asgineer.errors"


class Connection(ABC):
    """What both kinds share: the app runs in a task of its own, and its end is always settled."""

    def __init__(self, app: ASGIApp, scope: Scope) -> None:
        self._app = app
        self._task: asyncio.Task[None] | None = None
        self.scope = scope
        #: What the app raised, or None. A client sees only a 500 or a broken connection.
        self.error: BaseException | None = None
        #: The first thing the app did against the specification, or None.
        self.violation: ProtocolViolation | None = None
        self._told = False

    def start(self) -> None:
        """Call the app, in a new task."""
        self._task = asyncio.create_task(self._run(), name=f"{self.scope['type']} {self.scope['path']}")

    async def ended(self) -> None:
        """Wait until the app has ended. What it raised is not raised here; it stands in `error`."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def aclose(self, grace: float | None = None) -> None:
        """Leave, give the app `grace` seconds (GRACE) to end by itself, then cancel it."""
        grace = GRACE if grace is None else grace
        self.leave()
        if self._task is None:
            return
        late = False
        try:
            await asyncio.wait([self._task], timeout=grace)
            late = not self._task.done()
        finally:
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait([self._task], timeout=GRACE)
        if late:
            end = "was cancelled" if self._task.done() else "ignores its cancellation"
            raise TimeoutError(
                f"{self._task.get_name()} still ran {grace} s after its client left, and {end}"
            )

    @property
    def failed(self) -> bool:
        """Whether something went wrong in the app, until now."""
        return bool(self.violation or self.error or self.scope["extensions"].get(ERRORS))

    def failure(
        self, kinds: type[BaseException] | tuple[type[BaseException], ...] = BaseException
    ) -> BaseException | None:
        """Return what went wrong in the app; None the next time that this is asked.

        Args:
            kinds: what the handler raised counts if it is one of these; what no server would take, always.
        """
        failure: BaseException | None = self.violation
        if failure is None:
            raised = self.scope["extensions"].get(ERRORS) or [self.error]
            failure = next((error for error in raised if isinstance(error, kinds)), None)
        if failure is None or self._told:
            return None
        self._told = True
        if isinstance(failure, asyncio.CancelledError):  # raised in a test, it would end that
            return None if failure is self.error else RuntimeError("the handler was cancelled by itself")
        return failure

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @abstractmethod
    def leave(self) -> None:
        """Close the connection from the client's side, at any time."""

    @abstractmethod
    def stall(self) -> None:
        """Take nothing more off the connection: the app's next send waits until the client leaves."""

    @abstractmethod
    async def receive(self) -> Any:
        """Return the next message of the client's; the `receive` that the app sees."""

    @abstractmethod
    async def _accept_message(self, message: Message) -> None:
        """Check a message of the app's and do what it says."""

    @abstractmethod
    def _settle(self) -> None:
        """End what the app left unfinished, as a server does."""

    async def send(self, message: Message) -> None:
        """Take a message of the app's; the `send` that the app sees.

        Raises:
            ProtocolViolation: the message is malformed, or comes at the wrong time.
        """
        try:
            await self._accept_message(message)
        except ProtocolViolation as violation:
            self.violation = self.violation or violation
            raise

    async def _run(self) -> None:
        try:
            await self._app(self.scope, self.receive, self.send)
        except asyncio.CancelledError as error:
            self.error = error
            raise
        except BaseException as error:  # SystemExit too: it must not end the loop of the tests
            self.error = error
        finally:
            self._settle()
