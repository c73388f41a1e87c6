"""A randomised run over one engine, which checks itself: publishers, subscribers, cuts, slow readers.

Each subscriber writes down what it got and where it began. At the end that is held against what was
published: after its position it saw every message once and in order, or was told by a reset first.
Seeded: the same seed makes the same choices, though not the same timing. Used by `test_stress.py` and
by `bench/stress.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from asgineer import Bus, Channel, ChannelError
from asgineer.channels._position import parse_position, split_positions, tag_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgineer.channels._subscription import Subscription

PAUSE = 0.01  # seconds until a publisher tries again while the engine is away
PATIENCE = 20.0  # seconds for all subscribers to arrive at the end, also after a cut
END = "end"

Place = tuple[str, int]  # epoch and offset


class Plan(NamedTuple):
    """How large a run is."""

    publishes: int = 4000
    channels: int = 20
    publishers: int = 4
    subscribers: int = 60
    history: int = 40
    cuts: int = 0


class Flaw(AssertionError):
    """A subscriber missed something, and was not told; or got it twice, or in another order."""


class Record:
    """What was published, by place: what publishers were told, and what anybody saw."""

    def __init__(self) -> None:
        self.texts: dict[tuple[str, Place], str] = {}
        self.counts: Counter[str] = Counter()

    def note(self, channel: str, place: Place, text: str) -> None:
        known = self.texts.setdefault((channel, place), text)
        if known != text:
            raise Flaw(f"{channel} {place}: {text!r} stands where {known!r} was published")

    def offsets(self) -> dict[tuple[str, str], list[int]]:
        """Return the offsets of all messages, by channel and epoch."""
        found: dict[tuple[str, str], list[int]] = {}
        for channel, (epoch, offset) in sorted(self.texts):
            found.setdefault((channel, epoch), []).append(offset)
        return found


class Reader:
    """One subscriber that comes and goes, and what it got."""

    def __init__(self, run: Run, number: int) -> None:
        self.run = run
        self.random = random.Random(f"{run.seed}/{number}")
        several = self.random.random() < 0.2
        self.channels = self.random.sample(run.names, 3 if several else 1)
        self.bus = self.random.choice(run.buses)
        self.policy = self.random.choice(["reset", "reset", "latest", "close"])
        self.pace = self.random.choice(
            [0, 0, 0, 1, 5, 200]
        )  # turns of the loop for each message; 200 is slow
        self.ended: set[str] = set()
        #: What happened in each channel: ("at" | "reset", place) or ("message", place).
        self.story: dict[str, list[tuple[str, Place]]] = {name: [] for name in self.channels}
        self.ids: list[str] = []

    @property
    def waits(self) -> bool:
        """Whether it has not seen the end of some channel."""
        return len(self.ended) < len(self.channels)

    async def read(self) -> None:
        """Subscribe, leave and come back until the end of every channel was seen, or a reset after it."""
        since: str | None = self.random.choice([None, ""])
        while self.waits:
            subscription = self._subscribe(since)
            try:
                await self._follow(subscription, since)
            except ChannelError:
                self.run.record.counts["refused"] += 1
                await asyncio.sleep(PAUSE)
            finally:
                await subscription.aclose()
            since = self._next_since()

    def _subscribe(self, since: str | None) -> Subscription:
        channels = [self.run.channel(self.bus, name) for name in self.channels]
        return self.bus.subscribe(*channels, since=since, slow=self.policy)

    def _next_since(self) -> str | None:
        """Return where to go on: mostly where it was, sometimes further back, or at a place that isn't."""
        if self.run.is_over.is_set():
            return ""  # the end is among what is retained
        chance = self.random.random()
        if chance < 0.05:
            return "forged.7"
        if chance < 0.1 or not self.ids:
            return self.random.choice([None, ""])
        return self.random.choice(self.ids[-20:]) if chance < 0.3 else self.ids[-1]

    async def _follow(self, subscription: Subscription, since: str | None) -> None:
        start = await subscription.open()
        self.run.record.counts["joined"] += 1
        self._begin(start, since)
        if since is None and self.run.is_over.is_set():
            return  # it may stand behind the end
        left = self.random.randrange(5, 150)
        async for message in subscription:
            self.ids.append(message.id)
            name = message.channel
            place = self._places(message.id)[name]
            if message.reset:
                self.run.record.counts["resets"] += 1
                self.story[name].append(("reset", place))
            else:
                self.run.record.counts["delivered"] += 1
                self.run.record.note(name, place, str(message.data))
                self.story[name].append(("message", place))
                if message.data == END:
                    self.ended.add(name)
            left -= 1
            is_over = self.run.is_over.is_set()
            if not self.waits or (left < 0 and not is_over) or (message.reset and is_over):
                return
            for _ in range(0 if is_over else self.pace):
                await asyncio.sleep(0)

    def _begin(self, start: str, since: str | None) -> None:
        """Write down where each channel begins; one that has no place there begins with a reset."""
        places = self._places(start)
        asked = self._places(since) if since else {}
        for name in self.channels:
            if name in places:
                self.story[name].append(("at", places[name]))
                if since and asked.get(name) != places[name]:
                    raise Flaw(f"{name}: asked for {since!r}, began at {start!r}")
            elif name in asked and len(self.channels) > 1:  # another channel begins with a reset
                self.story[name].append(("at", asked[name]))
            else:
                self.story[name].append(("told", ("", 0)))

    def _places(self, id: str) -> dict[str, Place]:
        parts = split_positions(id)
        found = {name: parts.get(tag_of(name)) for name in self.channels}
        return {name: parse_position(part, tag_of(name)) or ("", 0) for name, part in found.items() if part}

    def check(self, offsets: dict[tuple[str, str], list[int]]) -> None:
        """Hold what it got against what was published."""
        for name, story in self.story.items():
            at: Place | None = None
            for kind, place in story:
                if kind == "message":
                    self._check_next(name, at, place, offsets)
                at = None if kind == "told" else place

    def _check_next(
        self, name: str, at: Place | None, place: Place, offsets: dict[tuple[str, str], list[int]]
    ) -> None:
        if at is None or at[0] != place[0]:
            raise Flaw(f"{name}: {place} came after {at}, and no reset before it")
        known = offsets[name, place[0]]
        if place[1] <= at[1]:
            raise Flaw(f"{name}: {place} came after {at}")
        missed = [offset for offset in known if at[1] < offset < place[1]]
        if missed and self.policy != "latest":
            raise Flaw(f"{name}: between {at} and {place} {len(missed)} were missed, and nothing told so")


