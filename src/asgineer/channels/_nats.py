"""Channels through NATS JetStream: one stream as the log of all channels, its republished messages as live.

Publishing is a JetStream publish, and its acknowledgement the position: the sequence of the stream, so
offsets of one channel ascend and have holes. Live is one core subscription per channel that this
process listens to; history is Direct Get. There are no consumers: they don't scale to one per channel.

What keeps holes from being silent:

- A republished message names the one before it in its channel (`Nats-Last-Sequence`; 0 for the first,
  and again when age emptied the channel). While the connection holds, nothing is missing before a
  message whose predecessor we have had; `_Feed` turns that into `Entry.previous`.
- A read begins *at* the position it is asked for. If the message there is retained, all later
  ones are; else the state of the stream must show that none went (`_is_whole`), or it is told.
- The epoch is the stream's token, and for a single server also which run of it: it may have lost what
  it had acknowledged with its power (`?durable=1` says that it doesn't). In a cluster a quorum holds it.
- In a cluster any replica answers a Direct Get, and may lag: the leader is asked where the channel ends
  first, and a leader that changes counts as a lost connection, since what the old one stored last may
  never have been sent out.

The connection itself is `_nats_link`'s, subjects and configuration are `_nats_stream`'s.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from .. import _clock
from ..errors import ChannelError
from ._canary import Canary
from ._engine import MAX_PUBLISH, Entry, History
from ._nats_link import STATUS, ApiError, Link, decode
from ._nats_stream import Layout, Settings, escape, pack, seconds_of, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from ._engine import Listener

API = "$JS.API."
ADVISORY = "$JS.EVENT.ADVISORY.STREAM."
SEQUENCE, LAST, PENDING, STAMP = "Nats-Sequence", "Nats-Last-Sequence", "Nats-Num-Pending", "Nats-Time-Stamp"
IN_USE, NO_STREAM = 10058, 10059  # JetStream's numbers of errors
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0  # seconds between two attempts to connect, before chance
RETRY = 0.1  # seconds until a publish or a read that cannot have happened is tried again
BATCH, BATCH_BYTES = 500, 4 * 1024 * 1024  # of one Direct Get


class _Feed:
    """The live messages of one channel, over one connection."""

    __slots__ = ("_channel", "_newest", "_session", "known", "subscription")

    subscription: Subscription

    def __init__(self, session: _Session, channel: str) -> None:
        self._session = session
        self._channel = channel
        self._newest = 0
        self.known = 0  # the bus has all up to here, as far as that is known

    def __call__(self, message: Msg) -> None:
        headers = message.headers or {}
        try:
            offset, before = int(headers[SEQUENCE]), int(headers[LAST])
        except (KeyError, ValueError):
            self._session.listener.ignored(self._channel, "it is no republished message")
            return
        if offset <= self._newest:
            self._session.link.fail("the log went back: the stream was made anew")
            return
        # 0 is also what the first message has after age emptied the channel; what that had, we have got.
        previous = self.known if before <= self.known < offset and self.known else before or None
        self._newest = offset
        self.known = max(self.known, offset)
        kind, data = unpack(message.data)
        self._session.listener.message(
            self._channel, self._session.epoch, Entry(offset, kind, data, previous)
        )


class _Session:
    """What holds as long as one connection does: the link, the stream as it was found, what is listened to."""

    def __init__(self, link: Link, layout: Layout, epoch: str, listener: Listener) -> None:
        self.link = link
        self.layout = layout
        self.epoch = epoch
        self.listener = listener
        self.feeds: dict[str, _Feed] = {}
        self.time = 0.0  # the server's, when our clock stood at `_at`
        self._at = 0.0
        self.name = secrets.token_hex(6)
        self.canary = Canary(self._beat, self.link.fail)

    async def _beat(self) -> None:
        await self.link.send(f"{self.layout.log}h.{self.name}", pack("t", b""))

    def heard(self, message: Msg) -> None:
        """Take a heartbeat."""
        self.canary.heard()
        stamp = (message.headers or {}).get(STAMP)  # not on servers before 2.10
        if stamp:
            self.set_time(stamp)

    def set_time(self, stamp: str) -> None:
        """Note what time it is at the server: clocks of machines differ, by hours if nobody looks."""
        self.time, self._at = seconds_of(stamp), _clock.clock.time()

    def is_older(self, message: Msg, ttl: float) -> bool:
        """Say whether a message of the log is older than `ttl`."""
        now = self.time + _clock.clock.time() - self._at
        return now - seconds_of((message.headers or {})[STAMP]) > ttl

    async def api(self, call: str, question: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Ask JetStream about the stream."""
        return await ask(self.link, call, self.layout.config["name"], question, seconds)

    async def end(self) -> None:
        """Leave nothing."""
        self.canary.stop()
        await self.link.end()


