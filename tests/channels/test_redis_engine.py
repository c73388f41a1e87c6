"""The engine on Redis, without a bus: its log, what it tells and refuses; on each server that is here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509  # comes with daphne
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from asgineer import Bus
from asgineer.channels import _redis_scripts
from asgineer.channels._redis import RedisEngine
from asgineer.errors import ChannelError
from asgineer.testing._process import free_port

from .heard import Heard
from .proxy import Proxy
from .redis_server import PRESENT, RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

    from asgineer.channels._engine import History

    Scene = Callable[["Room"], Awaitable[None]]


class Room:
    """An engine, what it told, and a channel that is used with few words."""

    def __init__(self, engine: RedisEngine, heard: Heard, name: str = "room") -> None:
        self.engine, self.heard, self.name = engine, heard, name
        self.history, self.ttl = 500, 300.0

    async def publish(self, data: bytes, kind: str = "b", key: str | None = None) -> tuple[str, int]:
        return await self.engine.publish(self.name, kind, data, history=self.history, ttl=self.ttl, key=key)

    async def read(self, after: int | None, limit: int = 1000) -> History:
        return await self.engine.history(self.name, after, limit, history=self.history, ttl=self.ttl)

    async def read_data(self, after: int | None, limit: int = 1000) -> list[bytes]:
        return [entry.data for entry in (await self.read(after, limit)).entries]


@contextlib.asynccontextmanager
async def opened(url: str, name: str = "room") -> AsyncGenerator[Room]:
    heard = Heard()
    engine = RedisEngine(url)
    await engine.open(heard)
    try:
        yield Room(engine, heard, name)
    finally:
        await engine.close()


@pytest.fixture(scope="module", params=PRESENT)
def one_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(request.param) as server:
        yield server


@pytest.fixture
def server(one_server: RedisServer) -> RedisServer:
    one_server.call("FLUSHALL")
    return one_server


def play(server: RedisServer, scene: Scene, name: str = "room") -> None:
    async def main() -> None:
        async with opened(server.url, name) as room:
            await scene(room)

    asyncio.run(main())


# The log


def test_offsets_count_from_one_in_one_epoch(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        places = [await room.publish(b"x") for _ in range(3)]
        assert [offset for _, offset in places] == [1, 2, 3]
        assert len({epoch for epoch, _ in places}) == 1

    play(server, scene)


def test_a_position_taken_before_the_first_message_stays_good(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        before = await room.read(None)
        epoch, offset = await room.publish(b"x")
        assert (before.epoch, before.first, before.last, before.complete) == (epoch, 1, 0, True)
        assert offset == 1
        assert await room.read_data(before.last) == [b"x"]

    play(server, scene)


def test_live_messages_have_the_place_and_the_bytes_that_were_published(server: RedisServer) -> None:
    everything = bytes(range(256))

    async def scene(room: Room) -> None:
        await room.engine.listen(["room"])
        place = await room.publish(everything)
        await room.heard.until(lambda: room.heard.messages)
        assert room.heard.messages == [("room", *place, everything)]

    play(server, scene)


def test_publishing_all_at_once_keeps_one_order_for_all(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        await room.engine.listen(["room"])
        places = await asyncio.gather(*[room.publish(b"%d" % number) for number in range(200)])
        await room.heard.until(lambda: len(room.heard.messages) == 200)
        told = {offset: data for _, _, offset, data in room.heard.messages}
        assert [told[offset] for _, offset in places] == [b"%d" % number for number in range(200)]
        assert [offset for _, _, offset, _ in room.heard.messages] == list(range(1, 201))
        assert await room.read_data(0) == room.heard.data

    play(server, scene)


def test_the_log_keeps_the_newest(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        room.history = 5
        for number in range(8):
            await room.publish(b"%d" % number)
        found = await room.read(0)
        assert (found.first, found.last) == (4, 8)
        assert [entry.data for entry in found.entries] == [b"3", b"4", b"5", b"6", b"7"]

    play(server, scene)


def test_a_read_stops_at_its_limit_and_says_so(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        for number in range(100):
            await room.publish(b"%d" % number)
        part = await room.read(10, 40)
        assert [entry.offset for entry in part.entries] == list(range(11, 51))
        assert not part.complete
        rest = await room.read(50, 50)
        assert [entry.offset for entry in rest.entries] == list(range(51, 101))
        assert rest.complete
        assert (await room.read(100)).entries == []
        assert (await room.read(10**18)).entries == []

    play(server, scene)


def test_a_read_stops_before_it_fills_memory(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        for _ in range(8):
            await room.publish(bytes(1024 * 1024))
        found = await room.read(0)
        assert 4 <= len(found.entries) <= 5
        assert not found.complete

    play(server, scene)


def test_messages_expire_and_the_log_counts_on(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        room.ttl = 0.05
        place = await room.publish(b"old")
        async with asyncio.timeout(10):
            while (await room.read(0)).entries:
                pass
            while server.call("EXISTS", "{asgineer:room}") != ":0":
                pass
        found = await room.read(0)
        assert (found.epoch, found.first, found.last) == (place[0], 2, 1)
        assert await room.publish(b"new") == (place[0], 2)

    play(server, scene)


def test_old_messages_are_taken_off_while_new_ones_come(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        room.ttl, room.history = 0.05, 1_000_000
        for _ in range(20):
            await room.publish(b"old")
        async with asyncio.timeout(10):
            while "old" in server.call("XRANGE", "{asgineer:room}", "-", "+", "COUNT", 1):
                await room.publish(b"new")

    play(server, scene)


@pytest.mark.parametrize("lost", ["{asgineer:room}", "{asgineer:room}:end"])
def test_a_log_of_which_a_part_was_evicted_is_not_taken_for_whole(server: RedisServer, lost: str) -> None:
    async def scene(room: Room) -> None:
        for _ in range(3):
            epoch, _ = await room.publish(b"old")
        server.call("DEL", lost)
        found = await room.read(0)
        assert found.entries == []
        # What was there is gone, and told: by another epoch, or as the oldest that is retained.
        assert found.epoch != epoch or found.first == 4
        assert await room.publish(b"new") == (found.epoch, found.last + 1)
        assert await room.read_data(found.last) == [b"new"]

    play(server, scene)


def test_an_evicted_end_begins_another_log_at_the_next_message(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        epoch, _ = await room.publish(b"old")
        server.call("DEL", "{asgineer:room}:end")
        other, offset = await room.publish(b"new")
        assert other != epoch
        assert offset == 1
        assert await room.read_data(0) == [b"new"]

    play(server, scene)


def test_a_key_publishes_once(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        first = await room.publish(b"x", key="a")
        places = await asyncio.gather(*[room.publish(b"y", key="a") for _ in range(10)])
        assert set(places) == {first}
        assert await room.publish(b"z", key="b \ud800}") == (first[0], 2)
        assert await room.read_data(0) == [b"x", b"z"]

    play(server, scene)


def test_channels_do_not_share_keys_of_publishing(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        await room.publish(b"x", key="a")
        room.name = "other"
        await room.publish(b"y", key="a")
        assert await room.read_data(0) == [b"y"]

    play(server, scene)


def test_databases_of_one_server_are_apart(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(server.url + "/0") as one, opened(server.url + "/1") as other:
            await one.engine.listen(["room"])
            await other.engine.listen(["room"])
            await other.publish(b"other")
            await one.publish(b"one")
            await other.heard.until(lambda: other.heard.messages)
            await one.heard.until(lambda: one.heard.messages)
            assert (one.heard.data, other.heard.data) == ([b"one"], [b"other"])
            assert await one.read_data(0) == [b"one"]

    asyncio.run(main())


# Listening


def test_who_stopped_to_listen_hears_no_more(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        await room.engine.listen(["room", "other"])
        await room.engine.unlisten(["room"])
        await room.publish(b"x")
        room.name = "other"
        await room.publish(b"y")
        await room.heard.until(lambda: room.heard.messages)
        assert room.heard.data == [b"y"]

    play(server, scene)


def test_what_comes_for_a_channel_that_nobody_listens_to_is_dropped(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        await room.engine.listen(["room"])
        room.engine._names.clear()  # as while `unlisten` is on its way
        await room.publish(b"x")
        assert room.engine._live is not None
        await room.engine._live.call("PING")  # its reply comes behind the message
        await room.engine.listen(["room"])
        await room.publish(b"y")
        await room.heard.until(lambda: room.heard.messages)
        assert room.heard.data == [b"y"]

    play(server, scene)


BAD = [
    (b"", "none of ours"),
    (b"\x80\x04\x95pickle.", "none of ours"),
    (b"2 epoch 1 b x", "version b'2' is not known"),
    (b"1 epoch", "head"),
    (b"1 epoch one b x", "head"),
    (b"1 \xff 1 b x", "head"),
    (b"1  1 b x", "head"),
]


@pytest.mark.parametrize(("payload", "why"), BAD, ids=range(len(BAD)))
def test_what_is_none_of_ours_is_told_and_ignored(server: RedisServer, payload: bytes, why: str) -> None:
    async def scene(room: Room) -> None:
        await room.engine.listen(["room"])
        server.call("PUBLISH", "asgineer:0:room", payload)
        await room.publish(b"good")
        await room.heard.until(lambda: room.heard.messages)
        assert room.heard.data == [b"good"]
        [(channel, told)] = room.heard.bad
        assert channel == "room"
        assert why in told

    play(server, scene)


def test_foreign_entries_in_a_log_have_a_kind_that_is_not_known(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        epoch, _ = await room.publish(b"1")
        run_id = server.call("GET", "{asgineer:room}:end").split()[-1]
        server.call("XADD", "{asgineer:room}", "2-9999999999999", "what", "ever")
        server.call("SET", "{asgineer:room}:end", f"{epoch} 2 0 {run_id}")
        await room.publish(b"3")
        found = await room.read(0)
        assert [(entry.offset, entry.kind) for entry in found.entries] == [(1, "b"), (2, ""), (3, "b")]

    play(server, scene)


def test_a_mistake_of_the_listener_loses_no_other_message(
    server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(room: Room) -> None:
        await room.engine.listen(["room"])
        take = room.heard.message

        def fail(*_: Any) -> None:
            monkeypatch.setattr(room.heard, "message", take)
            raise ValueError("a mistake")

        monkeypatch.setattr(room.heard, "message", fail)
        await room.publish(b"1")
        await room.publish(b"2")
        await room.heard.until(lambda: room.heard.messages)
        assert room.heard.data == [b"2"]

    with caplog.at_level(logging.ERROR, "asgineer"):
        play(server, scene)
    assert "could not be taken" in caplog.text


# Commands


def test_a_caller_that_is_cancelled_leaves_the_others_their_replies(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        await room.publish(b"0")
        tasks = [asyncio.ensure_future(room.publish(b"%d" % number)) for number in range(1, 101)]
        await asyncio.sleep(0)  # they are sent with the next turn
        for task in tasks[::3]:
            task.cancel()
        places = await asyncio.gather(*tasks, return_exceptions=True)
        log = {entry.offset: entry.data for entry in (await room.read(0)).entries}
        for number, place in enumerate(places, 1):
            if (number - 1) % 3:
                assert isinstance(place, tuple)
                assert log[place[1]] == b"%d" % number
            else:
                assert isinstance(place, asyncio.CancelledError)
        assert room.heard.turns == []

    play(server, scene)


def test_a_caller_that_is_cancelled_while_it_waits_leaves_the_connection_as_it_is(
    server: RedisServer,
) -> None:
    async def scene(room: Room) -> None:
        server.pause()
        task = asyncio.ensure_future(room.publish(b"1"))
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        server.resume()
        assert (await room.publish(b"2"))[1] == 2
        assert room.heard.turns == []

    play(server, scene)


def test_scripts_that_were_flushed_are_sent_again_and_run_once(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        await room.publish(b"1")
        server.call("SCRIPT", "FLUSH")
        assert [(await room.publish(b"2"))[1], (await room.publish(b"3"))[1]] == [2, 3]
        server.call("SCRIPT", "FLUSH")
        assert await room.read_data(0) == [b"1", b"2", b"3"]

    play(server, scene)


def test_what_is_too_big_is_refused(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        with pytest.raises(ChannelError, match="16777217 bytes is too big: 16777216 is the most"):
            await room.publish(bytes(_redis_scripts.MAX_MESSAGE + 1))
        await room.publish(bytes(_redis_scripts.MAX_MESSAGE))
        assert [len(data) for data in await room.read_data(0)] == [_redis_scripts.MAX_MESSAGE]

    play(server, scene)


def test_full_memory_refuses_messages_and_is_read_all_the_same() -> None:
    async def scene(room: Room) -> None:
        epoch, _ = await room.publish(b"before")
        full.call("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(ChannelError, match="refused: .*maxmemory"):
            await room.publish(b"refused")
        assert await room.read_data(0) == [b"before"]
        room.name = "other"
        assert (await room.read(None)).last == 0
        room.name = "room"
        full.call("CONFIG", "SET", "maxmemory", "0")
        assert await room.publish(b"after") == (epoch, 2)
        assert room.heard.turns == []

    with RedisServer() as full:
        play(full, scene)


def test_a_key_of_another_type_is_an_error_that_is_told(server: RedisServer) -> None:
    async def scene(room: Room) -> None:
        server.call("SET", "{asgineer:room}", "text")
        server.call("SET", "{asgineer:room}:end", "epoch 1 0 server")
        with pytest.raises(ChannelError, match=r"Redis at 127\.0\.0\.1:\d+ refused: .*WRONGTYPE"):
            await room.publish(b"x")

    play(server, scene)


# The connection


def test_a_server_that_is_not_there_is_told_with_what_to_do() -> None:
    with RedisServer() as server:
        url = server.url.replace("redis://", "redis://user:secret@")

    async def main() -> None:
        with pytest.raises(ChannelError, match=r"Redis at 127.* is away: .* Does it run, and does the URL"):
            await RedisEngine(url).open(Heard())

    asyncio.run(main())


@pytest.mark.parametrize("user", ["", ":wrong-secret@", "nobody:wrong-secret@"])
def test_a_wrong_password_is_told_and_nowhere_shown(user: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with opened(closed.url.replace("//", "//:right-secret@")) as room:
            await room.publish(b"x")
        with pytest.raises(ChannelError) as caught:
            await RedisEngine(closed.url.replace("//", "//" + user)).open(Heard())
        assert "user and password" in str(caught.value)
        assert "secret" not in str(caught.value)
        assert caught.value.__suppress_context__

    with RedisServer(None, "--requirepass", "right-secret") as closed, caplog.at_level(0):
        asyncio.run(main())
    assert "secret" not in caplog.text


def test_a_user_of_its_own_needs_what_the_documentation_says(server: RedisServer) -> None:
    page = Path(__file__).parents[2] / "docs" / "realtime.md"
    found = re.search(r"`(~\{asgineer:\* [^`]+)`", page.read_text(encoding="utf-8"))
    assert found is not None

    async def main() -> None:
        async with opened(server.url.replace("//", "//bus:secret@")) as room:
            await room.engine.listen(["room"])
            await room.publish(b"x", key="k")
            await room.heard.until(lambda: room.heard.messages)
            server.call("SCRIPT", "FLUSH")
            server.call("DEL", "{asgineer:room}:end")
            assert await room.read_data(0) == []
            room.ttl = 0.001
            for _ in range(50):
                await room.publish(b"y")
            await room.read_data(0)
            await room.engine.unlisten(["room"])
            room.name = "other"
            server.call("ACL", "SETUSER", "bus", "resetkeys")
            with pytest.raises(ChannelError, match="refused: .*key"):
                await room.publish(b"x")

    assert server.call("ACL", "SETUSER", "bus", "reset", "on", ">secret", *found[1].split()) == "+OK"
    try:
        asyncio.run(main())
    finally:
        server.call("ACL", "DELUSER", "bus")


@pytest.mark.parametrize("scheme", ["unix", "redis+unix", "valkey+unix"])
def test_a_unix_socket(server: RedisServer, scheme: str) -> None:
    async def main() -> None:
        async with opened(f"{scheme}://{server.socket}?db=2") as room:
            await room.engine.listen(["room"])
            await room.publish(b"x")
            await room.heard.until(lambda: room.heard.messages)
            assert room.engine._database == 2

    asyncio.run(main())


def test_a_url_may_say_valkey_and_options(server: RedisServer) -> None:
    async def main() -> None:
        url = server.url.replace("redis:", "valkey:")
        options = "?client_name=me&socket_timeout=1&max_connections=1&protocol=3&decode_responses=1"
        async with opened(url + options) as room:
            assert "name=me" in server.call("CLIENT", "LIST")
            assert (await room.publish(b"x"))[1] == 1

    asyncio.run(main())


def make_certificate(folder: Path) -> Path:
    """Write a certificate of 127.0.0.1 that signs itself, with its key; return the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    addresses = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(addresses, critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "certificate.pem"
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
def test_tls(server: RedisServer, tmp_path: Path, scheme: str) -> None:
    path = make_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)

    async def main() -> None:
        async with Proxy(server.port, tls=context) as proxy:
            url = f"{scheme}://127.0.0.1:{proxy.port}"
            async with opened(f"{url}?ssl_ca_certs={path}") as room:
                await room.engine.listen(["room"])
                await room.publish(b"x")
                await room.heard.until(lambda: room.heard.messages)
            with pytest.raises(ChannelError, match="certificate verify failed"):
                await RedisEngine(url).open(Heard())

    asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://host", "begins with 'http'"),
        ("redis://u:secret@host?db=x", "can't be read: Invalid value for 'db'"),
        ("redis://u:secret@host:port", "can't be read"),
        ("redis://u:secret@host?colour=red", "unknown option: .*colour"),
    ],
)
def test_a_url_that_can_not_be_read(url: str, text: str) -> None:
    with pytest.raises(ChannelError, match=text) as caught:
        RedisEngine(url)
    assert "secret" not in str(caught.value)


