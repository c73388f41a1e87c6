"""How the engine on Redis loses its server and finds it again: through a proxy that fails, or by signals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from typing import TYPE_CHECKING

import pytest

from asgineer.channels import _canary, _redis, _redis_url, _redis_wire
from asgineer.channels._redis import RedisEngine
from asgineer.errors import ChannelError
from asgineer.testing._fakeclock import FakeClock, fake_clock

from .heard import PATIENCE, Heard
from .proxy import Proxy
from .redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from .proxy import Streams

COMMANDS, LIVE = 0, 1  # the connections, in the order in which the engine makes them


@pytest.fixture(scope="module")
def one_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(one_server: RedisServer) -> RedisServer:
    one_server.call("FLUSHALL")
    return one_server


class Scene:
    """An engine behind a proxy, which listens to one channel."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.heard = Heard()
        self.engine = RedisEngine(f"redis://127.0.0.1:{proxy.port}")

    async def publish(self, data: bytes = b"x") -> tuple[str, int]:
        return await self.engine.publish("room", "b", data, history=500, ttl=300, key=None)

    async def back(self, times: int = 1) -> None:
        """Wait until the engine was back so often, listen again, and see that messages come."""
        await self.heard.until(lambda: self.heard.turns.count("back") == times)
        await self.see_it_work()

    async def see_it_work(self) -> None:
        await self.engine.listen(["room"])
        token = os.urandom(8)
        await self.publish(token)
        await self.heard.until(lambda: token in self.heard.data)


def play(part: Callable[[Scene], Awaitable[None]], *servers: RedisServer) -> None:
    async def main() -> None:
        async with Proxy(*[server.port for server in servers]) as proxy:
            scene = Scene(proxy)
            await scene.engine.open(scene.heard)
            try:
                await scene.see_it_work()
                await part(scene)
            finally:
                await scene.engine.close()

    asyncio.run(main())


async def settle(server: RedisServer | None = None) -> None:
    """Let all that is ready in the loop run; what is on its way to the server and back, too."""
    for _ in range(20):
        await asyncio.sleep(0)
    if server is not None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(3):  # a proxy needs some turns, for each way
            writer.write(b"PING\r\n")
            assert await reader.readline() == b"+PONG\r\n"
        writer.transport.abort()
    for _ in range(20):
        await asyncio.sleep(0)


