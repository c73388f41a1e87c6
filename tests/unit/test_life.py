"""The life of an app: what its lifespan yields, what goes wrong in it, and the order of its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import ChannelError, HttpRequest, ServerClosing, _shutdown, spawn, to_asgi
from asgineer.testing._lifespan import Lifespan, LifespanFailed

from .asgi import Http, converse
from .turns import errors, run, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    App = Callable[..., Any]


class Story:
    """An app whose lifespan tells what happens in it."""

    def __init__(self, state: Any = None, *, at_start: BaseException | None = None) -> None:
        self.notes: list[str] = []
        self.state = state
        self.at_start = at_start
        self.at_end: BaseException | None = None
        self.app = to_asgi(self.handle, lifespan=self.lifespan)

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncIterator[Any]:
        self.notes.append("start")
        await asyncio.sleep(0)
        if self.at_start is not None:
            raise self.at_start
        try:
            yield self.state
        finally:
            await asyncio.sleep(0)
            self.notes.append("end")
            if self.at_end is not None:
                raise self.at_end

    async def handle(self, request: HttpRequest) -> Any:
        return {"state": sorted(request.state)}


class Messages:
    """A server's lifespan messages, by hand."""

    def __init__(self, *kinds: str) -> None:
        self.queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for kind in kinds:
            self.tell(kind)
        self.sent: list[str] = []

    def tell(self, kind: str) -> None:
        self.queue.put_nowait({"type": kind})

    async def send(self, message: Any) -> None:
        self.sent.append(message["type"])

    async def serve(self, app: App) -> None:
        scope = {"type": "lifespan", "extensions": {"asgineer.errors": []}}
        await app(scope, self.queue.get, self.send)


@pytest.mark.parametrize(("state", "keys"), [({"db": 1}, ["db"]), (None, []), ({}, []), ([("a", 1)], ["a"])])
async def test_what_it_yields_is_the_state_of_each_request(state: Any, keys: list[str]) -> None:
    story = Story(state)
    life = Lifespan(story.app)
    await life.startup()
    assert story.notes == ["start"]
    exchange = await converse(story.app)
    assert exchange.text == f'{{"state":{keys}}}'.replace("'", '"')
    await life.shutdown()
    assert story.notes == ["start", "end"]


async def test_a_request_cannot_change_the_state_of_others() -> None:
    seen: list[Any] = []

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[Any]:
        yield {"shared": 1}

    async def handler(request: HttpRequest) -> str:
        seen.append(dict(request.state))
        request.state["mine"] = True
        return ""

    app = to_asgi(handler, lifespan=lifespan)
    life = Lifespan(app)
    await life.startup()
    await converse(app)
    await converse(app)
    await life.shutdown()
    assert seen == [{"shared": 1}, {"shared": 1}]


async def test_a_state_that_is_no_mapping(caplog: pytest.LogCaptureFixture) -> None:
    story = Story(42)
    with pytest.raises(LifespanFailed, match="A lifespan yields a mapping or nothing, not int"):
        await Lifespan(story.app).startup()
    assert story.notes == ["start", "end"], "what it opened is closed"
    assert len(errors(caplog)) == 1


async def test_an_error_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    story = Story(at_start=KeyError("no database"))
    with pytest.raises(LifespanFailed, match="KeyError in lifespan startup: .*no database"):
        await Lifespan(story.app).startup()
    (text,) = errors(caplog)
    assert "lifespan startup" in text


async def test_a_bus_that_is_away_at_the_start_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    story = Story(at_start=ChannelError("Redis at 127.0.0.1:1 is away"))
    with pytest.raises(LifespanFailed, match="Redis at 127.0.0.1:1 is away"):
        await Lifespan(story.app).startup()
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == "ChannelError in lifespan startup: Redis at 127.0.0.1:1 is away"
    assert record.exc_info is None


async def test_an_error_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    story = Story()
    story.at_end = KeyError("oh")
    life = Lifespan(story.app)
    await life.startup()
    with pytest.raises(LifespanFailed, match="KeyError in lifespan shutdown"):
        await life.shutdown()
    assert len(errors(caplog)) == 1


async def test_an_app_without_a_lifespan_starts_and_ends() -> None:
    async def handler(request: HttpRequest) -> str:
        return "x"

    messages = Messages("lifespan.startup", "lifespan.shutdown")
    await messages.serve(to_asgi(handler))
    assert messages.sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_unknown_messages_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    story = Story()
    messages = Messages("lifespan.hello", "lifespan.startup", "lifespan.tick", "lifespan.shutdown")
    await messages.serve(story.app)
    assert messages.sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert story.notes == ["start", "end"]
    texts = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert texts == [f"Unknown lifespan message 'lifespan.{x}' is ignored" for x in ("hello", "tick")]


async def test_the_notice_ends_a_start_that_waits(caplog: pytest.LogCaptureFixture) -> None:
    notes: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        try:
            await asyncio.Event().wait()
            yield
        finally:
            notes.append("cleaned up")

    async def handler(request: HttpRequest) -> str:
        return ""

    messages = Messages("lifespan.startup")
    serving = asyncio.ensure_future(messages.serve(to_asgi(handler, lifespan=lifespan)))
    await settle()
    _shutdown.notice().begin()
    await serving
    assert (messages.sent, notes) == (["lifespan.startup.failed"], ["cleaned up"])
    assert errors(caplog) == []


