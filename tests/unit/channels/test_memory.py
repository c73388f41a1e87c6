"""The engine of one process: bounds, keys, and positions that never mean two things."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asgineer import Bus, ChannelError
from asgineer.channels._memory import SWEEP, MemoryEngine
from tests.unit.turns import advance, settle

if TYPE_CHECKING:
    from asgineer.testing._fakeclock import FakeClock


def memory_of(bus: Bus) -> MemoryEngine:
    assert bus._node is not None
    engine = bus._node.engine
    assert isinstance(engine, MemoryEngine)
    return engine


async def test_messages_live_for_their_time(clock: FakeClock) -> None:
    async with Bus() as bus:
        room = bus.channel("room", ttl=10)
        first = await room.publish("0")
        await advance(clock, 6)
        await room.publish("1")
        await advance(clock, 6)
        assert [message.data for message in (await room.read(since="")).messages] == ["1"]
        assert [message.data for message in (await room.read(since=first)).messages] == ["1"]


async def test_a_log_is_bounded_in_bytes(clock: FakeClock) -> None:
    async with Bus(max_log=1000) as bus:
        room = bus.channel("room")
        for number in range(5):
            await room.publish(str(number) * 400)
        assert [message.size for message in (await room.read(since="")).messages] == [400, 400]


async def test_a_key_is_forgotten_with_its_message(clock: FakeClock) -> None:
    async with Bus() as bus:
        room = bus.channel("room", history=2)
        first = await room.publish("0", key="k")
        for number in range(20):
            await room.publish(number, key=f"k{number}")
        assert await room.publish("again", key="k") != first
        assert len(memory_of(bus).logs["room"].keys) <= 5


async def test_a_log_that_is_empty_and_unheard_is_forgotten(clock: FakeClock) -> None:
    async with Bus() as bus:
        room, other = bus.channel("room", ttl=10), bus.channel("other", ttl=10)
        for number in range(3):
            await room.publish(number)
        place = await room.position()
        await other.publish("x")
        await advance(clock, SWEEP)
        assert memory_of(bus).logs == {}
        assert clock.waiting == 0
        await other.publish("y")
        assert (await room.read(since=place)).reset is False
        new = await room.publish("new")
        assert [message.id for message in (await room.read(since=place)).messages] == [new]


async def test_a_forgotten_log_never_gives_a_place_twice(clock: FakeClock) -> None:
    async with Bus() as bus:
        room, other = bus.channel("room", ttl=10), bus.channel("other", ttl=100)
        early = await room.publish(0)
        seen = {early, await room.publish(1)}
        await other.publish("stays")
        await advance(clock, SWEEP)
        assert set(memory_of(bus).logs) == {"other"}
        assert await room.publish(0) not in seen
        assert (await room.read(since=early)).reset
        assert clock.waiting >= 1


async def test_each_process_has_another_epoch() -> None:
    async with Bus() as one, Bus() as two:
        place = await one.channel("room").publish("x")
        await two.channel("room").publish("y")
        assert (await two.channel("room").read(since=place)).reset


async def test_a_channel_that_nobody_hears_is_forgotten_too(clock: FakeClock) -> None:
    async with Bus() as bus:
        room = bus.channel("room", ttl=10)
        await room.read()
        await room.publish("x")
        assert [log.is_heard for log in memory_of(bus).logs.values()] == [True]
        for _ in range(20):
            await advance(clock, 5)
        assert memory_of(bus).logs == {}
        assert (bus.status.channels, clock.waiting) == (0, 0)


async def test_the_largest_bound_that_somebody_asks_for_counts() -> None:
    async with Bus() as bus:
        small, large = bus.channel("room", history=2), bus.channel("room", history=4)
        for publisher, subscriber in ((small, large), (large, small)):
            first, second = small.subscribe(), subscriber.subscribe()
            for subscription in (first, second):
                await subscription.open()
            for number in range(5):
                await publisher.publish(number)
            assert len((await subscriber.read(since="")).messages) == 4


async def test_who_is_cancelled_while_a_message_comes() -> None:
    async with Bus() as bus:
        room = bus.channel("room")
        one, other = room.subscribe(), room.subscribe()
        waiting = [asyncio.create_task(anext(one)), asyncio.create_task(anext(other))]
        await settle()
        waiting[0].cancel()
        await room.publish("x")
        assert (await waiting[1]).data == "x"
        assert [message.data for message in one.pending()] == ["x"]


async def test_what_several_take_is_one_object() -> None:
    async with Bus() as bus:
        room = bus.channel("room")
        one, other = room.subscribe(), room.subscribe()
        await one.open()
        await room.publish("alone")
        assert [message.data for message in one.pending()] == ["alone"]
        await other.open()
        await room.publish("shared")
        assert one.pending()[0] is other.pending()[0]


async def test_the_engine_can_be_asked_as_any_other() -> None:
    async with Bus() as bus:
        room = bus.channel("room")
        for number in range(5):
            await room.publish(number)
        engine = memory_of(bus)
        found = await engine.history("room", 1, 3, history=500, ttl=300)
        assert [(entry.offset, entry.kind, entry.data) for entry in found.entries] == [
            (2, "j", b"1"),
            (3, "j", b"2"),
            (4, "j", b"3"),
        ]
        assert (found.first, found.last, found.complete) == (1, 5, False)


async def test_closing_while_somebody_joins() -> None:
    outcomes = []
    for turns in range(8):
        bus = Bus()
        await bus.connect()
        opening = asyncio.create_task(bus.channel("room").subscribe().open())
        for _ in range(turns):
            await asyncio.sleep(0)
        await bus.close()
        outcomes.append((await asyncio.gather(opening, return_exceptions=True))[0])
    assert [str(one) for one in outcomes if not isinstance(one, str)].count("The bus was closed") >= 2
    assert all(isinstance(one, (str, ChannelError)) for one in outcomes)
    assert isinstance(outcomes[-1], str)