async def drive(
    clock: FakeClock, server: RedisServer | None, condition: Callable[[], object], step: float = 0.5
) -> None:
    """Move the clock on, in steps between which the loop and the server run, until it is so."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            clock.advance(step)
            await settle(server)


def test_connections_that_are_cut_are_made_anew(server: RedisServer) -> None:
    async def part(scene: Scene) -> None:
        for times in range(1, 4):
            scene.proxy.cut()
            await scene.back(times)
        assert scene.heard.turns == ["lost", "back"] * 3
        while scene.proxy.connections > 2:  # noqa: ASYNC110 - it lets go of the old ones soon
            await asyncio.sleep(0)

    play(part, server)


def test_losing_the_one_that_listens_keeps_the_other(server: RedisServer) -> None:
    async def part(scene: Scene) -> None:
        assert server.call("CLIENT", "KILL", "TYPE", "pubsub") == ":1"
        going = [asyncio.ensure_future(scene.publish()) for _ in range(100)]
        await scene.back()
        assert [offset for _, offset in await asyncio.gather(*going)] == list(range(2, 102))
        assert scene.proxy.accepted == 3

    play(part, server)


def test_losing_the_one_for_commands_keeps_the_other_and_is_told(server: RedisServer) -> None:
    async def part(scene: Scene) -> None:
        scene.proxy.stall(COMMANDS)
        going = asyncio.ensure_future(scene.publish())
        await settle(server)
        scene.proxy.cut(COMMANDS)
        with pytest.raises(ChannelError, match="The connection to Redis was lost"):
            await going
        await scene.back()
        assert scene.proxy.accepted == 3

    play(part, server)


def test_publishing_waits_a_moment_for_a_connection_that_was_just_lost(server: RedisServer) -> None:
    async def part(scene: Scene) -> None:
        scene.proxy.cut()
        await scene.heard.until(lambda: scene.heard.turns)
        going = asyncio.ensure_future(scene.publish())
        await drive(clock, server, going.done, 0.05)
        assert (await going)[1] == 2

    with fake_clock() as clock:
        play(part, server)


def test_publishing_fails_within_five_seconds_and_then_at_once(server: RedisServer) -> None:
    async def part(scene: Scene) -> None:
        scene.proxy.stall()
        start = clock.time()
        going = asyncio.ensure_future(scene.publish())
        await settle(server)
        await drive(clock, server, going.done)
        assert clock.time() - start <= _redis_wire.REPLY + 0.5
        with pytest.raises(ChannelError, match="no reply for 4 s"):
            await going
        waiting = asyncio.ensure_future(scene.publish())
        await settle(server)
        start = clock.time()
        await drive(clock, server, waiting.done, 0.1)
        assert clock.time() - start <= _redis.WAIT + 0.1
        with pytest.raises(ChannelError, match="is away: no reply for 4 s"):
            await waiting
        for call in (scene.publish(), scene.engine.listen(["a"]), history(scene)):
            with pytest.raises(ChannelError, match="is away"):
                await call
        await scene.engine.unlisten(["room"])
        scene.proxy.resume()
        await drive(clock, server, lambda: scene.heard.turns == ["lost", "back"])
        await scene.see_it_work()

    assert _redis.WAIT + _redis_wire.REPLY < 5
    with fake_clock() as clock:
        play(part, server)


async def history(scene: Scene) -> None:
    await scene.engine.history("room", 0, 10, history=500, ttl=300)


def test_a_silent_connection_is_noticed_by_the_heartbeat(server: RedisServer) -> None:
    async def part(scene: Scene) -> None:
        scene.proxy.stall(LIVE)
        await drive(clock, server, lambda: scene.heard.turns)
        assert re.search("no heartbeat came back for 1[5-9] s|20 s", str(scene.heard.reasons[0]))
        assert clock.time() - 1000 <= _canary.LATE + _canary.PERIOD
        scene.proxy.resume()
        await drive(clock, server, lambda: scene.heard.turns == ["lost", "back"])
        await scene.see_it_work()

    with fake_clock() as clock:
        play(part, server)


def test_the_heartbeat_lets_a_connection_that_works_be(server: RedisServer) -> None:
    async def part(scene: Scene) -> None:
        before = commands()
        for _ in range(600):
            clock.advance(0.5)
            await settle(server)
            await history(scene)  # a round trip: the heartbeat's has been
        assert scene.heard.turns == []
        beats = commands() - before
        assert 50 <= beats <= 70

    def commands() -> int:
        return int(
            server.call("INFO", "commandstats").partition("cmdstat_publish:calls=")[2].partition(",")[0]
        )

    with fake_clock() as clock:
        play(part, server)


def test_a_stopped_server_is_lost_and_found(server: RedisServer) -> None:
    async def part(scene: Scene) -> None:
        server.pause()
        try:
            await drive(clock, None, lambda: scene.heard.turns)
            assert clock.time() - 1000 <= 10, "the heartbeat's own reply is late sooner than the heartbeat"
            for _ in range(20):
                clock.advance(1)
                await settle()
        finally:
            server.resume()
        await drive(clock, server, lambda: "back" in scene.heard.turns)
        await scene.see_it_work()

    with fake_clock() as clock:
        play(part, server)


def test_a_server_that_hears_nobody_is_told_at_open(server: RedisServer) -> None:
    async def main() -> None:
        async with Proxy(server.port) as proxy:
            proxy.stall()
            engine = RedisEngine(f"redis://127.0.0.1:{proxy.port}")
            with fake_clock() as clock:
                going = asyncio.ensure_future(engine.open(Heard()))
                await drive(clock, server, going.done)
            with pytest.raises(ChannelError, match="no reply for 4 s. Does it run"):
                await going

    asyncio.run(main())


def test_a_password_that_nobody_asks_for_in_time_is_told_at_open(server: RedisServer) -> None:
    """The library itself waits for the reply to it, so that wait has a limit of its own."""

    async def main() -> None:
        async with Proxy(server.port) as proxy:
            proxy.stall()
            engine = RedisEngine(f"redis://:secret@127.0.0.1:{proxy.port}")
            with fake_clock() as clock:
                going = asyncio.ensure_future(engine.open(Heard()))
                await drive(clock, server, going.done)
            with pytest.raises(ChannelError, match="no connection in 4 s"):
                await going

    asyncio.run(main())


def test_a_server_that_is_gone_is_looked_for_until_it_is_there(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def longest(least: float, most: float) -> float:
        pauses.append(most)
        return most

    async def part(scene: Scene) -> None:
        scene.proxy.refuse()
        await drive(clock, server, lambda: scene.proxy.accepted > 20, 0.1)
        assert scene.heard.turns == ["lost"]
        scene.proxy.resume()
        await drive(clock, server, lambda: scene.heard.turns == ["lost", "back"], 0.1)
        await scene.see_it_work()

    monkeypatch.setattr("random.uniform", longest)
    with fake_clock() as clock:
        play(part, server)
    assert pauses[:6] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0]
    assert set(pauses[6:]) == {2.0}


def test_another_server_in_its_place_has_another_epoch(server: RedisServer) -> None:
    async def part(scene: Scene) -> None:
        before, _ = await scene.publish()
        scene.proxy.targets = (other.port,)
        scene.proxy.cut()
        await scene.back()
        assert (await scene.publish())[0] != before

    with RedisServer() as other:
        play(part, server)


def test_another_server_behind_one_connection_ends_the_other(server: RedisServer) -> None:
    async def part(scene: Scene) -> None:
        scene.proxy.targets = (other.port,)
        scene.proxy.cut(COMMANDS)
        await scene.back()
        assert "sub=1" not in server.call("CLIENT", "LIST")

    with RedisServer() as other:
        play(part, server)


def test_two_servers_in_turn_are_refused(server: RedisServer) -> None:
    async def main() -> None:
        async with Proxy(server.port, other.port) as proxy:
            with pytest.raises(ChannelError, match="Two servers answer there, in turn"):
                await RedisEngine(f"redis://127.0.0.1:{proxy.port}").open(Heard())

    with RedisServer() as other:
        asyncio.run(main())


def test_a_server_that_became_a_replica_is_left_until_it_rules_again(server: RedisServer) -> None:
    async def part(scene: Scene) -> None:
        first, _ = await scene.publish()
        demoted.call("REPLICAOF", "127.0.0.1", server.port)
        with pytest.raises(ChannelError, match="is away: .*replica"):
            await scene.publish()
        await scene.heard.until(lambda: scene.heard.turns)
        while (error := await failure(scene)) is None or "is a replica" not in error:
            pass
        demoted.call("REPLICAOF", "NO", "ONE")
        await scene.back()

    async def failure(scene: Scene) -> str | None:
        try:
            await scene.publish()
        except ChannelError as error:
            await asyncio.sleep(0)
            return str(error)
        return None

    with RedisServer() as demoted:
        play(part, demoted)


def test_a_log_that_another_server_wrote_meanwhile_has_another_epoch(server: RedisServer) -> None:
    """The one that was left behind comes to rule again, with offsets that meant other messages."""

    async def part(scene: Scene) -> None:
        first, offset = await scene.publish()
        text = server.call("GET", "{asgineer:room}:end").partition("\r\n")[2].split()
        server.call("SET", "{asgineer:room}:end", " ".join([*text[:3], "another"]))
        second, following = await scene.publish()
        assert (second != first, following) == (True, offset + 1)
        server.call("SET", "{asgineer:room}:end", f"{second} {following} 0 another")
        found = await scene.engine.history("room", None, 0, history=500, ttl=300)
        assert found.epoch not in (first, second)
        assert (await scene.publish())[0] == found.epoch

    play(part, server)


def test_clients_are_paused_by_the_server(server: RedisServer) -> None:
    async def part(scene: Scene) -> None:
        server.call("CLIENT", "PAUSE", 200, "ALL")
        assert (await scene.publish())[1] == 2
        assert scene.heard.turns == []

    play(part, server)


def test_closing_while_the_server_is_away_leaves_nothing(server: RedisServer) -> None:
    files = len(os.listdir("/proc/self/fd"))

    async def part(scene: Scene) -> None:
        scene.proxy.refuse()
        await scene.heard.until(lambda: scene.heard.turns)
        await scene.engine.close()
        with pytest.raises(ChannelError, match="was closed"):
            await scene.publish()

    play(part, server)
    assert len(os.listdir("/proc/self/fd")) == files


def test_a_lot_of_data_in_a_black_hole_is_not_sent_later(server: RedisServer) -> None:
    """What was told as failed is thrown away, not left to the system to send when it can."""

    async def part(scene: Scene) -> None:
        scene.proxy.stall()
        going = [asyncio.ensure_future(scene.publish(bytes(1024 * 1024))) for _ in range(40)]
        await settle(server)
        await drive(clock, server, lambda: all(task.done() for task in going))
        assert all(isinstance(task.exception(), ChannelError) for task in going)
        scene.proxy.resume()
        await drive(clock, server, lambda: scene.heard.turns == ["lost", "back"])
        await scene.see_it_work()
        await drive(clock, server, lambda: scene.proxy.connections == 2, 0)  # the old ones have ended
        found = await scene.engine.history("room", None, 0, history=500, ttl=300)
        assert found.last < 30

    with fake_clock() as clock:
        play(part, server)


def test_a_connection_that_ends_while_the_other_is_made_is_told(server: RedisServer) -> None:
    class Cutting(Proxy):
        async def _forward(self, number: int, client: Streams) -> None:
            if number == LIVE:
                self.cut(COMMANDS)
                await settle()  # until the engine has noticed
            await super()._forward(number, client)

    async def main() -> None:
        async with Cutting(server.port) as proxy:
            engine = RedisEngine(f"redis://127.0.0.1:{proxy.port}")
            with pytest.raises(ChannelError, match="is away: Connection closed by server"):
                await engine.open(Heard())
            await engine.close()

    asyncio.run(main())


def test_an_engine_that_was_never_open_can_be_closed(server: RedisServer) -> None:
    asyncio.run(RedisEngine(server.url).close())


def test_a_connection_that_ended_takes_no_more_commands(server: RedisServer) -> None:
    async def part(scene: Scene) -> None:
        wire = scene.engine._commands
        assert wire is not None
        wire.end(OSError("cut"))
        with pytest.raises(ChannelError, match="has ended"):
            await wire.call("PING")
        await scene.back()

    play(part, server)


def test_a_command_whose_caller_left_before_it_was_sent_is_not_sent(server: RedisServer) -> None:
    async def part(scene: Scene) -> None:
        wire = scene.engine._commands
        assert wire is not None
        wire.call("SET", "left", "1").cancel()
        await settle(server)
        assert await wire.call("EXISTS", "left") == 0

    play(part, server)


def test_each_command_has_its_own_time(server: RedisServer) -> None:
    async def part(scene: Scene) -> None:
        await scene.publish()
        clock.advance(2)
        scene.proxy.stall()
        start = clock.time()
        going = asyncio.ensure_future(scene.publish())
        await settle(server)
        await drive(clock, server, going.done)
        assert clock.time() - start == _redis_wire.REPLY
        assert isinstance(going.exception(), ChannelError)

    with fake_clock() as clock:
        play(part, server)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "is loading the dataset"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Protocol error"),
    ],
    ids=["loading", "another protocol"],
)
def test_a_server_that_can_not_serve_is_told(answer: bytes, told: str) -> None:
    over = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.transport.abort()
        over.set()

    async def main() -> None:
        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listening:
            engine = RedisEngine(f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
            with pytest.raises(ChannelError, match=told):
                await engine.open(Heard())
            await engine.close()
            await over.wait()
            await settle()

    asyncio.run(main())


def test_a_connection_that_ended_before_anybody_listened(server: RedisServer) -> None:
    async def main() -> None:
        make, *_ = _redis_url.read_url(server.url)
        connection = make()
        connecting = connection.connect

        async def connect() -> None:
            await connecting()  # type: ignore[no-untyped-call]
            assert connection._writer is not None
            connection._writer.transport.abort()

        connection.connect = connect  # type: ignore[method-assign]
        with pytest.raises(ConnectionResetError, match="closed by server"):
            await _redis_wire.Wire(connection, lambda *ended: None).open()

    asyncio.run(main())