class Run:
    """One run: its buses, its channels, and all that happened."""

    def __init__(self, url: str | None, plan: Plan, seed: int, cut: Callable[[], object] | None) -> None:
        self.plan = plan
        self.seed = seed
        self.cut = cut
        self.random = random.Random(seed)
        self.buses = [Bus(url)] if url is None else [Bus(url), Bus(url)]
        self.names = [f"stress/{seed}/{number}" for number in range(plan.channels)]
        self.record = Record()
        self.is_over = asyncio.Event()
        self.published = 0

    def channel(self, bus: Bus, name: str) -> Channel:
        return bus.channel(name, history=self.plan.history)

    async def publish(self, number: int) -> None:
        """Publish to channels by chance; what was refused may be there or not."""
        chance = random.Random(f"{self.seed}/publisher/{number}")
        cuts = (
            {chance.randrange(self.plan.publishes) for _ in range(self.plan.cuts)} if number == 0 else set()
        )
        while self.published < self.plan.publishes:
            self.published += 1
            if self.published in cuts or (cuts and self.published > min(cuts)):
                cuts.discard(min(cuts))
                self._cut()
            name = chance.choice(self.names[: max(1, len(self.names) // chance.choice([1, 1, 4]))])
            await self._publish(chance.choice(self.buses), name, f"{number}.{self.published}")
            for _ in range(chance.choice([0, 0, 0, 1, 20])):
                await asyncio.sleep(0)

    def _cut(self) -> None:
        self.record.counts["cuts"] += 1
        if self.cut is not None:
            self.cut()

    async def _publish(self, bus: Bus, name: str, text: str) -> bool:
        try:
            position = await self.channel(bus, name).publish(text)
        except ChannelError:
            self.record.counts["not published"] += 1
            await asyncio.sleep(PAUSE)
            return False
        place = parse_position(position, tag_of(name))
        assert place is not None, position
        self.record.note(name, place, text)
        self.record.counts["published"] += 1
        return True

    async def _end(self) -> None:
        """Publish the end of each channel, however often that takes, and tell the readers."""
        for _ in range(2):  # again for those who began behind the first, before they could know
            for name in self.names:
                while not await self._publish(self.buses[0], name, END):
                    pass
            self.is_over.set()

    def _fare(self) -> str:
        return ", ".join([str(bus.status) for bus in self.buses])

    async def go(self) -> Counter[str]:
        """Do it all and check it; return what happened, counted.

        Raises:
            Flaw: something was lost and not told, or came twice, or in another order.
        """
        readers = [Reader(self, number) for number in range(self.plan.subscribers)]
        try:
            async with asyncio.TaskGroup() as reading:
                tasks = [reading.create_task(reader.read()) for reader in readers]
                async with asyncio.TaskGroup() as publishing:
                    for number in range(self.plan.publishers):
                        publishing.create_task(self.publish(number))
                async with asyncio.timeout(PATIENCE):
                    await self._end()
                    await asyncio.gather(*tasks)
        except* TimeoutError:
            waiting = [f"{sorted(set(r.channels) - r.ended)} at {r.ids[-1:]}" for r in readers if r.waits]
            raise Flaw(
                f"After {PATIENCE} s {len(waiting)} still wait: {waiting[:5]}; {self._fare()}"
            ) from None
        else:
            users = [bus.status.subscribers for bus in self.buses]
            if any(users):
                raise Flaw(f"{users} cursors were left in the hubs")
        finally:
            for bus in self.buses:
                await bus.close()
        offsets = self.record.offsets()
        for reader in readers:
            reader.check(offsets)
        return self.record.counts


async def run_stress(
    url: str | None, plan: Plan, seed: int, cut: Callable[[], object] | None = None
) -> Counter[str]:
    """Run once; `cut` breaks the connections to the engine, as often as the plan says."""
    return await Run(url, plan, seed, cut).go()
