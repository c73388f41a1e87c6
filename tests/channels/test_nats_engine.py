"""The engine on NATS, without a bus: its log, what it tells and refuses; on a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from asgineer.channels import _nats_link
from asgineer.channels._nats import NatsEngine
from asgineer.channels._nats_link import Link
from asgineer.errors import ChannelError
from asgineer.testing._fakeclock import fake_clock
from asgineer.testing._process import free_port

from .heard import Heard
from .nats_server import BINARY, NatsServer
from .proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

    from asgineer.channels._engine import Entry, History

    Scene = Callable[["Room"], Awaitable[None]]

pytestmark = pytest.mark.skipif(BINARY is None, reason="nats-server isn't installed")


class Chained(Heard):
    """It keeps as well which message each live one says it follows."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []

    def message(self, channel: str, epoch: str, entry: Entry) -> None:
        self.entries.append(entry)
        super().message(channel, epoch, entry)

    @property
    def chain(self) -> list[tuple[int | None, int]]:
        """(previous, offset) of each live message."""
        return [(entry.previous, entry.offset) for entry in self.entries]


class Room:
    """An engine, what it told, and a channel that is used with few words."""

    def __init__(self, engine: NatsEngine, heard: Chained, name: str = "room") -> None:
        self.engine, self.heard, self.name = engine, heard, name
        self.history, self.ttl = 20, 300.0

    async def publish(self, data: bytes, kind: str = "b", key: str | None = None) -> tuple[str, int]:
        return await self.engine.publish(self.name, kind, data, history=self.history, ttl=self.ttl, key=key)

    async def read(self, after: int | None, limit: int = 1000) -> History:
        return await self.engine.history(self.name, after, limit, history=self.history, ttl=self.ttl)

    async def read_data(self, after: int | None, limit: int = 1000) -> list[bytes]:
        return [entry.data for entry in (await self.read(after, limit)).entries]

    async def back(self, times: int = 1) -> None:
        """Wait until the connection was lost and came back so often."""
        await self.heard.until(lambda: self.heard.turns.count("back") == times)


_open: set[NatsEngine] = set()


@contextlib.asynccontextmanager
async def opened(url: str, name: str = "room") -> AsyncGenerator[Room]:
    before = asyncio.all_tasks()
    heard = Chained()
    engine = NatsEngine(url)
    await engine.open(heard)
    _open.add(engine)
    try:
        yield Room(engine, heard, name)
    finally:
        await engine.close()
        left = [task for task in asyncio.all_tasks() - before if "nats" in repr(task.get_coro())]
        _open.discard(engine)
        assert _open or not left, f"tasks are left: {left}"  # while others are open, they have some


@contextlib.asynccontextmanager
async def linked(url: str) -> AsyncGenerator[Link]:
    link = Link()
    await link.connect(url)
    try:
        yield link
    finally:
        await link.end()


async def ask(link: Link, subject: str, question: Any = None) -> dict[str, Any]:
    data = json.dumps(question).encode() if question is not None else b""
    return _nats_link.decode(await link.request(subject, data, None, 5.0))


@pytest.fixture(scope="module")
def one_server() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


@pytest.fixture
def server(one_server: NatsServer) -> NatsServer:
    async def forget() -> None:
        async with linked(one_server.url) as link:
            with contextlib.suppress(ChannelError):
                await ask(link, "$JS.API.STREAM.DELETE.asgineer")

    asyncio.run(forget())
    return one_server


def play(server: NatsServer, scene: Scene, options: str = "") -> None:
    async def main() -> None:
        async with opened(server.url + options) as room:
            await scene(room)

    asyncio.run(main())


# The log


