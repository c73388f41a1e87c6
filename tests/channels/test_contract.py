"""The contract of channels, the same on every engine: order, positions, resets, reading, several channels.

Two buses on one server stand for two processes. In one process they are one.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from asgineer import Bus, Message, ServerClosing, _shutdown

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from asgineer import Channel
    from asgineer.channels._subscription import Subscription

    from .conftest import World


pytestmark = pytest.mark.server


@contextlib.asynccontextmanager
async def standing(subscription: Subscription) -> AsyncGenerator[Subscription]:
    """Open a subscription, so that what is published from now on is after it; leave at the end."""
    await subscription.open()
    try:
        yield subscription
    finally:
        await subscription.aclose()


async def take(subscription: Subscription, count: int) -> list[Any]:
    """Return the data of the next messages; "reset" for one."""
    messages = [await anext(subscription) for _ in range(count)]
    return ["reset" if message.reset else message.data for message in messages]


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop turn until it is so: the test is killed if it never is."""
    while not condition():  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0)


def end_here(world: World, room: Channel) -> int:
    """Return the offset of the newest message that has come to this process."""
    node = world.bus._node
    assert node is not None
    log = node.hubs[room.name].log
    assert log is not None
    return log.last


DATA: list[tuple[Any, str | bytes]] = [
    ("hi", "hi"),
    ("", ""),
    ("ünïcödé ☃ 𝄞", "ünïcödé ☃ 𝄞"),
    ("a\nb\r\nc\rd\u2028\0e", "a\nb\r\nc\rd\u2028\0e"),
    (b"\x00\xff\x80", b"\x00\xff\x80"),
    (b"", b""),
    (bytearray(b"x"), b"x"),
    ({"text": "hi"}, '{"text":"hi"}'),
    ([1, None, 2.5], "[1,null,2.5]"),
    (None, "null"),
    (7, "7"),
]


async def test_data_comes_as_it_was_published(world: World) -> None:
    room = world.channel()
    async with standing(room.subscribe()) as messages:
        for data, _ in DATA:
            await world.same(room).publish(data)
        assert await take(messages, len(DATA)) == [expected for _, expected in DATA]
    batch = await room.read(since="")
    assert [message.data for message in batch.messages] == [expected for _, expected in DATA]


async def test_json_is_read_back(world: World) -> None:
    room = world.channel()
    await room.publish({"text": "hi", "n": [1]})
    await room.publish("no json")
    first, second = (await room.read(since="")).messages
    assert first.json() == {"text": "hi", "n": [1]}
    with pytest.raises(ValueError, match="is not what was asked for"):
        second.json()


async def test_a_message_has_the_position_that_publish_returned(world: World) -> None:
    room = world.channel()
    async with standing(room.subscribe()) as messages:
        positions = [await world.same(room).publish(n) for n in range(3)]
        assert [(await anext(messages)).id for _ in positions] == positions


async def test_none_begins_now(world: World) -> None:
    room = world.channel()
    await room.publish("before")
    async with standing(room.subscribe()) as messages:
        await room.publish("after")
        assert await take(messages, 1) == ["after"]


async def test_none_begins_after_what_was_published_here(world: World) -> None:
    room = world.channel()
    async with standing(room.subscribe()):  # the channel is warm, its news may be on their way
        for number in range(20):
            await room.publish(number)
            async with standing(room.subscribe()) as messages:
                await room.publish("next")
                assert await take(messages, 1) == ["next"]


async def test_empty_begins_with_all_that_is_retained(world: World) -> None:
    room = world.channel(history=3)
    for number in range(5):
        await room.publish(number)
    async with standing(room.subscribe(since="")) as messages:
        assert await take(messages, 3) == ["2", "3", "4"]
        await room.publish(5)
        assert await take(messages, 1) == ["5"]
    assert len((await room.read(since="")).messages) == 3


