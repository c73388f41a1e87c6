"""What an app in this process prints and logs, for each server apart.

Several servers may run at once, in threads of their own, so the standard streams are swapped
in one place, and a context variable says whose app is writing.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

from .._log import logger

if TYPE_CHECKING:
    from collections.abc import Generator


class Output:
    """What one server's app printed and logged."""

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def write(self, text: str) -> None:
        self._pieces.append(text)

    def text(self) -> str:
        return "".join(self._pieces)


# Whose app runs: set in the context that everything of one server runs in, tasks and threads too.
current_output: contextvars.ContextVar[Output | None] = contextvars.ContextVar("output", default=None)


class _Tee:
    """Stands for a standard stream; what a served app writes goes to its server's output too."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if output := current_output.get():
            output.write(text)
        return int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _OutputHandler(logging.Handler):
    """Puts the records of a served app into its server's output, in the form of the other servers."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("[%(levelname)s %(asctime)s] %(message)s", "%Y-%m-%d %H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        if output := current_output.get():
            output.write(self.format(record) + "\n")


class _Capture:
    """The one place that swaps the standard streams, for as long as any server needs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._stack = contextlib.ExitStack()

    @contextlib.contextmanager
    def __call__(self) -> Generator[None]:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._install()
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._stack.close()

    def _install(self) -> None:
        out: Any = _Tee(sys.stdout)
        err: Any = _Tee(sys.stderr)
        self._stack.enter_context(contextlib.redirect_stdout(out))
        self._stack.enter_context(contextlib.redirect_stderr(err))
        handler = _OutputHandler()
        logger.addHandler(handler)
        self._stack.callback(logger.removeHandler, handler)
        if logger.level == logging.NOTSET:  # unless the program chose one
            logger.setLevel(logging.INFO)
            self._stack.callback(logger.setLevel, logging.NOTSET)


captured = _Capture()
