"""The HTTP/1.1 protocol that `run()` gives uvicorn: docs/design.md, D8.

uvicorn keeps what a server is beside its protocol: sockets, TLS, signals, the lifespan, workers,
websockets. Here is what comes in on one connection, and in which order it is answered: httptools
parses, `_h1` checks what it parsed, `_exchange` is one request with its response, and `_deadlines`
ends what takes too long. It serves any ASGI app; nothing here knows what an app is made of.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import urllib.parse
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from . import _shutdown
from ._deadlines import NEVER, deadlines_of
from ._exchange import NEW, PIECE, Exchange, access_logger, wake
from ._h1 import (
    FOREIGN_METHODS,
    MAX_HEADERS_SIZE,
    MAX_TARGET,
    Refused,
    check_fields,
    check_handshake,
    check_size,
    encode_fields,
    has_body,
    split_target,
    whole_response,
)

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

    from ._h1 import Fields

# Seconds; each can be up to two longer, see _deadlines.
HEAD_TIMEOUT = 10  # from the first byte of a head to its end, as Apache has it or twice that
BODY_TIMEOUT = 30  # without a byte of the body, while the app waits for it: as Limits.body_idle
LINGER_TIMEOUT = 5  # for a client to stop sending, after its last response: as nginx's lingering_timeout
LINGER_LIMIT = 30  # for the same, when it goes on sending: as nginx's lingering_time

MAX_OVERHEAD = PIECE + MAX_TARGET + MAX_HEADERS_SIZE + 1024  # bytes of one head; or in a row without body

IDLE, HEAD, BODY, LINGER = "idle", "head", "body", "linger"  # what a connection waits for

logger = logging.getLogger("uvicorn.error")


class Connection(asyncio.Protocol):
    """One connection: requests are parsed one after the other, and answered in that order.

    At most one request is with the app. What comes behind it is kept: requests that were in the same
    piece of data as they were parsed, what comes later as bytes, up to PIECE; then nothing is read.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        self.config = config
        self.server_state = server_state
        self.app_state = app_state
        self.loop = _loop or asyncio.get_event_loop()
        self.deadlines = deadlines_of(self.loop)
        self.openings = self.deadlines.openings
        self.root_path = config.root_path
        self.raw_root_path = config.root_path.encode("ascii")
        self.log_access = access_logger.hasHandlers()
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set when there is one
        self.parser: Any = httptools.HttpRequestParser(self)
        # What is being parsed
        self.url = b""
        self.headers: Fields = []
        self.overhead = 0  # bytes since the last one of a body, or since the start of the head
        self.refused: Refused | None = None
        self.incoming: Exchange | None = None  # its body is still to come
        self.second_head = b""  # see _upgraded
        # What is being answered
        self.cycle: Exchange | None = None  # it is with the app
        self.waiting: deque[Exchange] = deque()
        self.backlog = bytearray()
        self.handshake: bytes | None = None  # the head of one, for a websocket protocol
        self.deaf = False  # nothing more is parsed
        self.closing = False  # nothing more is written
        self.stopping = False  # the server is
        # Flow and time
        self.deadline = NEVER
        self.waits_for = IDLE
        self.linger_end = NEVER
        self.read_paused = False
        self.write_paused = False
        self.writers: list[asyncio.Future[None]] = []  # that wait for the client

    # asyncio's side

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a stream it is
        self.transport = transport
        self.server_state.connections.add(self)  # type: ignore[arg-type]  # of another class than uvicorn's
        self.deadlines.add(self)
        self.server = get_local_addr(self.transport)
        self.client = get_remote_addr(self.transport)
        self.scheme = "https" if is_ssl(self.transport) else "http"
        self.wait_for(HEAD, HEAD_TIMEOUT)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self.closing = self.deaf = True
        self.write_paused = False
        wake(self.writers)
        self._tell_apps()

    def eof_received(self) -> None:
        """The client has sent its last byte, which is how a client leaves. The transport closes now."""
        self._tell_apps()

    def _leave(self) -> None:
        """Be no connection of the server's any more."""
        self.server_state.connections.discard(self)
        self.deadlines.discard(self)
        self.deadline = NEVER
        self.parser = None  # it holds our methods: a cycle

    def _tell_apps(self) -> None:
        """Tell the apps of all requests that are not answered that the client left."""
        for exchange in (self.cycle, *self.waiting):
            if exchange is not None:
                exchange.leave()
        self.waiting.clear()

    def pause_writing(self) -> None:
        self.write_paused = True
        self.deadlines.watch(self)

    def resume_writing(self) -> None:
        self.write_paused = False
        wake(self.writers)
        if not self.closing:
            self.deadlines.unwatch(self)
            if self.cycle is None:
                self._go_on()

    async def wait_until_writable(self) -> None:
        waiter = self.loop.create_future()
        self.writers.append(waiter)
        await waiter

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    # uvicorn's side

    def shutdown(self) -> None:
        """Close if this is idle, else after the response; uvicorn calls it when the server stops."""
        _shutdown.notice().begin()
        self.stopping = True
        if self.cycle is None:
            self._close()
        else:
            self.cycle.keep_alive = False

    # Time

    def wait_for(self, what: str, seconds: float) -> None:
        """Let `expire` be called after `seconds`, unless the deadline is moved."""
        self.waits_for = what
        self.deadline = self.deadlines.after(seconds)

    def wait_for_body(self) -> None:
        """The app waits for a piece of the body."""
        self.wait_for(BODY, BODY_TIMEOUT)

    def expire(self) -> None:
        """What was waited for did not come."""
        self.deadline = NEVER
        if self.waits_for is LINGER:
            self.transport.abort()
        elif self.waits_for is BODY or self.overhead or self.url:
            self.refuse(Refused(408, "Request Timeout"))
        else:
            self._close()

    # Bytes in

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            if self.waits_for is LINGER:
                self.deadline = min(self.deadlines.after(LINGER_TIMEOUT), self.linger_end)
        elif self.cycle is not None and self.incoming is None:
            self._keep(data)
        elif len(data) > PIECE and self.incoming is None:
            self._parse_in_pieces(data)
        else:
            self._parse(data)

    def _keep(self, data: bytes) -> None:
        """Keep what came before its turn."""
        self.backlog += data
        if len(self.backlog) > PIECE:
            self.pause_reading()

    def _parse_in_pieces(self, data: bytes) -> None:
        """Parse no more requests at once than a piece has: parsed, they take more room than as bytes."""
        for start in range(0, len(data), PIECE):
            self._parse(data[start : start + PIECE])
            if self.deaf:
                return
            if self.cycle is not None and self.incoming is None:
                return self._keep(data[start + PIECE :])

    def _parse(self, data: bytes) -> None:
        self.overhead += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._upgraded(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            return self._fail(error)
        if self.cycle is None or self.overhead or self.url:
            self._after_part(len(data))

    def _after_part(self, size: int) -> None:
        """Look after what is not complete: the bytes that it may still take, and the time."""
        if self.incoming is not None:
            if self.overhead > MAX_OVERHEAD:
                self.refuse(Refused(400, "Too much beside the request body"))
            return
        if self.overhead or self.url:
            # Where it began behind the end of another request this counts too much, but never too little.
            self.overhead = max(self.overhead, min(size, PIECE))
            if self.overhead > MAX_OVERHEAD:
                self.refuse(Refused(431, "Header fields too large"))
            elif self.cycle is None and self.waits_for is not HEAD:
                self.wait_for(HEAD, HEAD_TIMEOUT)
        elif not self.waiting:  # the body of a request that was answered before it came
            self.wait_for(IDLE, self.config.timeout_keep_alive)

    def _fail(self, error: Exception) -> None:
        """Answer what can't be parsed, unless it comes behind the last request that is to be answered."""
        last = self.waiting[-1] if self.waiting else self.cycle
        if self.incoming is None and last is not None and not last.keep_alive:
            self.deaf = True
            return
        refused, self.refused = self.refused, None
        if refused is None and isinstance(error, httptools.HttpParserCallbackError):
            logger.error("A request could not be taken", exc_info=error.__context__ or error)
        self.refuse(refused or Refused(400, "Invalid HTTP request received."))

    def refuse(self, refused: Refused) -> None:
        """Answer with what is wrong, after all that came before it, and listen no more."""
        logger.info("Invalid HTTP request received: %s", refused.text)
        self.deaf = True
        exchange, self.incoming = self.incoming, None
        if exchange is not None:
            exchange.flush()
            exchange.leave()
            if exchange is self.cycle:
                if exchange.stage is not NEW:
                    return self.transport.abort()
                self.cycle = None
            elif exchange in self.waiting:
                self.waiting.remove(exchange)
            else:  # it was answered already
                return self._close()
        self.refused = refused
        if self.cycle is None:
            self._go_on()

    # What httptools calls

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > MAX_TARGET:
            self.refused = Refused(414, "Request target too long")
            raise self.refused  # kept as well: httptools does not always hand it on

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        headers, self.headers = self.headers, []
        target, self.url = self.url, b""
        if self.second_head:
            return
        try:
            self._take_head(target, headers)
        except Refused as refused:
            self.refused = refused
            raise

    def on_body(self, body: bytes) -> None:
        self.overhead = 0
        self.incoming.take(body)  # type: ignore[union-attr]  # there is no body without a head

    def on_message_complete(self) -> None:
        exchange = self.incoming
        if exchange is None or self.second_head:
            return  # llhttp takes a head that asks for another protocol for the end
        self.incoming = None
        self.overhead = 0
        if self.headers:
            self.headers = []  # trailers, which nobody asked for
        exchange.complete()

    def _take_head(self, target: bytes, headers: Fields) -> None:
        parser = self.parser
        version = parser.get_http_version()
        method = parser.get_method()
        if self.overhead > MAX_HEADERS_SIZE:
            check_size(headers)
        fields = check_fields(headers, version)
        if method in FOREIGN_METHODS:
            raise Refused(400, "Unknown method")
        method = method.decode("ascii")
        raw_path, query = split_target(method, target, fields)
        path = raw_path.decode("ascii")
        if "%" in path:
            path = urllib.parse.unquote(path)
        if b"upgrade" in fields and parser.should_upgrade():
            if self._takes_upgrade(fields):
                check_handshake(method, version, fields)
                line = b"GET %b HTTP/1.1\r\n" % target
                self.handshake = line + encode_fields(headers) + b"\r\n"
                return
            self.second_head = _head_of_body(fields)
        scope = {
            "type": "http",
            "asgi": {"version": self.config.asgi_version, "spec_version": "2.4"},
            "http_version": version,
            "method": method,
            "scheme": self.scheme,
            "path": self.root_path + path,
            "raw_path": self.raw_root_path + raw_path,
            "query_string": query,
            "root_path": self.root_path,
            "headers": headers,
            "server": self.server,
            "client": self.client,
            "state": self.app_state.copy(),
        }
        exchange = Exchange(self, scope, version == "1.1" and parser.should_keep_alive())
        if b"expect" in fields:
            exchange.expects = version == "1.1" and fields[b"expect"].lower() == b"100-continue"
        self.incoming = exchange
        if self.cycle is None and not self.write_paused:
            self._start(exchange)
        else:
            self.waiting.append(exchange)

    # Other protocols

    def _takes_upgrade(self, fields: dict[bytes, bytes]) -> bool:
        return fields[b"upgrade"].lower() == b"websocket" and self.config.ws_protocol_class is not None

    def _upgraded(self, rest: bytes) -> None:
        """Go on where llhttp stopped, behind a head that asks for another protocol.

        For a websocket that is the end of ours. Anything else we don't speak, and may ignore (RFC 9110
        section 7.8); but llhttp would take the body for the other protocol, so a new parser is told
        of it by a head of our own.
        """
        if self.handshake is not None:
            self.backlog += rest
            if self.cycle is None and not self.waiting:
                self._hand_over()
            return
        self.parser = httptools.HttpRequestParser(self)
        if self.second_head:
            self.parser.feed_data(self.second_head)
            self.second_head = b""
        if rest:
            self._parse(rest)

    def _hand_over(self) -> None:
        """Let uvicorn's websocket protocol have the connection."""
        make: Any = self.config.ws_protocol_class
        assert self.handshake is not None
        self.deaf = True
        self._leave()
        protocol = make(config=self.config, server_state=self.server_state, app_state=self.app_state)
        protocol.connection_made(self.transport)
        protocol.data_received(self.handshake)
        self.transport.set_protocol(protocol)
        self.resume_reading()
        if self.backlog:
            protocol.data_received(bytes(self.backlog))

    # Requests

    def _start(self, exchange: Exchange) -> None:
        self.cycle = exchange
        self.deadline = NEVER
        app = self.config.loaded_app
        tasks = self.server_state.tasks
        limit = self.config.limit_concurrency
        if limit is not None and max(len(self.server_state.connections), len(tasks)) >= limit:
            logger.warning("Exceeded concurrency limit.")
            app = service_unavailable
        if self.config.reset_contextvars:
            task = self.loop.create_task(exchange.run(app), context=contextvars.Context())
        else:
            task = self.loop.create_task(exchange.run(app))
        exchange.task = task
        tasks.add(task)

    def finish(self, exchange: Exchange) -> None:
        """The response has ended."""
        self.server_state.total_requests += 1
        self.cycle = None
        if not exchange.keep_alive:
            self._close()
        elif (
            self.read_paused
            or self.write_paused
            or self.incoming
            or self.waiting
            or self.backlog
            or self.deaf
        ):
            self._go_on()
        elif self.handshake is not None:
            self._hand_over()
        else:
            self.waits_for = IDLE
            self.deadline = self.deadlines.after(self.config.timeout_keep_alive)

    def _go_on(self) -> None:
        """Nothing is with the app: do what comes next."""
        if self.write_paused:
            return  # the client is to take the last response first
        if self.waiting:
            return self._start(self.waiting.popleft())
        if self.refused is not None:
            return self._answer_refused(self.refused)
        if self.handshake is not None:
            return self._hand_over()
        data = bytes(self.backlog)
        self.backlog.clear()
        self.resume_reading()
        if self.incoming is not None:
            self.wait_for(LINGER, LINGER_TIMEOUT)  # the rest of the body is dropped
        elif data:
            self.data_received(data)
        else:
            self.wait_for(IDLE, self.config.timeout_keep_alive)

    # Ends

    def _answer_refused(self, refused: Refused) -> None:
        self.refused = None
        self.transport.write(whole_response(refused.status, refused.text, self.server_state.default_headers))
        self._close(linger=True)

    def _close(self, linger: bool = False) -> None:
        """Close when what was written has gone out.

        A client that may still be sending is waited for: the answer to what comes behind a close is
        a reset, which can make it lose the response (RFC 9112 section 9.6).
        """
        sends = linger or self.incoming is not None or self.backlog
        self.closing = self.deaf = True
        self.waiting.clear()
        if self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size():
            self.deadlines.watch(self)
        if sends and not self.stopping:
            if self.transport.can_write_eof():  # TLS can't: the client closes, as the response asks for
                self.transport.write_eof()
            self.resume_reading()
            self.linger_end = self.deadlines.after(LINGER_LIMIT)
            self.wait_for(LINGER, LINGER_TIMEOUT)
        else:
            self.deadline = NEVER
            self.transport.close()


def _head_of_body(fields: dict[bytes, bytes]) -> bytes:
    """Return a request head with the framing of `fields` and nothing else; b"" where no body follows."""
    if not has_body(fields):
        return b""
    framing = [field for field in fields.items() if field[0] in (b"content-length", b"transfer-encoding")]
    return b"POST / HTTP/1.1\r\n" + encode_fields(framing) + b"\r\n"