async def test_it_goes_on_after_a_position(world: World) -> None:
    room = world.channel()
    positions = [await room.publish(number) for number in range(5)]
    for number, position in enumerate(positions):
        async with standing(world.same(room).subscribe(since=position)) as messages:
            rest = [str(n) for n in range(number + 1, 5)]
            assert await take(messages, len(rest)) == rest


async def test_an_older_position_after_a_newer_one(world: World) -> None:
    room = world.channel()
    positions = [await room.publish(number) for number in range(5)]
    async with standing(room.subscribe(since=positions[3])) as messages:
        assert await take(messages, 1) == ["4"]
        assert [m.data for m in (await room.read(since=positions[0])).messages] == ["1", "2", "3", "4"]
        assert [m.data for m in (await room.read(since="")).messages] == ["0", "1", "2", "3", "4"]


async def test_position_of_an_empty_channel_is_a_beginning(world: World) -> None:
    room = world.channel()
    position = await room.position()
    await world.same(room).publish("first")
    batch = await room.read(since=position)
    assert [message.data for message in batch.messages] == ["first"]
    assert not batch.reset


async def test_position_is_where_the_log_ends(world: World) -> None:
    room = world.channel()
    await room.publish("before")
    position = await world.same(room).position()
    await room.publish("after")
    assert [message.data for message in (await room.read(since=position)).messages] == ["after"]


async def test_a_position_is_good_as_soon_as_publish_returned(world: World) -> None:
    room = world.channel()
    async with standing(room.subscribe()):
        for number in range(50):  # its news may come later than its position
            position = await world.same(room).publish(number)
            batch = await room.read(since=position)
            assert not batch.reset, number
            assert batch.messages == []


async def test_too_old_a_position_is_a_reset_and_then_live(world: World) -> None:
    room = world.channel(history=3)
    first = await room.publish(0)
    for number in range(1, 6):
        await room.publish(number)
    async with standing(room.subscribe(since=first)) as messages:
        reset = await anext(messages)
        assert (reset.reset, reset.data) == (True, "")
        await room.publish("live")
        assert await take(messages, 1) == ["live"]
    assert [m.data for m in (await room.read(since=reset.id)).messages] == ["live"]


async def test_the_oldest_position_that_is_whole(world: World) -> None:
    room = world.channel(history=3)
    positions = [await room.publish(number) for number in range(6)]
    batch = await room.read(since=positions[2])
    assert ([message.data for message in batch.messages], batch.reset) == (["3", "4", "5"], False)
    assert (await room.read(since=positions[1])).reset


FORGED = [
    "0",
    "x.1",
    "k3f9.18",
    ".",
    "..",
    "-1.5",
    "unknown.0",
    "a" * 100_000,
    "a.1~" * 20_000,
    "ünïcödé.1",
    "é" * 10,
    "\"'; DROP TABLE messages; --.1",
    "nul\0.1",
    "line\n.1",
    "١.٢",
    "1.99999999999999999999999",
]


@pytest.mark.parametrize("since", FORGED, ids=range(len(FORGED)))
async def test_forged_positions_are_a_reset(world: World, since: str) -> None:
    room = world.channel()
    await room.publish("secret")
    batch = await room.read(since=since)
    assert (batch.messages, batch.reset) == ([], True)
    await room.publish("live")
    assert [message.data for message in (await room.read(since=batch.position)).messages] == ["live"]


async def test_positions_of_the_future_are_a_reset(world: World) -> None:
    room = world.channel()
    epoch, _, offset = (await room.publish("now")).rpartition(".")
    for ahead in (1000, 2**40, 2**63 - 1 - int(offset)):
        batch = await room.read(since=f"{epoch}.{int(offset) + ahead}")
        assert (batch.messages, batch.reset) == ([], True)


async def test_positions_of_another_log_are_a_reset(world: World) -> None:
    room, other = world.channel("room"), world.channel("other")
    position = await room.publish("here")
    for number in range(3):
        await other.publish(number)
    batch = await other.read(since=position)
    assert (batch.messages, batch.reset) == ([], True)
    epoch, _, offset = position.rpartition(".")
    forged = ("0" if epoch[0] != "0" else "1") + epoch[1:]
    assert (await room.read(since=f"{forged}.{offset}")).reset


