"""Faults of Redis with buses on it: three processes' worth of them, forty subscribers, one publisher.

Every subscriber has every number once and in order, or a reset before anything later; and none
but the faults that lose data may lead to a reset. The waits of the engine are a tenth of what they are.
`bench/faults.py` does the same with processes and browsers' connections, and with its own waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from asgineer import Bus, ChannelError
from asgineer.channels import _canary, _redis, _redis_wire

from .proxy import Proxy
from .redis_server import PRESENT, RedisServer
from .watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from asgineer import Channel

EACH = 20  # subscribers on each of two buses
STEP = 30  # messages before, during and after a fault
SCALE = 0.1  # of the engine's waits


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, names in ((_canary, ["PERIOD", "LATE"]), (_redis_wire, ["REPLY"]), (_redis, ["WAIT"])):
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name) * SCALE)


@pytest.fixture(params=PRESENT)
def server_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Stage:
    """Two buses with subscribers, a third one with the publisher, all through one proxy."""

    def __init__(self, server: RedisServer, proxy: Proxy) -> None:
        self.server, self.proxy = server, proxy
        self.buses = [Bus(f"redis://127.0.0.1:{proxy.port}") for _ in range(3)]
        self.room = self.buses[2].channel("room")
        self.watches: list[Watch] = []
        self.published = 0
        self.unknown = 0
        self._more = asyncio.Event()

    async def follow(self, room: Channel, watch: Watch, since: str | None = None) -> None:
        """Take messages as they come; the bus may be away for a while when it begins."""
        while True:
            with contextlib.suppress(ChannelError):
                subscription = room.subscribe(since=since)
                since = await subscription.open()
                async for message in subscription:
                    since = message.id
                    if message.reset:
                        watch.reset()
                    else:
                        watch.take(int(message.data))
                    self._more.set()

    async def publish(self, count: int = STEP) -> None:
        """Publish the next numbers, each until it is known to be in the log."""
        for _ in range(count):
            number = self.published + 1
            while True:
                try:
                    await self.room.publish(str(number), key=f"n{number}")
                except ChannelError:
                    self.unknown += 1
                    await asyncio.sleep(0)
                else:
                    break
            self.published = number

    async def until_all(self, condition: Callable[[Watch], object]) -> None:
        """Wait until it is so of all subscribers."""
        async with asyncio.timeout(30):
            while not all(condition(watch) for watch in self.watches):
                self._more.clear()
                await self._more.wait()

    async def heal(self) -> None:
        """Publish on, until all have heard of the newest."""
        await self.publish()
        async with asyncio.timeout(30):
            while any(watch.last < self.published - STEP for watch in self.watches):
                await self.publish(1)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await self.until_all(lambda watch: watch.last == self.published)
        await self.until_all(lambda watch: watch.last == self.published)

    def check(self, resets: int = 0) -> None:
        """See that nothing was lost, and that so many resets were told each."""
        for watch in self.watches:
            watch.end(self.published)
            assert (watch.lost, watch.twice, watch.disordered) == (0, 0, 0)
            assert watch.resets == resets


@contextlib.asynccontextmanager
async def staged(server: RedisServer) -> AsyncGenerator[Stage]:
    async with Proxy(server.port) as proxy:
        stage = Stage(server, proxy)
        async with asyncio.TaskGroup() as group:
            begin = await stage.room.position()
            tasks = []
            for bus in stage.buses[:2]:
                for _ in range(EACH):
                    watch = Watch()
                    stage.watches.append(watch)
                    tasks.append(group.create_task(stage.follow(bus.channel("room"), watch, begin)))
            await stage.publish()
            await stage.until_all(lambda watch: watch.last == stage.published)
            try:
                yield stage
            finally:
                for task in tasks:
                    task.cancel()
        for bus in stage.buses:
            await bus.close()


def play(server: RedisServer, scene: Callable[[Stage], Awaitable[None]]) -> None:
    async def main() -> None:
        async with staged(server) as stage:
            await scene(stage)

    with server:
        asyncio.run(main())


def test_every_connection_to_the_engine_is_cut(server_name: str) -> None:
    async def scene(stage: Stage) -> None:
        for _ in range(5):
            going = asyncio.ensure_future(stage.publish())
            await asyncio.sleep(0)
            stage.proxy.cut()
            await going
        await stage.heal()
        stage.check()

    play(RedisServer(server_name), scene)


def test_the_listening_connections_are_killed(server_name: str) -> None:
    async def scene(stage: Stage) -> None:
        for _ in range(5):
            going = asyncio.ensure_future(stage.publish())
            await asyncio.sleep(0)
            stage.server.call("CLIENT", "KILL", "TYPE", "pubsub")
            await going
        await stage.heal()
        stage.check()
        assert stage.unknown == 0

    play(RedisServer(server_name), scene)


def test_a_restart_with_the_data(server_name: str) -> None:
    async def scene(stage: Stage) -> None:
        stage.server.stop()
        going = asyncio.ensure_future(stage.publish())
        await asyncio.sleep(0)
        stage.server.start()
        await going
        await stage.heal()
        stage.check(resets=1)

    play(RedisServer(server_name, durable=True), scene)


def test_a_restart_without_the_data(server_name: str) -> None:
    async def scene(stage: Stage) -> None:
        stage.server.kill()
        stage.server.start()
        await stage.publish()
        await stage.heal()
        stage.check(resets=1)

    play(RedisServer(server_name), scene)


def test_the_server_is_stopped_for_a_while(server_name: str) -> None:
    async def scene(stage: Stage) -> None:
        stage.server.pause()
        with pytest.raises(ChannelError):
            await stage.room.publish("1", key="n1")  # which is there already
        going = asyncio.ensure_future(stage.publish())
        for bus in stage.buses[:2]:
            while bus.status.ok:  # noqa: ASYNC110 - the heartbeat tells
                await asyncio.sleep(0)
        stage.server.resume()
        await going
        await stage.heal()
        stage.check()

    play(RedisServer(server_name), scene)


def test_a_black_hole(server_name: str) -> None:
    async def scene(stage: Stage) -> None:
        stage.proxy.stall()
        going = asyncio.ensure_future(stage.publish())
        for bus in stage.buses:
            while bus.status.ok:  # noqa: ASYNC110 - the heartbeat tells
                await asyncio.sleep(0)
        stage.proxy.resume()
        await going
        await stage.heal()
        stage.check()
        assert all(bus.status.losses for bus in stage.buses)

    play(RedisServer(server_name), scene)


def test_failover_to_a_replica_that_lags(server_name: str) -> None:
    async def scene(stage: Stage) -> None:
        master = stage.server
        async with Proxy(master.port) as link:
            replica = RedisServer(server_name, "--replicaof", "127.0.0.1", str(link.port))
            with replica:
                while f"offset={await offset(master)}" not in await info(master):
                    pass  # until it has all
                link.stall()
                await stage.publish()  # which the replica never hears of
                await stage.until_all(lambda watch: watch.last == stage.published)
                master.kill()
                stage.proxy.targets = (replica.port,)
                await asyncio.to_thread(replica.call, "REPLICAOF", "NO", "ONE")
                await stage.publish()
                await stage.heal()
                stage.check(resets=1)
                for bus in stage.buses:
                    await bus.close()
                link.resume()

    async def info(master: RedisServer) -> str:
        text = await asyncio.to_thread(master.call, "INFO", "replication")
        return text.partition("slave0:")[2].partition("\r\n")[0] + ","

    async def offset(master: RedisServer) -> str:
        text = await asyncio.to_thread(master.call, "INFO", "replication")
        return text.partition("master_repl_offset:")[2].partition("\r\n")[0] + ","

    play(RedisServer(server_name), scene)


def test_subscribing_exactly_while_publishing(server_name: str) -> None:
    async def scene(stage: Stage) -> None:
        going = asyncio.ensure_future(stage.publish(300))
        late: list[Watch] = []
        async with asyncio.TaskGroup() as group:
            tasks = []
            for bus in (stage.buses[0], Bus(f"redis://127.0.0.1:{stage.proxy.port}")):
                for number in range(50):
                    watch = Watch()
                    late.append(watch)
                    room = bus.channel("room") if number % 2 else bus.channel("room", history=499)
                    tasks.append(group.create_task(stage.follow(room, watch, "")))
                    await asyncio.sleep(0)
            await going
            stage.watches += late
            await stage.until_all(lambda watch: watch.last == stage.published)
            for task in tasks:
                task.cancel()
            await bus.close()
        stage.check()

    play(RedisServer(server_name), scene)


def test_memory_that_is_full_is_told_to_the_publisher_and_no_one_else(server_name: str) -> None:
    async def scene(stage: Stage) -> None:
        stage.server.call("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(ChannelError, match="maxmemory"):
            await stage.room.publish("x")
        stage.server.call("CONFIG", "SET", "maxmemory", 0)
        await stage.heal()
        stage.check()
        assert all(bus.status.ok for bus in stage.buses)

    play(RedisServer(server_name), scene)
