"""What a bus on NATS does when NATS fails: each fault on real servers, bounded in time.

Its own short faults (cuts, restarts, subscribing while publishing) are in `test_nats_engine`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from asgineer import Bus
from asgineer.errors import ChannelError
from asgineer.testing._fakeclock import FakeClock, fake_clock

from .nats_server import BINARY, NatsCluster, NatsServer
from .proxy import Proxy
from .test_nats_engine import Room, ask, linked, opened, room_subject

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from asgineer import Channel
    from asgineer.channels._nats import NatsEngine, _Session
    from asgineer.channels._subscription import Subscription

pytestmark = pytest.mark.skipif(BINARY is None, reason="nats-server isn't installed")


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


@contextlib.asynccontextmanager
async def buses(*urls: str) -> AsyncGenerator[list[Bus]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Bus(url)) for url in urls]


@contextlib.asynccontextmanager
async def standing(subscription: Subscription) -> AsyncGenerator[Subscription]:
    await subscription.open()
    try:
        yield subscription
    finally:
        await subscription.aclose()


async def take(subscription: Subscription, count: int) -> list[object]:
    messages = [await anext(subscription) for _ in range(count)]
    return ["reset" if message.reset else message.data for message in messages]


async def publish_surely(room: Channel, data: str) -> None:
    """Publish with a key until it is known to be there."""
    while True:
        with contextlib.suppress(ChannelError):
            await room.publish(data, key=data)
            return


async def let_time_pass(clock: FakeClock, until: Callable[[], object], step: float = 1.0) -> float:
    """Move the fake clock on, a step at a time and with real work in between; return how far."""
    passed = 0.0
    while not until():
        assert passed < 60, "a minute passed"
        clock.advance(step)
        passed += step
        for _ in range(200):
            await asyncio.sleep(0)
    return passed


async def test_a_stopped_server_is_noticed_and_comes_back(server: NatsServer) -> None:
    """Fault (f): SIGSTOP, so connections stay and nobody answers."""
    with fake_clock() as clock:
        async with opened(server.url) as room:
            await room.engine.listen(["room"])
            epoch, offset = await room.publish(b"1")
            server.pause()
            publishing = asyncio.ensure_future(room.publish(b"2"))
            passed = await let_time_pass(clock, publishing.done)
            assert passed <= 6
            with pytest.raises(ChannelError, match="did not answer in 5 s"):
                await publishing
            assert passed + await let_time_pass(clock, lambda: room.heard.turns) <= 21
            assert "no heartbeat came back" in str(room.heard.reasons[0])
            publishing = asyncio.ensure_future(room.publish(b"3"))
            await let_time_pass(clock, publishing.done)
            with pytest.raises(ChannelError, match="no connection"):
                await publishing
            server.resume()
            await let_time_pass(clock, lambda: "back" in room.heard.turns, 0.01)
            await room.engine.listen(["room"])
            found = await room.read(offset)
            assert (found.epoch, found.first) == (epoch, offset + 1)
            assert [entry.data for entry in found.entries] in ([], [b"2"])


async def test_a_black_hole_is_noticed_and_comes_back(server: NatsServer) -> None:
    """Fault (i): what is sent goes nowhere, and nothing says so."""
    with fake_clock() as clock:
        async with Proxy(server.port) as proxy, buses(f"nats://127.0.0.1:{proxy.port}", server.url) as both:
            room, same = (bus.channel("room") for bus in both)
            async with standing(room.subscribe()) as messages:
                await same.publish("1")
                assert await take(messages, 1) == ["1"]
                proxy.stall()
                await same.publish("2")
                await let_time_pass(clock, lambda: both[0].status.state == "away")
                await same.publish("3")
                proxy.resume()
                await let_time_pass(clock, lambda: both[0].status.ok, 0.01)
                assert await take(messages, 2) == ["2", "3"]
            assert both[0].status.losses == 1
            assert both[1].status.losses == 0


async def test_a_slow_consumer_is_cut_off_and_goes_on() -> None:
    """The server drops a connection that takes nothing; what was on its way is read from the log."""
    with NatsServer('max_payload: 131072\nmax_pending: 1048576\nwrite_deadline: "0.1s"') as server:
        async with Proxy(server.port) as proxy, buses(f"nats://127.0.0.1:{proxy.port}", server.url) as both:
            room, same = (bus.channel("room") for bus in both)
            wanted = [f"{number} ".ljust(100_000, "x") for number in range(120)]
            async with standing(room.subscribe()) as messages:
                proxy.stall()
                for data in wanted:
                    await same.publish(data)
                proxy.resume()
                found: list[object] = []
                while not found or found[-1] != wanted[-1]:
                    found += await take(messages, 1)
                    if (
                        found[-1] == "reset"
                    ):  # it fell off the log's 8 MiB: told, and nothing before it is missing
                        break
                assert found == wanted or (found[-1] == "reset" and found[:-1] == wanted[: len(found) - 1])
            assert both[0].status.losses >= 1


async def test_a_silent_channel_is_whole_after_a_cut(server: NatsServer) -> None:
    """Its last message is gone by age, for which a purge stands; nothing came since, and that is known."""
    async with Proxy(server.port) as proxy, opened(f"nats://127.0.0.1:{proxy.port}") as room:
        await room.engine.listen(["room"])
        _, offset = await room.publish(b"1")
        await room.heard.until(lambda: room.heard.messages)
        assert (await room.read(offset)).first == offset + 1
        async with linked(server.url) as link:
            await ask(link, "$JS.API.STREAM.PURGE.asgineer", {"filter": room_subject(room)})
        proxy.cut()
        await room.back()
        await room.engine.listen(["room"])
        found = await room.read(offset)
        assert (found.first, found.entries) == (offset + 1, [])
        proxy.cut()  # and what is known of it lasts
        await room.back(2)
        await room.publish(b"2")
        found = await room.read(offset)
        assert (found.first, [entry.data for entry in found.entries]) == (offset + 1, [b"2"])


async def test_a_channel_that_was_not_silent_is_not_whole_after_a_cut(server: NatsServer) -> None:
    async with Proxy(server.port) as proxy, opened(f"nats://127.0.0.1:{proxy.port}") as room:
        room.history = 3
        await room.engine.listen(["room"])
        _, offset = await room.publish(b"1")
        await room.heard.until(lambda: room.heard.messages)
        proxy.refuse()
        await room.heard.until(lambda: room.heard.turns)
        async with opened(server.url) as other:
            other.history = 3
            for number in range(5):
                await other.publish(b"%d" % number)
        proxy.resume()
        await room.back()
        assert (await room.read(offset)).first > offset + 1


# A cluster of three


@pytest.fixture(scope="module")
def cluster() -> Iterator[NatsCluster]:
    with NatsCluster() as cluster:
        asyncio.run(when_it_leads(cluster))
        yield cluster


async def when_it_leads(cluster: NatsCluster) -> None:
    """Return when the cluster can make streams."""
    while True:
        with contextlib.suppress(ChannelError):
            async with Bus(f"{cluster.url}&stream=first"):
                return


async def leader_of(room: Room) -> str:
    session = session_of(room)
    found = await session.api("STREAM.INFO", {}, 5.0)
    return str(found["cluster"]["leader"])


def session_of(room: Room) -> _Session:
    engine: NatsEngine = room.engine
    assert engine._session is not None
    return engine._session


async def test_in_a_cluster_what_is_published_is_read_at_once(cluster: NatsCluster) -> None:
    """Any replica answers a read; one that lags is waited for."""
    async with opened(f"{cluster.url}&stream=lags") as room:
        for number in range(100):
            _, offset = await room.publish(b"%d" % number)
            found = await room.read(offset - 1)
            assert found.last == offset


async def test_a_leader_that_steps_down_is_told(cluster: NatsCluster) -> None:
    async with opened(f"{cluster.url}&stream=steps") as room:
        epoch, offset = await room.publish(b"1")
        async with linked(room.engine._servers[0]) as link:
            await ask(link, "$JS.API.STREAM.LEADER.STEPDOWN.steps")
        await room.back()
        assert "leader elected" in str(room.heard.reasons[0])
        found = await room.read(offset)
        assert (found.epoch, found.first) == (epoch, offset + 1)


async def test_a_leader_that_is_killed_loses_nothing(cluster: NatsCluster) -> None:
    url = f"{cluster.url}&stream=killed"
    wanted = [str(number) for number in range(60)]
    async with buses(url, url) as (publisher, bus), opened(url) as room:
        same, subscribed = publisher.channel("room"), bus.channel("room")

        async def publish_all() -> None:
            for number, data in enumerate(wanted):
                if number == 20:
                    cluster.servers[await leader_of(room)].kill()
                await publish_surely(same, data)

        async with standing(subscribed.subscribe()) as messages:
            publishing = asyncio.ensure_future(publish_all())
            assert await take(messages, len(wanted)) == wanted
            await publishing