async def test_who_leaves_before_a_reset_was_told_is_told_again(world: World) -> None:
    room = world.channel()
    subscription = room.subscribe(since="forged")
    position = await subscription.open()
    await subscription.aclose()
    assert (await room.read(since=position)).reset


async def test_a_key_adds_one_message(world: World) -> None:
    room = world.channel()
    position = await room.position()
    first = await room.publish("once", key="order 1/ü")
    again = await world.same(room).publish("twice", key="order 1/ü")
    other = await room.publish("other", key="order 2")
    assert first == again != other
    assert [message.data for message in (await room.read(since=position)).messages] == ["once", "other"]


async def test_a_key_is_of_its_channel(world: World) -> None:
    room, other = world.channel("room"), world.channel("other")
    await room.publish("here", key="k")
    await other.publish("there", key="k")
    assert [message.data for message in (await other.read(since="")).messages] == ["there"]


async def test_read_waits_for_the_first(world: World) -> None:
    room = world.channel()
    position = await room.position()
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(room.read(since=position, wait=PATIENT))
        now = tasks.create_task(room.read(wait=PATIENT))
        await until(lambda: world.bus.status.subscribers == 2)
        await settle(world)
        published = await world.same(room).publish("news")
    for batch in (reading.result(), now.result()):
        assert [message.data for message in batch.messages] == ["news"]
        assert batch.position == published


PATIENT = 20  # seconds: not what the test waits for


async def settle(world: World) -> None:
    """Wait until every subscription of the bus stands where it begins."""
    node = world.bus._node
    assert node is not None
    await until(lambda: all(hub.waiting and len(hub.waiting) >= hub.users for hub in node.hubs.values()))


async def test_read_returns_empty_when_nothing_comes(world: World) -> None:
    room = world.channel()
    position = await room.publish("before")
    batch = await room.read(since=position, wait=0.01)
    assert (batch.messages, batch.position, batch.reset) == ([], position, False)


async def test_reading_in_a_loop_misses_nothing(world: World) -> None:
    room = world.channel(history=1000)
    position = await room.position()
    seen: list[int] = []

    async def publish() -> None:
        for number in range(300):
            await world.same(room).publish(number)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publish())
        while len(seen) < 300:
            batch = await room.read(since=position, wait=PATIENT)
            assert not batch.reset
            seen += [message.json() for message in batch.messages]
            position = batch.position
    assert seen == list(range(300))


async def test_a_batch_is_bounded_and_goes_on(world: World) -> None:
    room = world.channel()
    for number in range(5):
        await room.publish(str(number) * 400_000)
    first = await room.read(since="")
    assert [len(message.data) for message in first.messages] == [400_000] * 3
    second = await room.read(since=first.position)
    assert [message.data[0] for message in second.messages] == ["3", "4"]


async def test_a_batch_in_json(world: World) -> None:
    room = world.channel()
    await room.publish({"a": "ü"})
    await room.publish(b"\x00\xff")
    last = await room.publish('quote " and \n')
    batch = await room.read(since="")
    decoded = msgspec.json.decode(batch.model_dump_json())
    assert [message["data"] for message in decoded["messages"]] == [{"a": "ü"}, "AP8=", 'quote " and \n']
    assert decoded["messages"][2]["id"] == decoded["position"] == last
    assert decoded["reset"] is False


@pytest.mark.parametrize("slow", ["reset", "latest", "close"])
async def test_a_slow_subscriber(world: World, slow: str) -> None:
    room = world.channel(history=5)
    async with standing(room.subscribe(slow=slow)) as messages:
        await room.publish("first")
        assert await take(messages, 1) == ["first"]
        last = [await room.publish(number) for number in range(20)][-1]
        await room.read(since=last)
        await until(lambda: end_here(world, room) == int(last.rpartition(".")[2]))
        if slow == "close":
            assert await anext(messages, None) is None
            assert (await room.read(since=messages.position)).reset
            return
        assert await take(messages, 1) == (["reset"] if slow == "reset" else ["19"])
        await room.publish("after")
        assert await take(messages, 1) == ["after"]