def test_without_redis_py_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "redis.asyncio.connection", None)
    with pytest.raises(ChannelError, match=r"needs redis-py: pip install .*redis"):
        RedisEngine("redis://localhost")


def test_a_replica_is_refused(server: RedisServer) -> None:
    async def main() -> None:
        with pytest.raises(ChannelError, match="is a replica"):
            await RedisEngine(replica.url).open(Heard())

    with RedisServer(None, "--replicaof", "127.0.0.1", str(server.port)) as replica:
        asyncio.run(main())


def test_a_server_that_is_too_old_is_refused() -> None:
    from asgineer.channels._redis_url import read_info

    with pytest.raises(ChannelError, match=r"Redis 6\.2\.14 is too old: 7\.0 or newer"):
        read_info(b"redis_version:6.2.14\r\nrole:master\r\nrun_id:00\r\n")


def test_a_cluster_has_all_of_a_channel_in_one_slot() -> None:
    port = free_port()  # the default is above 65535 for some
    with RedisServer(None, "--cluster-enabled", "yes", "--cluster-port", str(port)) as cluster:
        for name in names():
            keys: list[str | bytes] = [*_redis_scripts.keys_of(name), _redis_scripts.once_key(name, "}{")]
            assert len({cluster.call("CLUSTER", "KEYSLOT", key) for key in keys}) == 1


