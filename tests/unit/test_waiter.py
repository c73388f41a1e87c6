"""Events of a channel on our own protocol: written by what waits for them, or by the stream's task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asgineer
from asgineer._outflow import Waiter
from asgineer._shutdown import notice
from tests.unit.turns import run
from tests.unit.uvicorn_wire import GET, connected, settled, until

if TYPE_CHECKING:
    import pytest

    from tests.unit.uvicorn_wire import Client


class Room:
    """A channel, and an app that streams it."""

    def __init__(self) -> None:
        self.bus = asgineer.Bus()
        self.channel = self.bus.channel("room")
        self.app = asgineer.to_asgi(self._serve)

    async def _serve(self, request: Any) -> Any:
        return asgineer.EventStream(self.channel.subscribe(), ping=None)

    async def join(self, client: Client) -> Waiter:
        """Open the stream; return what waits for it."""
        await client.ask(GET, b"id: ")
        await settled()
        return self.waiter()

    def waiter(self) -> Waiter:
        """Return what waits in the channel, the only one."""
        assert self.bus._node is not None
        (hub,) = self.bus._node.hubs.values()
        (waiter,) = hub.waiting
        assert isinstance(waiter, Waiter)
        return waiter


def test_an_event_is_written_while_the_flow_sleeps() -> None:
    async def main() -> None:
        room = Room()
        async with connected(room.app) as client:
            waiter = await room.join(client)
            for text in ("one", "two"):
                await room.channel.publish(text)
                await client.until(b"data: %b\n\n" % text.encode())
                assert room.waiter() is waiter
                assert not waiter.done()

    run(main())


def test_several_at_once_wake_the_flow() -> None:
    async def main() -> None:
        room = Room()
        async with connected(room.app) as client:
            waiter = await room.join(client)
            await asyncio.gather(*[room.channel.publish(text) for text in ("one", "two", "three")])
            got = await client.until(b"data: three\n\n")
            assert got.count(b"data: ") == 3
            await settled()
            assert waiter.done()
            assert room.waiter() is not waiter

    run(main())


def test_what_does_not_fit_is_left_to_the_flow() -> None:
    large = "x" * 500_000

    async def main() -> None:
        room = Room()
        async with connected(room.app) as client:
            waiter = await room.join(client)
            for number in range(4):
                await room.channel.publish(f"{number}{large}")
                await settled()
            assert client.connection.write_paused
            assert waiter.done()
            got = b""
            while b"data: 3" not in got or not got.endswith(b"x\n\n\r\n"):
                got += await client.read()
            assert [got.count(b"data: %d" % number) for number in range(4)] == [1] * 4

    run(main())


def test_the_server_stops_while_it_waits() -> None:
    async def main() -> None:
        room = Room()
        async with connected(room.app) as client:
            waiter = await room.join(client)
            waiter.set_result(None)  # as the channel does it
            notice().begin()
            await client.until(b"retry: ")
            await client.until(b"0\r\n\r\n")
            assert waiter.sleeper.cancelled()

    run(main())


def test_a_subscription_that_is_closed_ends_the_stream() -> None:
    async def main() -> None:
        room = Room()
        async with connected(room.app) as client:
            waiter = await room.join(client)
            await room.bus.close()
            await client.until(b"0\r\n\r\n")
            assert waiter.done()
            waiter.set_result(None)
            await settled()

    run(main())


def test_what_fails_is_the_flow_s_failure(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Any:
        raise KeyError("pending")

    async def main() -> None:
        room = Room()
        async with connected(room.app) as client:
            waiter = await room.join(client)
            waiter._pending = fail
            await room.channel.publish("x")
            await until(client.transport.is_closing)

    run(main())
    assert "KeyError" in caplog.text