async def test_subscribing_exactly_while_publishing(world: World) -> None:
    room = world.channel(history=5000)
    done = asyncio.Event()

    async def publish() -> None:
        for number in range(400):
            await world.same(room).publish(number)
        done.set()

    async def subscribe(wait: int, since: str | None) -> None:
        for _ in range(wait):
            await asyncio.sleep(0)
        async with standing(room.subscribe(since=since)) as messages:
            first = (await anext(messages)).json() if not done.is_set() or since == "" else None
            if since == "":
                assert first == 0
            while first is not None and first < 399:
                message = await anext(messages)
                assert not message.reset
                assert message.json() == first + 1
                first += 1

    async with asyncio.timeout(PATIENT), asyncio.TaskGroup() as tasks:
        tasks.create_task(publish())
        for number in range(50):
            tasks.create_task(subscribe(number * 3, "" if number % 2 else None))
        await done.wait()
        await room.publish(399)  # for those who came after the last one


async def test_many_subscribers_get_the_same(world: World) -> None:
    room = world.channel()
    async with contextlib.AsyncExitStack() as stack:
        all_of_them = [await stack.enter_async_context(standing(room.subscribe())) for _ in range(100)]
        for number in range(10):
            await world.same(room).publish(number)
        expected = [str(number) for number in range(10)]
        for messages in all_of_them:
            assert await take(messages, 10) == expected


async def test_messages_are_shared_and_encoded_once(world: World) -> None:
    room = world.channel()
    async with standing(room.subscribe()) as one, standing(room.subscribe()) as two:
        await room.publish({"a": 1})
        first, second = await anext(one), await anext(two)
        assert first is second
        assert first.wire is second.wire
        assert first.wire == b'id: %b\ndata: {"a":1}\n\n' % first.id.encode()
        assert first.text is second.text
        assert msgspec.json.decode(first.text) == {"id": first.id, "data": {"a": 1}}


async def test_what_is_pending_is_taken_without_waiting(world: World) -> None:
    room = world.channel()
    for number in range(5):
        await room.publish(number)
    async with standing(room.subscribe(since="")) as messages:
        first = await anext(messages)
        rest = messages.pending()
        assert [message.data for message in (first, *rest)] == ["0", "1", "2", "3", "4"]
        assert messages.pending() == []


async def test_several_channels_and_a_vector(world: World) -> None:
    room, news = world.channel("room"), world.channel("news")
    async with standing(world.bus.subscribe(room, news)) as messages:
        start = messages.position
        await room.publish("r0")
        await news.publish("n0")
        await room.publish("r1")
        got: list[Message] = [await anext(messages) for _ in range(3)]
        assert {(m.channel, m.data) for m in got} == {(room.name, "r0"), (news.name, "n0"), (room.name, "r1")}
    for number, message in enumerate([None, *got]):
        since = start if message is None else message.id
        again = world.other.subscribe(world.same(news), world.same(room), since=since)  # in another order
        async with standing(again) as messages:
            rest = {m.data for m in got[number:]}
            assert {m.data for m in [await anext(messages) for _ in rest]} == rest


async def test_a_vector_resets_only_what_it_does_not_have(world: World) -> None:
    room, news = world.channel("room"), world.channel("news")
    position = await room.publish("old")
    await room.publish("new")
    async with standing(world.bus.subscribe(room, news, since=position)) as messages:
        reset = await anext(messages)
        assert (reset.reset, reset.channel) == (True, news.name)
        assert await take(messages, 1) == ["new"]
        await news.publish("live")
        assert await take(messages, 1) == ["live"]