def names() -> list[str]:
    return ["}", "{}", "a}b", "%7D", "%", "%25", "}:end", "{asgineer:x}", "x", "x}:once:k", "x}:once:k}"]


def test_no_two_channels_have_a_key_in_common() -> None:
    keys = [key.encode() for name in names() for key in _redis_scripts.keys_of(name)]
    keys += [_redis_scripts.once_key(name, key) for name in names() for key in ("k", "k}", "}")]
    assert len(set(keys)) == len(keys)


def test_after_close_there_is_no_connection(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(server.url) as room:
            await room.publish(b"x")
            await room.engine.listen(["room"])
        assert asyncio.all_tasks() == {asyncio.current_task()}
        with pytest.raises(ChannelError, match="was closed"):
            await room.publish(b"y")
        with pytest.raises(ChannelError, match="was closed"):
            await room.engine.listen(["room"])
        await room.engine.unlisten(["room"])
        await room.engine.close()
        while "sub=1" in server.call("CLIENT", "LIST"):  # the server notices with its next turn
            pass

    asyncio.run(main())


def test_a_loop_that_ends_without_close_leaves_nothing(server: RedisServer) -> None:
    async def main() -> None:
        engine = RedisEngine(server.url)
        await engine.open(Heard())

    asyncio.run(main())
    while "sub=1" in server.call("CLIENT", "LIST"):
        pass


def test_what_comes_all_at_once_pushes_nobody_off_the_log(server: RedisServer) -> None:
    count = 3000

    async def publish() -> None:
        async with Bus(server.url) as bus:
            room = bus.channel("burst", history=50)
            await asyncio.gather(*[room.publish(str(number)) for number in range(count)])

    async def main() -> None:
        async with Bus(server.url) as bus:
            messages = bus.channel("burst", history=50).subscribe()
            await messages.open()
            thread = Thread(target=lambda: asyncio.run(publish()))
            thread.start()
            thread.join()  # nothing runs in this loop meanwhile
            for number in range(count):
                message = await anext(messages)
                assert (message.reset, message.data) == (False, str(number))

    asyncio.run(main())
