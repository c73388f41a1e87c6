"""Asgineer: a thin web framework for ASGI servers.

One `async def main(request)`, responses are return values, routing is plain Python. The way
of a request through the package stands at the top of `_app.py`. This file is the public
names and nothing else; importing it loads the standard library only and configures nothing.
"""

from . import utils
from ._app import Handler, response_of, to_asgi
from ._forms import Form
from ._http import HttpRequest
from ._lifespan import running
from ._limits import Limits
from ._params import param
from ._parts import Part
from ._request import BaseRequest
from ._requestset import RequestSet
from ._response import Response, html, json, text
from ._run import run
from ._spawn import spawn
from ._sse import Event
from ._stats import Stats, stats
from ._stream import EventStream
from ._uploads import UploadFile
from ._websocket import WebsocketRequest
from .channels import Batch, Bus, Channel, Message
from .errors import (
    AsgineerError,
    BadRequest,
    BodyTooLarge,
    ChannelError,
    DisconnectedError,
    HeadersTooLarge,
    HTTPError,
    InvalidData,
    MethodNotAllowed,
    RequestTimeout,
    ServerClosing,
    UnsupportedMediaType,
    UsageError,
)
from .utils import sleep

__version__ = "1.0.0rc1"

__all__ = [
    "AsgineerError",
    "BadRequest",
    "BaseRequest",
    "Batch",
    "BodyTooLarge",
    "Bus",
    "Channel",
    "ChannelError",
    "DisconnectedError",
    "Form",
    "HTTPError",
    "Event",
    "EventStream",
    "Handler",
    "HeadersTooLarge",
    "HttpRequest",
    "InvalidData",
    "Limits",
    "Message",
    "MethodNotAllowed",
    "Part",
    "RequestSet",
    "RequestTimeout",
    "Response",
    "ServerClosing",
    "Stats",
    "UnsupportedMediaType",
    "UploadFile",
    "UsageError",
    "WebsocketRequest",
    "__version__",
    "html",
    "json",
    "param",
    "response_of",
    "run",
    "running",
    "sleep",
    "spawn",
    "stats",
    "text",
    "to_asgi",
    "utils",
]
