"""The log: one record for one error, escaped and capped; a handler only where nobody configured one."""

from __future__ import annotations

import contextlib
import logging
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from asgineer._log import MAX_TEXT, MAX_TRACEBACK, describe, escape, install_handler, log_error, logger

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain é 🐍", "plain é 🐍"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x00\x1b[31m\x7f\x85\x9f", r"\x00\x1b[31m\x7f\x85\x9f"),
        ("\u2028\u2029\ud800", r"\u2028\u2029\ud800"),
        ("\\n", "\\n"),
        ("", ""),
    ],
)
def test_escape(text: str, escaped: str) -> None:
    assert escape(text) == escaped
    assert len(escape(text).splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "capped"),
    [
        ("12345", "12345"),
        ("123456", "12345…"),
        ("x" * 10_000_000, "xxxxx…"),
        ("\x00\x00", r"\x00\…"),  # what is written counts, not what came
    ],
)
def test_escape_caps(text: str, capped: str) -> None:
    assert escape(text, 5) == capped


def test_describe() -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert describe(ValueError("a\nb")) == r"a\nb"
    assert describe(ValueError()) == ""
    assert describe(Unprintable()) == "<its text could not be made>"
    assert len(describe(ValueError("x" * 10_000))) == MAX_TEXT + 1


def caught(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as same:
        return same


def test_one_record_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    error = caught(ValueError("why"))
    log_error("what", error)
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("asgineer", "ERROR", "what")
    assert record.exc_info == (ValueError, error, error.__traceback__)
    assert record.exc_text is not None
    assert "Traceback (most recent call last)" in record.exc_text
    assert record.exc_text.endswith("ValueError: why")


def test_no_line_of_a_traceback_can_pass_for_a_record(caplog: pytest.LogCaptureFixture) -> None:
    log_error("what", caught(ValueError("x\n[ERROR 2026-11-22 10:00:00] forged\x1b[31m\r[ERROR] also")))
    text = logging.Formatter("[%(levelname)s] %(message)s").format(caplog.records[0])
    lines = re.split(r"[\r\n\x85\u2028]", text)
    assert lines[0] == "[ERROR] what"
    assert all(line.startswith("  ") for line in lines[1:])
    assert "\x1b" not in text


def test_a_traceback_is_capped(caplog: pytest.LogCaptureFixture) -> None:
    log_error("what", caught(ValueError("x" * 10_000_000)))
    text = caplog.records[0].exc_text or ""
    assert len(text) < MAX_TRACEBACK + 100
    assert "Traceback" in text
    assert text.endswith("xxx")


def test_percent_signs_are_no_format(caplog: pytest.LogCaptureFixture) -> None:
    log_error("100%s %d", caught(ValueError("%s")))
    assert caplog.records[0].getMessage() == "100%s %d"


def test_nothing_is_made_when_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    class Costly(Exception):
        def __str__(self) -> str:
            raise AssertionError("the text was asked for")

    caplog.set_level(logging.CRITICAL, "asgineer")
    log_error("what", Costly())
    assert not caplog.records


@contextlib.contextmanager
def unconfigured() -> Iterator[None]:
    """Take away what pytest put there, and put everything back afterwards."""
    root = logging.getLogger()
    before = logger.handlers, logger.propagate, logger.level, root.handlers
    logger.handlers, logger.propagate, root.handlers = [], True, []
    try:
        yield
    finally:
        logger.handlers, logger.propagate, _, root.handlers = before
        logger.setLevel(before[2])


def test_install_handler(capsys: pytest.CaptureFixture[str]) -> None:
    with unconfigured():
        install_handler()
        install_handler()
        logger.info("hello")
        logger.debug("not this")
        log_error("what", caught(ValueError("why")))
        assert not logger.propagate, "a root handler that comes later must not print it again"
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\[INFO \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] hello", lines[0])
    assert re.fullmatch(r"\[ERROR \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] what", lines[1])
    assert lines[2] == "  Traceback (most recent call last):"
    assert lines[-1] == "  ValueError: why"


@pytest.mark.parametrize("level", ["WARNING", logging.WARNING])
def test_install_handler_with_a_level(level: int | str, capsys: pytest.CaptureFixture[str]) -> None:
    with unconfigured():
        install_handler(level)
        logger.info("not this")
        logger.warning("but this")
    assert re.fullmatch(r"\[WARNING .*\] but this\n", capsys.readouterr().err)


@pytest.mark.parametrize("name", ["asgineer", None])
def test_a_program_that_configured_logging_keeps_it(name: str | None) -> None:
    own = logging.NullHandler()
    with unconfigured():
        logging.getLogger(name).handlers.append(own)
        install_handler()
        assert logger.handlers == ([own] if name else [])
        assert logger.propagate


def test_importing_configures_nothing() -> None:
    code = (
        "import logging, asgineer\n"
        "for name in (None, 'asgineer'):\n"
        "    log = logging.getLogger(name)\n"
        "    assert not log.handlers and not log.filters, name\n"
        "assert logging.getLogger('asgineer').level == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