async def ask(
    link: Link, call: str, stream: str, question: dict[str, Any], seconds: float = MAX_PUBLISH
) -> dict[str, Any]:
    """Call JetStream's interface: `call` is as in "STREAM.INFO"."""
    data = json.dumps(question).encode()
    return decode(await link.request(f"{API}{call}.{stream}", data, None, seconds))


class NatsEngine:
    """The engine of a bus whose URL begins with `nats://` or `tls://`; `_nats_stream.Settings` reads it."""

    per_process = False

    def __init__(self, url: str) -> None:
        self._settings = Settings(url)
        self._servers = list(self._settings.servers)
        self._session: _Session | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._supervisor: asyncio.Task[None] | None = None
        self._enlarging = asyncio.Lock()
        self._wanted = (1, 0.0)  # history and ttl that were asked for, so far

    # The connection

    async def open(self, listener: Listener) -> None:
        """Connect, and make the stream if there is none."""
        self._listener = listener
        try:
            await self._connect()
        except ChannelError as error:
            where = self._settings.shown
            raise ChannelError(f"No bus at NATS ({where}): {error}. Start it, or mend the URL.") from error
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise(), name="asgineer-nats")

    async def close(self) -> None:
        """Leave no task, file descriptor or connection."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            with suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        session, self._session = self._session, None
        for future in self._waiting:
            _give_up(future)
        if session is not None:
            await session.end()

    async def _supervise(self) -> None:
        """Wait for the end of each connection, and make the next."""
        while True:
            assert self._session is not None
            session = self._session
            why = await asyncio.shield(session.link.gone)
            self._session = None
            self._listener.lost(why)
            await session.end()
            await self._connect_again()
            self._listener.back()

    async def _connect_again(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await _sleep(pause * random.uniform(0.5, 1.5))  # not all processes at once
            pause = min(pause * 2, LONGEST_PAUSE)
            with suppress(ChannelError):
                await self._connect()
                return

    async def _connect(self) -> None:
        """Connect to the first server that answers.

        Raises:
            ChannelError: none does; the reason is that of the last.
        """
        random.shuffle(self._servers)
        reason = ChannelError("no server")
        for server in list(self._servers):
            link = Link()
            try:
                await link.connect(server, self._settings.credentials)
                session = await self._begin(link)
            except BaseException as error:
                await link.end()
                if not isinstance(error, Exception):
                    raise
                reason = error if isinstance(error, ChannelError) else ChannelError(repr(error))
                continue
            self._servers += [peer for peer in link.peers if peer not in self._servers]
            self._start(session)
            return
        raise reason

    async def _begin(self, link: Link) -> _Session:
        stream = self._settings.stream
        changed = partial(_on_advisory, link)
        for event in ("DELETED", "LEADER_ELECTED"):
            await link.subscribe(f"{ADVISORY}{event}.{stream}", changed)
        layout = Layout(await self._find_stream(link))
        link.prefix = layout.live.lower()  # as the client library gives the server's errors
        run = "" if link.clustered or self._settings.durable else f"-{link.server_id[1:9]}"
        session = _Session(link, layout, layout.token + run, self._listener)
        await self._set_time(session)
        return session

    async def _find_stream(self, link: Link) -> dict[str, Any]:
        """Return the configuration of the stream; make it if there is none."""
        stream = self._settings.stream
        try:
            return await _config_of(link, "INFO", stream, {})
        except ApiError as error:
            if error.number != NO_STREAM:
                raise
        token = secrets.token_hex(5)
        try:
            return await _config_of(link, "CREATE", stream, self._settings.config(token, *self._wanted))
        except ApiError as error:
            if error.number != IN_USE:  # another process was faster
                raise
            return await _config_of(link, "INFO", stream, {})

    async def _set_time(self, session: _Session) -> None:
        """Learn what time it is at the server, from a heartbeat that it stored; begin to listen to them."""
        link, layout = session.link, session.layout
        heart = f"h.{session.name}"
        await link.subscribe(f"{layout.live}{heart}", session.heard)
        stored = decode(await link.request(f"{layout.log}{heart}", pack("t", b""), None, MAX_PUBLISH))
        question = {"seq": stored["seq"]}
        found = await session.api("STREAM.MSG.GET", question, MAX_PUBLISH)
        session.set_time(found["message"]["time"])

    def _start(self, session: _Session) -> None:
        self._session = session
        session.canary.start()
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def _linked(self, deadline: float) -> _Session:
        """Return the session there is, or the next one, if it comes before the deadline."""
        while True:
            session = self._session
            if session is not None and not session.link.gone.done():
                return session
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(future)
            timer = _clock.clock.call_later(deadline - _clock.clock.time(), partial(_give_up, future))
            try:
                await future
            finally:
                timer.cancel()
                self._waiting.discard(future)

    async def _covered(self, deadline: float, history: int, ttl: float) -> _Session:
        """Return the session, with a stream that retains as much as that."""
        session = await self._linked(deadline)
        if not session.layout.covers(history, ttl):
            self._wanted = (max(history, self._wanted[0]), max(ttl, self._wanted[1]))
            async with self._enlarging:
                await self._enlarge(session, deadline)
        return session

    async def _enlarge(self, session: _Session, deadline: float) -> None:
        """Have the stream retain what was ever wanted here, unless another process did that already."""
        while not session.layout.covers(*self._wanted):
            found = await session.api("STREAM.INFO", {}, _left(deadline))
            layout = Layout(found["config"])
            if layout.token != session.layout.token:
                session.link.fail("the stream was made anew")
            if not layout.covers(*self._wanted):
                config = layout.enlarged(*self._wanted)
                layout = Layout((await session.api("STREAM.UPDATE", config, _left(deadline)))["config"])
            session.layout = layout

    # Publishing and listening

    async def publish(
        self, channel: str, kind: str, data: bytes, *, history: int, ttl: float, key: str | None
    ) -> tuple[str, int]:
        """Add a message; a `key` counts for as long as the stream retains messages.

        It is tried again within the five seconds only where it certainly was not stored: nobody there to
        store it, as while a cluster elects its leader.
        """
        message = pack(kind, data)
        deadline = _clock.clock.time() + MAX_PUBLISH
        headers = None if key is None else {"Nats-Msg-Id": f"{escape(channel)} {escape(key)}"}
        while True:
            session = await self._covered(deadline, history, ttl)
            if len(message) > session.link.max_payload:
                most = session.link.max_payload
                raise ChannelError(f"A message of {len(data)} bytes; NATS takes {most} (max_payload)")
            subject = session.layout.log_of(channel)
            try:
                stored = decode(await session.link.request(subject, message, headers, _left(deadline)))
                return session.epoch, int(stored["seq"])
            except ApiError as error:
                if not error.may_pass or _left(deadline) <= RETRY:
                    raise
            await _sleep(RETRY)

    async def listen(self, channels: Sequence[str]) -> None:
        """Subscribe, and return once the server has it.

        In a cluster the others have it by the time that `history`, over the same route, was answered.
        """
        deadline = _clock.clock.time() + MAX_PUBLISH
        session = await self._linked(deadline)
        for channel in channels:
            if channel not in session.feeds:
                feed = session.feeds[channel] = _Feed(session, channel)
                feed.subscription = await session.link.subscribe(session.layout.live_of(channel), feed)
        await session.link.settle(_left(deadline))

    async def unlisten(self, channels: Sequence[str]) -> None:
        """Unsubscribe."""
        session = self._session
        for channel in channels:
            feed = session.feeds.pop(channel, None) if session is not None else None
            if feed is not None and session is not None:
                await session.link.unsubscribe(feed.subscription)

    # Reading

    async def history(
        self, channel: str, after: int | None, limit: int, *, history: int, ttl: float
    ) -> History:
        """Return what is retained after `after`."""
        deadline = _clock.clock.time() + MAX_PUBLISH
        session = await self._covered(deadline, history, ttl)
        log = _Reader(session, channel, deadline)
        if after is None:
            last = await log.find_end()
            found = History(session.epoch, [], last + 1, last, complete=True)
        else:
            found = await log.read(after, limit, history, ttl)
        feed = session.feeds.get(channel)
        if found.complete and feed is not None:
            feed.known = max(feed.known, found.last)
        return found


class _Reader:
    """One read of one channel's log."""

    def __init__(self, session: _Session, channel: str, deadline: float) -> None:
        self._session = session
        self._channel = channel
        self._subject = session.layout.log_of(channel)
        self._deadline = deadline

    async def find_end(self) -> int:
        """Return where the channel ends: at its newest message, or, without one, where the stream does."""
        newest = await self._newest()
        if newest:
            return newest
        state = await self._state()  # first this: what comes later is found by the look that follows
        return await self._newest() or int(state["last_seq"])

    async def read(self, after: int, limit: int, history: int, ttl: float) -> History:
        """Return the entries after `after`, and what is known about where the log begins."""
        layout = self._session.layout
        same = layout.history <= history  # else the run must be read to its end, to know what is too old
        most = limit + 1 if same else None
        run, ended = await self._run(after, most)
        whole = bool(run) and offset_of(run[0]) == after
        end = after if whole else 0
        if not whole:
            state = await self._state()
            end = int(state["last_seq"])
            whole = self._is_whole(after, state)
            run, ended = await self._run(after, most)
        kept = [message for message in run if offset_of(message) > after]
        too_old = max(len(kept) - history, 0) if ended else 0
        while too_old < len(kept) and self._session.is_older(kept[too_old], ttl):
            too_old += 1
        end = offset_of(kept[-1]) if kept else end
        kept = kept[too_old:]
        if not ended:
            end = await self.find_end()
        entries = _entries(kept[:limit], after if whole and not too_old else None)
        first = _first(kept, after, end, whole=whole and not too_old)
        return History(self._session.epoch, entries, first, end, ended and len(kept) <= limit)

    def _is_whole(self, after: int, state: dict[str, Any]) -> bool:
        """Say whether it is known that no message after `after`, which isn't retained itself, is gone.

        Age and the bound in bytes take the oldest of the stream, the bound per channel the oldest of the
        channel, and only when it is full.
        """
        if after >= int(state["last_seq"]):
            return after == int(state["last_seq"])
        count = int((state.get("subjects") or {}).get(self._subject, 0))
        return int(state["first_seq"]) <= after + 1 and count < self._session.layout.history

    async def _state(self) -> dict[str, Any]:
        question = {"subjects_filter": self._subject}
        found = await self._session.api("STREAM.INFO", question, _left(self._deadline))
        if Layout(found["config"]).token != self._session.layout.token:
            self._session.link.fail("the stream was made anew")
            raise ChannelError("The stream was made anew")
        state: dict[str, Any] = found["state"]
        return state

    async def _newest(self) -> int:
        """Return the offset of the channel's newest message, 0 if there is none; the leader knows."""
        question = {"last_by_subj": self._subject}
        try:
            found = await self._session.api("STREAM.MSG.GET", question, _left(self._deadline))
        except ApiError as error:
            if error.code != 404:
                raise
            return 0
        return int(found["message"]["seq"])

    async def _run(self, start: int, most: int | None) -> tuple[list[Msg], bool]:
        """Return the messages from `start` on, at most about `most`, and whether that is all of them."""
        end = await self._newest() if self._session.link.clustered else 0
        found: list[Msg] = []
        while True:
            part, ended = await self._get(offset_of(found[-1]) + 1 if found else max(start, 1))
            found += part
            if most is not None and len(found) > most:
                return found, False
            if not ended:
                continue
            if max(start, offset_of(found[-1]) if found else 0) >= end:
                return found, True
            if _left(self._deadline) <= RETRY:
                raise ChannelError("NATS: the replica that answers lags behind its leader")
            await _sleep(RETRY)

    async def _get(self, start: int) -> tuple[list[Msg], bool]:
        """Return the next part of the channel's messages, and whether there are no more: one Direct Get."""
        question = {"seq": start, "next_by_subj": self._subject, "batch": BATCH, "max_bytes": BATCH_BYTES}
        subject = f"{API}DIRECT.GET.{self._session.layout.config['name']}"
        data = json.dumps(question).encode()
        found = await self._session.link.request_many(subject, data, _left(self._deadline), _is_last)
        last = found[-1].headers or {}
        if STATUS not in last:
            return found, False  # a server before 2.11: one message for each request
        status = last[STATUS]
        if status not in ("204", "404"):
            raise ApiError({"code": int(status), "description": last.get("Description", "")})
        return found[:-1], status == "404" or int(last.get(PENDING, 0)) == 0


