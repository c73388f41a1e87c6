"""One connection to one NATS server: requests, replies, subscriptions, and the one moment of its end.

A link that broke is never mended: the engine makes another. So nothing that was meant for the old
connection goes out on a new one, as it would with the reconnection of the client library, and the
library's ways to fail silently end here: whatever it does, the canary's silence ends the link.

Three things of nats-py are used in a way that its documentation doesn't spell out; tests hold them:
a subscription that is given a Future calls its `set_result` for each message, at once and in the
reader (no task and no queue per subscription, so nothing to overflow); with `pending_size=0` it
buffers nothing while there is no connection; and its stream writer is aborted, since its own `close`
waits for a peer that may never answer. Never `flush()` with a time-out: the late answer would
end its reader. What is stored, and where, is not known here.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .. import _clock
from .._extras import install_command
from ..errors import ChannelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

CONNECT = 2.0  # seconds for each step of connecting: TCP, the server's first line, the first answer
MAX_UNSENT = 4 * 1024 * 1024  # bytes that wait for the socket; more requests wait for answers to some
ROOM = 0.01  # seconds between two looks whether that is less, where no answer comes
HEADROOM = 256  # bytes that headers of ours may add to a message; the server counts them as payload
STATUS = "Status"
UNAVAILABLE = 10008  # JetStream's number for "temporarily unavailable"


class _Sink(asyncio.Future[Any]):
    """What takes the messages of one subscription: a Future that is never done."""

    def __init__(self, take: Callable[[Msg], object]) -> None:
        super().__init__()
        self._take = take

    def set_result(self, result: Msg) -> None:
        """Take the next message."""
        self._take(result)


class Link:
    """A connection, from `connect` until `gone` tells why it is none any more.

    Attributes:
        gone: a Future of the reason; whoever makes a link waits for it.
        server_id: another one after each start of the server.
        clustered: the server is one of several.
        peers: other servers of the cluster, as it told.
    """

    def __init__(self) -> None:
        self.gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.server_id = ""
        self.clustered = False
        self.prefix: str | None = None  # of the subjects that we must be allowed to listen to
        self._replies: dict[str, Callable[[Msg], object]] = {}
        self._pending: set[asyncio.Future[Any]] = set()
        self._room: set[asyncio.Future[None]] = set()
        self._count = 0
        self._why = ""

    async def connect(self, url: str, credentials: str | None = None) -> None:
        """Connect to the server at `url`.

        Raises:
            ChannelError: the library is missing, or why there is no connection.
        """
        try:
            from nats.aio.client import Client
        except ImportError:
            text = f"A bus on NATS needs nats-py: {install_command('nats', 'nats-py')}"
            raise ChannelError(text) from None
        self._client: Client = Client()
        cancellations = _cancellations()
        options: dict[str, Any] = {"user_credentials": credentials} if credentials else {}
        try:
            await self._client.connect(
                servers=[url],
                name="asgineer",
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=int(CONNECT),
                pending_size=0,
                flusher_queue_size=0,
                error_cb=self._on_error,
                closed_cb=self._on_closed,
                **options,
            )
            await self._begin(tls=url.startswith("tls:"))
            if _cancellations() > cancellations:
                raise ChannelError("it was given up")
        except Exception as error:
            why = self._explain(error)  # before there are others, as it ends
            await self.end()
            if _cancellations() > cancellations:
                raise asyncio.CancelledError from error
            raise ChannelError(why) from error
        except BaseException:
            await self.end()
            raise

    def _explain(self, error: Exception) -> str:
        text = self._why or str(error) or type(error).__name__
        # The server says why, and closes; but what we had sent makes that a reset, which is quicker.
        if isinstance(error, (OSError, EOFError)) and self._client._server_info.get("auth_required"):
            return f"{text}: user and password?"
        return text

    async def _begin(self, *, tls: bool) -> None:
        info = self._client._server_info  # the only place that has the id
        self.server_id = str(info.get("server_id", ""))
        self.clustered = bool(info.get("cluster"))
        if not info.get("headers") or not info.get("jetstream"):
            raise ChannelError("this server has no JetStream: start nats-server with -js")
        if tls and not info.get("tls_required"):
            raise ChannelError("this server speaks no TLS")
        self._inbox = f"{self._client.new_inbox()}."
        await self.subscribe(f"{self._inbox}*", self._on_reply)

    @property
    def peers(self) -> list[str]:
        """URLs of other servers of the cluster."""
        return [server.geturl() for server in self._client.discovered_servers]

    @property
    def max_payload(self) -> int:
        """How many bytes a message of ours may have."""
        return self._client.max_payload - HEADROOM

    def fail(self, why: str) -> None:
        """Say that this connection is none any more; everything that waits for it ends with ChannelError."""
        if self.gone.done():
            return
        self.gone.set_result(why)
        for future in self._pending:
            if not future.done():
                future.set_exception(ChannelError(f"The connection to NATS was lost: {why}"))
        self._give_room()

    async def end(self) -> None:
        """Leave no socket, and no task of the library's."""
        self.fail("closed")
        client = getattr(self, "_client", None)
        if client is None:
            return
        writer = getattr(client._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        with suppress(Exception):
            await client.close()

    async def _on_error(self, error: Exception) -> None:
        from nats.errors import SlowConsumerError

        self._why = str(error) or type(error).__name__
        if isinstance(error, SlowConsumerError):
            self.fail(f"slow consumer: {self._why}")  # the library dropped a message
        elif self.prefix is not None and "permissions violation" in self._why and self.prefix in self._why:
            self.fail(self._why)

    async def _on_closed(self) -> None:
        self.fail(str(self._client.last_error or "") or self._why or "closed by the server")

    def _on_reply(self, message: Msg) -> None:
        take = self._replies.get(message.subject[len(self._inbox) :])
        if take is not None:
            take(message)
        if self._room:
            self._give_room()

    def _give_room(self) -> None:
        for future in self._room:
            if not future.done():
                future.set_result(None)
        self._room.clear()

    async def subscribe(self, subject: str, take: Callable[[Msg], object]) -> Subscription:
        """Have `take` called with every message of `subject`, some time from now on: see `settle`."""
        try:
            return await self._client.subscribe(subject, future=_Sink(take))
        except Exception as error:
            raise ChannelError(f"NATS: {error}") from error

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Take no more of them; without a connection there is nothing to do."""
        with suppress(Exception):
            await subscription.unsubscribe()

    async def settle(self, seconds: float) -> None:
        """Return when the server has taken all that was sent: it answers in the order it is asked."""
        token, future = self._expect()
        await self._ask(token, future, self._inbox + token, b"", None, seconds, reply=False)

    async def send(self, subject: str, data: bytes) -> None:
        """Send a message that nobody answers."""
        try:
            await self._client.publish(subject, data)
        except Exception as error:
            self._look_whether_closed(error)
            raise

    def _look_whether_closed(self, error: Exception) -> None:
        """End where the library has closed without a word: its own close fails when a send breaks."""
        if self._client.is_closed:
            self.fail(str(error) or type(error).__name__)

    async def request(self, subject: str, data: bytes, headers: dict[str, str] | None, seconds: float) -> Msg:
        """Send a message and return the answer, also one that says that nobody listens (status 503).

        Raises:
            ChannelError: none came in `seconds`, or the connection broke.
        """
        token, future = self._expect()
        answer: Msg = await self._ask(token, future, subject, data, headers, seconds)
        return answer

    async def request_many(
        self, subject: str, data: bytes, seconds: float, is_last: Callable[[Msg], bool]
    ) -> list[Msg]:
        """Send a message and return all answers, until one of which `is_last`."""
        found: list[Msg] = []

        def take(message: Msg) -> None:
            found.append(message)
            if is_last(message) and not future.done():
                future.set_result(message)

        token, future = self._expect()
        self._replies[token] = take
        await self._ask(token, future, subject, data, None, seconds)
        return found

    def _expect(self) -> tuple[str, asyncio.Future[Any]]:
        """Return the name of an answer to come, and its future."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._count += 1
        token = str(self._count)

        def take(message: Msg) -> None:
            if not future.done():
                future.set_result(message)

        self._replies[token] = take
        return token, future

    async def _ask(
        self,
        token: str,
        future: asyncio.Future[Any],
        subject: str,
        data: bytes,
        headers: dict[str, str] | None,
        seconds: float,
        *,
        reply: bool = True,
    ) -> Any:
        def expire() -> None:
            if not future.done():
                future.set_exception(ChannelError(f"NATS did not answer in {seconds:g} s"))

        self._pending.add(future)
        timer = _clock.clock.call_later(seconds, expire)
        try:
            if self._client.pending_data_size > MAX_UNSENT:
                await self._wait_for_room(future)
            if not future.done():
                answer_to = self._inbox + token if reply else ""
                await self._client.publish(subject, data, reply=answer_to, headers=headers)
            return await future
        except ChannelError:
            raise
        except Exception as error:
            future.cancel()  # nobody awaits it any more, and what ends the link tells all who do
            self._look_whether_closed(error)
            raise ChannelError(f"NATS: {error}") from error
        finally:
            timer.cancel()
            self._pending.discard(future)
            del self._replies[token]

    async def _wait_for_room(self, answer: asyncio.Future[Any]) -> None:
        """Wait until less is unsent, as answers to others tell, or until the time for `answer` is over."""
        while not answer.done() and self._client.pending_data_size > MAX_UNSENT:
            room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._room.add(room)
            timer = _clock.clock.call_later(ROOM, self._give_room)  # what is unsent may expect no answer
            await asyncio.wait([room, answer], return_when=asyncio.FIRST_COMPLETED)
            timer.cancel()
            self._room.discard(room)


def _cancellations() -> int:
    """Return how many this task was asked for: `wait_for` of Python 3.11, in the library, may swallow one."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def decode(message: Msg) -> dict[str, Any]:
    """Return what an answer of JetStream's interface says.

    Raises:
        ChannelError: it is an error, or nobody is there to answer.
    """
    found: dict[str, Any] = json.loads(message.data) if message.data else {}
    if "error" in found:
        raise ApiError(found["error"])
    if not found:
        raise ApiError({"code": int((message.headers or {}).get(STATUS, 500))})
    return found


class ApiError(ChannelError):
    """What JetStream answered instead of doing it.

    Attributes:
        code: as of HTTP.
        number: which error it is.
        may_pass: nothing happened, and it may in a moment: nobody is there, or nobody leads.
    """

    def __init__(self, error: dict[str, Any]) -> None:
        self.code = int(error.get("code", 500))
        self.number = int(error.get("err_code", 0))
        self.may_pass = self.code == 503 and self.number in (0, UNAVAILABLE)
        text = error.get("description") or ("nobody answers" if self.code == 503 else "")
        super().__init__(f"NATS JetStream: {text or self.code}")