def test_offsets_ascend_in_one_epoch(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        places = [await room.publish(b"x") for _ in range(3)]
        offsets = [offset for _, offset in places]
        assert offsets == sorted(set(offsets))
        assert len({epoch for epoch, _ in places}) == 1

    play(server, scene)


def test_a_position_taken_before_the_first_message_stays_good(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        room.history = 3
        before = await room.read(None)
        assert (before.entries, before.complete) == ([], True)
        for number in range(room.history):  # as many as the channel retains
            await room.publish(b"%d" % number)
        found = await room.read(before.last)
        assert found.first == before.last + 1
        assert [entry.data for entry in found.entries] == [b"0", b"1", b"2"]
        assert found.entries[0].previous == before.last

    play(server, scene)


def test_who_asks_where_an_empty_channel_ends_gets_the_same_answer(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        found = await asyncio.gather(*[room.read(None) for _ in range(10)])
        assert len({history.last for history in found}) == 1
        assert await room.read_data(0) == []

    play(server, scene)


def test_a_position_that_is_not_retained_is_told(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        room.history = 3
        _, first = await room.publish(b"0")
        for number in range(1, 5):
            await room.publish(b"%d" % number)
        found = await room.read(first)
        assert found.first > first + 1
        assert [entry.data for entry in found.entries] == [b"2", b"3", b"4"]

    play(server, scene)


def test_a_position_that_is_not_retained_is_told_also_after_the_bound_grew(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        room.history = 3
        before = (await room.read(None)).last
        for number in range(6):
            await room.publish(b"%d" % number)
        room.history = 100
        assert (await room.read(before)).first > before + 1

    play(server, scene)


@pytest.mark.parametrize("after", [7, 10**6, 2**63 - 1])
def test_a_position_of_nobody_is_told(server: NatsServer, after: int) -> None:
    async def scene(room: Room) -> None:
        await room.publish(b"x")
        for _ in range(20):
            await room.engine.publish("other", "b", b"", history=50, ttl=300.0, key=None)
        found = await room.read(after)
        assert found.first > after + 1 or found.last < after
        assert found.entries == []

    play(server, scene)


def test_the_newest_are_read_also_where_others_want_more(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        await room.engine.publish("other", "b", b"", history=50, ttl=600.0, key=None)
        room.history = 5
        for number in range(8):
            await room.publish(b"%d" % number)
        found = await room.read(0)
        assert [entry.data for entry in found.entries] == [b"3", b"4", b"5", b"6", b"7"]
        assert found.first == found.entries[0].offset

    play(server, scene)


@pytest.mark.parametrize("wider", [0, 100])
def test_a_read_stops_at_its_limit_and_says_so(server: NatsServer, wider: int) -> None:
    async def scene(room: Room) -> None:
        if wider:
            await room.engine.publish("other", "b", b"", history=wider, ttl=300.0, key=None)
        places = [await room.publish(b"%d" % number) for number in range(10)]
        part = await room.read(places[1][1], 4)
        assert [entry.data for entry in part.entries] == [b"2", b"3", b"4", b"5"]
        assert (part.complete, part.last) == (False, places[-1][1])
        rest = await room.read(part.entries[-1].offset, 4)
        assert [entry.data for entry in rest.entries] == [b"6", b"7", b"8", b"9"]
        assert rest.complete
        assert rest.entries[0].previous == part.entries[-1].offset

    play(server, scene)


def test_a_long_log_is_read_in_several_parts(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        room.history = 2000
        before = (await room.read(None)).last
        wanted = [b"%d" % number for number in range(1200)]
        await asyncio.gather(*[room.publish(data) for data in wanted])
        found = await room.read(before, 2000)
        assert [entry.data for entry in found.entries] == wanted
        assert found.complete

    play(server, scene)


def test_what_is_older_than_the_channel_keeps_it_is_not_read(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        _, first = await room.publish(b"old")
        await room.publish(b"old as well")
        assert room.engine._session is not None
        room.engine._session.time += room.ttl + 1  # the server's clock, as it would be by then
        found = await room.read(first)
        assert (found.entries, found.first) == ([], found.last + 1)

    play(server, scene)


def test_kinds_come_back(server: NatsServer) -> None:
    everything = bytes(range(256))

    async def scene(room: Room) -> None:
        for kind, data in [("b", everything), ("t", "ü".encode()), ("j", b'{"a":1}'), ("b", b"")]:
            await room.publish(data, kind)
        found = (await room.read(0)).entries
        assert [(entry.kind, entry.data) for entry in found] == [
            ("b", everything),
            ("t", "ü".encode()),
            ("j", b'{"a":1}'),
            ("b", b""),
        ]

    play(server, scene)


@pytest.mark.parametrize("name", ["a.b", "*", ">", "room/42", "=2F", "a>b", "$JS", "~!@#%^&()", "x" * 200])
def test_any_name_is_a_channel_of_its_own(server: NatsServer, name: str) -> None:
    async def scene(room: Room) -> None:
        room.name = name
        await room.engine.listen([name, "other"])
        await room.publish(b"x")
        await room.engine.publish("other", "b", b"y", history=20, ttl=300.0, key=None)
        await room.heard.until(lambda: len(room.heard.messages) == 2)
        assert [(channel, data) for channel, _, _, data in room.heard.messages] == [
            (name, b"x"),
            ("other", b"y"),
        ]
        assert await room.read_data(0) == [b"x"]

    play(server, scene)


def test_a_key_adds_one_message_and_gives_its_place_again(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        first = await room.publish(b"x", key="k 1\r\n")
        assert await room.publish(b"y", key="k 1\r\n") == first
        assert await room.publish(b"z", key="k 2") != first
        room.name = "another"
        assert await room.publish(b"x", key="k 1\r\n") != first
        room.name = "room"
        assert await room.read_data(0) == [b"x", b"z"]

    play(server, scene)


def test_what_no_bus_wrote_keeps_its_place_without_a_kind(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        await room.engine.listen(["room"])
        before = (await room.read(None)).last
        layout = room.engine._session.layout  # type: ignore[union-attr]
        async with linked(server.url) as link:
            for data in [b"", b"1", b"9tx", b"1zx", b"\x80\x04K\x01."]:
                await ask_raw(link, layout.log_of("room"), data)
        await room.publish(b"x")
        await room.heard.until(lambda: room.heard.data[-1:] == [b"x"])
        kinds = [entry.kind for entry in room.heard.entries]
        assert kinds == ["", "", "", "", "", "b"]
        found = await room.read(before)
        assert [entry.kind for entry in found.entries] == kinds
        assert [entry.previous for entry in found.entries] == [
            before,
            *[e.offset for e in found.entries[:-1]],
        ]

    play(server, scene)


async def ask_raw(link: Link, subject: str, data: bytes) -> None:
    _nats_link.decode(await link.request(subject, data, None, 5.0))


def test_a_message_that_nobody_republished_is_counted_as_bad(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        await room.engine.listen(["room"])
        layout = room.engine._session.layout  # type: ignore[union-attr]
        async with linked(server.url) as link:
            await link.send(layout.live_of("room"), b"1bforged")
            await link.settle(5.0)
        await room.heard.until(lambda: room.heard.bad)
        assert room.heard.bad == [("room", "it is no republished message")]
        assert not room.heard.messages

    play(server, scene)


# Live


def test_live_messages_have_the_place_and_the_bytes_that_were_published(server: NatsServer) -> None:
    everything = bytes(range(256))

    async def scene(room: Room) -> None:
        await room.engine.listen(["room"])
        place = await room.publish(everything)
        await room.heard.until(lambda: room.heard.messages)
        assert room.heard.messages == [("room", *place, everything)]

    play(server, scene)


def test_publishing_all_at_once_keeps_one_order_for_all(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        room.history = 500
        await room.engine.listen(["room"])
        places = await asyncio.gather(*[room.publish(b"%d" % number) for number in range(200)])
        await room.heard.until(lambda: len(room.heard.messages) == 200)
        told = {offset: data for _, _, offset, data in room.heard.messages}
        assert [told[offset] for _, offset in places] == [b"%d" % number for number in range(200)]
        assert await room.read_data(0) == room.heard.data

    play(server, scene)


def test_each_live_message_follows_the_one_before_it(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        await room.engine.listen(["room"])
        start = (await room.read(None)).last
        offsets = []
        for number in range(5):
            offsets.append((await room.publish(b"%d" % number))[1])
            await room.engine.publish("other", "b", b"", history=20, ttl=300.0, key=None)
        await room.heard.until(lambda: len(room.heard.entries) == 5)
        assert room.heard.chain[0][0] in (0, start)
        assert room.heard.chain[1:] == list(zip(offsets, offsets[1:], strict=False))

    play(server, scene)


def test_a_channel_that_age_emptied_goes_on_without_a_gap(server: NatsServer) -> None:
    """Purging stands for age here: the server says 0 for the message before, in both cases."""

    async def scene(room: Room) -> None:
        await room.engine.listen(["room"])
        await room.read(None)
        _, old = await room.publish(b"old")
        await room.heard.until(lambda: room.heard.messages)
        async with linked(server.url) as link:
            await ask(link, "$JS.API.STREAM.PURGE.asgineer", {"filter": room_subject(room)})
        async with opened(server.url) as another:  # it leaves a marker, which we aren't to take for a gap
            await another.read(None)
        _, new = await room.publish(b"new")
        await room.heard.until(lambda: len(room.heard.messages) == 2)
        assert room.heard.chain == [(room.heard.chain[0][0], old), (0, new)]

    play(server, scene)


def room_subject(room: Room) -> str:
    assert room.engine._session is not None
    return room.engine._session.layout.log_of(room.name)


def test_a_live_message_that_went_missing_shows_in_the_next(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        await room.engine.listen(["room"])
        _, first = await room.publish(b"1")
        await room.heard.until(lambda: room.heard.messages)
        await room.engine.unlisten(["room"])
        _, second = await room.publish(b"2")
        await room.engine.listen(["room"])
        _, third = await room.publish(b"3")
        await room.heard.until(lambda: len(room.heard.messages) == 2)
        assert room.heard.chain[-1] == (second, third)
        assert first != second

    play(server, scene)


def test_after_unlisten_nothing_is_told(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        await room.engine.listen(["room", "end"])
        await room.engine.listen(["room"])  # again, which changes nothing
        await room.engine.unlisten(["room", "never listened to"])
        await room.publish(b"x")
        await room.engine.publish("end", "b", b"", history=20, ttl=300.0, key=None)
        await room.heard.until(lambda: room.heard.messages)
        assert [channel for channel, *_ in room.heard.messages] == ["end"]

    play(server, scene)


def test_subscribing_exactly_while_publishing_loses_nothing(server: NatsServer) -> None:
    """Fault (g): what isn't in the history that is read after `listen` comes live."""

    async def scene(room: Room) -> None:
        room.history = 2000
        wanted = [b"%d" % number for number in range(300)]

        async def publish_all() -> None:
            for data in wanted:
                await room.publish(data)

        async def join(url: str) -> list[bytes]:
            async with opened(url) as other:
                other.history = 2000
                await other.engine.listen(["room"])
                found = await other.read(0, 2000)
                last = found.last if found.entries else 0
                await other.heard.until(lambda: other.heard.data[-1:] == wanted[-1:])
                live = [entry for entry in other.heard.entries if entry.offset > last]
                assert not live or not found.entries or live[0].previous == last
                return [entry.data for entry in [*found.entries, *live]]

        publishing = asyncio.ensure_future(publish_all())
        for found in await asyncio.gather(*[join(server.url) for _ in range(5)]):
            assert found == wanted
        await publishing

    play(server, scene)


# What is refused


def test_a_message_beyond_max_payload_is_refused_and_the_connection_stays() -> None:
    async def scene(room: Room) -> None:
        with pytest.raises(ChannelError, match=r"5000 bytes; NATS takes 3840 \(max_payload\)"):
            await room.publish(b"x" * 5000)
        await room.publish(b"x" * 3800, key="a key")
        assert room.heard.turns == []

    with NatsServer("max_payload: 4096") as server:
        play(server, scene)


def test_a_full_store_is_told_to_the_publisher() -> None:
    async def main() -> None:
        with NatsServer() as server, pytest.raises(ChannelError, match="insufficient storage"):
            await NatsEngine(f"{server.url}?bytes={2**50}&stream=big").open(Chained())

    asyncio.run(main())


def test_a_server_without_jetstream_says_what_to_do() -> None:
    async def main() -> None:
        with (
            NatsServer(jetstream=False) as server,
            pytest.raises(ChannelError, match="start nats-server with -js"),
        ):
            await NatsEngine(server.url).open(Chained())

    asyncio.run(main())


def test_nobody_there_says_where_and_not_the_password() -> None:
    port = free_port()

    async def main() -> None:
        with pytest.raises(ChannelError, match=rf"No bus at NATS \(127.0.0.1:{port}\)") as caught:
            await NatsEngine(f"nats://me:secret@127.0.0.1:{port}").open(Chained())
        assert "secret" not in str(caught.value)

    asyncio.run(main())


def test_a_wrong_password_is_told() -> None:
    async def main() -> None:
        with NatsServer("authorization { user: me, password: right }") as server:
            port = server.port
            with pytest.raises(ChannelError, match=r"Authorization Violation|user and password\?"):
                await NatsEngine(f"nats://me:wrong@127.0.0.1:{port}").open(Chained())
            async with opened(f"nats://me:right@127.0.0.1:{port}") as room:
                await room.publish(b"x")

    asyncio.run(main())


def test_tls_is_not_left_out_silently(server: NatsServer) -> None:
    async def main() -> None:
        with pytest.raises(ChannelError, match="speaks no TLS"):
            await NatsEngine(server.url.replace("nats:", "tls:")).open(Chained())

    asyncio.run(main())


def test_a_stream_of_somebody_else_is_left_alone(server: NatsServer) -> None:
    async def main() -> None:
        async with linked(server.url) as link:
            await ask(link, "$JS.API.STREAM.CREATE.theirs", {"name": "theirs", "subjects": ["theirs.>"]})
        with pytest.raises(ChannelError, match="a stream 'theirs' that is no bus"):
            await NatsEngine(f"{server.url}?stream=theirs").open(Chained())

    asyncio.run(main())


def test_many_that_start_at_once_share_one_stream(server: NatsServer) -> None:
    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            rooms = await asyncio.gather(*[stack.enter_async_context(opened(server.url)) for _ in range(8)])
            places = await asyncio.gather(*[room.publish(b"x") for room in rooms])
            assert len({epoch for epoch, _ in places}) == 1
            assert len({offset for _, offset in places}) == 8

    asyncio.run(main())


def test_a_subscription_that_is_not_allowed_is_told() -> None:
    permissions = '{ publish: ">", subscribe: { allow: ">", deny: "asgineer.live.*.c.secret" } }'
    config = f"authorization {{ users: [{{ user: me, password: x, permissions: {permissions} }}] }}"

    async def main() -> None:
        with NatsServer(config) as server:
            async with opened(f"nats://me:x@127.0.0.1:{server.port}") as room:
                with contextlib.suppress(ChannelError):
                    await room.engine.listen(["secret"])
                await room.heard.until(lambda: room.heard.turns)
                assert "permissions violation" in str(room.heard.reasons[0])

    asyncio.run(main())


def test_the_rights_that_the_documentation_names_are_enough() -> None:
    api = [f'"$JS.API.STREAM.{call}.asgineer"' for call in ("INFO", "CREATE", "UPDATE", "MSG.GET")]
    publish = ", ".join(['"asgineer.log.>"', '"_INBOX.>"', '"$JS.API.DIRECT.GET.asgineer"', *api])
    subscribe = '"asgineer.live.>", "_INBOX.>", "$JS.EVENT.ADVISORY.STREAM.*.asgineer"'
    permissions = f"{{ publish: {{ allow: [{publish}] }}, subscribe: {{ allow: [{subscribe}] }} }}"
    config = f"authorization {{ users: [{{ user: me, password: x, permissions: {permissions} }}] }}"

    async def main() -> None:
        with NatsServer(config) as server:
            async with opened(f"nats://me:x@127.0.0.1:{server.port}") as room:
                await room.engine.listen(["room"])
                await room.read(None)
                await room.publish(b"1")
                await room.heard.until(lambda: room.heard.messages)
                assert await room.read_data(0) == [b"1"]
                await room.engine.unlisten(["room"])
                assert room.heard.turns == []

    asyncio.run(main())


# Faults


def test_cut_connections_come_back_and_miss_nothing(server: NatsServer) -> None:
    """Fault (a), for the connection of a process."""

    async def main() -> None:
        async with Proxy(server.port) as proxy, opened(f"nats://127.0.0.1:{proxy.port}") as room:
            await room.engine.listen(["room"])
            place = await room.publish(b"1")
            await room.heard.until(lambda: room.heard.messages)
            for times in range(1, 4):
                proxy.cut()
                await room.back(times)
            assert room.heard.turns == ["lost", "back"] * 3
            await room.engine.listen(["room"])
            after = await room.publish(b"2")
            assert after[0] == place[0]  # the same run of the same server: positions stay good
            await room.heard.until(lambda: len(room.heard.messages) == 2)
            assert (await room.read(place[1])).first == place[1] + 1

    asyncio.run(main())


def test_a_publish_that_was_under_way_raises_when_the_connection_breaks(server: NatsServer) -> None:
    async def main() -> None:
        async with Proxy(server.port) as proxy, opened(f"nats://127.0.0.1:{proxy.port}") as room:
            await room.publish(b"1")
            proxy.stall()
            publishing = asyncio.ensure_future(room.publish(b"2"))
            await asyncio.sleep(0)
            proxy.cut()
            proxy.resume()
            with pytest.raises(ChannelError, match="connection to NATS was lost"):
                await publishing
            await room.back()

    asyncio.run(main())


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("way", ["stop", "kill"])
def test_a_restart_with_data_keeps_the_log(way: str, durable: bool) -> None:
    """Fault (d). Without `durable` the epoch is another: nobody knows what a single server lost."""

    running = NatsServer()

    async def scene(room: Room) -> None:
        epoch, offset = await room.publish(b"1")
        getattr(running, way)()
        running.start()
        await room.back()
        found = await room.read(offset)
        assert (found.epoch == epoch) == durable
        assert (found.first, found.last) == (offset + 1, offset)
        assert (await room.publish(b"2"))[1] > offset

    with running:
        play(running, scene, "?durable=1" if durable else "")


def test_a_restart_without_data_is_another_log() -> None:
    """Fault (e)."""

    running = NatsServer()

    async def scene(room: Room) -> None:
        epoch, _ = await room.publish(b"1")
        running.kill()
        running.forget()
        running.start()
        await room.back()
        after = await room.publish(b"2")
        assert after[0] != epoch
        assert await room.read_data(0) == [b"2"]

    with running:
        play(running, scene, "?durable=1")


def test_a_stream_that_is_deleted_is_made_anew_and_told(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        epoch, _ = await room.publish(b"1")
        async with linked(server.url) as link:
            await ask(link, "$JS.API.STREAM.DELETE.asgineer")
        await room.back()
        assert room.heard.reasons == ["the stream's deleted"]
        assert (await room.publish(b"2"))[0] != epoch

    play(server, scene)


def test_close_ends_who_waits(server: NatsServer) -> None:
    async def main() -> None:
        async with Proxy(server.port) as proxy:
            async with opened(f"nats://127.0.0.1:{proxy.port}") as room:
                proxy.refuse()
                await room.heard.until(lambda: room.heard.turns == ["lost"])
                publishing = asyncio.ensure_future(room.publish(b"x"))
                await asyncio.sleep(0)
            with pytest.raises(ChannelError, match="no connection to NATS"):
                await publishing
            assert proxy.connections == 0

    asyncio.run(main())


# The connection


def test_a_log_that_goes_back_is_another_one(server: NatsServer) -> None:
    """As when a stream was deleted and made anew with its old configuration, which nobody told."""

    async def scene(room: Room) -> None:
        await room.engine.listen(["room"])
        await room.publish(b"1")
        await room.heard.until(lambda: room.heard.messages)
        session = room.engine._session
        assert session is not None
        headers = {"Nats-Sequence": "1", "Nats-Last-Sequence": "0"}
        async with linked(server.url) as link:
            await link._client.publish(session.layout.live_of("room"), b"1bx", headers=headers)
            await link.settle(5.0)
        await room.back()
        assert "the log went back" in str(room.heard.reasons[0])

    play(server, scene)


def test_more_than_is_sent_at_once_waits_for_answers(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_nats_link, "MAX_UNSENT", 1)

    async def scene(room: Room) -> None:
        room.history = 100
        places = await asyncio.gather(*[room.publish(b"%d" % number) for number in range(50)])
        assert len({offset for _, offset in places}) == 50

    play(server, scene)


def test_who_waits_for_room_is_told_when_the_connection_breaks(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with linked(server.url) as link:
            monkeypatch.setattr(_nats_link, "MAX_UNSENT", -1)  # there is never room
            waiting = asyncio.ensure_future(link.settle(5.0))
            await asyncio.sleep(0)
            link.fail("cut")
            link.fail("once more, which changes nothing")
            with pytest.raises(ChannelError, match="was lost: cut"):
                await waiting

    asyncio.run(main())


def test_a_message_that_the_library_dropped_ends_the_connection(server: NatsServer) -> None:
    from nats.errors import SlowConsumerError

    async def main() -> None:
        async with linked(server.url) as link:
            error: Any = SlowConsumerError
            await link._on_error(error(subject="s", reply="", sid=1, sub=None))
            assert "slow consumer" in await link.gone

    asyncio.run(main())


def test_a_connection_that_ended_refuses_what_is_asked(server: NatsServer) -> None:
    async def main() -> None:
        async with linked(server.url) as link:
            await link.end()
            with pytest.raises(ChannelError):
                await link.subscribe("x", print)
            with pytest.raises(ChannelError):
                await link.request("x", b"", None, 5.0)
        assert await link.gone == "closed"
        await Link().end()  # one that never began

    asyncio.run(main())


def test_a_missing_library_says_what_to_install(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nats.aio.client", None)

    async def main() -> None:
        with pytest.raises(ChannelError, match=r"needs nats-py: pip install"):
            await NatsEngine(server.url).open(Chained())

    asyncio.run(main())


def test_a_start_that_is_given_up_leaves_nothing(server: NatsServer) -> None:
    async def main() -> None:
        async with Proxy(server.port) as proxy:
            proxy.stall()
            opening = asyncio.ensure_future(NatsEngine(f"nats://127.0.0.1:{proxy.port}").open(Chained()))
            while not proxy.accepted:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in left if "nats" in repr(task.get_coro())]

    asyncio.run(main())


def test_a_stream_that_nobody_leads_is_tried_again_for_five_seconds(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        await room.publish(b"0")
        with fake_clock() as clock:
            session = room.engine._session
            assert session is not None
            session.canary.stop()
            right = session.layout.log
            session.layout.log = "asgineer.log.nobody."
            publishing = asyncio.ensure_future(room.publish(b"1"))
            for _ in range(100):
                clock.advance(0.06)
                await session.link.settle(5.0)
            with pytest.raises(ChannelError, match="nobody answers"):
                await publishing
            publishing = asyncio.ensure_future(room.publish(b"2"))
            await session.link.settle(5.0)
            session.layout.log = right
            while not publishing.done():
                clock.advance(0.06)
                await session.link.settle(5.0)
            await publishing
            assert await room.read_data(0) == [b"0", b"2"]

    play(server, scene)


def test_who_enlarges_a_stream_that_was_made_anew_is_told(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        assert room.engine._session is not None
        room.engine._session.layout.token = "another"
        room.history = 1000
        with pytest.raises(ChannelError, match="made anew"):
            await room.publish(b"1")
        await room.back()
        await room.publish(b"2")

    play(server, scene)


def test_a_read_of_a_stream_that_is_gone_is_refused(server: NatsServer) -> None:
    async def scene(room: Room) -> None:
        await room.publish(b"0")
        session = room.engine._session
        assert session is not None
        session.layout.config = {**session.layout.config, "name": "gone"}
        with pytest.raises(ChannelError, match="nobody answers|did not answer"):
            await room.read(0)

    play(server, scene)
