"""Channels through NATS JetStream: one stream as the log of all channels, its republished messages as live.

Publishing is a JetStream publish, and its acknowledgement the position: the sequence of the stream, so
offsets of one channel ascend and have holes. Live is one core subscription per channel that this
process listens to; history is Direct Get. There are no consumers: they don't scale to one per channel.

What keeps holes from being silent:

- A republished message names the one before it in its channel (`Nats-Last-Sequence`): nothing is missing
  when we have had that. It names 0 for the first, and again when age emptied the channel: what there was
  came over this connection, or is missing in the history that is read for a new one, and told.
- A read begins *at* the position it is asked for. If the message there is retained, all later ones are;
  else something may be gone, and that is told, but for a channel that was silent while the connection was
  lost (`_Known`). So that there always is such a message, whoever asks where an
  empty channel ends leaves a marker in it, which nobody gets; every `ttl` once, while it is asked.
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
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _clock
from ..errors import ChannelError
from ._canary import Canary
from ._engine import MAX_PUBLISH, Entry, History
from ._nats_link import STATUS, ApiError, Link, decode
from ._nats_stream import MARKER, Layout, Settings, escape, pack, seconds_of, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from ._engine import Listener

API = "$JS.API."
ADVISORY = "$JS.EVENT.ADVISORY.STREAM."
SEQUENCE, LAST, PENDING, STAMP = "Nats-Sequence", "Nats-Last-Sequence", "Nats-Num-Pending", "Nats-Time-Stamp"
IN_USE, NO_STREAM, NOT_EMPTY = 10058, 10059, 10071  # JetStream's numbers of errors
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0  # seconds between two attempts to connect, before chance
CALM = 10.0  # seconds that a connection lasts, after which the next attempt begins anew
RETRY = 0.1  # seconds until a publish or a read that cannot have happened is tried again
BATCH = 500  # messages of one Direct Get
BATCH_BYTES = 512 * 1024  # of it: 32 at once stay far below what a server holds for a connection


class _Feed:
    """The live messages of one channel, over one connection."""

    __slots__ = ("_channel", "_marker", "_newest", "_session", "end", "subscription")

    subscription: Subscription

    def __init__(self, session: _Session, channel: str) -> None:
        self._session = session
        self._channel = channel
        self._newest = 0  # that came
        self._marker = (0, 0)  # the last marker, and the message before it
        self.end = 0  # the newest that came, or was read

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
        self._newest = offset
        if message.data == MARKER:
            self._marker = (offset, before)
            return
        self.end = max(self.end, offset)
        if before == self._marker[0]:
            before = self._marker[1]
        entry = Entry(offset, *unpack(message.data), before)
        self._session.listener.message(self._channel, self._session.epoch, entry)


class _Known(NamedTuple):
    """What was known of a channel when the connection broke: nothing is in it between `end` and `beat`."""

    epoch: str
    end: int
    beat: int  # the last heartbeat, which came after all that was before it
    history: float  # what the stream retained of each channel
    time: float


class _Session:
    """What holds as long as one connection does: link, stream, what is listened to."""

    def __init__(self, link: Link, layout: Layout, epoch: str, listener: Listener) -> None:
        self.link = link
        self.layout = layout
        self.epoch = epoch
        self.listener = listener
        self.feeds: dict[str, _Feed] = {}
        self.begun = _clock.clock.time()
        self.time = 0.0  # the server's, when our clock stood at `_at`
        self._at = 0.0
        self.beat = 0  # the last heartbeat's place in the stream
        self.name = secrets.token_hex(6)
        self.canary = Canary(self._beat, self.link.fail)

    async def _beat(self) -> None:
        await self.link.send(f"{self.layout.log}h.{self.name}", pack("t", b""))

    def heard(self, message: Msg) -> None:
        """Take a heartbeat."""
        self.canary.heard()
        headers = message.headers or {}
        self.beat = int(headers[SEQUENCE])
        if STAMP in headers:  # not on servers before 2.10
            self.set_time(headers[STAMP])

    def what_is_known(self) -> dict[str, _Known]:
        """Return it by channel, for the next connection."""
        now, most = _clock.clock.time(), self.layout.history
        return {
            channel: _Known(self.epoch, feed.end, self.beat, most, now)
            for channel, feed in self.feeds.items()
            if feed.end
        }

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

    logs = None

    def __init__(self, url: str) -> None:
        self._settings = Settings(url)
        self._servers = list(self._settings.servers)
        self._session: _Session | None = None
        self._known: dict[str, _Known] = {}
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
        pause = FIRST_PAUSE
        while True:
            assert self._session is not None
            session = self._session
            why = await asyncio.shield(session.link.gone)
            self._session = None
            self._keep_known(session)
            self._listener.lost(why)
            await session.end()
            if _clock.clock.time() - session.begun > CALM:
                pause = FIRST_PAUSE
            pause = await self._connect_again(pause)
            self._listener.back()

    def _keep_known(self, session: _Session) -> None:
        """Keep what a connection that broke leaves, and what earlier ones left that is still of use."""
        horizon = _clock.clock.time() - session.layout.ttl
        young = {channel: known for channel, known in self._known.items() if known.time > horizon}
        self._known = young | session.what_is_known()

    async def _connect_again(self, pause: float) -> float:
        """Connect, however long it takes; return how long to pause before it is tried again."""
        while True:
            await _sleep(pause * random.uniform(0.5, 1.5))  # not all processes at once
            pause = min(pause * 2, LONGEST_PAUSE)
            with suppress(ChannelError):
                await self._connect()
                return pause

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
        session.beat = stored["seq"]
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
                raise ChannelError("NATS: the stream was made anew")
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
            self._known.pop(channel, None)
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
            found = await log.read(after, limit, history, ttl, self._known.get(channel))
        feed = session.feeds.get(channel)
        if found.complete and feed is not None:
            feed.end = max(feed.end, found.last)
        return found


class _Reader:
    """One read of one channel's log."""

    def __init__(self, session: _Session, channel: str, deadline: float) -> None:
        self._session = session
        self._channel = channel
        self._subject = session.layout.log_of(channel)
        self._deadline = deadline

    async def find_end(self) -> int:
        """Return the offset of the channel's newest message, that of a new marker if there is none."""
        while True:
            newest = await self._newest() or await self._mark()
            if newest:
                return newest

    async def read(
        self, after: int, limit: int, history: int, ttl: float, known: _Known | None = None
    ) -> History:
        """Return the entries after `after`, and what is known about where the log begins."""
        # What is too old is only known from the end, where the stream may retain more than this channel does.
        whole_run = after == 0 or self._session.layout.history > history
        run, ended = await self._run(after, None if whole_run else limit + 1)
        is_kept = bool(run) and offset_of(run[0]) == after
        run = [message for message in run if offset_of(message) > after]
        if not is_kept and ended and known is not None and known.end == after:
            is_kept = await self._is_known(known, len(run))
        end = offset_of(run[-1]) if run and ended else after if is_kept and ended else await self.find_end()
        if ended and not run and end > after:  # it came, or was marked, after the run was read
            return await self.read(after, limit, history, ttl, known)
        messages = [message for message in run if message.data != MARKER]
        too_old = max(len(messages) - history, 0) if ended else 0
        while too_old < len(messages) and self._session.is_older(messages[too_old], ttl):
            too_old += 1
        messages = messages[too_old:]
        is_whole = is_kept and not too_old
        entries = _entries(messages[:limit], after if is_whole else None)
        first = after + 1 if is_whole else max(entries[0].offset, after + 2) if entries else end + 1
        return History(self._session.epoch, entries, first, end, ended and len(messages) <= limit)

    async def _is_known(self, known: _Known, count: int) -> bool:
        """Say whether nothing that came after `known` is gone, though its end is: a channel that was silent.

        Age and the bound in bytes take the oldest of the stream first, and the heartbeat is still there;
        the bound per channel takes something only from one that is full.
        """
        if known.epoch != self._session.epoch or count >= known.history:
            return False
        return bool(await self._find({"seq": known.beat}))

    async def _mark(self) -> int:
        """Put a marker into the channel and return its offset; 0 if it isn't empty any more."""
        headers = {"Nats-Expected-Last-Subject-Sequence": "0"}
        link, left = self._session.link, _left(self._deadline)
        try:
            return int(decode(await link.request(self._subject, MARKER, headers, left))["seq"])
        except ApiError as error:
            if error.number != NOT_EMPTY:
                raise
            return 0

    async def _newest(self) -> int:
        """Return the offset of the channel's newest message, 0 if there is none."""
        return await self._find({"last_by_subj": self._subject})

    async def _find(self, question: dict[str, Any]) -> int:
        """Ask the leader for a message; return its offset, 0 if there is none."""
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
            raise ApiError({"code": int(status)})
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
