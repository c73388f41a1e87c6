"""Bus and Channel: what they take, what they say, and one event loop after the other."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import threading
from typing import TYPE_CHECKING, Any

import pytest

import asgineer
from asgineer import Bus, ChannelError, HttpRequest, Response, ServerClosing, UsageError, _shutdown
from asgineer.channels._node import Status
from asgineer.testing import TestClient
from tests.unit.turns import errors, settle

from .puppet import PuppetBus

if TYPE_CHECKING:
    from asgineer.testing._fakeclock import FakeClock


@pytest.mark.parametrize("name", ["", "a b", "ü", "a\n", "x" * 201, None, b"x", "\x7f"])
def test_bad_names(name: Any) -> None:
    with pytest.raises(ValueError, match="1 to 200 printable ASCII"):
        Bus().channel(name)


@pytest.mark.parametrize("name", ["a", "room/42", "a.b*c>d:e{f}", "x" * 200, "~!"])
def test_good_names(name: str) -> None:
    assert Bus().channel(name).name == name


@pytest.mark.parametrize(
    "bounds", [{"history": 0}, {"history": 100_001}, {"history": 1.5}, {"ttl": 0}, {"ttl": float("inf")}]
)
def test_bad_bounds(bounds: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(bounds))} is a number"):
        Bus().channel("room", **bounds)


@pytest.mark.parametrize(
    "url", ["kafka://x", "redis", "", "http://127.0.0.1", "redis:/x", "://"], ids=lambda url: url or "empty"
)
def test_unknown_schemes(url: str) -> None:
    with pytest.raises(ChannelError, match=r"none of redis://, rediss://, valkey://, nats://"):
        Bus(url)


def test_a_password_is_not_told() -> None:
    for url in ("kafka://user:secret@host", "user:secret@host"):
        with pytest.raises(ChannelError) as caught:
            Bus(url)
        assert "secret" not in str(caught.value)
    assert repr(Bus("redis://user:secret@host")) == "Bus(redis, new)"


def test_another_type_of_url() -> None:
    with pytest.raises(TypeError, match="is a str or None, not int"):
        Bus(6379)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["redis://h", "valkey://h", "nats://h", "rediss://h"])
def test_a_missing_client_library(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ChannelError, match=r"needs a package that is missing: pip install"):
        Bus(url)


def test_in_one_of_several_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGINEER_WORKERS", "2")
    with pytest.raises(ChannelError, match=r"use Bus\(url\)"):
        Bus()
    Bus(None, local=True)
    Bus("redis://127.0.0.1")
    monkeypatch.setenv("ASGINEER_WORKERS", "1")
    Bus()


def test_subscriptions_that_cannot_be() -> None:
    bus = Bus()
    room = bus.channel("room")
    with pytest.raises(TypeError, match="since is a position"):
        room.subscribe(since=7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="slow is one of reset, latest, close"):
        room.subscribe(slow="drop")
    with pytest.raises(ValueError, match="1 to 50 different channels"):
        bus.subscribe()
    with pytest.raises(ValueError, match="different channels"):
        bus.subscribe(room, bus.channel("room"))
    with pytest.raises(ValueError, match="of one bus"):
        bus.subscribe(room, Bus().channel("other"))


@pytest.mark.parametrize("wait", [-1, float("inf"), float("nan")])
async def test_waits_that_cannot_be(wait: float) -> None:
    with pytest.raises(ValueError, match="wait is a number of seconds"):
        await Bus().channel("room").read(wait=wait)


async def test_it_can_be_shown() -> None:
    bus = Bus()
    assert repr(bus.channel("room", history=3)) == "Channel('room', history=3, ttl=300.0)"
    assert bus.status == Status(True, "new")
    await bus.channel("room").read()
    assert repr(bus) == "Bus(memory, up)"
    assert (bus.status.channels, bus.status.subscribers) == (1, 0)
    await bus.close()
    await bus.close()
    assert repr(bus) == "Bus(memory, new)"


async def test_nothing_is_connected_before_its_use() -> None:
    bus = PuppetBus()
    bus.channel("room").subscribe()
    assert bus.engine.calls == []


async def test_all_who_come_first_connect_once() -> None:
    bus = PuppetBus()
    async with bus:
        await asyncio.gather(*[bus.channel(f"room{number}").position() for number in range(5)])
        assert len(bus.engine.asked("open")) == 1


async def test_an_engine_that_cannot_be_reached() -> None:
    bus = PuppetBus()
    bus.engine.failing["open"] = ChannelError("start it")
    with pytest.raises(ChannelError, match="start it"):
        await bus.channel("room").publish("x")
    assert (bus.status.ok, bus.status.state, bus.status.why) == (False, "new", "start it")
    bus.engine.failing.clear()
    await bus.channel("room").publish("x")  # by the next use it may be there
    assert bus.status.ok
    await bus.close()


async def test_a_mistake_when_it_is_opened(caplog: pytest.LogCaptureFixture) -> None:
    bus = PuppetBus()
    bus.engine.failing["open"] = RuntimeError("oops")
    with pytest.raises(ChannelError, match="oops"):
        await bus.connect()
    await bus.close()
    assert errors(caplog) == ["RuntimeError in a bus"]


async def test_closing_while_it_is_opened() -> None:
    bus = PuppetBus()
    opened = asyncio.Event()

    async def hang(listener: Any) -> None:
        opened.set()
        await asyncio.Event().wait()

    bus.engine.open = hang  # type: ignore[method-assign]
    opening = asyncio.create_task(bus.connect())
    await opened.wait()
    await bus.close()
    with pytest.raises(ChannelError, match="closed"):
        await opening


async def test_leaving_the_loop_leaves_the_channel() -> None:
    async with Bus() as bus:
        room = bus.channel("room")
        await room.publish("x")
        async for _ in room.subscribe(since=""):
            break
        gc.collect()
        assert bus.status.subscribers == 0


async def test_leaving_twice_counts_once() -> None:
    async with Bus() as bus:
        room = bus.channel("room")
        subscription = room.subscribe()
        await subscription.open()
        assert await subscription.open() == subscription.position
        await subscription.aclose()
        await subscription.aclose()
        assert bus.status.subscribers == 0


async def test_a_subscription_that_cannot_open_leaves() -> None:
    bus = PuppetBus()
    bus.engine.failing["history"] = ChannelError("away")
    several = bus.subscribe(bus.channel("a"), bus.channel("b"))
    with pytest.raises(ChannelError, match="away"):
        await several.open()
    assert bus.status.subscribers == 0
    await bus.close()


async def test_the_next_loop_is_served_and_the_last_one_is_not() -> None:
    bus = Bus()
    await bus.channel("room").publish("x")

    def elsewhere() -> BaseException | None:
        try:
            asyncio.run(bus.connect())
        except UsageError as error:
            return error
        return None

    assert "another event loop" in str(await asyncio.to_thread(elsewhere))
    await bus.close()


def test_one_loop_after_the_other_without_close() -> None:
    bus = Bus()
    room = bus.channel("room")

    async def use(since: str | None) -> str:
        batch = await room.read(since=since)
        assert batch.reset is (since is not None)
        return await room.publish("x")

    place = asyncio.run(use(None))
    asyncio.run(use(place))


def test_a_subscription_of_an_ended_loop_ends() -> None:
    bus = Bus()
    room = bus.channel("room")
    loop = asyncio.new_event_loop()
    subscription = room.subscribe()
    loop.run_until_complete(subscription.open())
    asyncio.run(bus.connect())
    assert loop.run_until_complete(anext(subscription, None)) is None
    loop.run_until_complete(bus.close())
    loop.close()


async def test_closing_ends_who_waits_with_others() -> None:
    async with Bus() as bus:
        waiting = [asyncio.create_task(bus.channel("room").read(wait=10)) for _ in range(3)]
        await settle()
        await bus.close()
        assert [(await task).messages for task in waiting] == [[], [], []]


async def test_a_read_ends_with_the_first_that_comes() -> None:
    async with Bus() as bus:
        room = bus.channel("room")
        reading = asyncio.create_task(room.read(wait=10))
        await settle()
        last = await room.publish("x")
        batch = await reading
        assert ([message.data for message in batch.messages], batch.position) == (["x"], last)


async def test_a_read_waits_by_the_clock(clock: FakeClock) -> None:
    async with Bus() as bus:
        await bus.channel("room").read()
        reading = asyncio.create_task(bus.channel("room").read(wait=25))
        await settle()
        clock.advance(24.9)
        await settle()
        assert not reading.done()
        clock.advance(0.2)
        assert (await reading).messages == []


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "nats://127.0.0.1:1"])
async def test_engines_are_made_by_their_scheme(url: str) -> None:
    assert url.partition(":")[0] in type(Bus(url)._make_engine()).__name__.lower()


async def test_what_cannot_be_published() -> None:
    room = Bus(max_message=10).channel("room")
    with pytest.raises(ValueError, match="A message of 11 bytes is over the limit of 10"):
        await room.publish("12345678901")
    for key in ("", "k" * 201):
        with pytest.raises(ValueError, match="A key has 1 to 200 characters"):
            await room.publish("x", key=key)


async def test_a_key_adds_one_message() -> None:
    async with Bus() as bus:
        room = bus.channel("room")
        assert await room.publish("one", key="k") == await room.publish("two", key="k")
        assert [message.data for message in (await room.read(since="")).messages] == ["one"]


@pytest.mark.parametrize(("slow", "then"), [("reset", [None]), ("latest", ["4"]), ("close", [])])
async def test_who_falls_off_the_log(slow: str, then: list[str | None]) -> None:
    async with Bus() as bus:
        room = bus.channel("room", history=2)
        subscription = room.subscribe(slow=slow)
        await subscription.open()
        for number in range(5):
            await room.publish(number)
        got = await anext(subscription, None)
        assert [None if message.reset else message.data for message in ([got] if got else [])] == then


async def test_a_vector_waits_for_any_of_its_channels() -> None:
    async with Bus() as bus:
        room, news = bus.channel("room"), bus.channel("news")
        subscription = bus.subscribe(room, news)
        await subscription.open()
        assert subscription.ready() is None
        for channel in (room, news, room):
            waiting = asyncio.create_task(anext(subscription))
            await settle()
            await channel.publish("x")
            assert (await waiting).channel == channel.name
        waiting = asyncio.create_task(anext(subscription))
        await settle()
        waiting.cancel()
        await settle()
        assert bus._node is not None
        assert [hub.waiting for hub in bus._node.hubs.values()] == [set(), set()]


async def test_a_wait_that_is_cancelled_leaves_nothing_behind() -> None:
    async with Bus() as bus:
        room = bus.channel("room")
        subscription = room.subscribe()
        await subscription.open()
        waiting = asyncio.create_task(anext(subscription))
        await settle()
        assert bus._node is not None
        (hub,) = bus._node.hubs.values()
        assert len(hub.waiting) == 1
        waiting.cancel()
        await settle()
        assert hub.waiting == set()
        await room.publish("x")
        assert (await anext(subscription)).data == "x"


async def test_who_waits_is_told_that_the_server_closes() -> None:
    async with Bus() as bus:
        room = bus.channel("room")
        subscription = room.subscribe()
        await subscription.open()
        waiting = asyncio.create_task(anext(subscription))
        await settle()
        try:
            _shutdown.notice().begin()
            with pytest.raises(ServerClosing):
                await waiting
            assert subscription.ready() is None
            with pytest.raises(ServerClosing):
                await room.subscribe().open()
        finally:
            _shutdown.forget()
        await room.subscribe().open()  # of the next server in this loop


async def test_a_stream_waits_by_one_future() -> None:
    async with Bus() as bus:
        room = bus.channel("room")
        subscription = room.subscribe()
        assert subscription.ready() is None
        await subscription.open()
        future = subscription.ready()
        assert future is not None
        await room.publish("x")
        assert future.done()
        assert subscription.ready() is None
        assert [message.data for message in subscription.pending()] == ["x"]
        assert subscription.pending() == []


async def test_leaving_ends_who_waits() -> None:
    async with Bus() as bus:
        subscription = bus.channel("room").subscribe()
        await subscription.open()
        waiting = asyncio.create_task(anext(subscription, None))
        await settle()
        await subscription.aclose()
        assert await waiting is None


async def test_a_vector_catches_up_in_one_of_its_channels() -> None:
    async with Bus() as bus:
        room, news = bus.channel("room", history=2), bus.channel("news")
        subscription = bus.subscribe(room, news)
        await subscription.open()
        for number in range(5):
            await room.publish(number)
        await news.publish("n")
        first, second = await anext(subscription), await anext(subscription)
        assert {(first.channel, first.reset), (second.channel, second.reset)} == {
            ("room", True),
            ("news", False),
        }
        assert subscription.pending() == []


async def test_pending_stops_at_64_kib() -> None:
    async with Bus() as bus:
        room = bus.channel("room")
        for _ in range(10):
            await room.publish(b"x" * 30_000)
        subscription = room.subscribe(since="")
        assert subscription.pending() == []
        await subscription.open()
        assert [len(subscription.pending()) for _ in range(5)] == [3, 3, 3, 1, 0]
        forged = room.subscribe(since="forged")
        await forged.open()
        assert forged.pending() == []  # the reset comes first


def test_an_engine_that_is_away_is_503(caplog: pytest.LogCaptureFixture) -> None:
    @asgineer.to_asgi
    async def main(request: HttpRequest) -> Response:
        bus = PuppetBus()
        bus.engine.failing["publish"] = ChannelError("the engine is away")
        try:
            return await bus.channel("room").publish("x")
        finally:
            await bus.close()

    with TestClient(main) as client:
        answer = client.get("/path")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "away" not in answer.text
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "ChannelError in request handler: the engine is away (GET /path, request " in record.getMessage()


def test_status_is_a_response() -> None:
    bus = Bus()

    @asgineer.to_asgi
    async def main(request: HttpRequest) -> Response:
        async with bus:
            return (200 if bus.status.ok else 503), {}, bus.status

    with TestClient(main) as client:
        assert client.get("/").json()["state"] == "up"


def test_threads_may_collect_what_was_left() -> None:
    bus = Bus()

    async def leave() -> None:
        subscription = bus.channel("room").subscribe()
        await subscription.open()
        thread = threading.Thread(target=subscription._leave)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert bus.status.subscribers == 0
        await bus.close()

    asyncio.run(leave())
