"""Channels: bounded logs with cursors, in one process or through Redis, Valkey or NATS.

A channel gives each subscriber, in any process on any machine, every message after its position once
and in order, or says that something is missing. The public face is `Bus`; engines
stand behind `_engine.Engine`, one file each. Never a request here: requests and channels meet in
the user's handler.
"""

from __future__ import annotations

from ._bus import Bus, Channel
from ._message import Batch, Message

__all__ = ["Batch", "Bus", "Channel", "Message"]
