"""How to end what can't end well, per server, read off the `send` that the server gave us.

A response that fails midway must be seen to fail: the connection is torn down, so that the
client never takes a cut-off body for a whole one. ASGI has no word for that, so this is the
one place that knows servers by their attributes. It patches nothing; where it knows none, or
where middleware stands between, the caller raises out of the app, which other servers
answer by closing the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._request import Send


def _daphne_protocol(send: Send) -> Any:
    """Return daphne's protocol object: it hands out `partial(server.handle_reply, protocol)`."""
    if type(getattr(getattr(send, "func", None), "__self__", None)).__module__.startswith("daphne."):
        args: tuple[Any, ...] = send.args  # type: ignore[attr-defined]  # seen on a functools.partial only
        return args[0] if args else None
    return None


def abort(send: Send) -> bool:
    """Tear the connection behind `send` down at once; False where the server isn't known.

    uvicorn: the transport of the request, for HTTP and websockets, is dropped with what is
    unsent; `send` is a method of what has it, or with our own protocol that itself. daphne must
    not see an exception after the response began (it would leave the connection open and stop
    checking the others), so its channel is closed.
    """
    transport = getattr(getattr(send, "__self__", send), "transport", None)
    if transport is not None and hasattr(transport, "abort"):
        transport.abort()
        return True
    protocol = _daphne_protocol(send)
    if protocol is not None:
        connection = (
            getattr(protocol, "channel", None) or protocol
        )  # HTTP hides it, a websocket has it itself
        lose = getattr(connection, "loseConnection", None) or getattr(connection, "dropConnection", None)
        if lose is not None:
            lose()
            return True
    return False


def denies_by_exception(send: Send) -> bool:
    """Say whether what is raised before `accept` denies the handshake with 500.

    daphne does so, which knows no denial but 403 otherwise.
    """
    return _daphne_protocol(send) is not None


def close_code(send: Send, code: int) -> int:
    """Return the close code to hand to the server for `code`.

    daphne refuses all but 1000 and 3000–4999, so 1011 goes out as 4011 there.
    """
    if code != 1000 and code < 3000 and _daphne_protocol(send) is not None:
        return 3000 + code
    return code
