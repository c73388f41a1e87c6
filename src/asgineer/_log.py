"""The logger, and how one thing that went wrong becomes one record.

Importing the package configures nothing: `install_handler` is called by `run()`, by the
command line and by the test servers, never by `to_asgi`. What comes from outside (a path,
the text of an exception) is escaped and capped here before it reaches a log, so that a
client cannot forge a line or fill a disk. Nothing else may live here.
"""

import logging
import sys
import traceback

logger = logging.getLogger("asgineer")

MAX_TEXT = 400  # characters of one foreign text in a log line
MAX_TRACEBACK = 16_384  # characters; a deep recursion prints less, a 10 MB exception text more


def _escape_unprintable(text: str, keep: str = "") -> str:
    if text.isprintable():
        return text
    return "".join(
        [
            char if char.isprintable() or char in keep else char.encode("unicode_escape").decode("ascii")
            for char in text
        ]
    )


def escape(text: str, limit: int = MAX_TEXT) -> str:
    """Return `text` as one printable line of at most `limit` characters and an ellipsis."""
    line = _escape_unprintable(text[: limit + 1])
    return line if len(line) <= limit else line[:limit] + "…"


def describe(error: BaseException) -> str:
    """Return the text of `error` for a log line, also when its own `__str__` fails."""
    try:
        return escape(str(error))
    except Exception:
        return "<its text could not be made>"


def format_traceback(error: BaseException) -> str:
    """Return the traceback of `error` as Python prints it, also when what it is asked for fails."""
    try:
        return "".join(traceback.format_exception(error)).rstrip("\n")
    except Exception:  # Python 3.11 looks for `__notes__` without care
        return f"{type(error).__name__}: <its traceback could not be made>"


def log_error(text: str, error: BaseException) -> None:
    """Log one record at level ERROR: `text`, and the traceback of `error`, capped and escaped.

    The record carries `exc_info` for handlers that format it themselves, and a text of ours
    in `exc_text`, which `logging.Formatter` prefers.
    """
    if not logger.isEnabledFor(logging.ERROR):
        return
    # Indented: no line of a foreign text can pass for a record of its own.
    story = "  " + format_traceback(error).replace("\n", "\n  ")
    if len(story) > MAX_TRACEBACK:
        half = MAX_TRACEBACK // 2
        story = story[:half] + "\n  …\n  " + story[-half:]
    exc_info = (type(error), error, error.__traceback__)
    record = logger.makeRecord(logger.name, logging.ERROR, "", 0, text, (), exc_info)
    record.exc_text = _escape_unprintable(story, keep="\n")
    logger.handle(record)


def install_handler(level: int | str = logging.INFO) -> None:
    """Log to stderr as `[ERROR 2026-11-22 10:00:00] message`, unless the program configured the logger.

    Configured means that the logger "asgineer" or the root logger has a handler already.
    """
    if logger.handlers or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("[%(levelname)s %(asctime)s] %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
