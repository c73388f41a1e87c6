"""Sessions: a small dict per visitor, kept in a signed cookie. Nothing is stored on the server.

A cookie is `time.data.signature`: when it was signed, base64 of the JSON `[id, values]`, and
an HMAC-SHA-256 by itsdangerous over both. Signed, not encrypted: the visitor can read it. A
cookie that isn't ours in every bit, or is too old, is no session; the visitor gets it deleted.

`Sessions` reads and writes cookies, `Session` is the dict, which notes what is done with it:
who looked at it got a response that is his alone. Nothing is sent from here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import sys
import time
from collections.abc import Iterator, MutableMapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from . import _json
from ._answer import log_failure
from ._cookies import MAX_COOKIE, make_cookie
from ._extras import install_command
from ._headers import add_vary
from ._log import logger
from ._response import normalize_response
from .errors import HTTPError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._request import BaseRequest
    from ._response import FullResponse, Response

TWO_WEEKS = 14 * 86_400
CLOCK_SKEW = 60  # seconds that the clocks of two of our machines may differ
REFRESHES = 10  # in the life of a session that is in use: a cookie on every response would cost caches more
MIN_KEY = 16  # bytes; a shorter one can be found by trying, with one cookie at hand


def _now() -> int:
    return int(time.time())  # wall-clock time, as a cookie outlives the process and the machine


class Session(MutableMapping[str, Any]):
    """What is kept for one visitor: a dict with str keys and JSON values.

    After a round trip a tuple is a list and a datetime a str, as in any JSON. A value that was
    changed inside (`session["cart"].append(7)`) is saved too. It is made by `Sessions.load`.

    Attributes:
        touched: somebody looked at it, so the response depends on the visitor.
    """

    touched: bool = False
    _given: bool = False  # the client sent a cookie of our name
    _kept: bytes = b""  # what that cookie holds; b"" is none
    _due: bool = False  # the cookie is old enough to be written again
    _outdated: bool = False  # signed with an older key
    _written: bytes | None = None  # what it held when it was last saved
    _id: str = ""

    def __init__(self, sessions: Sessions, request: BaseRequest) -> None:
        self._sessions = sessions
        self._request = request
        self._data: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Session with {len(self._data)} values>"  # they may be nobody's business

    @property
    def id(self) -> str:
        """A random name of this session, until `renew`: listed on the server, it can be ended there."""
        self.touched = True
        if not self._id:
            self._id = secrets.token_urlsafe(16)
        return self._id

    @property
    def changed(self) -> bool:
        """Whether it holds something else than the client's cookie."""
        return self.touched and self._pack(self._data) != self._kept

    def renew(self) -> None:
        """Give it a new `id` and a new cookie; do so at each login and when rights change."""
        self._id = ""
        self._note_change()

    def __getitem__(self, key: str) -> Any:
        self.touched = True
        return self._data[key]

    def __iter__(self) -> Iterator[str]:
        self.touched = True
        return iter(self._data)

    def __len__(self) -> int:
        self.touched = True
        return len(self._data)

    def __setitem__(self, key: str, value: Any) -> None:
        """Set one value.

        Raises:
            TypeError: the key is no str, or the value has no JSON form.
            ValueError: its cookie would be over 4096 bytes, about 3 KB of JSON.
        """
        if not isinstance(key, str):
            raise TypeError(f"Session keys must be str, not {type(key).__name__}")
        self._sessions._check_size(self._pack({**self._data, key: value}))
        self._data[key] = value
        self._note_change()

    def __delitem__(self, key: str) -> None:
        del self._data[key]
        self._note_change()

    def clear(self) -> None:
        """Drop all values; saved empty, the cookie is deleted."""
        self._data.clear()
        self._id = ""
        self._note_change()

    def _pack(self, data: dict[str, Any]) -> bytes:
        return _json.encode([self.id, data]) if data else b""

    def _note_change(self) -> None:
        self.touched = True
        if self._written is not None:
            self._report("A session was changed after it was saved: the change is lost")

    def _check_nothing_lost(self) -> None:
        """The handler answered by itself: what isn't in the headers that it sent is lost."""
        if self.touched and self._pack(self._data) != (
            self._kept if self._written is None else self._written
        ):
            self._report(
                "A session was changed, but the response was begun without sessions.headers(session)"
            )

    def _report(self, text: str) -> None:
        """Log `text` as an error at the line that called us."""
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_globals.get("__name__") in (__name__, "collections.abc"):
            frame = frame.f_back
        error = UsageError(text)
        place = TracebackType(None, frame, frame.f_lasti, frame.f_lineno)
        log_failure(self._request, error.with_traceback(place), "session")