async def test_each_reset_of_a_vector_is_told_until_it_was(world: World) -> None:
    room, news = world.channel("room"), world.channel("news")
    async with standing(world.bus.subscribe(room, news, since="forged")) as messages:
        first = await anext(messages)
    async with standing(world.bus.subscribe(room, news, since=first.id)) as messages:
        second = await anext(messages)
        assert (second.reset, {first.channel, second.channel}) == (True, {room.name, news.name})
    async with standing(world.bus.subscribe(room, news, since=second.id)) as messages:
        await room.publish("live")
        assert await take(messages, 1) == ["live"]


async def test_many_channels(world: World) -> None:
    rooms = [world.channel(f"room{number}") for number in range(200)]

    async def converse(number: int) -> None:
        room = rooms[number]
        async with standing(room.subscribe()) as messages:
            for text in ("a", "b", "c"):
                await world.same(room).publish(f"{number}{text}")
            assert await take(messages, 3) == [f"{number}a", f"{number}b", f"{number}c"]

    async with asyncio.TaskGroup() as tasks:
        for number in range(200):
            tasks.create_task(converse(number))
    assert world.bus.status.channels == 200
    assert world.bus.status.subscribers == 0


async def test_what_cannot_be_published(world: World) -> None:
    room = world.channel()
    with pytest.raises(TypeError, match="object"):
        await room.publish(object())
    with pytest.raises(ValueError, match="surrogates not allowed"):
        await room.publish("\ud800")
    with pytest.raises(ValueError, match="over the limit"):
        await room.publish(b"x" * (1024 * 1024 + 1))
    for key in ("", "k" * 201):
        with pytest.raises(ValueError, match="1 to 200 characters"):
            await room.publish("x", key=key)
    assert (await room.read(since="")).messages == []


async def test_a_message_of_half_a_megabyte(world: World) -> None:
    room = world.channel()
    async with standing(room.subscribe()) as messages:
        await world.same(room).publish(b"x" * 524_288)
        assert len((await anext(messages)).data) == 524_288


async def test_closing_ends_who_waits(world: World) -> None:
    room = world.channel()
    async with standing(room.subscribe()) as messages:
        waiting = asyncio.create_task(anext(messages, None))
        await asyncio.sleep(0)
        await world.bus.close()
        assert await waiting is None


async def test_leaving_ends_who_waits(world: World) -> None:
    subscription = world.channel().subscribe()
    await subscription.open()
    waiting = asyncio.create_task(anext(subscription, None))
    await asyncio.sleep(0)
    await subscription.aclose()
    assert await waiting is None
    assert await anext(subscription, None) is None
    assert subscription.pending() == []


async def test_who_waits_is_told_that_the_server_closes(world: World) -> None:
    room = world.channel()
    async with standing(room.subscribe()) as messages:
        waiting = asyncio.create_task(anext(messages))
        reading = asyncio.create_task(room.read(wait=PATIENT))
        await until(lambda: world.bus.status.subscribers == 2)
        await settle(world)
        try:
            _shutdown.notice().begin()
            for task in (waiting, reading):
                with pytest.raises(ServerClosing):
                    await task
            with pytest.raises(ServerClosing):
                await room.subscribe().open()
        finally:
            _shutdown.forget()
        async with standing(room.subscribe()) as later:  # another server, in the same loop
            await room.publish("on")
            assert await take(later, 1) == ["on"]


async def test_a_lifespan(world: World) -> None:
    async with Bus(world.url) as bus:
        assert bus.status.ok
        assert bus.status.state == "up"
        room = bus.channel(world.channel().name)
        position = await room.publish("x")
        assert (await room.read(since=position)).messages == []
    assert bus.status.state == "new"


def test_one_bus_in_several_loops(world: World) -> None:
    room = world.channel()

    async def use() -> None:
        async with standing(room.subscribe()) as messages:
            await room.publish("x")
            assert await take(messages, 1) == ["x"]
        await world.bus.close()

    for _ in range(3):
        asyncio.run(use())