async def test_a_cleanup_that_ends_by_the_notice_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    story = Story()
    story.at_end = ServerClosing()
    life = Lifespan(story.app)
    await life.startup()
    await life.shutdown()
    assert errors(caplog) == []


async def test_a_server_that_ends_before_it_started() -> None:
    story = Story()
    messages = Messages("lifespan.shutdown")
    await messages.serve(story.app)
    assert (story.notes, messages.sent) == ([], [])


async def test_a_server_that_gives_no_notice_gives_it_by_its_end() -> None:
    story = Story()
    messages = Messages("lifespan.startup")
    serving = asyncio.ensure_future(messages.serve(story.app))
    await settle()
    told: list[str] = []
    _shutdown.notice().add(lambda: told.append("closing"))
    messages.tell("lifespan.shutdown")
    await serving
    assert told == ["closing"]


async def test_the_order_of_the_end() -> None:
    """The notice, then handlers, then spawned tasks, then what stands after the yield."""
    story = Story()
    notes = story.notes

    async def plain() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            notes.append("plain task")

    gate = asyncio.Event()

    async def careful() -> None:
        await gate.wait()
        notes.append("careful task")

    async def handler(request: HttpRequest) -> str:
        spawn(plain())
        spawn(careful(), wait=True)
        try:
            await request.sleep_while_connected(1000)
        except ServerClosing:
            notes.append("handler")
            raise
        return ""

    app = to_asgi(handler, lifespan=story.lifespan)
    life = Lifespan(app)
    await life.startup()
    exchange = Http.begin(app)
    await settle()
    _shutdown.notice().begin()
    await exchange.finish()
    assert exchange.status == 503
    ending = asyncio.ensure_future(life.shutdown())
    await settle()
    assert "end" not in notes
    gate.set()
    await ending
    assert sorted(notes[1:3]) == ["handler", "plain task"]
    assert notes[3:] == ["careful task", "end"]


# On a server without a lifespan


def test_the_first_request_starts_the_app() -> None:
    story = Story({"db": 1})

    async def main() -> None:
        exchanges = [Http(story.app) for _ in range(3)]
        for exchange in exchanges:
            exchange.start()
        for exchange in exchanges:
            await exchange.finish()
            assert exchange.text == '{"state":["db"]}'
        assert story.notes == ["start"]

    asyncio.run(main())
    assert story.notes == ["start", "end"], "the end of the loop is its end, at the latest"


def test_several_loops_one_after_the_other() -> None:
    story = Story({"db": 1})

    async def main() -> None:
        assert (await converse(story.app)).text == '{"state":["db"]}'

    for number in range(1, 4):
        asyncio.run(main())
        assert story.notes == ["start", "end"] * number


def test_a_server_with_a_lifespan_in_several_loops() -> None:
    story = Story({"db": 1})

    async def main() -> None:
        life = Lifespan(story.app)
        await life.startup()
        assert (await converse(story.app)).text == '{"state":["db"]}'
        await life.shutdown()

    for number in range(1, 4):
        run(main())
        assert story.notes == ["start", "end"] * number


def test_a_late_start_that_fails_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    story = Story(at_start=KeyError("no database"))

    async def main() -> None:
        for _ in range(2):
            exchange = await converse(story.app)
            assert exchange.status == 500
        story.at_start = None
        exchange = await converse(story.app)
        assert exchange.status == 200

    asyncio.run(main())
    assert story.notes == ["start"] * 3 + ["end"]
    assert len(errors(caplog)) == 2


def test_a_client_that_leaves_does_not_end_the_late_start(caplog: pytest.LogCaptureFixture) -> None:
    story = Story(at_start=KeyError("no database"))

    async def main() -> None:
        exchange = Http.begin(story.app)
        await asyncio.sleep(0)
        exchange.task.cancel()
        await asyncio.wait([exchange.task])
        await settle()
        gc.collect()
        assert story.notes == ["start"]
        story.at_start = None
        assert (await converse(story.app)).status == 200

    asyncio.run(main())
    assert errors(caplog) == []


def test_the_end_of_the_process_ends_a_late_start(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[Any] = []
    monkeypatch.setattr("atexit.register", lambda *args: registered.append(args))
    story = Story()
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(converse(story.app))
        assert story.notes == ["start"]
        (function, *args) = registered[0]
        function(*args)
        assert story.notes == ["start", "end"]
    function(*args)  # a loop that is closed already
    assert story.notes == ["start", "end"]


def test_an_error_at_the_end_of_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    registered: list[Any] = []
    monkeypatch.setattr("atexit.register", lambda *args: registered.append(args))
    story = Story()
    story.at_end = KeyError("oh")
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(converse(story.app))
        (function, *args) = registered[0]
        function(*args)
    (text,) = errors(caplog)
    assert "KeyError in lifespan shutdown" in text