class Sessions:
    """Reads and writes the session of each visitor; built once, with the secret that signs them.

        sessions = Sessions([os.environ["SESSION_KEY"]])

        session = sessions.load(request)
        response = await response_of(request, site(request, session))
        return sessions.save(session, response)

    Args:
        keys: long random secrets, such as `secrets.token_urlsafe(32)`, the newest first: it signs, all are
            accepted. So a key is replaced by putting a new one before it, and dropped after `max_age`.
        cookie: the cookie's name. `__Host-` binds it to this host and to https.
        max_age: seconds that a session lasts since it was last in use.
        secure: False sends it over plain HTTP as well, for development; `__Host-` leaves the name then.

    Raises:
        ImportError: itsdangerous isn't installed; the text says how to.
        TypeError, ValueError: an argument that can't be.

    Attributes:
        cookie: the name that is used.
    """

    def __init__(
        self,
        keys: str | bytes | Sequence[str | bytes],
        *,
        cookie: str = "__Host-session",
        max_age: int = TWO_WEEKS,
        secure: bool = True,
    ) -> None:
        try:
            from itsdangerous import Signer
        except ImportError:
            command = install_command("sessions", "itsdangerous")
            raise ImportError(f"Sessions need itsdangerous, which is not installed. Try: {command}") from None
        self.cookie = cookie if secure else cookie.removeprefix("__Host-").removeprefix("__Secure-")
        self._secure = secure
        self._max_age = _check_max_age(max_age)
        self._make_cookie("", 0)
        salt = f"asgineer.session.{self.cookie}"
        self._signers = [
            Signer(key, salt, key_derivation="hmac", digest_method=hashlib.sha256)
            for key in _check_keys(keys)
        ]
        self._overhead = len(self.cookie) + len(self._sign(b""))

    def load(self, request: BaseRequest) -> Session:
        """Return the visitor's session: an empty one if there is none, or none that is to be trusted.

        Raises:
            HeadersTooLarge: as for `request.cookies`.
        """
        session = Session(self, request)
        token = request.cookies.get(self.cookie)
        if token is not None:
            session._given = True
            self._read(token.encode("latin-1", "replace"), session)
        return session

    @overload
    def save(self, session: Session, response: None) -> None: ...
    @overload
    def save(self, session: Session, response: Response) -> FullResponse: ...
    @overload
    def save(self, session: Session, response: Response | None) -> FullResponse | None: ...
    def save(self, session: Session, response: Response | None) -> FullResponse | None:
        """Return `response` with the session's cookie set, refreshed or deleted, where that is due.

        If the session was touched, or there is a cookie to send, the response says so to caches: `Vary:
        Cookie`, `Cache-Control: private`. A change after this, such as by a stream while it is sent,
        comes too late: it is logged as an error.

        Args:
            session: what `load` returned.
            response: of any shape; None, of a handler that answered by itself, stays None.

        Raises:
            TypeError, ValueError: a value that was changed inside has no JSON form, or is too large.
        """
        if response is None:
            session._check_nothing_lost()
            return None
        status, headers, body = normalize_response(response)
        return status, self.headers(session, headers), body

    def headers(
        self, session: Session, headers: Mapping[str, str | list[str]] | None = None
    ) -> dict[str, str | list[str]]:
        """Return `headers` with the session's, in a new dict: what `request.accept(headers=…)` takes.

        For a websocket, or a response that is sent piece by piece; otherwise it is as `save`.
        """
        fresh = normalize_response((200, headers or {}, None))[1]
        session._written = session._pack(session._data) if session.touched else session._kept
        cookie = self._write(session, session._written)
        if cookie is not None:
            given = fresh.get("set-cookie", [])
            others = [
                value
                for value in ([given] if isinstance(given, str) else given)
                if not value.startswith(f"{self.cookie}=")
            ]
            fresh["set-cookie"] = [*others, cookie] if others else cookie
        if cookie is not None or session.touched:
            add_vary(fresh, "Cookie")
            fresh["cache-control"] = _make_private(fresh.get("cache-control", ""))
        return fresh

    def _read(self, token: bytes, session: Session) -> None:
        """Fill `session` from the client's cookie, if it is one of ours and not too old."""
        text = token.rpartition(b".")[0]
        # Signed again and compared as a whole: so no two cookies pass for one, as base64 would let them.
        trusted = [hmac.compare_digest(signer.sign(text), token) for signer in self._signers]
        if not any(trusted):
            return
        try:
            signed_at, _, payload = text.partition(b".")
            age = _now() - int(signed_at)
            packed = base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))
            name, data = _json.decode(packed, tuple[str, dict[str, Any]])
        except (ValueError, HTTPError):  # signed by our key, but not by this code
            return
        if -CLOCK_SKEW <= age < self._max_age:
            session._id, session._data, session._kept = name, data, packed
            session._due = age * REFRESHES >= self._max_age
            session._outdated = not trusted[0]

    def _write(self, session: Session, packed: bytes) -> str | None:
        """Return the cookie to send, or None where the client's is as it should be."""
        if not packed:
            return self._make_cookie("", 0) if session._given else None
        if packed != session._kept or session._outdated or (session.touched and session._due):
            self._check_size(packed)
            return self._make_cookie(self._sign(packed), self._max_age)
        return None

    def _sign(self, packed: bytes) -> str:
        payload = base64.urlsafe_b64encode(packed).rstrip(b"=")
        return self._signers[0].sign(b"%d.%s" % (_now(), payload)).decode()

    def _make_cookie(self, value: str, max_age: int) -> str:
        return make_cookie(self.cookie, value, max_age=max_age, secure=self._secure)

    def _check_size(self, packed: bytes) -> None:
        size = self._overhead + (len(packed) * 4 + 2) // 3
        if size > MAX_COOKIE:
            raise ValueError(f"The session is too large: {size} bytes, and a cookie holds {MAX_COOKIE}")


