"""Hubs, with an engine that does what the test says: history and live come together, or a reset is told."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import ChannelError
from asgineer.channels._hub import WARM, Hub
from asgineer.channels._listening import BATCH
from asgineer.channels._node import RETRY, SWEEP
from tests.unit.turns import advance, errors, settle

from .puppet import Puppet, PuppetBus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from asgineer import Channel
    from asgineer.channels._engine import Entry
    from asgineer.channels._subscription import Subscription
    from asgineer.testing._fakeclock import FakeClock

pytestmark = pytest.mark.usefixtures("clock")


class Scene:
    """A bus on a puppet, and one channel."""

    def __init__(self, **bounds: Any) -> None:
        self.bus = PuppetBus()
        self.puppet: Puppet = self.bus.engine
        self.room: Channel = self.bus.channel("room", **bounds)
        self.prefix = ""

    def tell(self, entry: Entry) -> None:
        self.puppet.tell("room", entry)

    def add(self, *texts: str) -> list[Entry]:
        """Add messages that nobody is told of yet."""
        return [self.puppet.add(text.encode()) for text in texts]

    @property
    def hub(self) -> Hub:
        assert self.bus._node is not None
        return self.bus._node.hubs["room"]

    async def lose(self) -> None:
        self.puppet.listener.lost("cut")
        await settle()

    async def come_back(self) -> None:
        self.puppet.listener.back()
        await settle()


@contextlib.asynccontextmanager
async def scene(**bounds: Any) -> AsyncGenerator[Scene]:
    made = Scene(**bounds)
    try:
        yield made
    finally:
        await made.bus.close()
        assert not made.puppet.is_open


def ready(subscription: Subscription) -> list[str]:
    """Return what is there without waiting, as text."""
    return [str(message.data) for message in subscription.pending()]


async def arrived(subscription: Subscription, count: int) -> list[str]:
    """Return the next messages; "reset" for one."""
    async with asyncio.timeout(2):
        messages = [await anext(subscription) for _ in range(count)]
    return ["reset" if message.reset else str(message.data) for message in messages]


async def test_it_listens_before_it_reads() -> None:
    async with scene() as it:
        await it.room.subscribe().open()
        assert [name for name, _ in it.puppet.calls] == ["open", "listen", "history"]


async def test_what_comes_while_history_is_read_comes_after_it() -> None:
    async with scene() as it:
        it.add("0", "1")
        it.puppet.gate.clear()
        subscription = it.room.subscribe(since="")
        opening = asyncio.create_task(subscription.open())
        await settle()
        third, fourth = it.add("2", "3")
        it.tell(third)
        it.tell(fourth)
        it.puppet.gate.set()
        await opening
        assert ready(subscription) == ["0", "1", "2", "3"]


async def test_what_is_in_history_and_comes_live_comes_once() -> None:
    async with scene() as it:
        old = it.add("0", "1")
        it.puppet.gate.clear()
        subscription = it.room.subscribe(since="")
        opening = asyncio.create_task(subscription.open())
        await settle()
        for entry in (*old, *it.add("2")):
            it.tell(entry)
        it.puppet.gate.set()
        await opening
        it.tell(old[1])
        assert ready(subscription) == ["0", "1", "2"]


async def test_a_gap_between_history_and_live_is_read_again() -> None:
    async with scene() as it:
        it.add("0")
        it.puppet.gate.clear()
        subscription = it.room.subscribe(since="")
        opening = asyncio.create_task(subscription.open())
        await settle()
        _, third = it.add("1", "2")  # of the first of them nobody tells
        it.tell(third)
        it.puppet.gate.set()
        await opening
        assert ready(subscription) == ["0", "1", "2"]
        assert it.puppet.asked("history") == [0, 1]


async def test_a_gap_in_what_is_live_is_read() -> None:
    async with scene() as it:
        subscription = it.room.subscribe()
        await subscription.open()
        it.tell(it.add("0", "1", "2")[2])
        assert ready(subscription) == []
        await settle()
        assert ready(subscription) == ["0", "1", "2"]


async def test_a_gap_that_is_not_retained_is_a_reset() -> None:
    async with scene() as it:
        subscription = it.room.subscribe()
        await subscription.open()
        last = it.add("0", "1", "2")[2]
        it.puppet.retain(1)
        it.tell(last)
        assert await arrived(subscription, 1) == ["reset"]
        it.tell(it.add("3")[0])
        assert await arrived(subscription, 1) == ["3"]


async def test_an_engine_whose_offsets_have_holes() -> None:
    async with scene() as it:
        subscription = it.room.subscribe()
        await subscription.open()
        it.puppet.last = 10
        it.tell(it.puppet.add(b"eleven", previous=0))
        it.puppet.last = 20
        it.tell(it.puppet.add(b"twenty-one", previous=11))
        assert ready(subscription) == ["eleven", "twenty-one"]
        assert it.puppet.asked("history") == [None]


async def test_another_epoch_is_a_reset() -> None:
    async with scene() as it:
        it.add("0")
        subscription = it.room.subscribe()
        await subscription.open()
        it.puppet.start_anew("f")
        it.tell(it.add("new")[0])
        assert await arrived(subscription, 1) == ["reset"]
        it.tell(it.add("newer")[0])
        assert await arrived(subscription, 1) == ["newer"]


async def test_an_old_epoch_that_comes_late_is_left_out() -> None:
    async with scene() as it:
        it.puppet.gate.clear()
        subscription = it.room.subscribe(since="")
        opening = asyncio.create_task(subscription.open())
        await settle()
        for epoch, entry in (("d", it.add("0")[0]), ("e", it.puppet.entries[0])):
            it.puppet.listener.message("room", epoch, entry)
        it.puppet.gate.set()
        await opening
        assert ready(subscription) == ["0"]


async def test_live_of_another_epoch_than_history_is_read_again(clock: FakeClock) -> None:
    async with scene() as it:
        it.puppet.gate.clear()
        subscription = it.room.subscribe(since="")
        opening = asyncio.create_task(subscription.open())
        await settle()
        it.puppet.start_anew("f")
        it.tell(it.add("new")[0])
        it.puppet.gate.set()
        await opening
        assert ready(subscription) == ["new"]


async def test_what_never_fits_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    async with scene() as it:
        it.puppet.gate.clear()
        opening = asyncio.create_task(it.room.subscribe().open())
        await settle()
        answering = it.puppet.history

        async def lying(*arguments: Any, **more: Any) -> Any:
            it.puppet.listener.message("room", "other", it.add("x")[0])
            return await answering(*arguments, **more)

        it.puppet.history = lying  # type: ignore[method-assign]
        it.puppet.listener.message("room", "other", it.add("x")[0])
        it.puppet.gate.set()
        with pytest.raises(ChannelError, match="don't fit its history"):
            await opening


async def test_history_comes_in_pages() -> None:
    async with scene() as it:
        it.add(*[str(number) for number in range(10)])
        it.puppet.page = 3
        subscription = it.room.subscribe(since="")
        await subscription.open()
        assert ready(subscription) == [str(number) for number in range(10)]
        assert it.puppet.asked("history") == [0, 3, 6, 9]


async def test_history_that_is_trimmed_between_two_pages() -> None:
    async with scene() as it:
        it.add(*[str(number) for number in range(10)])
        it.puppet.page = 3
        answering = it.puppet.history

        async def trimmed(*arguments: Any, **more: Any) -> Any:
            if len(it.puppet.asked("history")) == 1:
                it.puppet.retain(4)
            return await answering(*arguments, **more)

        it.puppet.history = trimmed  # type: ignore[method-assign]
        subscription = it.room.subscribe(since="")
        await subscription.open()
        assert ready(subscription) == ["6", "7", "8", "9"]


async def test_one_read_serves_all_who_join() -> None:
    async with scene() as it:
        it.add("0", "1", "2")
        prefix = (await it.room.position()).rpartition(".")[0]
        all_of_them = [it.room.subscribe(since=f"{prefix}.{place}") for place in (2, 0, 1) for _ in range(20)]
        await asyncio.gather(*[subscription.open() for subscription in all_of_them])
        assert it.puppet.asked("history") == [None, 0]
        assert it.puppet.asked("listen") == [["room"]]
        for subscription, count in zip(all_of_them, [1] * 20 + [3] * 20 + [2] * 20, strict=True):
            assert len(ready(subscription)) == count


async def test_who_comes_during_a_read_waits_for_the_next() -> None:
    async with scene() as it:
        it.add("0", "1", "2")
        prefix = (await it.room.position()).rpartition(".")[0]
        it.puppet.gate.clear()
        first, second = it.room.subscribe(), it.room.subscribe(since=f"{prefix}.1")
        opening = [asyncio.create_task(first.open())]
        await settle()
        opening.append(asyncio.create_task(second.open()))
        await settle()
        it.puppet.gate.set()
        await asyncio.gather(*opening)
        assert (ready(first), ready(second)) == ([], ["1", "2"])


async def test_who_leaves_during_a_read_leaves_it_to_others() -> None:
    async with scene() as it:
        it.add("0")
        it.puppet.gate.clear()
        opening = [asyncio.create_task(it.room.subscribe(since="").open()) for _ in range(2)]
        await settle()
        opening[0].cancel()
        await settle()
        assert it.bus.status.subscribers == 1
        it.puppet.gate.set()
        await opening[1]


async def test_lost_and_back_brings_what_was_missed() -> None:
    async with scene() as it:
        subscription = it.room.subscribe()
        await subscription.open()
        await it.lose()
        assert (it.bus.status.state, it.bus.status.ok, it.bus.status.why) == ("away", False, "cut")
        entries = it.add("0", "1")
        it.tell(entries[1])  # it may be that others were lost
        assert ready(subscription) == []
        await it.come_back()
        assert ready(subscription) == ["0", "1"]
        assert it.puppet.asked("listen") == [["room"], ["room"]]
        assert (it.bus.status.state, it.bus.status.losses) == ("up", 1)


async def test_lost_and_back_with_too_much_missed_is_a_reset() -> None:
    async with scene() as it:
        subscription = it.room.subscribe()
        await subscription.open()
        waiting = asyncio.create_task(anext(subscription))
        await it.lose()
        it.add("0", "1", "2")
        it.puppet.retain(2)
        await it.come_back()
        assert (await waiting).reset
        assert ready(subscription) == []


@pytest.mark.parametrize("epoch", ["e", "f"], ids=["same epoch", "another"])
async def test_back_without_its_data_is_a_reset(epoch: str) -> None:
    async with scene() as it:
        it.add("0", "1")
        subscription = it.room.subscribe()
        await subscription.open()
        await it.lose()
        it.puppet.start_anew(epoch)
        it.add("new")
        await it.come_back()
        assert await arrived(subscription, 1) == ["reset"]
        it.tell(it.add("newer")[0])
        assert await arrived(subscription, 1) == ["newer"]


async def test_what_is_here_is_served_while_the_engine_is_away() -> None:
    async with scene() as it:
        first = it.room.subscribe()
        await first.open()
        for entry in it.add("0", "1"):
            it.tell(entry)
        place = (await anext(first)).id
        it.puppet.failing = dict.fromkeys(["history", "listen", "publish"], ChannelError("away"))
        await it.lose()
        assert [message.data for message in (await it.room.read(since=place)).messages] == ["1"]
        assert ready(first) == ["1"]
        with pytest.raises(ChannelError, match="away"):
            await it.room.subscribe().open()  # where the end is nobody knows
        with pytest.raises(ChannelError, match="away"):
            await it.room.position()


async def test_lost_while_history_is_read(clock: FakeClock) -> None:
    async with scene() as it:
        subscription = it.room.subscribe()
        await subscription.open()
        await it.lose()
        it.puppet.gate.clear()
        await it.come_back()
        await it.lose()
        it.puppet.gate.set()
        await settle()
        it.add("0")
        assert not it.hub.is_sure
        await it.come_back()
        assert ready(subscription) == ["0"]


async def test_a_read_that_fails_is_tried_again(clock: FakeClock) -> None:
    async with scene() as it:
        subscription = it.room.subscribe()
        await subscription.open()
        await it.lose()
        it.puppet.failing["history"] = ChannelError("not yet")
        it.add("0")
        await it.come_back()
        assert not it.hub.is_sure
        it.puppet.failing.clear()
        await advance(clock, RETRY)
        assert ready(subscription) == ["0"]


async def test_a_mistake_of_the_engine_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with scene() as it:
        it.puppet.failing["history"] = RuntimeError("oops")
        with pytest.raises(ChannelError, match="engine of the bus failed"):
            await it.room.subscribe().open()
        it.puppet.failing = {"listen": RuntimeError("oops")}
        with pytest.raises(ChannelError, match="engine of the bus failed"):
            await it.bus.channel("other").subscribe().open()
    assert errors(caplog) == [
        "RuntimeError while channel room was read",
        "RuntimeError in the engine's listen",
    ]


async def test_messages_that_are_malformed_are_counted_and_passed_over(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene() as it:
        subscription = it.room.subscribe()
        await subscription.open()
        for kind, data in (("j", b"{"), ("t", b"\xff"), ("x", b""), ("b", b"x" * 1_048_577), ("t", b"good")):
            it.tell(it.puppet.add(data, kind))
        it.puppet.listener.ignored("room", "of version 9")
        assert ready(subscription) == ["good"]
        assert it.bus.status.ignored == 5
        await advance(clock, 61)
        it.puppet.listener.ignored("a\nb", "x\ny")
        batch = await it.room.read(since="")
        assert [message.data for message in batch.messages] == ["good"]
    assert [record.getMessage() for record in caplog.records][:2] == [
        "A message of channel room was ignored: it is no JSON (1 so far)",
        "A message of channel a\\nb was ignored: x\\ny (6 so far)",
    ]


async def test_messages_for_nobody_are_nothing() -> None:
    async with scene() as it:
        await it.room.publish("x")
        it.puppet.tell("elsewhere", it.puppet.entries[0])
        it.puppet.listener.lost("cut")
        it.puppet.listener.lost("cut again")
        it.puppet.listener.back()
        assert it.bus.status.losses == 2


async def test_too_much_that_comes_early_is_read_again() -> None:
    async with scene(history=3) as it:
        it.puppet.gate.clear()
        subscription = it.room.subscribe()
        opening = asyncio.create_task(subscription.open())
        await settle()
        for entry in it.add(*"abcde"):
            it.tell(entry)
        it.puppet.retain(3)
        it.puppet.gate.set()
        await opening
        assert it.hub.is_sure
        assert it.hub.end() == 5


async def test_too_many_bytes_that_come_early_are_read_again() -> None:
    async with scene() as it:
        it.puppet.gate.clear()
        subscription = it.room.subscribe(since="")
        opening = asyncio.create_task(subscription.open())
        await settle()
        for entry in it.add(*[str(number) * 1_000_000 for number in range(10)]):
            it.tell(entry)
        it.puppet.retain(2)
        it.puppet.gate.set()
        await opening
        assert len(it.puppet.asked("history")) == 2
        assert [text[0] for text in ready(subscription) + ready(subscription)] == ["8", "9"]


async def test_it_stays_warm_and_then_ends(clock: FakeClock) -> None:
    async with scene() as it:
        subscription = it.room.subscribe()
        await subscription.open()
        await advance(clock, 100)
        await subscription.aclose()
        await advance(clock, SWEEP)
        await advance(clock, WARM - 1)
        assert it.bus.status.channels == 1
        again = it.room.subscribe()
        await again.open()
        assert len(it.puppet.asked("listen")) == 1
        await advance(clock, 100)
        await again.aclose()
        for _ in range(8):
            await advance(clock, SWEEP)
        assert it.bus.status.channels == 0
        assert it.puppet.asked("unlisten") == [["room"]]
        assert clock.waiting == 0


async def test_joining_while_it_ends(clock: FakeClock) -> None:
    async with scene() as it:
        await it.room.read()
        for _ in range(7):
            clock.advance(SWEEP)
            await asyncio.sleep(0)
        subscription = it.room.subscribe()
        await subscription.open()
        await settle()
        it.tell(it.add("x")[0])
        assert ready(subscription) == ["x"]
        listened, unlistened = it.puppet.asked("listen"), it.puppet.asked("unlisten")
        assert len(listened) == len(unlistened) + 1


async def test_what_was_read_is_kept_for_a_short_while(clock: FakeClock) -> None:
    async with scene() as it:
        it.add("0", "1")
        subscription = it.room.subscribe()
        await subscription.open()
        assert len((await it.room.read(since="")).messages) == 2
        assert len((await it.room.read(since="")).messages) == 2
        assert it.puppet.asked("history") == [None, 0]
        await advance(clock, WARM + SWEEP)
        assert it.hub.log is not None
        assert it.hub.log.start == it.hub.log.end
        assert len((await it.room.read(since="")).messages) == 2
        assert it.puppet.asked("history") == [None, 0, 0]


async def test_a_cursor_that_fell_off_finds_it_in_the_engine(clock: FakeClock) -> None:
    async with scene(ttl=10) as it:
        subscription = it.room.subscribe()
        await subscription.open()
        it.tell(it.add("0")[0])
        it.tell(it.add("1")[0])
        await advance(clock, 15)
        assert ready(subscription) == []
        assert await arrived(subscription, 2) == ["0", "1"]


async def test_a_cursor_that_fell_off_while_the_engine_is_away(clock: FakeClock) -> None:
    async with scene(ttl=10) as it:
        subscription = it.room.subscribe()
        await subscription.open()
        it.tell(it.add("0")[0])
        await advance(clock, 15)
        it.puppet.failing = dict.fromkeys(["history", "listen"], ChannelError("away"))
        waiting = asyncio.create_task(anext(subscription))
        await advance(clock, 5)
        assert not waiting.done()
        it.puppet.failing.clear()
        await advance(clock, 5)
        assert (await waiting).data == "0"


async def test_published_here_is_known_before_it_comes() -> None:
    async with scene() as it:
        first = it.room.subscribe()
        await first.open()
        it.puppet.tells = False
        place = await it.room.publish("0")
        second = it.room.subscribe()
        await second.open()
        assert second.position == await it.room.position() == place
        third = it.room.subscribe(since=place)
        assert await third.open() == place
        it.puppet.tell("room", it.puppet.entries[0])
        it.tell(it.add("1")[0])
        assert (ready(first), ready(second), ready(third)) == (["0", "1"], ["1"], ["1"])


async def test_a_read_has_what_was_published_here_before() -> None:
    async with scene() as it:
        start = await it.room.position()
        first = it.room.subscribe()
        await first.open()
        it.puppet.tells = False
        await it.room.publish("0")
        assert [message.data for message in (await it.room.read(since=start)).messages] == ["0"]


async def test_published_into_another_log() -> None:
    async with scene() as it:
        subscription = it.room.subscribe()
        await subscription.open()
        it.puppet.start_anew("f")
        await it.room.publish("x")
        assert await arrived(subscription, 1) == ["reset"]


async def test_closing_ends_a_read(clock: FakeClock) -> None:
    async with scene() as it:
        it.puppet.gate.clear()
        opening = asyncio.create_task(it.room.subscribe().open())
        await settle()
        await it.bus.close()
        with pytest.raises(ChannelError, match="closed"):
            await opening


async def test_losing_the_engine_while_it_is_asked_to_listen() -> None:
    async with scene() as it:
        await it.bus.connect()
        listening = it.puppet.listen

        async def lose(channels: Any) -> None:
            await listening(channels)
            if len(it.puppet.asked("listen")) == 1:
                it.puppet.listener.lost("cut")

        it.puppet.listen = lose  # type: ignore[method-assign]
        with pytest.raises(ChannelError, match="connection was lost"):
            await it.room.subscribe().open()
        await it.come_back()
        await it.room.subscribe().open()


async def test_closing_while_it_is_asked_to_listen() -> None:
    async with scene() as it:
        asked = asyncio.Event()

        async def hang(channels: Any) -> None:
            asked.set()
            await asyncio.Event().wait()

        it.puppet.listen = hang  # type: ignore[method-assign]
        opening = asyncio.create_task(it.room.subscribe().open())
        await asked.wait()
        await it.bus.close()
        with pytest.raises(ChannelError, match="closed"):
            await opening


@pytest.mark.parametrize(
    ("error", "told"),
    [(ChannelError("away"), []), (RuntimeError("oops"), ["RuntimeError in the engine's unlisten"])],
)
async def test_an_unlisten_that_fails(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, error: Exception, told: list[str]
) -> None:
    async with scene() as it:
        await it.room.read()
        it.puppet.failing["unlisten"] = error
        for _ in range(8):
            await advance(clock, SWEEP)
        assert it.puppet.asked("unlisten") == [["room"]]
        await it.room.subscribe().open()
        assert len(it.puppet.asked("listen")) == 2
    assert errors(caplog) == told


async def test_many_channels_are_asked_for_at_once() -> None:
    async with scene() as it:
        rooms = [it.bus.channel(f"room{number}") for number in range(BATCH + 10)]
        await asyncio.gather(*[room.subscribe().open() for room in rooms])
        assert [len(str(names).split()) for names in it.puppet.asked("listen")] == [BATCH, 10]


async def test_the_engine_is_back_where_nobody_is(clock: FakeClock) -> None:
    async with scene() as it:
        await it.room.read()
        await it.lose()
        await it.come_back()
        assert len(it.puppet.asked("listen")) == 1


async def test_nobody_waits_for_a_read_that_failed(clock: FakeClock) -> None:
    async with scene() as it:
        subscription = it.room.subscribe()
        await subscription.open()
        it.puppet.failing["history"] = ChannelError("not yet")
        it.tell(it.add("0", "1")[1])
        await settle()
        await subscription.aclose()
        asked = len(it.puppet.asked("history"))
        await advance(clock, RETRY)
        assert len(it.puppet.asked("history")) == asked