def offset_of(message: Msg) -> int:
    """Return the place in the log of a message that Direct Get gave."""
    return int((message.headers or {})[SEQUENCE])


def _is_last(message: Msg) -> bool:
    headers = message.headers or {}
    return STATUS in headers or PENDING not in headers


def _entries(messages: Sequence[Msg], previous: int | None) -> list[Entry]:
    found = []
    for message in messages:
        offset = offset_of(message)
        found.append(Entry(offset, *unpack(message.data), previous))
        previous = offset
    return found


def _first(kept: Sequence[Msg], after: int, end: int, *, whole: bool) -> int:
    """Return the offset from which on nothing is missing: `after + 1` if that is known, else a later one."""
    if whole:
        return after + 1
    return max(offset_of(kept[0]), after + 2) if kept else end + 1


def _on_advisory(link: Link, message: Msg) -> None:
    link.fail(f"the stream's {message.subject.split('.')[4].lower().replace('_', ' ')}")


async def _config_of(link: Link, call: str, stream: str, question: dict[str, Any]) -> dict[str, Any]:
    found = await ask(link, f"STREAM.{call}", stream, question)
    config: dict[str, Any] = found["config"]
    return config


def _left(deadline: float) -> float:
    """Return the seconds until the deadline; a moment at least, since a request needs one."""
    return max(deadline - _clock.clock.time(), 0.001)


def _give_up(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_exception(ChannelError("There is no connection to NATS"))


async def _sleep(seconds: float) -> None:
    """Sleep by the clock of ours."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = _clock.clock.call_later(seconds, partial(_wake, done))
    try:
        await done
    finally:
        timer.cancel()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
