"""RequestSet: the live requests of this process, to wake them up or to count them.

It holds them weakly, and a request leaves all its sets when its handler ends, so nothing has
to be cleaned up by hand. It spans one process only: to broadcast, use a channel.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Generic, TypeVar

from ._request import BaseRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RequestSet"]

RequestT = TypeVar("RequestT", bound=BaseRequest)


class RequestSet(Generic[RequestT]):
    """A set of requests, held weakly; each leaves by itself when its handler ends."""

    def __init__(self) -> None:
        self._requests: weakref.WeakSet[RequestT] = weakref.WeakSet()

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[RequestT]:
        """Iterate over those in the set now; others may come and go meanwhile."""
        return iter(list(self._requests))

    def __contains__(self, request: object) -> bool:
        return request in self._requests

    def add(self, request: RequestT) -> None:
        """Put `request` into the set; a second time changes nothing.

        Raises:
            TypeError: it is no request.
        """
        if not isinstance(request, BaseRequest):
            raise TypeError(f"A RequestSet can only hold requests, not {type(request).__name__}")
        self._requests.add(request)
        if request._request_sets is None:
            request._request_sets = set()
        request._request_sets.add(self)
        request._held = True

    def discard(self, request: RequestT) -> None:
        """Take `request` out of the set, if it is in it."""
        self._requests.discard(request)

    def clear(self) -> None:
        """Take every request out of the set."""
        self._requests.clear()