def _check_keys(keys: str | bytes | Sequence[str | bytes]) -> list[bytes]:
    listed = [keys] if isinstance(keys, (str, bytes)) else list(keys)
    encoded = [key.encode() if isinstance(key, str) else key for key in listed]
    if not all(isinstance(key, bytes) for key in encoded):
        raise TypeError("Session keys must be str or bytes")
    if not encoded or not all(encoded):
        raise ValueError("Sessions need a key that is not empty")
    if min(map(len, encoded)) < MIN_KEY:
        logger.warning("A session key has less than %d bytes: who guesses it can forge sessions", MIN_KEY)
    return encoded


def _check_max_age(max_age: int) -> int:
    if not isinstance(max_age, int) or isinstance(max_age, bool):
        raise TypeError(f"Sessions max_age must be an int, not {type(max_age).__name__}")
    if max_age <= 0:
        raise ValueError("Sessions max_age must be above 0")
    return max_age


def _make_private(cache_control: str | list[str]) -> str:
    """Return a Cache-Control that keeps the response out of caches that several visitors share."""
    value = cache_control if isinstance(cache_control, str) else ", ".join(cache_control)
    if '"' in value:  # lists of header names, with commas in them
        return "private, no-cache"
    directives = [part.strip(" \t") for part in value.split(",") if part.strip(" \t")]
    names = [directive.partition("=")[0].lower() for directive in directives]
    if "private" in names or "no-store" in names:
        return value
    shared = ("public", "s-maxage")
    return ", ".join(
        ["private", *(part for part, name in zip(directives, names, strict=True) if name not in shared)]
    )
